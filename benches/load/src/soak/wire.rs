//! One TCP connection from a chosen address, and what is read from it: HTTP answers and WebSocket frames.
//!
//! Every read can be cancelled at an await without losing bytes, because they stay here until they are whole.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::frame;

/// Room made before each read.
const READ_BYTES: usize = 16 * 1024;
/// An answer or frame longer than this is none that flowgate gives.
const MAX_INBOX: usize = 4 * 1024 * 1024;

/// A connection, with the bytes that were read and not used yet.
pub struct Wire {
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// An answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as far as it is text.
    pub body: String,
}

impl Wire {
    /// Connects to `server` from the address `from`. A small `receive_buffer` (bytes) makes a reader that stops be noticed soon.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub async fn dial(server: SocketAddr, from: Ipv4Addr, receive_buffer: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let stream = socket.connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, inbox: Vec::new() })
    }

    /// Writes all of `bytes`. Must not be cancelled.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Writes one masked text frame. Must not be cancelled.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write_text(&mut self, text: &str) -> io::Result<()> {
        self.write(&text_frame(text)).await
    }

    /// Makes the end of this connection a reset instead of an orderly end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn end_with_reset(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// The next text message of the server. A close frame is an error, as the end is.
    ///
    /// # Errors
    /// When the connection ends or breaks, or a frame comes that flowgate does not send.
    pub async fn text(&mut self) -> io::Result<String> {
        loop {
            while let Some(frame) = frame::parse(&self.inbox) {
                let payload: Vec<u8> = self.inbox[frame.start..frame.end].to_vec();
                self.inbox.drain(..frame.end);
                match frame.opcode {
                    frame::TEXT if frame.fin => return String::from_utf8(payload).map_err(io::Error::other),
                    frame::CLOSE => return Err(closed(format!("close frame {}", close_code(&payload)))),
                    frame::PING | frame::PONG => {}
                    opcode => return Err(io::Error::other(format!("a frame with opcode {opcode}"))),
                }
            }
            self.fill().await?;
        }
    }

    /// The next HTTP answer.
    ///
    /// # Errors
    /// When the connection ends or breaks, or what comes is no answer with a stated length.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse_answer(&self.inbox)? {
                self.inbox.drain(..length);
                return Ok(answer);
            }
            self.fill().await?;
        }
    }

    /// Reads and forgets until the server ends the connection.
    pub async fn until_closed(&mut self) {
        while self.fill().await.is_ok() {
            self.inbox.clear();
        }
    }

    /// Waits for bytes, which join the inbox.
    async fn fill(&mut self) -> io::Result<()> {
        if self.inbox.len() > MAX_INBOX {
            return Err(io::Error::other("more bytes than any answer has"));
        }
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err(closed("end of stream".into())),
            _ => Ok(()),
        }
    }
}

/// A masked text frame.
#[must_use]
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 14);
    frame::write_masked(&mut bytes, frame::TEXT, text.as_bytes());
    bytes
}

/// The connection has ended.
pub fn closed(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))
}

/// The answer that `bytes` begin with and its length, `None` while part of it is missing.
fn parse_answer(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(head_end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| io::Error::other(format!("no answer: {head:.80}")))?;
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let end = head_end + 4 + length.unwrap_or(0);
    if bytes.len() < end {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&bytes[head_end + 4..end]).into_owned();
    Ok(Some((Answer { status, body }, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_whole() {
        let bytes = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nretry-after: 1\r\n\r\nbodyHTTP";
        let whole = bytes.len() - 4;
        for cut in 0..whole {
            assert!(parse_answer(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        let (answer, length) = parse_answer(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_str(), length), (429, "body", whole));
        assert!(parse_answer(b"SSH-2.0\r\n\r\n").is_err());
    }
}
