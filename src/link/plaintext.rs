//! What the library writes on a connection that TLS encrypts, seen before it is encrypted.
//!
//! The outlet beneath TLS sees ciphertext only. So nothing of ours is ever written there, every broadcast goes through
//! the library, and the packets that leave the library are counted here. What was counted may still wait in TLS (at most
//! its buffer limit) and in the outlet, which has its own eye on a peer that takes nothing; what was not is what
//! `limits.slow_reader.max_queued` bounds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outlet::Outlet;
use super::tally::Tally;
use super::websocket::TEXT_FRAME;

/// A stream above TLS, over an outlet beneath it.
pub struct Plaintext<S> {
    stream: S,
    outlet: Arc<Outlet>,
    counted: Option<(Arc<Tally>, Follower)>,
}

impl<S> Plaintext<S> {
    /// `stream` encrypts into `outlet`.
    pub fn new(stream: S, outlet: Arc<Outlet>) -> Self {
        Plaintext { stream, outlet, counted: None }
    }

    fn count(&mut self, written: &[u8]) {
        if self.counted.is_none() {
            // From here on it is the answer to the request that asks for a WebSocket, and then frames.
            self.counted = self.outlet.tally_above_tls().map(|tally| (tally, Follower::default()));
        }
        if let Some((tally, follower)) = &mut self.counted {
            follower.follow(written, tally);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Plaintext<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plaintext<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, buffer))?;
        self.count(&buffer[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Follows one direction of a connection in pieces cut anywhere, since TLS takes what it has room for: the HTTP answer,
/// then WebSocket frames (RFC 6455 §5.2).
#[derive(Debug)]
enum Follower {
    /// In the answer's head: how much of the blank line that ends it has just gone by.
    Head(usize),
    /// At the beginning of a frame: its header and the first bytes of its payload, as far as they have come.
    Start(Start),
    /// In a frame's payload: what is still to come, and what to count when it has.
    Payload { left: u64, start: Start },
    /// These are no frames: the answer was not a WebSocket. Nothing is counted any more, so that the session of whoever
    /// did this to itself runs into its limit.
    Lost,
}

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// The longest header of an unmasked frame.
const LONGEST_HEADER: usize = 10;

/// What tells the kinds of packets apart: the Engine.IO and the Socket.IO type.
const PACKET_TYPES: usize = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    bytes: [u8; LONGEST_HEADER + PACKET_TYPES],
    have: usize,
}

impl Start {
    /// The header's length, as far as it is known.
    fn header(&self) -> usize {
        match self.bytes[1] {
            _ if self.have < 2 => 2,
            126 => 4,
            127 => LONGEST_HEADER,
            _ => 2,
        }
    }

    /// The payload's length; 0 while the header is not complete.
    fn payload(&self) -> u64 {
        let header = self.header();
        if self.have < header {
            return 0;
        }
        match header {
            2 => u64::from(self.bytes[1]),
            _ => self.bytes[2..header].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        }
    }

    fn is_complete(&self) -> bool {
        let types = self.payload().min(PACKET_TYPES as u64) as usize;
        self.have >= self.header() && self.have == self.header() + types
    }

    /// FIN, which the library always sets, and no mask, which only clients use.
    fn is_of_server(&self) -> bool {
        self.bytes[0] & 0x80 != 0 && (self.have < 2 || self.bytes[1] & 0x80 == 0)
    }
}

impl Default for Follower {
    fn default() -> Self {
        Follower::Head(0)
    }
}

impl Follower {
    fn follow(&mut self, mut bytes: &[u8], tally: &Tally) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self {
                Follower::Head(matched) => {
                    bytes = rest;
                    *matched = match byte == BLANK_LINE[*matched] {
                        true => *matched + 1,
                        false => usize::from(byte == BLANK_LINE[0]),
                    };
                    if *matched == BLANK_LINE.len() {
                        *self = Follower::Start(Start::default());
                    }
                }
                Follower::Start(start) => {
                    bytes = rest;
                    start.bytes[start.have] = byte;
                    start.have += 1;
                    if !start.is_of_server() {
                        *self = Follower::Lost;
                    } else if start.is_complete() {
                        let start = *start;
                        let seen = (start.have - start.header()) as u64;
                        self.go_on(start.payload() - seen, start, tally);
                    }
                }
                Follower::Payload { left, start } => {
                    let now = (bytes.len() as u64).min(*left);
                    bytes = &bytes[now as usize..];
                    let (left, start) = (*left - now, *start);
                    self.go_on(left, start, tally);
                }
                Follower::Lost => return,
            }
        }
    }

    /// On to the rest of the payload, or, when there is none, to the next frame.
    fn go_on(&mut self, left: u64, start: Start, tally: &Tally) {
        if left > 0 {
            *self = Follower::Payload { left, start };
            return;
        }
        if start.bytes[0] == TEXT_FRAME {
            tally.wrote_packet(&start.bytes[start.header()..start.have], start.payload());
        }
        *self = Follower::Start(Start::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::websocket::text_frame;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    /// Frames of every length that is written differently, between control frames and the library's own packets.
    fn stream() -> (Vec<u8>, Vec<u64>) {
        let lengths = [4, 123, 124, 125, 126, 65_535, 65_536, 70_000];
        let mut bytes = HEAD.to_vec();
        bytes.extend(text_frame(b"0{\"sid\":\"x\"}"));
        bytes.extend(text_frame(b"40{\"sid\":\"y\"}"));
        for length in lengths {
            bytes.extend(text_frame(b"2"));
            bytes.extend(text_frame(b""));
            bytes.extend([0x8a, 0x00]);
            let packet = [b"42".as_slice(), &vec![b'x'; length - 2]].concat();
            bytes.extend(text_frame(&packet));
        }
        (bytes, lengths.iter().map(|length| *length as u64).collect())
    }

    #[test]
    fn counts_frames_however_they_are_cut() {
        let (bytes, lengths) = stream();
        for piece in [1, 2, 3, 7, 100, 4096, bytes.len()] {
            let tally = Tally::default();
            tally.give(0);
            lengths.iter().for_each(|length| tally.give(*length as usize));
            let mut follower = Follower::default();
            let last = bytes.len() - 1;
            bytes[..last].chunks(piece).for_each(|piece| follower.follow(piece, &tally));
            assert!(!tally.is_even(), "the last frame is not whole yet");
            assert_eq!(tally.queued_bytes(), 70_000);
            follower.follow(&bytes[last..], &tally);
            assert!(tally.is_even());
            assert_eq!(tally.queued_bytes(), 0);
        }
    }

    #[test]
    fn an_answer_that_is_no_websocket_holds_nothing() {
        let tally = Tally::default();
        tally.give(10);
        let mut follower = Follower::default();
        follower.follow(b"HTTP/1.1 400 Bad Request\r\n\r\n{\"code\":\"x\"}", &tally);
        follower.follow(&text_frame(b"42[\"abcde\"]"), &tally);
        assert!(!tally.is_even());
    }
}
