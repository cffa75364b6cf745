//! JSON strings, from the slice that stands in the payload to what they mean.

use std::borrow::Cow;

/// What the JSON string `raw`, quotes included, stands for. Copied only where it has escapes.
///
/// `None` for any other JSON, and for a string that is no text because it escapes half of a surrogate pair.
/// `raw` must be valid JSON.
pub(super) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes_and_copies_nothing_else() {
        assert!(matches!(decode(r#""größe""#), Some(Cow::Borrowed("größe"))));
        assert_eq!(decode(r#""\u0074\n\ud83d\ude00""#).unwrap(), "t\n😀");
        for no_text in [r#""\ud83d""#, r#""\ude00\ud83d""#, "1", "null", "[]"] {
            assert!(decode(no_text).is_none(), "{no_text}");
        }
    }
}
