//! The events of the soak: each says who sent it, so that whoever hears it can tell whether it should.

use super::books::StreamId;
use crate::message;

/// Who sent a delivered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// An honest member: its stream and the event's number in it.
    Honest(StreamId, u64),
    /// A hostile client that holds a valid token: nobody counts these, but they too belong to one team.
    Hostile,
}

const HEARD: &str = r#"["database-changed",{"type":"task-updated","taskId":""#;
const TIMESTAMP: &str = r#"","timestamp":"#;
const NOTE: &str = r#","note":""#;
const END: &str = r#""}]"#;

/// An honest event with an acknowledgement id and `padding` bytes beside its name. The acknowledgement id is the number.
#[must_use]
pub fn honest(team: usize, stream: StreamId, number: u64, padding: usize) -> String {
    let note = String::from(letter(number)).repeat(padding);
    let now = message::epoch_ms();
    format!(
        r#"42{number}["database-change",{{"type":"task-updated","taskId":"h.{team}.{stream}.{number}","timestamp":{now},"note":"{note}"}}]"#
    )
}

/// An event that a hostile member of `team` sends and that the policy allows.
#[must_use]
pub fn hostile(team: usize, ack: Option<u64>) -> String {
    let ack = ack.map(|id| id.to_string()).unwrap_or_default();
    let now = message::epoch_ms();
    format!(
        r#"42{ack}["database-change",{{"type":"task-updated","taskId":"x.{team}","timestamp":{now},"note":""}}]"#
    )
}

/// Reads the arguments of a delivered event: its team and its sender; `None` when they are not, byte for byte, what was sent.
#[must_use]
pub fn read(arguments: &str) -> Option<(usize, Sender)> {
    let (id, rest) = arguments.strip_prefix(HEARD)?.split_once(TIMESTAMP)?;
    let (timestamp, rest) = rest.split_once(NOTE)?;
    let note = rest.strip_suffix(END)?;
    timestamp.parse::<u64>().ok()?;
    let mut parts = id.split('.');
    let (who, team) = (parts.next()?, parts.next()?.parse().ok()?);
    if who == "x" {
        return (note.is_empty() && parts.next().is_none()).then_some((team, Sender::Hostile));
    }
    let (stream, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let whole = who == "h" && parts.next().is_none() && note.chars().all(|char| char == letter(number));
    whole.then_some((team, Sender::Honest(stream, number)))
}

/// What an event's note is made of, so that a note of another event is noticed.
fn letter(number: u64) -> char {
    const LETTERS: [char; 7] = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    LETTERS[(number % 7) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(packet: &str) -> String {
        let arguments = &packet[packet.find('[').unwrap()..];
        arguments.replacen("database-change", "database-changed", 1)
    }

    #[test]
    fn what_was_sent_is_read_and_what_was_changed_is_not() {
        let text = relayed(&honest(3, 17, 42, 100));
        assert_eq!(read(&text), Some((3, Sender::Honest(17, 42))));
        assert_eq!(read(&relayed(&hostile(9, Some(1)))), Some((9, Sender::Hostile)));
        let note = letter(42).to_string().repeat(4);
        for changed in [
            text.replacen(&note, "aaab", 1),
            text.replace("h.3.17.42", "h.3.17.43"),
            text.replace("h.3", "y.3"),
            text.replace("\"note\"", "\"Note\""),
            text.replace("}]", "} ]"),
            "[\"database-changed\",null]".to_owned(),
        ] {
            assert_eq!(read(&changed), None, "{changed}");
        }
    }
}
