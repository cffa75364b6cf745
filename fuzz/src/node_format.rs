//! Messages that Socket.IO servers in Node.js publish in Redis, and payloads that are written for them.

use flowgate::bus::node_format::{Address, DEEPEST, MOST_ROOMS, UID_PREFIX, read, write};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json;

/// A message from a channel of one room and from the general one; and the bytes as the JSON of a payload.
///
/// Promised: what is read is JSON, no longer and no deeper than is said; it is
/// for the channel's room; written again, it is read as the same; no cut of a message is one. What is written is read as
/// the same payload with doubles for numbers.
pub fn node_format(data: &[u8]) {
    let on_general = read(data, Address::General);
    let on_room = read(data, Address::Room("red"));
    match on_general {
        Ok(Some(broadcast)) => {
            assert!(!broadcast.uid.starts_with(UID_PREFIX));
            assert!(broadcast.rooms.len() <= MOST_ROOMS && broadcast.except.len() <= MOST_ROOMS);
            assert!(broadcast.arguments.len() <= 6 * data.len());
            assert!(json::depth(&broadcast.arguments) <= DEEPEST);
            let arguments = format!("[{}]", broadcast.arguments);
            let arguments: Vec<&RawValue> = serde_json::from_str(&arguments).expect("arguments");
            arguments.iter().for_each(|argument| again(argument.get()));
            assert_eq!(on_room.is_ok(), broadcast.rooms == ["red"]);
            let cut = &data[..data.len() - 1];
            assert!(read(cut, Address::General).is_err(), "it is one without its end, too");
        }
        Ok(None) => assert_eq!(on_room, Ok(None)),
        Err(why) => {
            assert_eq!(on_room, Err(why));
            assert!(crate::is_one_line(&why.to_string()));
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        payload(text);
    }
}

/// What was read, written and read again, is the same text.
fn again(argument: &str) {
    // The parser that writes goes as deep as it is safe to, which is deeper than any payload may be.
    if json::depth(argument) < DEEPEST - 1 {
        assert_eq!(there_and_back(argument).expect("it was read, so it can be written"), argument);
    }
}

fn payload(text: &str) {
    match (there_and_back(text), serde_json::from_str::<Value>(text)) {
        (Some(back), Ok(value)) => {
            let back: Value = serde_json::from_str(&back).expect("JSON");
            assert!(is_same(&back, &value), "{back} instead of {value}");
        }
        (None, Err(_)) => {}
        (back, value) => panic!("{back:?} of {value:?}"),
    }
}

fn there_and_back(payload: &str) -> Option<String> {
    let message = write("fuzzer", &["red"], "e", payload).ok()?;
    let broadcast =
        read(&message, Address::Room("red")).expect("it was written here").expect("by somebody else");
    Some(broadcast.arguments)
}

/// Whether the two say the same with numbers as doubles.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| is_same(left, right)))
        }
        (left, right) => left == right,
    }
}
