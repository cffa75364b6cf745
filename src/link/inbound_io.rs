//! A stream whose reads are looked at on their way to hyper and the protocol library.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::ClientFrames;
use super::outlet::Outlet;

/// The blank line that ends a request's head.
const END_OF_HEAD: u32 = u32::from_be_bytes(*b"\r\n\r\n");

/// `stream`, on `outlet`: plain bytes, also where TLS is spoken beneath.
pub struct InboundIo<S> {
    stream: S,
    outlet: Arc<Outlet>,
    /// The last four bytes of HTTP.
    tail: u32,
    frames: ClientFrames,
}

impl<S> InboundIo<S> {
    /// Looks at what `stream` reads.
    pub fn new(stream: S, outlet: Arc<Outlet>) -> Self {
        InboundIo { stream, outlet, tail: 0, frames: ClientFrames::default() }
    }

    fn look(&mut self, read: &[u8]) {
        match self.outlet.session() {
            None => {
                self.tail = read.iter().fold(self.tail, |tail, byte| tail << 8 | u32::from(*byte));
                self.outlet.note_end_of_head(self.tail == END_OF_HEAD);
            }
            Some(session) => {
                let Some(session) = session.upgrade() else { return };
                self.frames.feed(read, |inbound, bytes| session.saw(inbound, bytes));
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
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.look(&buffer.filled()[before..]);
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
