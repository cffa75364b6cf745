//! Settings from environment variables: `FLOWGATE__SECTION__KEY`.
//!
//! Names are compared without regard to case. Names that users choose (events, issuers, types, fields) must exist below,
//! and `_` stands for `-` in them, since shells know no `-` in names; new ones come as a TOML value of the whole, as in
//! `FLOWGATE__AUTH__ISSUERS='[{ name = "app", … }]'`. Text becomes what its key wants: a number, a switch, a list
//! separated by commas or written as TOML.

use config::{Value, ValueKind};

use super::layer::Layer;
use super::problem::{Problem, any_of, closest};
use super::schema::{self, Keys, Shape};

/// Settings begin with this; other variables, such as `FLOWGATE_JWT_SECRET`, are none.
const PREFIX: &str = "FLOWGATE__";

/// What begins only with this may be a setting that was misspelt.
const HALF_PREFIX: &str = "FLOWGATE_";

/// How many letters of a setting's name may be wrong for it to be what was meant. Orchestrators set variables of their own
/// that begin with a service's name.
const SLIPS: usize = 2;

/// Between the parts of a name, since keys hold single underscores.
const BETWEEN: &str = "__";

/// The variable that PhotoFlow's own server reads for the origins it admits.
pub(super) const CORS_ALIAS: &str = "VITE_CORS_ORIGIN";

/// How messages and `config show` name a variable.
pub(super) fn origin_of(variable: &str) -> String {
    format!("environment variable {variable}")
}

/// The variables that are settings, in name order, so that a whole array comes before changes to its entries.
pub(super) fn settings(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    let mut settings: Vec<(&str, &str)> = environment
        .iter()
        .filter(|(name, _)| has_prefix(name, PREFIX))
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    settings.sort_by_key(|(name, _)| name.to_uppercase());
    settings
}

/// The dotted key of a variable that is a setting.
pub(super) fn key_of(variable: &str) -> Option<String> {
    Some(variable.strip_prefix(PREFIX)?.to_lowercase().replace(BETWEEN, "."))
}

/// Variables that set nothing and look as if they were meant to, for want of an underscore.
pub(super) fn near_misses(environment: &[(String, String)], tree: &Value) -> Vec<Problem> {
    let mut named = Vec::new();
    named_variables(tree, &mut named);
    let mut problems: Vec<Problem> = environment
        .iter()
        .filter(|(name, _)| !has_prefix(name, PREFIX) && has_prefix(name, HALF_PREFIX))
        .filter(|(name, _)| !named.contains(&name.as_str()))
        .filter_map(|(name, _)| Some((name, meant(&name[HALF_PREFIX.len()..], tree)?)))
        .map(|(name, meant)| Problem {
            origin: origin_of(name),
            key: String::new(),
            found: "it sets nothing, since settings have two underscores between the parts of their names"
                .into(),
            mend: String::new(),
            did_you_mean: Some(meant),
        })
        .collect();
    problems.sort_by(|one, other| one.origin.cmp(&other.origin));
    problems
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The variables that settings name, such as those that hold secrets.
fn named_variables<'a>(value: &'a Value, named: &mut Vec<&'a str>) {
    match &value.kind {
        ValueKind::Array(entries) => entries.iter().for_each(|entry| named_variables(entry, named)),
        ValueKind::Table(table) => {
            for (key, value) in table {
                match &value.kind {
                    ValueKind::String(name) if key.ends_with("_env") => named.push(name),
                    ValueKind::Array(names) if key.ends_with("_env") => {
                        named.extend(names.iter().filter_map(|name| match &name.kind {
                            ValueKind::String(name) => Some(name.as_str()),
                            _ => None,
                        }));
                    }
                    _ => named_variables(value, named),
                }
            }
        }
        _ => {}
    }
}

/// The variable that a name is spelt like whose underscores may be too few: `server_listen` is `FLOWGATE__SERVER__LISTEN`.
fn meant(name: &str, tree: &Value) -> Option<String> {
    let name = name.to_lowercase().replace(BETWEEN, "_");
    let mut known = Vec::new();
    every_setting(&mut Vec::new(), &schema::ROOT, Some(tree), &mut known);
    known
        .into_iter()
        .map(|parts| (strsim::damerau_levenshtein(&name, &parts.join("_")), parts))
        .filter(|(slips, parts)| {
            *slips <= SLIPS && name.split('_').next() == parts.first().map(String::as_str)
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, parts)| format!("{PREFIX}{}", parts.join(BETWEEN).to_uppercase()))
}

