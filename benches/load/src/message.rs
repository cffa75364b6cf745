//! The texts of the protocol (Engine.IO 4, Socket.IO 5), composed and recognised without a JSON parser.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame;

/// How a delivery begins when the server kept the sender's key order, which lets the task id be read at a known offset.
const IN_ORDER: &[u8] = br#"["database-changed",{"type":"task-updated","taskId":"#;
const DELIVERED: &[u8] = br#"["database-changed","#;
const TASK_ID: &[u8] = br#""taskId":"#;

/// The request that opens an Engine.IO session as a WebSocket. It sends no Origin, as native clients don't.
#[must_use]
pub fn upgrade_request(host: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The request that opens an Engine.IO session over polling, after whose answer the server closes the connection.
#[must_use]
pub fn polling_request(host: &str) -> String {
    format!("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The Socket.IO CONNECT. Servers that verify nothing take the team from it; flowgate reads it as the choice among verified teams.
#[must_use]
pub fn connect(token: &str, team: &str) -> String {
    format!(r#"40{{"token":"{token}","team":"{team}"}}"#)
}

/// One `database-change` of `kind`, with an acknowledgement asked for when `ack` is set.
#[must_use]
pub fn change(kind: &str, task: u64, ack: bool) -> String {
    let ack = if ack { "1" } else { "" };
    let now = epoch_ms();
    format!(r#"42{ack}["database-change",{{"type":"{kind}","taskId":{task},"timestamp":{now}}}]"#)
}

/// Appends a masked frame with a valid change whose task id is `task`, and a field `note` of `note_bytes`.
pub fn write_noted_change(out: &mut Vec<u8>, task: u64, note_bytes: usize) {
    let (now, note) = (epoch_ms(), "n".repeat(note_bytes));
    let text = format!(
        r#"42["database-change",{{"type":"task-updated","taskId":{task},"timestamp":{now},"note":"{note}"}}]"#
    );
    frame::write_masked(out, frame::TEXT, text.as_bytes());
}

/// Appends a masked frame with a valid change whose task id is `task`.
pub fn write_change(out: &mut Vec<u8>, task: u64) {
    frame::write_masked(out, frame::TEXT, change("task-updated", task, false).as_bytes());
}

/// The task id in the arguments of a delivered event, or `None` when they are not one of ours.
#[must_use]
pub fn delivered_task(arguments: &[u8]) -> Option<u64> {
    if let Some(rest) = arguments.strip_prefix(IN_ORDER) {
        return digits(rest);
    }
    let rest = arguments.strip_prefix(DELIVERED)?;
    let at = rest.windows(TASK_ID.len()).position(|window| window == TASK_ID)?;
    digits(&rest[at + TASK_ID.len()..])
}

fn digits(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let value = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    if end == 0 { None } else { text[..end].iter().try_fold(0, value) }
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_id_is_found_in_any_key_order() {
        let kept = br#"["database-changed",{"type":"task-updated","taskId":107,"timestamp":1}]"#;
        let sorted = br#"["database-changed",{"taskId":107,"timestamp":1,"type":"task-updated"}]"#;
        assert_eq!(delivered_task(kept), Some(107));
        assert_eq!(delivered_task(sorted), Some(107));
        assert_eq!(delivered_task(br#"["database-changed",null]"#), None);
        assert_eq!(delivered_task(br#"["other",{"taskId":107}]"#), None);
        assert_eq!(delivered_task(br#"["database-changed",{"taskId":"x"}]"#), None);
    }
}
