//! Where a setting stands: `auth.issuers[name="app"].algorithms[0]`.

use std::fmt;

use config::{Value, ValueKind};

/// A place in the tree of settings, shown as people write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    /// An entry of an array of tables, known by the key that merges it.
    Entry {
        by: &'static str,
        name: String,
    },
    Index(usize),
}

impl KeyPath {
    /// The path of a dotted key whose parts hold no dots themselves.
    pub(super) fn of(dotted: &str) -> Self {
        KeyPath(dotted.split('.').map(|part| Segment::Key(part.to_owned())).collect())
    }

    /// This path and one key more.
    pub(super) fn key(&self, key: &str) -> Self {
        self.and(Segment::Key(key.to_owned()))
    }

    /// The entry of this array of tables whose `by` is `name`.
    pub(super) fn entry(&self, by: &'static str, name: &str) -> Self {
        self.and(Segment::Entry { by, name: name.to_owned() })
    }

    /// The element of this list.
    pub(super) fn index(&self, index: usize) -> Self {
        self.and(Segment::Index(index))
    }

    fn and(&self, segment: Segment) -> Self {
        let mut longer = self.clone();
        longer.0.push(segment);
        longer
    }

    /// The value at this path.
    pub(super) fn find<'a>(&self, tree: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(tree, |value, segment| segment.step(value))
    }

    /// Where the value at this path came from; for a table, its first part that did not come from `default`; for what
    /// is missing, whatever stands around it.
    pub(super) fn origin(&self, tree: &Value, default: &str) -> String {
        let mut nearest = tree;
        for segment in &self.0 {
            let Some(next) = segment.step(nearest) else { break };
            nearest = next;
        }
        origin_of(nearest, default).unwrap_or(default).to_owned()
    }
}

/// A scalar's own origin; of a table or list, that of the first part that somebody set.
fn origin_of<'a>(value: &'a Value, default: &str) -> Option<&'a str> {
    let own = value.origin().filter(|origin| *origin != default);
    let inner = || match &value.kind {
        ValueKind::Table(table) => {
            let mut keys: Vec<_> = table.keys().collect();
            keys.sort();
            keys.into_iter().find_map(|key| origin_of(&table[key], default))
        }
        ValueKind::Array(entries) => entries.iter().find_map(|entry| origin_of(entry, default)),
        _ => None,
    };
    own.or_else(inner)
}

impl Segment {
    fn step<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match (self, &value.kind) {
            (Segment::Key(key), ValueKind::Table(table)) => table.get(key),
            (Segment::Index(index), ValueKind::Array(entries)) => entries.get(*index),
            (Segment::Entry { by, name }, ValueKind::Array(entries)) => {
                entries.iter().find(|entry| name_of(entry, by) == Some(name))
            }
            _ => None,
        }
    }
}

/// The text by which an entry of an array of tables is merged.
pub(super) fn name_of<'a>(entry: &'a Value, by: &str) -> Option<&'a str> {
    let ValueKind::Table(table) = &entry.kind else { return None };
    let ValueKind::String(name) = &table.get(by)?.kind else { return None };
    Some(name)
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    let dot = if at == 0 { "" } else { "." };
                    write!(f, "{dot}{}", bare_or_quoted(key))?;
                }
                Segment::Entry { by, name } => write!(f, "[{by}={name:?}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A key as TOML writes it: bare where it may be.
pub(super) fn bare_or_quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_people_write_it() {
        let path = KeyPath::of("auth.issuers").entry("name", "app").key("algorithms").index(1);
        assert_eq!(path.to_string(), r#"auth.issuers[name="app"].algorithms[1]"#);
        assert_eq!(KeyPath::of("events").key("a b").to_string(), r#"events."a b""#);
    }
}