/// The parts of the names of all variables that can be settings over `below`.
fn every_setting(
    parts: &mut Vec<String>,
    shape: &Shape,
    below: Option<&Value>,
    known: &mut Vec<Vec<String>>,
) {
    let mut within = |name: &str, shape: &Shape, below: Option<&Value>| {
        parts.push(plain(name));
        every_setting(parts, shape, below, known);
        parts.pop();
    };
    match (shape, below.map(|below| &below.kind)) {
        (Shape::Table(keys), _) => {
            keys.iter()
                .for_each(|(key, shape)| within(key, shape, below.and_then(|below| step(Some(below), key))));
        }
        (Shape::Named(inner), Some(ValueKind::Table(table))) => {
            table.iter().for_each(|(name, value)| within(name, inner, Some(value)));
        }
        (Shape::Entries { by, entry: shape }, Some(ValueKind::Array(entries))) => {
            for entry in entries {
                within(super::key_path::name_of(entry, by).unwrap_or_default(), shape, Some(entry));
            }
        }
        _ => {}
    }
    if !parts.is_empty() && !matches!(shape, Shape::Table(_) | Shape::Named(_)) {
        known.push(parts.clone());
    }
    if let Shape::Rate(keys) = shape {
        known.extend(keys.iter().map(|(key, _)| [parts.clone(), vec![(*key).to_owned()]].concat()));
    }
}

/// The layer of one variable over `below`.
pub(super) fn layer(variable: &str, text: &str, below: &Value, problems: &mut Vec<Problem>) -> Layer {
    let parts: Vec<&str> = variable[PREFIX.len()..].split(BETWEEN).collect();
    let settings = match settle(&parts, text, &schema::ROOT, Some(below)) {
        Ok(toml::Value::Table(settings)) => settings,
        Ok(_) => toml::Table::new(),
        Err(Refused { found, mend, known }) => {
            let did_you_mean = known.map(|known| {
                // The part that nobody knows is replaced in the name as the user wrote it.
                format!("{}{}", &variable[..PREFIX.len()], known.to_uppercase())
            });
            let did_you_mean = did_you_mean.or_else(|| meant(&variable[PREFIX.len()..], below));
            problems.push(Problem {
                origin: origin_of(variable),
                key: parts.join(".").to_lowercase(),
                found,
                mend,
                did_you_mean,
            });
            toml::Table::new()
        }
    };
    Layer::new(&origin_of(variable), settings, problems)
}

/// The layer of `VITE_CORS_ORIGIN`, when it says anything.
pub(super) fn cors_alias(environment: &[(String, String)], problems: &mut Vec<Problem>) -> Option<Layer> {
    let (_, text) = environment.iter().find(|(name, _)| name == CORS_ALIAS)?;
    let origins = listed(text);
    if origins.is_empty() {
        return None;
    }
    let server = toml::Table::from_iter([("allowed_origins".to_owned(), toml::Value::from(origins))]);
    let settings = toml::Table::from_iter([("server".to_owned(), toml::Value::from(server))]);
    Some(Layer::new(&origin_of(CORS_ALIAS), settings, problems))
}

/// Why a variable is no setting; `known` is the nearest whole name.
struct Refused {
    found: String,
    mend: String,
    known: Option<String>,
}

impl Refused {
    /// The same, of a name that begins one part earlier.
    fn within(self, part: &str) -> Self {
        Refused { known: self.known.map(|known| format!("{part}{BETWEEN}{known}")), ..self }
    }
}

/// The TOML that a variable stands for, nested as deep as its name has parts.
fn settle(parts: &[&str], text: &str, shape: &Shape, below: Option<&Value>) -> Result<toml::Value, Refused> {
    let Some((part, rest)) = parts.split_first() else { return value_of(text, shape) };
    match shape {
        Shape::Table(keys) => within_table(part, rest, text, keys, below),
        Shape::Rate(keys) => within_table(part, rest, text, keys, below),
        Shape::Named(inner) => {
            let names = match below.map(|below| &below.kind) {
                Some(ValueKind::Table(table)) => table.keys().cloned().collect(),
                _ => Vec::new(),
            };
            let name = existing(part, names)?;
            let value =
                settle(rest, text, inner, step(below, &name)).map_err(|refused| refused.within(part))?;
            Ok(toml::Value::Table(toml::Table::from_iter([(name, value)])))
        }
        Shape::Entries { by, entry: shape } => {
            let entries = match below.map(|below| &below.kind) {
                Some(ValueKind::Array(entries)) => entries.as_slice(),
                _ => &[],
            };
            let name_of = |entry| super::key_path::name_of(entry, by).unwrap_or_default().to_owned();
            let name = existing(part, entries.iter().map(name_of).collect())?;
            let entry = entries.iter().find(|entry| name_of(entry) == name);
            let mut inner = settle(rest, text, shape, entry).map_err(|refused| refused.within(part))?;
            if let toml::Value::Table(inner) = &mut inner {
                inner.entry(*by).or_insert(toml::Value::String(name));
            }
            Ok(toml::Value::Array(vec![inner]))
        }
        _ => Err(Refused {
            found: "unknown key: what stands before its last part is no table".into(),
            mend: "leave that part out".into(),
            known: None,
        }),
    }
}

