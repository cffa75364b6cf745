//! What clients send, looked at before the protocol library sees it.
//!
//! The library answers or queues some packets without limit: CONNECT to a namespace that does not exist, a second
//! CONNECT, and whatever else costs the sender nothing. So each packet is told apart by its first bytes, and everything
//! that is not an event, which has rates of its own, is counted against the session.

/// How much of a packet is looked at: type, namespace and the longest acknowledgement id.
pub const SAMPLE: usize = 24;

/// Digits of an acknowledgement id. More would not fit the number that the library reads them into.
const MAX_ACK_DIGITS: usize = 18;

/// What a packet is, as far as the edge cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// An event: the pipeline's rates hold it.
    Event,
    /// A CONNECT to `/`.
    Connect,
    /// Heartbeats, probes, DISCONNECT, control frames: an honest client sends few.
    Other,
    /// What no client of this server sends: other namespaces, binary, answers to nothing asked, unknown types.
    Forbidden,
}

/// Tells an Engine.IO packet by its first [`SAMPLE`] bytes (Engine.IO protocol 4, Socket.IO protocol 5).
pub fn judge(start: &[u8]) -> Inbound {
    match start {
        [b'4', b'2', rest @ ..] => judge_event(rest),
        [b'4', b'0' | b'1', b'/', ..] => Inbound::Forbidden,
        [b'4', b'0', ..] => Inbound::Connect,
        [b'4', b'1', ..] => Inbound::Other,
        // 3 answers a question, and this server asks none; 4 is the server's own; 5 and 6 announce attachments.
        [b'4', ..] | [b'b', ..] => Inbound::Forbidden,
        _ => Inbound::Other,
    }
}

/// Whether a packet's beginning is enough to judge it: something follows its types and the digits of its id.
fn tells(start: &[u8]) -> bool {
    start.len() == SAMPLE || start.iter().skip(2).any(|byte| !byte.is_ascii_digit())
}

fn judge_event(rest: &[u8]) -> Inbound {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > MAX_ACK_DIGITS || rest.first() == Some(&b'/') { Inbound::Forbidden } else { Inbound::Event }
}

/// Follows a client's WebSocket frames (RFC 6455 §5.2, masked) through reads that are cut anywhere.
#[derive(Debug, Default)]
pub struct ClientFrames {
    /// The frame's header, as far as it has come.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The first bytes of the payload, unmasked, as far as they have come.
    sample: [u8; SAMPLE],
    sample_len: usize,
    /// Payload bytes that are still to come; only meaningful once the header is whole.
    left: u64,
    in_payload: bool,
}

/// Two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

impl ClientFrames {
    /// Reads on; `see` hears of every frame once enough of it has come, with the bytes of its whole payload.
    pub fn feed(&mut self, mut bytes: &[u8], mut see: impl FnMut(Inbound, u64)) {
        while !bytes.is_empty() {
            if self.in_payload {
                bytes = self.payload(bytes, &mut see);
            } else if let Some((byte, rest)) = bytes.split_first() {
                bytes = rest;
                self.header_byte(*byte, &mut see);
            }
        }
    }

    fn header_byte(&mut self, byte: u8, see: &mut impl FnMut(Inbound, u64)) {
        self.header[self.header_len] = byte;
        self.header_len += 1;
        if self.header_len < 2 || self.header_len < self.wanted_header() {
            return;
        }
        self.in_payload = true;
        self.sample_len = 0;
        self.left = self.length();
        if self.left == 0 || !self.is_text() {
            see(self.judge_frame(), self.length());
        }
        if self.left == 0 {
            self.end_frame();
        }
    }

