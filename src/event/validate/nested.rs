//! What every value in a typed payload must keep to, however deep it stands.

use std::borrow::Cow;
use std::collections::HashSet;

use smallvec::SmallVec;

use super::text;
use crate::event::size::end_of_string;

/// The longest number. JavaScript writes any of its own in 24 characters; longer ones are there to burden readers.
const MAX_NUMBER_BYTES: usize = 64;

/// The depth for which nothing is allocated.
const USUAL_DEPTH: usize = 16;

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsound {
    /// An object holds a key twice.
    DuplicateKey,
    /// A key that is no text: it escapes half of a surrogate pair.
    Key,
    /// A number too large for a double, or absurdly long.
    Number,
}

/// Looks through the JSON value `raw`, which must be valid. Returns how many elements or members it has; 0 for scalars.
///
/// Linear and without recursion, whatever the policy's `max_depth` is.
pub(super) fn inspect(raw: &str) -> Result<usize, Unsound> {
    match raw.as_bytes().first() {
        Some(b'{' | b'[') => inspect_container(raw),
        Some(b'-' | b'0'..=b'9') => number(raw).map(|()| 0),
        _ => Ok(0),
    }
}

fn inspect_container(raw: &str) -> Result<usize, Unsound> {
    let bytes = raw.as_bytes();
    // The open containers: the number of an object, nothing for an array.
    let mut open: SmallVec<[Option<usize>; USUAL_DEPTH]> = SmallVec::new();
    let mut keys: HashSet<(usize, Cow<'_, str>)> = HashSet::new();
    let mut objects = 0;
    let mut commas = 0;
    let mut key_follows = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut next = at + 1;
        match byte {
            b'{' => {
                objects += 1;
                open.push(Some(objects));
                key_follows = true;
            }
            b'[' => {
                open.push(None);
                key_follows = false;
            }
            b'}' | b']' => {
                open.pop();
                key_follows = false;
            }
            b',' => {
                key_follows = matches!(open.last(), Some(Some(_)));
                commas += usize::from(open.len() == 1);
            }
            b'"' => {
                next = end_of_string(bytes, next);
                if let (true, Some(&Some(object))) = (key_follows, open.last()) {
                    let key = raw.get(at..next).and_then(text::decode).ok_or(Unsound::Key)?;
                    if !keys.insert((object, key)) {
                        return Err(Unsound::DuplicateKey);
                    }
                }
                key_follows = false;
            }
            b'-' | b'0'..=b'9' => {
                next = end_of_number(bytes, next);
                number(raw.get(at..next).unwrap_or_default())?;
            }
            _ => {}
        }
        at = next;
    }
    let empty = raw.get(1..raw.len() - 1).is_none_or(|inner| inner.trim_ascii().is_empty());
    Ok(if empty { 0 } else { commas + 1 })
}

fn end_of_number(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let length = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    from + length.unwrap_or(rest.len())
}

/// Accepts the numbers that a double can hold, if not exactly. Without an exponent that is any of this length.
fn number(text: &str) -> Result<(), Unsound> {
    let exponent = text.as_bytes().iter().any(|byte| matches!(byte, b'e' | b'E'));
    if text.len() > MAX_NUMBER_BYTES || exponent && !text.parse().is_ok_and(f64::is_finite) {
        return Err(Unsound::Number);
    }
    Ok(())
}

/// Whether the JSON number `raw` is written without fraction or exponent. `false` for any other JSON.
pub(super) fn is_integer(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && !raw.contains(['.', 'e', 'E'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::event::fixtures::json_value;

    #[test]
    fn counts_what_a_container_holds() {
        for (raw, count) in [
            ("[]", 0),
            ("{ }", 0),
            ("[[]]", 1),
            ("[1, 2,[3,4]]", 3),
            (r#"{"a":{"b":1,"c":2},"d":"x,y"}"#, 2),
            (r#""a,b""#, 0),
            ("null", 0),
        ] {
            assert_eq!(inspect(raw), Ok(count), "{raw}");
        }
    }

    #[test]
    fn finds_duplicates_at_any_depth() {
        for raw in [r#"{"a":1,"a":2}"#, r#"[[{"x":{"b":1, "\u0062":[]}}]]"#, r#"{"a":[],"b":{},"a":0}"#] {
            assert_eq!(inspect(raw), Err(Unsound::DuplicateKey), "{raw}");
        }
        for raw in [r#"[{"a":1},{"a":2}]"#, r#"{"a":{"a":{"a":"a"}}}"#, r#"{"a":"b","b":["a","a"]}"#] {
            assert!(inspect(raw).is_ok(), "{raw}");
        }
        assert_eq!(inspect(r#"{"\ud800":1}"#), Err(Unsound::Key));
    }

    #[test]
    fn refuses_numbers_that_no_reader_can_hold() {
        let long = "1".repeat(10_000);
        for raw in ["1e400", "-1E+400", &long, "[1,2e999]", &format!(r#"{{"a":[{long}]}}"#)] {
            assert_eq!(inspect(raw), Err(Unsound::Number), "{raw:.20}");
        }
        for raw in ["1e308", "-0", "1e-400", "12345678901234567890", "[1.0,-2.5E-3]"] {
            assert!(inspect(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn survives_any_depth() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(inspect(&deep), Ok(1));
    }

    proptest! {
        #[test]
        fn accepts_and_counts_what_serde_json_writes(value in json_value(), pretty: bool) {
            let raw = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let count = match &value {
                Value::Array(items) => items.len(),
                Value::Object(members) => members.len(),
                _ => 0,
            };
            prop_assert_eq!(inspect(&raw), Ok(count));
        }
    }
}
