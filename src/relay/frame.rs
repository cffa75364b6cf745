//! One broadcast, encoded once for every way it can leave.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::link::websocket::text_frame;

/// An event as members hear it: `["emit",payload]`, framed for WebSockets, and raw for the library.
#[derive(Clone)]
pub struct Frame {
    emit: String,
    payload: String,
    websocket: Bytes,
    raw: OnceLock<Option<Box<RawValue>>>,
}

impl Frame {
    /// Encodes the event `emit` with one argument. `payload` is JSON text and is copied byte for byte; `emit` holds no
    /// character that JSON would escape, which the policy has checked.
    pub fn new(emit: &str, payload: &str) -> Self {
        let packet = format!("42[\"{emit}\",{payload}]");
        Frame {
            emit: emit.to_owned(),
            payload: payload.to_owned(),
            websocket: text_frame(packet.as_bytes()),
            raw: OnceLock::new(),
        }
    }

    /// The whole WebSocket frame.
    pub fn websocket(&self) -> &Bytes {
        &self.websocket
    }

    /// The event's name.
    pub fn emit(&self) -> &str {
        &self.emit
    }

    /// The argument for the library's own encoder, which keeps its bytes.
    pub fn raw(&self) -> Option<&RawValue> {
        self.raw.get_or_init(|| RawValue::from_string(self.payload.clone()).ok()).as_deref()
    }

    /// The packet's length as the library sends it, in bytes.
    pub fn packet_len(&self) -> usize {
        "42[\"\",]".len() + self.emit.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_keeps_its_bytes() {
        let frame = Frame::new("e", r#"{"a" : 1.0}"#);
        assert_eq!(&frame.websocket()[2..], br#"42["e",{"a" : 1.0}]"#);
        assert_eq!(frame.raw().unwrap().get(), r#"{"a" : 1.0}"#);
        assert_eq!(frame.packet_len(), frame.websocket().len() - 2);
    }
}