    fn payload<'b>(&mut self, bytes: &'b [u8], see: &mut impl FnMut(Inbound, u64)) -> &'b [u8] {
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(here);
        if self.is_text() && self.sample_len < SAMPLE {
            let before = self.sample_len;
            let mask = self.mask();
            for byte in payload.iter().take(SAMPLE - before) {
                self.sample[self.sample_len] = byte ^ mask[self.sample_len % 4];
                self.sample_len += 1;
            }
            if self.sample_len == SAMPLE || self.left == here as u64 {
                see(self.judge_frame(), self.length());
            }
        }
        self.left -= here as u64;
        if self.left == 0 {
            self.end_frame();
        }
        rest
    }

    fn end_frame(&mut self) {
        self.in_payload = false;
        self.header_len = 0;
    }

    fn judge_frame(&self) -> Inbound {
        const BINARY: u8 = 2;
        let is_final = self.header[0] & 0x80 != 0;
        match self.header[0] & 0x0f {
            TEXT if is_final && self.sample_len == 0 => Inbound::Other,
            // Cut before it can be told: no client does it, and no proxy has a reason to.
            TEXT if !is_final && !tells(&self.sample[..self.sample_len]) => Inbound::Forbidden,
            TEXT => judge(&self.sample[..self.sample_len]),
            BINARY => Inbound::Forbidden,
            _ => Inbound::Other,
        }
    }

    fn is_text(&self) -> bool {
        self.header[0] & 0x0f == TEXT
    }

    fn wanted_header(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    fn length(&self) -> u64 {
        let bytes = match self.header[1] & 0x7f {
            126 => &self.header[2..4],
            127 => &self.header[2..10],
            short => return u64::from(short),
        };
        bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
    }

    /// The masking key; an unmasked frame, which the library refuses, reads as if masked with zeros.
    fn mask(&self) -> [u8; 4] {
        let mut mask = [0; 4];
        if self.header[1] & 0x80 != 0 {
            mask.copy_from_slice(&self.header[self.header_len - 4..self.header_len]);
        }
        mask
    }
}

const TEXT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [7, 1, 200, 33];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            medium @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((medium as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn measured(bytes: &[u8], cut: usize) -> Vec<(Inbound, u64)> {
        let mut frames = ClientFrames::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(cut) {
            frames.feed(piece, |inbound, bytes| seen.push((inbound, bytes)));
        }
        seen
    }

    fn seen(bytes: &[u8], cut: usize) -> Vec<Inbound> {
        measured(bytes, cut).into_iter().map(|(inbound, _)| inbound).collect()
    }

    #[test]
    fn packets_are_told_by_their_beginning() {
        use Inbound::{Connect, Event, Forbidden, Other};
        for (packet, expected) in [
            ("42[\"a\"]", Event),
            ("4212[\"a\"]", Event),
            ("42123456789012345678[\"a\"]", Event),
            ("421234567890123456789[\"a\"]", Forbidden),
            ("42/ns,[\"a\"]", Forbidden),
            ("40", Connect),
            ("40{\"token\":\"x\"}", Connect),
            ("40/ns,{}", Forbidden),
            ("41", Other),
            ("41/ns,", Forbidden),
            ("431[]", Forbidden),
            ("44{}", Forbidden),
            ("450-[\"a\"]", Forbidden),
            ("451-[\"a\",{\"_placeholder\":true,\"num\":0}]", Forbidden),
            ("46", Forbidden),
            ("4", Forbidden),
            ("bAAAA", Forbidden),
            ("2", Other),
            ("3", Other),
            ("2probe", Other),
            ("5", Other),
            ("", Other),
        ] {
            assert_eq!(judge(packet.as_bytes()), expected, "{packet}");
            assert_eq!(seen(&frame(0x81, packet.as_bytes()), 1), [expected], "{packet}");
        }
    }

    #[test]
    fn frames_of_every_kind_are_seen_once() {
        use Inbound::{Event, Forbidden, Other};
        let long = format!("42[\"a\",\"{}\"]", "x".repeat(70_000));
        let mut bytes = frame(0x81, long.as_bytes());
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x81, &long.as_bytes()[..200]));
        bytes.extend(frame(0x01, &long.as_bytes()[..200]));
        bytes.extend(frame(0x00, b"more"));
        bytes.extend(frame(0x80, b""));
        bytes.extend(frame(0x01, b"421[\"a\""));
        bytes.extend(frame(0x80, b"]"));
        bytes.extend(frame(0x01, b"421"));
        bytes.extend(frame(0x01, b""));
        bytes.extend(frame(0x80, b"40/ns,{}"));
        bytes.extend(frame(0x81, b""));
        bytes.extend(frame(0x82, b"4"));
        let expected = [
            [Event, Other, Event, Event, Other, Other, Event].as_slice(),
            &[Other, Forbidden, Forbidden, Other, Other, Forbidden],
        ]
        .concat();
        let lengths = [long.len() as u64, 4, 200, 200, 4, 0, 7, 1, 3, 0, 8, 0, 1];
        for cut in [1, 2, 3, 7, 1000, bytes.len()] {
            assert_eq!(seen(&bytes, cut), expected, "cut into {cut}");
            assert!(measured(&bytes, cut).iter().map(|(_, length)| length).eq(&lengths), "cut into {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_cut_matters(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..40) {
            prop_assert_eq!(measured(&bytes, cut), measured(&bytes, 300));
        }
    }
}
