//! One layer of settings: TOML checked against the schema, and how it lies over the layers below.

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::key_path::{KeyPath, name_of};
use super::problem::{Problem, any_of, closest};
use super::schema::{self, Keys, Shape};

/// Settings of one origin whose keys and types are known to be right.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    values: Map<String, Value>,
}

impl Layer {
    /// Checks `settings` against the schema. What is wrong goes to `problems` and is left out of the layer, so that the
    /// rest can still be looked at.
    pub(super) fn new(origin: &str, settings: toml::Table, problems: &mut Vec<Problem>) -> Self {
        let mut check = Check { origin: origin.to_owned(), problems };
        let value = check.value(toml::Value::Table(settings), &schema::ROOT, &KeyPath::default());
        let values = match value.map(|value| value.kind) {
            Some(ValueKind::Table(values)) => values,
            _ => Map::new(),
        };
        Layer { values }
    }

    /// A layer of values that were checked before.
    pub(super) fn of(values: Map<String, Value>) -> Self {
        Layer { values }
    }

    /// One of its top-level tables.
    pub(super) fn table_at(&self, section: &str) -> Option<&Map<String, Value>> {
        match &self.values.get(section)?.kind {
            ValueKind::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }

    /// Merges by key, and arrays of tables by name, where the crate's own way would replace whole arrays.
    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        merge(cache, Value::new(None, self.values.clone()), &schema::ROOT);
        Ok(())
    }
}

/// Lays `over` on `under`.
fn merge(under: &mut Value, over: Value, shape: &Shape) {
    if let (Shape::Rate(_), ValueKind::String(_), ValueKind::Table(_)) = (shape, &under.kind, &over.kind) {
        let rate = std::mem::take(under);
        *under = Value::new(None, Map::from([("rate".to_owned(), rate)]));
    }
    let over = match (shape, &mut under.kind, over) {
        (
            Shape::Table(keys) | Shape::Rate(keys),
            ValueKind::Table(below),
            Value { kind: ValueKind::Table(above), .. },
        ) => {
            return merge_tables(below, above, keys);
        }
        (Shape::Named(inner), ValueKind::Table(below), Value { kind: ValueKind::Table(above), .. }) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(under) => merge(under, value, inner),
                    None => drop(below.insert(name, value)),
                }
            }
            return;
        }
        // An empty array is the only way to say "none of those", so it replaces what lies below.
        (
            Shape::Entries { by, entry: inner },
            ValueKind::Array(below),
            Value { kind: ValueKind::Array(above), .. },
        ) if !above.is_empty() => {
            for entry in above {
                match below.iter_mut().find(|under| name_of(under, by) == name_of(&entry, by)) {
                    Some(under) => merge(under, entry, inner),
                    None => below.push(entry),
                }
            }
            return;
        }
        (_, _, over) => over,
    };
    *under = over;
}

fn merge_tables(below: &mut Map<String, Value>, above: Map<String, Value>, keys: Keys) {
    for (key, value) in above {
        match (below.get_mut(&key), schema::find(keys, &key)) {
            (Some(under), Some(shape)) => merge(under, value, shape),
            _ => drop(below.insert(key, value)),
        }
    }
}

