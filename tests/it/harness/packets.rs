//! Socket.IO 5 packets, as they stand in Engine.IO messages (without the leading `4`).

use serde_json::Value;

/// The event that [`super::BASE`] lets through, and the name under which members hear it.
pub const EVENT: &str = "database-change";
pub const HEARD: &str = "database-changed";

/// CONNECT to `/`; a `null` auth is left out.
pub fn connect(auth: &Value) -> String {
    if auth.is_null() { "40".into() } else { format!("40{auth}") }
}

/// `Ok` if it is the answer of a successful CONNECT; `Err` holds the code of a refusal. `None` is no such answer.
pub fn connect_reply(packet: &str) -> Option<Result<(), String>> {
    if packet.starts_with('0') {
        return Some(Ok(()));
    }
    let refusal: Value = serde_json::from_str(packet.strip_prefix('4')?).unwrap();
    assert_eq!(refusal.as_object().unwrap().len(), 1, "the code and nothing else: {refusal}");
    Some(Err(refusal["message"].as_str().unwrap().to_owned()))
}

/// An event with the JSON text of its argument, or with none; `ack` asks for an answer.
pub fn event(name: &str, argument: &str, ack: Option<u64>) -> String {
    let ack = ack.map(|ack| ack.to_string()).unwrap_or_default();
    let comma = if argument.is_empty() { "" } else { "," };
    format!("42{ack}[\"{name}\"{comma}{argument}]")
}

/// The argument of a heard event, byte for byte; `None` for another packet.
pub fn heard(packet: &str) -> Option<&str> {
    packet.strip_prefix("2[\"")?.strip_prefix(HEARD)?.strip_prefix("\",")?.strip_suffix(']')
}

/// The answer to the event that asked with this number; `None` for another packet.
pub fn answer(packet: &str, ack: u64) -> Option<Value> {
    let arguments = packet.strip_prefix('3')?.strip_prefix(&ack.to_string())?;
    let mut arguments: Vec<Value> = serde_json::from_str(arguments).ok()?;
    assert_eq!(arguments.len(), 1);
    arguments.pop()
}
