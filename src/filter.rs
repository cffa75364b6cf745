//! What a client wants to hear: the `auth.filter` of its handshake, `{ "types": […], "taskIds": […] }`.
//!
//! It narrows what is delivered to that client, and nothing else. Both lists must name an event for it to be delivered;
//! one that is left out names all. What an event does not say is not judged: without a type, or a task id, it may be
//! about anything, and a client that missed it could stay stale.

use serde_json::{Map, Value};

use crate::message::{TaskId, Topic};

/// Types that one filter names at most. Each glob is compared with each event.
pub const MAX_TYPES: usize = 32;

/// Task ids that one filter names at most: a board's worth.
pub const MAX_TASK_IDS: usize = 256;

/// The length of all its texts together, in bytes. Each connection keeps them.
pub const MAX_BYTES: usize = 4096;

const TYPES: &str = "types";
const TASK_IDS: &str = "taskIds";

/// A filter that was read. Every list is sorted, so that two that say the same are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    types: Option<Types>,
    task_ids: Option<Vec<Box<str>>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Types {
    names: Vec<Box<str>>,
    /// What stands before and after the one star of each. With more of them a long type would have to be searched through,
    /// at the expense of all who wait for their own delivery.
    globs: Vec<(Box<str>, Box<str>)>,
}

impl Filter {
    /// Reads `auth.filter`; `None` where the client passes none.
    ///
    /// # Errors
    /// A sentence for the log. Anything that is not understood is one: a filter that is read in part delivers what was not
    /// wanted, or withholds what was.
    pub fn read(value: &Value) -> Result<Option<Self>, &'static str> {
        let filter = match value {
            Value::Null => return Ok(None),
            Value::Object(filter) => filter,
            _ => return Err("auth.filter is no object"),
        };
        if filter.keys().any(|key| ![TYPES, TASK_IDS].contains(&key.as_str())) {
            return Err("auth.filter holds something else than types and taskIds");
        }
        let mut room = MAX_BYTES;
        let types = list(filter, TYPES, MAX_TYPES, &mut room, |value| Some(value.as_str()?.to_owned()))?;
        let task_ids = list(filter, TASK_IDS, MAX_TASK_IDS, &mut room, task_id)?;
        if types.is_none() && task_ids.is_none() {
            return Ok(None);
        }
        let types = types.map(Types::of).transpose()?;
        Ok(Some(Filter { types, task_ids: task_ids.map(sorted) }))
    }

    /// Whether an event about this is wanted.
    pub fn wants(&self, topic: &Topic<'_>) -> bool {
        let type_wanted = match (&self.types, &topic.kind) {
            (Some(types), Some(kind)) if !kind.is_empty() => types.name(kind),
            _ => true,
        };
        let task_wanted = match (&self.task_ids, &topic.task_id) {
            (Some(ids), Some(id)) => holds(ids, text_of(id)),
            _ => true,
        };
        type_wanted && task_wanted
    }
}

impl Types {
    fn of(patterns: Vec<String>) -> Result<Self, &'static str> {
        let mut types = Types::default();
        for pattern in patterns {
            match pattern.split_once('*') {
                None => types.names.push(pattern.into()),
                Some((_, after)) if after.contains('*') => {
                    return Err("a type in auth.filter holds more than one star");
                }
                Some((before, after)) => types.globs.push((before.into(), after.into())),
            }
        }
        types.names = sorted(types.names);
        types.globs = sorted(types.globs);
        Ok(types)
    }

    fn name(&self, kind: &str) -> bool {
        let matches = |(before, after): &(Box<str>, Box<str>)| {
            kind.strip_prefix(&**before).is_some_and(|rest| rest.ends_with(&**after))
        };
        holds(&self.names, kind) || self.globs.iter().any(matches)
    }
}

/// One of the two lists, as texts; `None` where it is absent.
fn list(
    filter: &Map<String, Value>,
    key: &str,
    most: usize,
    room: &mut usize,
    read: impl Fn(&Value) -> Option<String>,
) -> Result<Option<Vec<String>>, &'static str> {
    let values = match filter.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(values)) if values.len() <= most => values,
        Some(Value::Array(_)) => return Err("auth.filter names too many types or task ids"),
        Some(_) => return Err("what auth.filter holds is no list"),
    };
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        let text = read(value).ok_or("auth.filter names something else than types and task ids")?;
        *room = room.checked_sub(text.len()).ok_or("what auth.filter names is too long")?;
        texts.push(text);
    }
    Ok(Some(texts))
}

/// An id is the same whether it is written as an integer or as a text: a database that changed from one to the other has
/// clients of both kinds. So one that no number of JSON's readers holds can be given as a text.
fn task_id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

fn text_of<'a>(id: &'a TaskId<'_>) -> &'a str {
    match id {
        TaskId::Integer(digits) => digits,
        TaskId::String(text) => text,
    }
}

