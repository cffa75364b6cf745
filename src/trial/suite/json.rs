//! TOML as JSON.

use serde_json::{Map, Number, Value};

/// The same value; a date becomes its text. `None` where a number is none that JSON has.
pub(super) fn of(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => Number::from_f64(number)?.into(),
        toml::Value::Boolean(switch) => switch.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(elements) => elements.into_iter().map(of).collect::<Option<Vec<Value>>>()?.into(),
        toml::Value::Table(table) => of_table(table)?.into(),
    })
}

/// The same object.
pub(super) fn of_table(table: toml::Table) -> Option<Map<String, Value>> {
    table.into_iter().map(|(key, value)| Some((key, of(value)?))).collect()
}
