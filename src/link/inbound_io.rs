//! A stream whose reads are looked at on their way to hyper and the protocol library.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::ClientFrames;
use super::outlet::Outlet;

/// The blank line that ends a request's head.
const END_OF_HEAD: u32 = u32::from_be_bytes(*b"\r\n\r\n");

/// WebSocket frames that one connection may have read before others get their turn. The library handles what it reads
/// at once, and as long as a flood has filled the kernel's buffer nothing else would stop it: tokio counts reads, of
/// which one holds many small frames. At two microseconds a frame this is a small part of what a broadcast to a hundred
/// members takes.
const FRAMES_PER_TURN: u32 = 16;

/// `stream`, on `outlet`: plain bytes, also where TLS is spoken beneath.
pub struct InboundIo<S> {
    stream: S,
    outlet: Arc<Outlet>,
    /// The last four bytes of HTTP.
    tail: u32,
    frames: ClientFrames,
    /// Frames since this connection's turn began.
    this_turn: u32,
}

impl<S> InboundIo<S> {
    /// Looks at what `stream` reads.
    pub fn new(stream: S, outlet: Arc<Outlet>) -> Self {
        InboundIo { stream, outlet, tail: 0, frames: ClientFrames::default(), this_turn: 0 }
    }

    fn look(&mut self, read: &[u8]) {
        match self.outlet.session() {
            None => {
                self.tail = read.iter().fold(self.tail, |tail, byte| tail << 8 | u32::from(*byte));
                self.outlet.note_end_of_head(self.tail == END_OF_HEAD);
            }
            Some(session) => {
                let Some(session) = session.upgrade() else { return };
                session.note_speaking(!read.is_empty());
                let this_turn = &mut self.this_turn;
                self.frames.feed(read, |inbound, bytes| {
                    *this_turn += 1;
                    session.saw(inbound, bytes);
                });
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InboundIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.this_turn >= FRAMES_PER_TURN {
            self.this_turn = 0;
            // Its task goes behind the others, also those whose connections have something to read: woken at once, it would
            // be the only one that runs until the runtime next asks the kernel, sixty turns later.
            // It is never ready when it is first asked.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            self.this_turn = 0;
            return Poll::Pending;
        };
        // An error ends the connection like an end without a byte.
        self.look(&buffer.filled()[before..]);
        read?;
        if self.outlet.is_closed() {
            // What was too much is not passed on.
            buffer.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InboundIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