fn sorted<T: Ord>(texts: Vec<impl Into<T>>) -> Vec<T> {
    let mut texts: Vec<T> = texts.into_iter().map(Into::into).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn holds(sorted: &[Box<str>], text: &str) -> bool {
    sorted.binary_search_by(|known| (**known).cmp(text)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Filter {
        Filter::read(&value).unwrap().unwrap_or_else(|| panic!("{value} filters nothing"))
    }

    fn topic<'a>(kind: Option<&'a str>, task_id: Option<TaskId<'a>>) -> Topic<'a> {
        Topic { kind: kind.map(Into::into), task_id }
    }

    #[test]
    fn both_lists_must_name_an_event() {
        let filter = read(json!({ "types": ["task-moved", "comment-*"], "taskIds": [7, "abc"] }));
        let (seven, text) = (TaskId::Integer("7"), |text: &'static str| TaskId::String(text.into()));
        for (kind, id, wanted) in [
            (Some("task-moved"), Some(seven.clone()), true),
            (Some("task-moved"), Some(text("7")), true),
            (Some("comment-added"), Some(text("abc")), true),
            (Some("task-moved"), Some(TaskId::Integer("8")), false),
            (Some("task-updated"), Some(seven.clone()), false),
            (Some("comment"), Some(seven), false),
            // What it does not say.
            (Some("task-moved"), None, true),
            (None, Some(text("abc")), true),
            (Some("task-updated"), None, false),
            (None, Some(text("abd")), false),
            (None, None, true),
        ] {
            let topic = topic(kind, id);
            assert_eq!(filter.wants(&topic), wanted, "{topic:?}");
        }
    }

    #[test]
    fn a_list_that_is_left_out_names_all_and_an_empty_one_nothing() {
        let types = read(json!({ "types": ["*-added"], "taskIds": null }));
        assert!(types.wants(&topic(Some("comment-added"), Some(TaskId::Integer("1")))));
        assert!(!types.wants(&topic(Some("comment-added-"), None)));
        let ids = read(json!({ "taskIds": ["12345678901234567890123"] }));
        assert!(ids.wants(&topic(Some("x"), Some(TaskId::Integer("12345678901234567890123")))));
        assert!(!ids.wants(&topic(Some("x"), Some(TaskId::Integer("1")))));
        let nothing = read(json!({ "types": [] }));
        assert!(!nothing.wants(&topic(Some("x"), None)));
        for none in [json!(null), json!({}), json!({ "types": null })] {
            assert_eq!(Filter::read(&none), Ok(None), "{none}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, yes, no) in [
            ("comment-*", vec!["comment-", "comment-added"], vec!["comment", "xcomment-added"]),
            ("*", vec!["", "a"], vec![]),
            ("ab*ba", vec!["abba", "abxba"], vec!["aba", "ab", "abbax"]),
        ] {
            let filter = read(json!({ "types": [pattern] }));
            for (kind, wanted) in
                yes.iter().map(|kind| (kind, true)).chain(no.iter().map(|kind| (kind, false)))
            {
                assert_eq!(filter.wants(&topic(Some(kind), None)), wanted, "{pattern} {kind}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let many = |count: usize| -> Vec<String> { (0..count).map(|at| at.to_string()).collect() };
        for bad in [
            json!("task-moved"),
            json!(["task-moved"]),
            json!(true),
            json!({ "type": ["task-moved"] }),
            json!({ "types": "task-moved" }),
            json!({ "types": [7] }),
            json!({ "types": [null] }),
            json!({ "types": ["a*b*"] }),
            json!({ "types": many(MAX_TYPES + 1) }),
            json!({ "taskIds": 7 }),
            json!({ "taskIds": [1.5] }),
            json!({ "taskIds": [1e30] }),
            json!({ "taskIds": [true] }),
            json!({ "taskIds": many(MAX_TASK_IDS + 1) }),
            json!({ "types": ["x".repeat(MAX_BYTES)], "taskIds": ["x"] }),
        ] {
            assert!(Filter::read(&bad).is_err(), "{bad}");
        }
        for good in [
            json!({ "types": many(MAX_TYPES), "taskIds": many(MAX_TASK_IDS) }),
            json!({ "taskIds": ["x".repeat(MAX_BYTES)] }),
        ] {
            assert!(Filter::read(&good).is_ok(), "{good}");
        }
    }

    #[test]
    fn filters_that_say_the_same_are_equal() {
        let one = read(json!({ "types": ["b", "a*", "a", "a"], "taskIds": [1, "2"] }));
        let other = read(json!({ "types": ["a*", "a", "b"], "taskIds": ["1", 2] }));
        assert_eq!(one, other);
        assert_ne!(one, read(json!({ "types": ["a*", "a", "b"], "taskIds": [] })));
    }
}
