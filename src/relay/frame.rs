//! One broadcast, encoded once for every way it can leave.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::link::websocket::text_frame;

/// An event as members hear it: `["emit",payload]`, or with meta beside the payload, framed for WebSockets, and raw for the
/// library.
#[derive(Clone)]
pub struct Frame {
    emit: String,
    payload: String,
    meta: Option<String>,
    websocket: Bytes,
    raw: OnceLock<Option<Box<RawValue>>>,
    raw_meta: OnceLock<Option<Box<RawValue>>>,
}

impl Frame {
    /// Encodes the event `emit` with one argument. `payload` is JSON text and is copied byte for byte; `emit` holds no
    /// character that JSON would escape, which the policy has checked.
    pub fn new(emit: &str, payload: &str) -> Self {
        Self::of(emit, payload, None, &format!("42[\"{emit}\",{payload}]"))
    }

    /// Encodes it with a second argument, which is JSON text too.
    pub fn with_meta(emit: &str, payload: &str, meta: String) -> Self {
        let packet = format!("42[\"{emit}\",{payload},{meta}]");
        Self::of(emit, payload, Some(meta), &packet)
    }

    fn of(emit: &str, payload: &str, meta: Option<String>, packet: &str) -> Self {
        Frame {
            emit: emit.to_owned(),
            payload: payload.to_owned(),
            meta,
            websocket: text_frame(packet.as_bytes()),
            raw: OnceLock::new(),
            raw_meta: OnceLock::new(),
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

    /// The second argument likewise, where there is one.
    pub fn raw_meta(&self) -> Option<&RawValue> {
        let meta = self.meta.as_ref()?;
        self.raw_meta.get_or_init(|| RawValue::from_string(meta.clone()).ok()).as_deref()
    }

    /// The packet's length as the library sends it, in bytes.
    pub fn packet_len(&self) -> usize {
        let meta = self.meta.as_ref().map_or(0, |meta| ",".len() + meta.len());
        "42[\"\",]".len() + self.emit.len() + self.payload.len() + meta
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
        assert!(frame.raw_meta().is_none());
        assert_eq!(frame.packet_len(), frame.websocket().len() - 2);
    }

    #[test]
    fn meta_stands_beside_it() {
        let frame = Frame::with_meta("e", "[1]", r#"{"seq":1}"#.into());
        assert_eq!(&frame.websocket()[2..], br#"42["e",[1],{"seq":1}]"#);
        assert_eq!(frame.raw().unwrap().get(), "[1]");
        assert_eq!(frame.raw_meta().unwrap().get(), r#"{"seq":1}"#);
        assert_eq!(frame.packet_len(), frame.websocket().len() - 2);
    }
}