fn within_table(
    part: &str,
    rest: &[&str],
    text: &str,
    keys: Keys,
    below: Option<&Value>,
) -> Result<toml::Value, Refused> {
    let key = part.to_ascii_lowercase();
    let Some(shape) = schema::find(keys, &key) else {
        let known = || keys.iter().map(|(key, _)| *key);
        let known_name =
            closest(&key, known()).map(|known| [&[known.as_str()][..], rest].concat().join(BETWEEN));
        let mend = match known_name {
            Some(_) => String::new(),
            None => format!("known there: {}", any_of(known())),
        };
        return Err(Refused { found: "unknown key".into(), mend, known: known_name });
    };
    let inner = settle(rest, text, shape, step(below, &key)).map_err(|refused| refused.within(&key))?;
    Ok(toml::Value::Table(toml::Table::from_iter([(key, inner)])))
}

fn step<'a>(below: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    match &below?.kind {
        ValueKind::Table(table) => table.get(key),
        _ => None,
    }
}

/// The existing name that is meant: without regard to case, and with `_` for whatever a variable cannot be named.
fn existing(part: &str, mut names: Vec<String>) -> Result<String, Refused> {
    names.sort();
    let meant: Vec<&String> = names.iter().filter(|name| plain(name) == plain(part)).collect();
    match meant.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Refused {
            found: format!("`{}` names nothing that the files define", part.to_lowercase()),
            mend: match names.is_empty() {
                true => {
                    "set the whole in TOML instead, as in FLOWGATE__AUTH__ISSUERS='[{ name = \"app\", … }]'"
                        .into()
                }
                false => format!(
                    "there are {}; set a new one as a whole, in TOML, one part of the name earlier",
                    any_of(names.iter().map(String::as_str))
                ),
            },
            known: None,
        }),
        several => Err(Refused {
            found: format!("`{}` may be any of several", part.to_lowercase()),
            mend: format!("set {} in a file", any_of(several.iter().map(|name| name.as_str()))),
            known: None,
        }),
    }
}

/// A name as a variable's part can hold it: in small letters, with `_` for whatever a variable cannot be named.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_alphanumeric() { c } else { '_' };
    name.to_lowercase().chars().map(letter).collect()
}

/// Text as the TOML value that its place wants. What does not fit stays text, which the schema then refuses.
fn value_of(text: &str, shape: &Shape) -> Result<toml::Value, Refused> {
    let trimmed = text.trim();
    let as_text = || toml::Value::String(text.to_owned());
    Ok(match shape {
        Shape::Text => as_text(),
        Shape::Integer | Shape::Size => trimmed.parse().map_or_else(|_| as_text(), toml::Value::Integer),
        Shape::Number => trimmed.parse().map_or_else(|_| as_text(), toml::Value::Float),
        Shape::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" => toml::Value::Boolean(true),
            "false" => toml::Value::Boolean(false),
            _ => as_text(),
        },
        Shape::Texts | Shape::TextOrTexts if trimmed.starts_with('[') => inline(trimmed, shape)?,
        Shape::TextOrTexts if !trimmed.contains(',') => as_text(),
        Shape::Texts | Shape::TextOrTexts => listed(text).into(),
        Shape::Rate(_) if !trimmed.starts_with('{') => as_text(),
        Shape::Rate(_) | Shape::Table(_) | Shape::Named(_) | Shape::Entries { .. } => inline(trimmed, shape)?,
    })
}

fn listed(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A TOML value on its own, such as `[{ name = "app" }]`.
fn inline(text: &str, shape: &Shape) -> Result<toml::Value, Refused> {
    let refused = |found: String| Refused { found, mend: shape.wanted().into(), known: None };
    let table: toml::Table = format!("value = {text}")
        .parse()
        .map_err(|error: toml::de::Error| refused(format!("not a TOML value: {}", error.message())))?;
    let mut values = table.into_iter();
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Ok(value),
        _ => Err(refused("more than one TOML value".into())),
    }
}
