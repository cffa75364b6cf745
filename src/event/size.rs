//! Size and depth: judged by one look at the bytes, before anything is counted, parsed or stored.

use crate::message::Event;
use crate::reject::{Code, Reject};

use super::pipeline::{Context, Stage};

/// Refuses arguments longer than `limits.payload.max_bytes` or nested deeper than `limits.payload.max_depth`.
pub struct Size;

impl Stage for Size {
    fn name(&self) -> &'static str {
        "size"
    }

    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        let limits = &cx.policy.limits.payload;
        if event.arguments().len() > limits.max_bytes {
            return Err(Reject::new(Code::TooLarge, "the event is larger than this server accepts")
                .rule("limits.payload.max_bytes"));
        }
        if is_deeper_than(event.arguments(), limits.max_depth) {
            return Err(Reject::new(Code::TooDeep, "the event is nested deeper than this server accepts")
                .rule("limits.payload.max_depth"));
        }
        cx.note("limits.payload", || {
            let bytes = event.arguments().len();
            format!("{bytes} of at most {} bytes, nested at most {} deep", limits.max_bytes, limits.max_depth)
        });
        Ok(())
    }
}

/// Whether arrays and objects in `json` are nested deeper than `max`; a flat object has depth 1.
///
/// Linear and without recursion. It is exact for JSON. For any other text it may say either, and a parser refuses that later.
pub fn is_deeper_than(json: &str, max: usize) -> bool {
    let bytes = json.as_bytes();
    // Most events open few containers altogether. Counting is many times faster than following strings.
    if openings(bytes) <= max {
        return false;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(bytes, at),
            _ => {}
        }
    }
    false
}

/// How many `[` and `{` there are, also in strings.
fn openings(bytes: &[u8]) -> usize {
    // The two differ in this bit only. Each block's count fits a byte, which lets the compiler count many at a time.
    const BRACKET_TO_BRACE: u8 = b'{' ^ b'[';
    const BLOCK: usize = 192;
    let count = |block: &[u8]| block.iter().map(|byte| u8::from(byte | BRACKET_TO_BRACE == b'{')).sum::<u8>();
    bytes.chunks(BLOCK).map(|block| usize::from(count(block))).sum()
}

/// The place after the quote that ends the string whose content begins at `at`; the end of the text if none does.
pub(super) fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(rest) = bytes.get(at..) {
        match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(stop) if rest[stop] == b'"' => return at + stop + 1,
            Some(stop) => at += stop + 2,
            None => break,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::event::fixtures::{self, json_value};

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert!(!is_deeper_than(r#"{"a":"[[[[{{{{\"[[\\"}"#, 1));
        assert!(is_deeper_than(r#"{"a\\":["\\"]}"#, 1));
        assert!(is_deeper_than(&"[".repeat(100_000), 8));
        assert!(!is_deeper_than("", 0));
        assert!(is_deeper_than("{}", 0));
        assert!(!is_deeper_than(r#""unterminated\"#, 3));
    }

    #[test]
    fn refuses_by_size_then_by_depth() {
        let world = fixtures::World::new(|policy| policy.limits.payload.max_bytes = 20);
        let refused =
            |text: &str| world.decide(text).err().map(|refused| (refused.stage, refused.reject.code));
        assert_eq!(refused(r#"["any",[[[[[[[[]]]]]]]]]"#), None);
        assert_eq!(refused(r#"["any",[[[[[[[[[]]]]]]]]]]"#), Some(("size", Code::TooDeep)));
        assert_eq!(refused(r#"["any","123456789012345678"]"#), None);
        assert_eq!(refused(r#"["any","1234567890123456789"]"#), Some(("size", Code::TooLarge)));
        assert_eq!(refused(&format!(r#"["any",{}]"#, "[".repeat(100_000))), Some(("size", Code::TooLarge)));
    }

    proptest! {
        #[test]
        fn agrees_with_the_real_depth(value in json_value(), max in 0_usize..8, pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(is_deeper_than(&text, max), depth(&value) > max);
        }

        #[test]
        fn survives_any_text(text in any::<String>(), max in 0_usize..8) {
            is_deeper_than(&text, max);
        }
    }
}
