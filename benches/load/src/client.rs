//! One connection of the load: a non-blocking socket and how far its handshake has come.

use std::io::{self, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;

use crate::frame::{self, Frame};

/// What a read brought, besides what the connection answers by itself.
pub enum Incoming<'a> {
    /// The namespace admitted this client.
    Admitted,
    /// An event, as the JSON array of its name and arguments.
    Delivery(&'a [u8]),
    /// An acknowledgement, as its id and the JSON array of its arguments.
    Ack(&'a [u8]),
}

/// A half-received frame longer than this is no answer to anything this load sends.
const MAX_CARRY: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The upgrade request is sent.
    Upgrading,
    /// The WebSocket is open; Engine.IO's open packet is awaited.
    Opening,
    /// CONNECT is sent.
    Joining,
    Admitted,
}

/// One client of the server under test.
pub struct Client {
    stream: TcpStream,
    stage: Stage,
    /// The upgrade request, then the CONNECT frame: what the handshake sends next.
    request: String,
    connect: String,
    /// The beginning of a frame whose rest has not arrived.
    carry: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

impl Client {
    /// A client whose connection attempt has begun; `request` upgrades it and `connect` is its Socket.IO CONNECT.
    #[must_use]
    pub fn new(stream: TcpStream, request: String, connect: String) -> Self {
        Self { stream, stage: Stage::Connecting, request, connect, carry: Vec::new(), unsent: Vec::new() }
    }

    /// The socket, for registering it with a poll.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends `bytes`, which are whole frames, now or as soon as the socket takes them.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing to the server"),
            }
        }
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Whether the socket has taken everything that was sent.
    #[must_use]
    pub fn has_sent_all(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Whether the server has closed the connection, which shows only behind all that has arrived: it is thrown away.
    pub fn is_closed(&mut self, scratch: &mut [u8]) -> bool {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Goes on after the poll found the socket writable.
    ///
    /// # Errors
    /// When the connection could not be made or is broken.
    pub fn on_writable(&mut self) -> Result<()> {
        if self.stage == Stage::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error).context("connecting to the server");
            }
            if let Err(error) = self.stream.peer_addr() {
                ensure!(error.kind() == io::ErrorKind::NotConnected, "connecting to the server: {error}");
                return Ok(());
            }
            self.stream.set_nodelay(true)?;
            self.stage = Stage::Upgrading;
            let request = std::mem::take(&mut self.request);
            return self.send(request.as_bytes());
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    /// Reads what has arrived, through the shared `scratch`, and hands the events in it to `sink`.
    /// `hung_up` says that the poll saw the end of the stream, so that it is read to its end.
    ///
    /// # Errors
    /// When the server refuses this client, closes the connection or breaks the protocol.
    pub fn on_readable(
        &mut self,
        scratch: &mut [u8],
        hung_up: bool,
        sink: &mut impl FnMut(Incoming<'_>),
    ) -> Result<()> {
        loop {
            let carried = self.carry.len();
            scratch[..carried].copy_from_slice(&self.carry);
            let read = match self.stream.read(&mut scratch[carried..]) {
                Ok(0) => bail!("the server closed the connection while the client was {:?}", self.stage),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading from the server"),
            };
            self.carry.clear();
            let filled = carried + read;
            let used = self.consume(&scratch[..filled], sink)?;
            self.carry.extend_from_slice(&scratch[used..filled]);
            ensure!(self.carry.len() <= MAX_CARRY, "the server sent a frame of more than {MAX_CARRY} bytes");
            // A read that left room has emptied the socket: the next byte makes a new edge, so no second read is needed.
            if filled < scratch.len() && !hung_up {
                return Ok(());
            }
        }
    }

    /// Handles the whole frames in `bytes` and returns how many bytes they took.
    fn consume(&mut self, bytes: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<usize> {
        let mut at = 0;
        if self.stage == Stage::Upgrading {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(0);
            };
            ensure!(
                bytes.starts_with(b"HTTP/1.1 101"),
                "the server refused the upgrade: {}",
                http_summary(bytes)
            );
            self.stage = Stage::Opening;
            at = end + 4;
        }
        while let Some(frame) = frame::parse(&bytes[at..]) {
            let payload = &bytes[at + frame.start..at + frame.end];
            self.handle(frame, payload, sink)?;
            at += frame.end;
        }
        Ok(at)
    }

    fn handle(&mut self, frame: Frame, payload: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<()> {
        match frame.opcode {
            frame::TEXT if frame.fin => self.handle_text(payload, sink),
            frame::PING => self.send_frame(frame::PONG, payload),
            frame::PONG => Ok(()),
            frame::CLOSE => bail!("the server sent a close frame {:?}", String::from_utf8_lossy(payload)),
            opcode => {
                bail!("the server sent a frame this load does not read (opcode {opcode}, fin {})", frame.fin)
            }
        }
    }

    fn handle_text(&mut self, text: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<()> {
        match (text, self.stage) {
            ([b'4', b'2', event @ ..], Stage::Admitted) => sink(Incoming::Delivery(event)),
            ([b'4', b'3', ack @ ..], Stage::Admitted) => sink(Incoming::Ack(ack)),
            ([b'2'], _) => return self.send_frame(frame::TEXT, b"3"),
            ([b'6'], _) => {}
            ([b'0', ..], Stage::Opening) => {
                self.stage = Stage::Joining;
                let connect = std::mem::take(&mut self.connect);
                return self.send_frame(frame::TEXT, connect.as_bytes());
            }
            ([b'4', b'0', ..], Stage::Joining) => {
                self.stage = Stage::Admitted;
                sink(Incoming::Admitted);
            }
            ([b'4', b'4', ..], _) => bail!("the server refused CONNECT: {}", String::from_utf8_lossy(text)),
            _ => bail!(
                "the server sent {:?} while the client was {:?}",
                String::from_utf8_lossy(text),
                self.stage
            ),
        }
        Ok(())
    }

    fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + 8);
        frame::write_masked(&mut bytes, opcode, payload);
        self.send(&bytes)
    }
}

/// Status line and body of an HTTP answer, which carry the code of a refusal.
#[must_use]
pub fn http_summary(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let status = text.lines().next().unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    format!("{status} {body}").trim_end().to_owned()
}
