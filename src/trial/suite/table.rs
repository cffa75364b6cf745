//! A table of a test file while it is read: each key is taken once, and what is left over is unknown.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::json;
use crate::config::{Problem, any_of, closest};

/// What is wrong with one file.
pub(super) struct Faults<'f> {
    pub origin: &'f str,
    pub problems: RefCell<Vec<Problem>>,
}

/// One table, and where it stands.
pub(super) struct Table<'f> {
    faults: &'f Faults<'f>,
    path: String,
    rest: toml::Table,
    known: Vec<&'static str>,
}

impl<'f> Table<'f> {
    pub(super) fn new(faults: &'f Faults<'f>, path: impl Into<String>, table: toml::Table) -> Self {
        Table { faults, path: path.into(), rest: table, known: Vec::new() }
    }

    /// Whether something stands there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// Passes over what was spoken of.
    pub(super) fn skip(&mut self, key: &str) {
        self.rest.remove(key);
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(toml::Value) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let read = read(self.rest.remove(key)?);
        if read.is_none() {
            self.refuse(key, "something else than wanted", wanted);
        }
        read
    }

    pub(super) fn text(&mut self, key: &'static str, wanted: &str) -> Option<String> {
        self.take(key, wanted, |value| value.as_str().map(str::to_owned))
    }

    /// A text that means something.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(key, wanted, |value| value.as_str().and_then(parse))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.take(key, "write true or false", |value| value.as_bool())
    }

    pub(super) fn number(&mut self, key: &'static str, most: u32) -> Option<u32> {
        let wanted = format!("write a whole number from 1 to {most}");
        let read = |value: toml::Value| {
            value
                .as_integer()
                .and_then(|number| u32::try_from(number).ok())
                .filter(|n| (1..=most).contains(n))
        };
        self.take(key, &wanted, read)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let text = |value: toml::Value| value.as_str().map(str::to_owned);
        self.take(key, "write a list of texts", |value| match value {
            toml::Value::Array(elements) => elements.into_iter().map(text).collect(),
            _ => None,
        })
    }

    /// A value of any kind, as JSON.
    pub(super) fn json(&mut self, key: &'static str) -> Option<Value> {
        self.take(key, "write a value that JSON has", json::of)
    }

    /// A table whose keys are somebody else's, as a JSON object.
    pub(super) fn object(&mut self, key: &'static str) -> Option<Map<String, Value>> {
        self.take(key, "write a table, such as { sub = \"ann\" }", |value| match value {
            toml::Value::Table(table) => json::of_table(table),
            _ => None,
        })
    }

    /// A text or a table.
    pub(super) fn text_or_table(
        &mut self,
        key: &'static str,
        wanted: &str,
    ) -> Option<Result<String, Table<'f>>> {
        let (faults, path) = (self.faults, self.at(key));
        self.take(key, wanted, |value| match value {
            toml::Value::String(text) => Some(Ok(text)),
            toml::Value::Table(table) => Some(Err(Table::new(faults, path, table))),
            _ => None,
        })
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'f>> {
        let (faults, path) = (self.faults, self.at(key));
        self.take(key, "write a table", |value| match value {
            toml::Value::Table(table) => Some(Table::new(faults, path, table)),
            _ => None,
        })
    }

    /// The tables of an array, each known by its `name` where it has one, else by its place.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'f>>> {
        let (faults, path) = (self.faults, self.at(key));
        self.take(key, "write a list of tables", |value| {
            let toml::Value::Array(elements) = value else { return None };
            let table = |(place, element): (usize, toml::Value)| {
                let toml::Value::Table(table) = element else { return None };
                let path = match table.get("name").and_then(toml::Value::as_str) {
                    Some(name) => format!("{path}[name={name:?}]"),
                    None => format!("{path}[{place}]"),
                };
                Some(Table::new(faults, path, table))
            };
            elements.into_iter().enumerate().map(table).collect()
        })
    }

    fn at(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Says that something is wrong at a key, or, without one, with the table as a whole.
    pub(super) fn refuse(&self, key: &str, found: impl Into<String>, mend: impl Into<String>) {
        self.problem(key, found, mend, None);
    }

    /// The same of one of several names.
    pub(super) fn refuse_name<'n>(
        &self,
        key: &str,
        found: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        let mend = match known.clone().next() {
            Some(_) => format!("known here: {}", any_of(known.clone())),
            None => "there are none".into(),
        };
        self.problem(key, format!("{found:?} is not known"), mend, closest(found, known));
    }

    fn problem(
        &self,
        key: &str,
        found: impl Into<String>,
        mend: impl Into<String>,
        did_you_mean: Option<String>,
    ) {
        self.faults.problems.borrow_mut().push(Problem {
            origin: self.faults.origin.to_owned(),
            key: self.at(key),
            found: found.into(),
            mend: mend.into(),
            did_you_mean,
        });
    }

    /// Says which keys nobody has taken.
    pub(super) fn finish(self) {
        for key in self.rest.keys() {
            let known = self.known.iter().copied();
            let did_you_mean = closest(key, known.clone());
            let mend =
                if did_you_mean.is_some() { String::new() } else { format!("known here: {}", any_of(known)) };
            self.problem(key, "unknown key", mend, did_you_mean);
        }
    }
}
