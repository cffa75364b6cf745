//! The settings that count in the end, each with its origin, for `flowgate config show`.

use std::fmt::Write;

use config::{Value, ValueKind};

use super::key_path::{self, KeyPath, bare_or_quoted};
use super::schema::{self, Shape};

/// Every setting and where it came from. It holds no secrets, since settings only name where those are.
#[derive(Clone, Debug)]
pub struct Effective {
    tree: Value,
}

impl Effective {
    pub(super) fn new(tree: Value) -> Self {
        Effective { tree }
    }

    /// TOML that can be read again, each value followed by `# from` and its origin. Paths stand as they were written,
    /// relative to the file they come from.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        show(&mut text, "", &self.tree, &schema::ROOT);
        text.trim_start().to_owned()
    }

    /// An object of `{ "value": …, "origin": "…" }` by dotted key, such as `auth.issuers[name="app"].issuer`.
    pub fn to_json(&self) -> serde_json::Value {
        let mut settings = serde_json::Map::new();
        walk(&KeyPath::default(), &self.tree, &schema::ROOT, &mut |path, value| {
            let setting = serde_json::json!({ "value": json_of(value), "origin": origins(value) });
            settings.insert(path.to_string(), setting);
        });
        settings.into()
    }
}

/// One setting, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The dotted key, such as `events.database-change.timestamp.max_age`.
    pub key: String,
    /// What it is set to.
    pub value: serde_json::Value,
    /// The file, `environment variable NAME`, `flag --name`, or [`super::BUILT_IN`]; several with `and` between.
    pub origin: String,
}

impl Setting {
    /// Where these came from, each place once, with `and` between.
    pub fn origins(settings: &[Setting]) -> String {
        let mut origins: Vec<&str> = Vec::new();
        for origin in settings.iter().flat_map(|setting| setting.origin.split(" and ")) {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins.join(" and ")
    }

    /// The text of the one among these whose key ends so.
    pub fn text_of<'s>(settings: &'s [Setting], end: &str) -> Option<&'s str> {
        settings.iter().find(|setting| setting.key.ends_with(end))?.value.as_str()
    }
}

impl Effective {
    /// The settings behind a key as refusals name it, such as `events.database-change.timestamp` or `rules.NAME`; none
    /// where nothing is set there.
    pub fn behind(&self, rule: &str) -> Vec<Setting> {
        let serde_json::Value::Object(settings) = self.to_json() else { return Vec::new() };
        let inside = |key: &str, place: &str| {
            key.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        // Entries of an array are named in refusals as if they were keys, since a name is what people gave them.
        let entry = rule.split_once('.').map(|(array, name)| format!("{array}[name={name:?}]"));
        let of_rule = settings
            .into_iter()
            .filter(|(key, _)| inside(key, rule) || entry.as_ref().is_some_and(|entry| inside(key, entry)));
        let setting = |(key, mut setting): (String, serde_json::Value)| Setting {
            key,
            value: setting["value"].take(),
            origin: setting["origin"].as_str().unwrap_or_default().to_owned(),
        };
        of_rule.map(setting).collect()
    }

    /// Every setting: its dotted key, its value exactly, and its value as it may be shown.
    pub(super) fn settings(&self) -> Vec<(String, String, String)> {
        let mut settings = Vec::new();
        walk(&KeyPath::default(), &self.tree, &schema::ROOT, &mut |path, value| {
            settings.push((path.to_string(), exact(value).to_string(), json_of(value).to_string()));
        });
        settings
    }
}

/// Writes one table: its own values first, then the tables inside it, as TOML wants.
fn show(text: &mut String, header: &str, value: &Value, shape: &'static Shape) {
    let (leaves, tables): (Vec<_>, Vec<_>) =
        parts(value, shape).into_iter().partition(|(_, value, shape)| is_value(value, shape));
    for (key, value, _) in leaves {
        let _ = writeln!(text, "{} = {}  # from {}", bare_or_quoted(key), toml_of(value), origins(value));
    }
    for (key, value, shape) in tables {
        let dot = if header.is_empty() { "" } else { "." };
        let header = format!("{header}{dot}{}", bare_or_quoted(key));
        match (shape, &value.kind) {
            (Shape::Entries { entry, .. }, ValueKind::Array(entries)) => {
                for value in entries {
                    let _ = writeln!(text, "\n[[{header}]]");
                    show(text, &header, value, entry);
                }
            }
            _ => {
                if parts(value, shape).iter().any(|(_, value, shape)| is_value(value, shape)) {
                    let _ = writeln!(text, "\n[{header}]");
                }
                show(text, &header, value, shape);
            }
        }
    }
}

/// Calls `see` with every setting.
fn walk(path: &KeyPath, value: &Value, shape: &'static Shape, see: &mut impl FnMut(&KeyPath, &Value)) {
    if is_value(value, shape) {
        see(path, value);
    } else if let (Shape::Entries { by, entry }, ValueKind::Array(entries)) = (shape, &value.kind) {
        for value in entries {
            let name = key_path::name_of(value, by).unwrap_or_default();
            walk(&path.entry(by, name), value, entry, see);
        }
    } else {
        for (key, value, shape) in parts(value, shape) {
            walk(&path.key(key), value, shape, see);
        }
    }
}

/// Whether this is written as `key = value`. An array of tables without any is: somebody erased them, which must be seen.
fn is_value(value: &Value, shape: &Shape) -> bool {
    match (shape, &value.kind) {
        (Shape::Entries { .. }, ValueKind::Array(entries)) => entries.is_empty(),
        _ => shape.is_leaf(),
    }
}

/// The keys of a table that are set: those of the schema in its order, names that users chose in theirs.
fn parts<'a>(value: &'a Value, shape: &'static Shape) -> Vec<(&'a str, &'a Value, &'static Shape)> {
    let ValueKind::Table(table) = &value.kind else { return Vec::new() };
    match shape {
        Shape::Table(keys) => {
            keys.iter().filter_map(|(key, shape)| Some((*key, table.get(*key)?, shape))).collect()
        }
        Shape::Named(shape) => {
            let mut names: Vec<_> =
                table.iter().map(|(name, value)| (name.as_str(), value, *shape)).collect();
            names.sort_by_key(|(name, _, _)| *name);
            names
        }
        _ => Vec::new(),
    }
}

