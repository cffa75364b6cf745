//! A payload as its type's JSON Schema describes it. Only such types are made into a tree of values.

use serde_json::Value;

use crate::config::policy::TypeSchema;
use crate::reject::{Code, Name, Reject};

/// Judges a JSON object whose keys are known to stand once each and whose numbers are finite.
pub(super) fn judge(by: &TypeSchema, object: &str) -> Result<(), Reject> {
    let refused = |message| Reject::new(Code::InvalidPayload, message).rule(&by.rule);
    // Half of a surrogate pair, deep inside, is all that can still be wrong with the JSON.
    let Ok(payload) = serde_json::from_str::<Value>(object) else {
        return Err(refused("the payload holds a text that is not valid"));
    };
    by.schema.check(&payload).map_err(|misfit| {
        let mut reject = refused(misfit.message);
        reject.field = field(&misfit.place);
        reject
    })
}

/// As much of the place, from the payload inwards, as an answer may repeat.
fn field(place: &str) -> Option<Name> {
    let ends = place.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| at).chain([place.len()]);
    ends.map_while(|end| Name::from_client(&place[..end])).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_as_far_as_it_may_be() {
        for (place, told) in [
            ("title", Some("title")),
            ("assignees/0/name", Some("assignees/0/name")),
            ("assignees/0/a name that is far too long", Some("assignees/0")),
            ("a\nb/c", None),
            ("a/b\u{202e}/c", Some("a")),
            ("", None),
        ] {
            assert_eq!(field(place).as_deref(), told, "{place:?}");
        }
    }
}
