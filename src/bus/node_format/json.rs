//! From MessagePack to JSON text: what `JSON.stringify` makes of what `notepack.io` has decoded, which is what clients of a Node
//! server hear.

use chrono::{DateTime, Datelike, Utc};

use super::item::{Item, Items};
use super::{Unreadable, number};

/// Appends the next item of `items` as JSON text. `depth` is how deep arrays and maps may still be nested.
///
/// Numbers are written as JavaScript prints them, a `Date` as its ISO text, `undefined` as `null` or, in an object, not at all.
/// Members keep the order and, should a key stand there twice, the number that they have in the message.
pub(super) fn push(out: &mut Vec<u8>, items: &mut Items<'_>, depth: usize) -> Result<(), Unreadable> {
    let item = items.next()?;
    push_item(out, item, items, depth)
}

fn push_item(
    out: &mut Vec<u8>,
    item: Item<'_>,
    items: &mut Items<'_>,
    depth: usize,
) -> Result<(), Unreadable> {
    match item {
        Item::Null | Item::Undefined => out.extend_from_slice(b"null"),
        Item::Boolean(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Item::Number(value) => number::push(out, value),
        Item::Text(text) => push_text(out, text),
        Item::Date(milliseconds) => push_date(out, milliseconds),
        Item::Binary => return Err(Unreadable::Binary),
        Item::Array(members) => {
            let depth = depth.checked_sub(1).ok_or(Unreadable::TooDeep)?;
            out.push(b'[');
            for at in 0..members {
                if at > 0 {
                    out.push(b',');
                }
                push(out, items, depth)?;
            }
            out.push(b']');
        }
        Item::Map(members) => {
            let depth = depth.checked_sub(1).ok_or(Unreadable::TooDeep)?;
            push_members(out, items, members, depth)?;
        }
    }
    Ok(())
}

fn push_members(
    out: &mut Vec<u8>,
    items: &mut Items<'_>,
    members: usize,
    depth: usize,
) -> Result<(), Unreadable> {
    out.push(b'{');
    let mut is_first = true;
    for _ in 0..members {
        let Item::Text(key) = items.next()? else {
            return Err(Unreadable::NoBroadcast("a key in its payload is no text"));
        };
        let value = items.next()?;
        if value == Item::Undefined {
            continue;
        }
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        push_text(out, key);
        out.push(b':');
        push_item(out, value, items, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends a JSON string with the escapes that `JSON.stringify` uses.
fn push_text(out: &mut Vec<u8>, text: &str) {
    // Text is written to a vector here, neither of which can fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends what `Date.prototype.toJSON` gives: `null` for a date outside the years that can be told.
fn push_date(out: &mut Vec<u8>, milliseconds: i64) {
    // ECMA-262, "Time Values and Time Range".
    const FURTHEST: u64 = 8_640_000_000_000_000;
    let date = DateTime::<Utc>::from_timestamp_millis(milliseconds);
    let Some(date) = date.filter(|_| milliseconds.unsigned_abs() <= FURTHEST) else {
        return out.extend_from_slice(b"null");
    };
    let year = match date.year() {
        year @ 0..=9999 => format!("{year:04}"),
        year => format!("{year:+07}"),
    };
    push_text(out, &format!("{year}{}", date.format("-%m-%dT%H:%M:%S%.3fZ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(message: &[u8], depth: usize) -> Result<String, Unreadable> {
        let mut out = Vec::new();
        push(&mut out, &mut Items::new(message), depth)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn text_is_escaped_as_javascript_escapes_it() {
        let text = "\"\\/\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\u{2028}größe😀";
        let message = [&[0xd9, text.len() as u8], text.as_bytes()].concat();
        let expected = "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\u{2028}größe😀\"";
        assert_eq!(json(&message, 0).unwrap(), expected);
    }

    #[test]
    fn undefined_is_null_but_leaves_no_member() {
        assert_eq!(json(&[0xd4, 0, 0], 0).unwrap(), "null");
        assert_eq!(json(&[0x92, 0xd4, 0, 0, 1], 1).unwrap(), "[null,1]");
        let map = [0x83, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1, 0xa1, b'c', 0xd4, 0, 0];
        assert_eq!(json(&map, 1).unwrap(), r#"{"b":1}"#);
    }

    #[test]
    fn dates_are_iso_texts() {
        // What `JSON.stringify(new Date(…))` gave in Node 20.
        let dates = [
            (0, r#""1970-01-01T00:00:00.000Z""#),
            (1_772_366_400_123, r#""2026-03-01T12:00:00.123Z""#),
            (-1, r#""1969-12-31T23:59:59.999Z""#),
            (-62_167_219_200_001, r#""-000001-12-31T23:59:59.999Z""#),
            (253_402_300_800_000, r#""+010000-01-01T00:00:00.000Z""#),
            (i64::MAX, "null"),
        ];
        for (milliseconds, expected) in dates {
            let message = [&[0xd7, 0][..], &i64::to_be_bytes(milliseconds)].concat();
            assert_eq!(json(&message, 0).unwrap(), expected);
        }
        // What `notepack.io` 3 wrote for a `Date`, in each of the three lengths.
        let timestamps = [
            ("d6ff69a42a40", r#""2026-03-01T12:00:00.000Z""#),
            ("d7ff1d53530069a42a40", r#""2026-03-01T12:00:00.123Z""#),
            ("c70cff3b8b87c0ffffffffffffffff", r#""1969-12-31T23:59:59.999Z""#),
        ];
        for (hex, expected) in timestamps {
            assert_eq!(json(&super::super::tests::bytes(hex), 0).unwrap(), expected);
        }
    }

    #[test]
    fn binary_and_odd_keys_are_refused_wherever_they_stand() {
        assert_eq!(json(&[0x91, 0xc4, 1, 7], 1), Err(Unreadable::Binary));
        assert_eq!(json(&[0x81, 0xa1, b'a', 0xc7, 1, 0, 7], 1), Err(Unreadable::Binary));
        assert!(matches!(json(&[0x81, 1, 1], 1), Err(Unreadable::NoBroadcast(_))));
    }

    #[test]
    fn depth_counts_arrays_and_maps() {
        let message = [0x81, 0xa1, b'a', 0x91, 0x80];
        assert_eq!(json(&message, 3).unwrap(), r#"{"a":[{}]}"#);
        assert_eq!(json(&message, 2), Err(Unreadable::TooDeep));
        assert_eq!(json(&[0x91; 100_000], 128), Err(Unreadable::TooDeep));
    }
}
