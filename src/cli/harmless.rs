//! What others have sent, shown to people: without characters that a terminal would obey, or that turn its text round.

use serde::Serialize;
use serde_json::Value;

use crate::decision_log::{OneLine, is_odd};

/// A text of one line.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_odd(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// JSON text as somebody has written it, who may have given it several lines: within its strings nothing ends a line.
pub(super) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// JSON for tools, which may well show it: it means the same, with the same characters escaped.
pub(super) fn harmless_json(value: &Value) -> String {
    let mut json = Vec::new();
    // Memory takes everything, and every value has a text.
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, OneLine));
    written.ok().and_then(|()| String::from_utf8(json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_terminal_obeys_nobody_who_sends() {
        assert_eq!(harmless("a\u{1b}[2J\u{9b}b\u{7}ü\n"), "a\\u{1b}[2J\\u{9b}b\\u{7}ü\\n");
        assert_eq!(harmless("\u{202e}\u{2066}\u{2028}\u{7f}"), "\\u{202e}\\u{2066}\\u{2028}\\u{7f}");
        assert_eq!(harmless_lines("{\n \"a\": \"\u{9b}\"\r\n}\r"), "{\n \"a\": \"\\u{9b}\"\n}\\r");
    }

    #[test]
    fn json_means_the_same_and_holds_nothing_that_is_obeyed() {
        let value = json!({ "a\u{9b}": ["\u{1b}[2J", "\u{7f}", "\u{202e}ü\u{2028}"] });
        let json = harmless_json(&value);
        assert_eq!(json, r#"{"a\u009b":["\u001b[2J","\u007f","\u202eü\u2028"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }
}
