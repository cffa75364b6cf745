//! One JSON object, visited member by member without building anything.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reject::Reject;

/// Why an object was not read to its end.
pub(super) enum Stopped {
    /// The text is not exactly one JSON object.
    Malformed,
    /// A member was refused.
    Refused(Reject),
}

/// Shows every member of the one object in `text` to `member`, in order: the key and the value, each as its own JSON text.
///
/// What follows the object, a further argument too, makes it [`Stopped::Malformed`]. Members before a mistake in the
/// JSON have been shown by then.
pub(super) fn each_member<'e>(
    text: &'e str,
    member: impl FnMut(&'e str, &'e str) -> Result<(), Reject>,
) -> Result<(), Stopped> {
    let mut refused = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(Members { member, refused: &mut refused }).and_then(|()| json.end());
    match (read, refused) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(reject)) => Err(Stopped::Refused(reject)),
        (Err(_), None) => Err(Stopped::Malformed),
    }
}

/// Serde's errors carry text only; a refusal leaves through `refused` beside them.
struct Members<'r, F> {
    member: F,
    refused: &'r mut Option<Reject>,
}

impl<'e, F> Visitor<'e> for Members<'_, F>
where
    F: FnMut(&'e str, &'e str) -> Result<(), Reject>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'e>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some((key, value)) = members.next_entry::<&'e RawValue, &'e RawValue>()? {
            if let Err(reject) = (self.member)(key.get(), value.get()) {
                *self.refused = Some(reject);
                return Err(A::Error::custom(""));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut seen = Vec::new();
        each_member(text, |key, value| {
            seen.push((key, value));
            Ok(())
        })
        .ok()
        .map(|()| seen)
    }

    #[test]
    fn shows_each_member_as_it_stands() {
        let text = r#" {"a" : 1.0 , "\u0062":{"c": [ ]},"d":"\ud800"} "#;
        let expected = vec![(r#""a""#, "1.0"), (r#""\u0062""#, r#"{"c": [ ]}"#), (r#""d""#, r#""\ud800""#)];
        assert_eq!(members(text), Some(expected));
        assert_eq!(members("{}"), Some(vec![]));
    }

    #[test]
    fn takes_exactly_one_object() {
        for text in
            ["", "[]", "1", "null", r#""{}""#, "{},{}", "{}1", "{", r#"{"a":}"#, "{1:2}", r#"{"a":1,}"#]
        {
            assert!(members(text).is_none(), "{text}");
        }
    }
}
