//! The byte stream that hyper and the protocol library read and write, over an [`Outlet`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outlet::Outlet;

/// The library's end of a guarded connection. Dropping it closes the connection, whoever else still holds the outlet.
pub struct OutletIo(Arc<Outlet>);

impl OutletIo {
    /// The one byte stream of this outlet.
    pub fn new(outlet: Arc<Outlet>) -> Self {
        OutletIo(outlet)
    }
}

impl AsyncRead for OutletIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncWrite for OutletIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}

impl Drop for OutletIo {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::policy::SlowReader;

    /// A peer that takes nothing is stalled also when the kernel refuses a buffer whole, so that none of it waits here,
    /// and attempts in between do not begin its time anew.
    #[tokio::test]
    async fn a_refused_write_is_a_stall() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, remote) = listener.accept().await.unwrap();
        tcp.writable().await.unwrap();
        socket2::SockRef::from(&tcp).set_send_buffer_size(4096).unwrap();
        let limits = SlowReader { max_queued: 1 << 20, max_stall: Duration::from_secs(10) };
        let outlet = Outlet::new(tcp, remote, limits, Box::new(()));
        let mut io = OutletIo::new(outlet.clone());
        let mut write = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            Pin::new(&mut io).poll_write(&mut cx, b"x")
        };
        // One byte is taken or refused, and nothing in between.
        while write().is_ready() {}
        assert_eq!(outlet.waiting(), 0);
        let begin = Instant::now();
        assert!(!outlet.is_stalled(begin));
        while begin.elapsed() < Duration::from_millis(2) {
            assert!(write().is_pending());
        }
        assert!(outlet.is_stalled(begin + limits.max_stall));
    }
}