/// Where a value came from; a rate's parts may come from several places.
fn origins(value: &Value) -> String {
    let mut origins = Vec::new();
    collect_origins(value, &mut origins);
    origins.join(" and ")
}

fn collect_origins<'a>(value: &'a Value, origins: &mut Vec<&'a str>) {
    if let ValueKind::Table(table) = &value.kind {
        let mut keys: Vec<_> = table.keys().collect();
        keys.sort();
        keys.into_iter().for_each(|key| collect_origins(&table[key], origins));
    } else if let Some(origin) = value.origin()
        && !origins.contains(&origin)
    {
        origins.push(origin);
    }
}

fn toml_of(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => toml::Value::String(masked(text)).to_string(),
        ValueKind::Array(elements) => {
            format!("[{}]", elements.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Table(table) => {
            let mut parts: Vec<(&String, &Value)> = table.iter().collect();
            // As people write a rate.
            parts.sort_by_key(|(key, _)| ["rate", "burst", "mode"].iter().position(|known| known == key));
            let parts: Vec<String> =
                parts.into_iter().map(|(key, value)| format!("{key} = {}", toml_of(value))).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        other => other.to_string(),
    }
}

/// The value as it may be shown.
fn json_of(value: &Value) -> serde_json::Value {
    json_with(value, masked)
}

fn exact(value: &Value) -> serde_json::Value {
    json_with(value, str::to_owned)
}

fn json_with(value: &Value, text: fn(&str) -> String) -> serde_json::Value {
    match &value.kind {
        ValueKind::Boolean(switch) => (*switch).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::Array(elements) => elements.iter().map(|element| json_with(element, text)).collect(),
        ValueKind::Table(table) => {
            // In one order, whatever order the table has.
            let mut parts: Vec<_> =
                table.iter().map(|(key, value)| (key.clone(), json_with(value, text))).collect();
            parts.sort_by(|(one, _), (other, _)| one.cmp(other));
            serde_json::Value::Object(parts.into_iter().collect())
        }
        other => text(&other.to_string()).into(),
    }
}

/// An address may carry a name, a password or a key in its query; those are nobody's to read here.
fn masked(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return text.to_owned() };
    if !url.has_host() || (url.username().is_empty() && url.password().is_none() && url.query().is_none()) {
        return text.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    // These fail only for addresses without a host.
    if url.password().is_some() || !url.username().is_empty() {
        let _ = url.set_username("***");
        let _ = url.set_password(None);
    }
    url.into()
}