/// Walks TOML beside the schema, keeps what fits and says what does not.
struct Check<'a> {
    origin: String,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn value(&mut self, value: toml::Value, shape: &Shape, path: &KeyPath) -> Option<Value> {
        use toml::Value as Toml;
        let kind = match (shape, value) {
            (Shape::Text | Shape::Size | Shape::Rate(_) | Shape::TextOrTexts, Toml::String(text)) => {
                ValueKind::String(text)
            }
            (Shape::Integer | Shape::Size, Toml::Integer(number)) => ValueKind::I64(number),
            (Shape::Number, Toml::Float(number)) => ValueKind::Float(number),
            (Shape::Number, Toml::Integer(number)) => ValueKind::Float(number as f64),
            (Shape::Boolean, Toml::Boolean(switch)) => ValueKind::Boolean(switch),
            (Shape::Texts | Shape::TextOrTexts, Toml::Array(elements)) => self.texts(elements, path),
            (Shape::Table(keys) | Shape::Rate(keys), Toml::Table(table)) => self.table(table, keys, path),
            (Shape::Named(inner), Toml::Table(table)) => self.named(table, inner, path),
            (Shape::Entries { by, entry }, Toml::Array(entries)) => self.entries(entries, by, entry, path),
            (_, value) => {
                self.refuse(path, describe(&value), shape.wanted());
                return None;
            }
        };
        Some(Value::new(Some(&self.origin), kind))
    }

    fn texts(&mut self, elements: Vec<toml::Value>, path: &KeyPath) -> ValueKind {
        let mut kept = Vec::new();
        for (at, element) in elements.into_iter().enumerate() {
            kept.extend(self.value(element, &Shape::Text, &path.index(at)));
        }
        ValueKind::Array(kept)
    }

    fn table(&mut self, table: toml::Table, keys: Keys, path: &KeyPath) -> ValueKind {
        let mut kept = Map::new();
        for (key, value) in table {
            let path = path.key(&key);
            match schema::find(keys, &key) {
                Some(shape) => kept.extend(self.value(value, shape, &path).map(|value| (key, value))),
                None => self.unknown(&key, keys, &path),
            }
        }
        ValueKind::Table(kept)
    }

    fn named(&mut self, table: toml::Table, inner: &Shape, path: &KeyPath) -> ValueKind {
        let mut kept = Map::new();
        for (name, value) in table {
            let value = self.value(value, inner, &path.key(&name));
            kept.extend(value.map(|value| (name, value)));
        }
        ValueKind::Table(kept)
    }

    fn entries(
        &mut self,
        entries: Vec<toml::Value>,
        by: &'static str,
        shape: &Shape,
        path: &KeyPath,
    ) -> ValueKind {
        let mut kept: Vec<Value> = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let name = entry.get(by).and_then(|name| name.as_str()).filter(|name| !name.is_empty());
            let Some(name) = name.map(str::to_owned) else {
                // Its other mistakes are said too, by the place at which it stands.
                let path = path.index(at);
                let is_table = entry.is_table();
                self.value(entry, shape, &path);
                if is_table {
                    self.refuse(&path, format!("an entry without `{by}`"), &format!(r#"add {by} = "…""#));
                }
                continue;
            };
            let path = path.entry(by, &name);
            if kept.iter().any(|other| name_of(other, by) == Some(&name)) {
                self.refuse(
                    &path,
                    format!("two entries with {by} = {name:?} in one place"),
                    "keep one of them, or name them apart",
                );
            }
            kept.extend(self.value(entry, shape, &path));
        }
        ValueKind::Array(kept)
    }

    fn unknown(&mut self, key: &str, keys: Keys, path: &KeyPath) {
        let known = || keys.iter().map(|(key, _)| *key);
        let did_you_mean = closest(key, known());
        let mend = match did_you_mean {
            Some(_) => String::new(),
            None => format!("known here: {}", any_of(known())),
        };
        self.problems.push(Problem {
            origin: self.origin.clone(),
            key: path.to_string(),
            found: "unknown key".into(),
            mend,
            did_you_mean,
        });
    }

    fn refuse(&mut self, path: &KeyPath, found: impl Into<String>, mend: &str) {
        self.problems.push(Problem {
            origin: self.origin.clone(),
            key: path.to_string(),
            found: found.into(),
            mend: mend.into(),
            did_you_mean: None,
        });
    }
}

/// What stands there instead, without a value that might be a secret in the wrong place.
fn describe(value: &toml::Value) -> String {
    match value {
        toml::Value::String(_) => "found a string".into(),
        toml::Value::Integer(number) => format!("found the number {number}"),
        toml::Value::Float(number) => format!("found the number {number}"),
        toml::Value::Boolean(switch) => format!("found {switch}"),
        toml::Value::Datetime(_) => "found a date".into(),
        toml::Value::Array(_) => "found a list".into(),
        toml::Value::Table(_) => "found a table".into(),
    }
}
