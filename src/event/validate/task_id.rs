//! `taskId`: an integer or a text, as the policy's kinds allow.

use crate::config::policy::TaskIdPolicy;
use crate::message::TaskId;

use super::{nested, text};

/// Reads the JSON value `raw`, or says in a sentence what is wrong with it.
///
/// An integer is any JSON integer, also a negative one, as databases have them; its sign counts towards the length. It is
/// kept as its digits and may be larger than any machine's integer. A text must not be empty or hold control characters.
pub(super) fn read<'e>(raw: &'e str, policy: &TaskIdPolicy) -> Result<TaskId<'e>, &'static str> {
    let (id, length) = if nested::is_integer(raw) && policy.integer {
        (TaskId::Integer(raw), raw.len())
    } else if let (Some(id), true) = (text::decode(raw), policy.string) {
        if id.is_empty() || id.chars().any(char::is_control) {
            return Err("taskId must not be empty or hold control characters");
        }
        let length = id.len();
        (TaskId::String(id), length)
    } else {
        return Err(match (policy.integer, policy.string) {
            (true, false) => "taskId must be an integer",
            (false, true) => "taskId must be a string",
            _ => "taskId must be an integer or a string",
        });
    };
    if length > policy.max_length {
        return Err("taskId is too long");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: TaskIdPolicy = TaskIdPolicy { integer: true, string: true, max_length: 8 };

    #[test]
    fn accepts_integers_and_texts() {
        for raw in ["0", "-1", "12345678", "-1234567"] {
            assert_eq!(read(raw, &BOTH), Ok(TaskId::Integer(raw)));
        }
        assert_eq!(read(r#""abc-1234""#, &BOTH), Ok(TaskId::String("abc-1234".into())));
        assert_eq!(read(r#""\u00e9tat""#, &BOTH), Ok(TaskId::String("état".into())));
    }

    #[test]
    fn refuses_everything_else() {
        for raw in [
            "1.0",
            "1e3",
            "123456789",
            "null",
            "true",
            "[]",
            "{}",
            r#""""#,
            r#""123456789""#,
            r#""a\nb""#,
            r#""\u0000""#,
            r#""\ud800""#,
            "\"\u{85}\"",
        ] {
            assert!(read(raw, &BOTH).is_err(), "{raw}");
        }
    }

    #[test]
    fn keeps_to_the_kinds() {
        assert!(read("1", &TaskIdPolicy { integer: false, ..BOTH }).is_err());
        assert!(read(r#""1""#, &TaskIdPolicy { string: false, ..BOTH }).is_err());
    }
}
