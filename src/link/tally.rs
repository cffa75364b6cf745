//! What a session's library queue was given and what has been seen leaving it.
//!
//! The library queues its packets where we cannot look. Counting them in (before each one is handed over) and out
//! (in the WebSocket frames and poll responses that pass through the edge) tells when that queue is empty, which is the
//! moment from which a broadcast may write to the connection directly and still be in order.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::websocket::{TEXT_FRAME, split_frame};

/// Socket.IO packets (CONNECT replies and events) of one session in the library's hands.
#[derive(Debug, Default)]
pub struct Tally {
    given: AtomicU64,
    written: AtomicU64,
    given_bytes: AtomicU64,
    written_bytes: AtomicU64,
    saw_frames: AtomicBool,
}

/// What separates packets in a long-polling payload (Engine.IO protocol 4, "Packet encoding").
pub const RECORD_SEPARATOR: u8 = 0x1e;

impl Tally {
    /// Counts one packet of `bytes` that the library is about to be given.
    pub fn give(&self, bytes: usize) {
        self.given_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.given.fetch_add(1, Ordering::AcqRel);
    }

    /// Uncounts a packet of `bytes` that the library did not take.
    pub fn take_back(&self, bytes: usize) {
        self.given_bytes.fetch_sub(bytes as u64, Ordering::AcqRel);
        self.given.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether everything given has been written.
    pub fn is_even(&self) -> bool {
        // `written` first: it never overtakes what `given` was when it was counted.
        let written = self.written.load(Ordering::Acquire);
        written >= self.given.load(Ordering::Acquire)
    }

    /// Bytes of event packets that wait in the library's queue.
    pub fn queued_bytes(&self) -> u64 {
        let written = self.written_bytes.load(Ordering::Acquire);
        self.given_bytes.load(Ordering::Acquire).saturating_sub(written)
    }

    /// Counts the packets in a buffer of whole WebSocket frames from the server (unmasked, RFC 6455 §5.2). Anything
    /// else, such as the HTTP response that precedes them, holds none.
    pub fn wrote_frames(&self, mut buffer: &[u8]) {
        while let Some((opcode, payload, rest)) = split_frame(buffer) {
            self.saw_frames.store(true, Ordering::Release);
            if opcode == TEXT_FRAME {
                self.wrote_packet(payload, payload.len() as u64);
            }
            buffer = rest;
        }
    }

    /// Whether any WebSocket frame has been written to this session's client.
    pub fn saw_frames(&self) -> bool {
        self.saw_frames.load(Ordering::Acquire)
    }

    /// Counts the packets in the body of a poll response.
    pub fn wrote_poll_body(&self, body: &[u8]) {
        for packet in body.split(|byte| *byte == RECORD_SEPARATOR) {
            self.wrote_packet(packet, packet.len() as u64);
        }
    }

    /// A CONNECT reply begins with `40`, an event with `42`; everything else the library sends on its own account.
    /// `start` is at least its first two bytes, where it has so many, and `length` all it has.
    pub(super) fn wrote_packet(&self, start: &[u8], length: u64) {
        match start {
            [b'4', b'2', ..] => {
                self.written_bytes.fetch_add(length, Ordering::AcqRel);
                self.written.fetch_add(1, Ordering::AcqRel);
            }
            [b'4', b'0', ..] => {
                self.written.fetch_add(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &str) -> Vec<u8> {
        crate::link::websocket::text_frame(payload.as_bytes()).to_vec()
    }

    #[test]
    fn counts_packets_in_frames() {
        let tally = Tally::default();
        tally.give(0);
        tally.give(9);
        tally.wrote_frames(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert!(!tally.is_even());
        let long = format!("42[\"{}\"]", "x".repeat(70_000));
        tally.give(long.len());
        let mut buffer = frame("40{\"sid\":\"x\"}");
        buffer.extend(frame("2"));
        buffer.extend(frame("42[\"abc\"]"));
        tally.wrote_frames(&buffer);
        assert!(!tally.is_even());
        assert_eq!(tally.queued_bytes(), long.len() as u64);
        tally.wrote_frames(&frame(&long));
        assert!(tally.is_even());
        assert_eq!(tally.queued_bytes(), 0);
    }

    #[test]
    fn counts_packets_in_poll_bodies() {
        let tally = Tally::default();
        tally.give(0);
        tally.give(7);
        tally.wrote_poll_body(b"40{\"sid\":\"x\"}\x1e42[\"a\"]\x1e431[]\x1e6");
        assert!(tally.is_even());
    }

    #[test]
    fn cut_frames_hold_nothing() {
        let tally = Tally::default();
        tally.give(3);
        for cut in
            [&b""[..], b"\x81", b"\x81\x05", b"\x81\x7e\x00", b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff42"]
        {
            tally.wrote_frames(cut);
        }
        assert!(!tally.is_even());
    }
}
