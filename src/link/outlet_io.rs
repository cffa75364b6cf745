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

    use bytes::Bytes;
    use http::HeaderMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::policy::SlowReader;
    use crate::decision_log::DecisionLog;
    use crate::link::feed::{Batch, Entry, Feed};
    use crate::link::outlet::Offer;
    use crate::link::session::Sessions;
    use crate::peer::PeerId;

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
        let outlet = Outlet::new(tcp, remote, limits, Arc::default(), Box::new(()));
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

    const FRAME: usize = 1000;

    /// Long enough for the slowest machine; only a test that fails takes it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A follower of `feed` whose kernel takes little at a time, and its peer's end.
    async fn follower(feed: &Arc<Feed>, max_queued: usize) -> (OutletIo, TcpStream) {
        follower_with(feed, max_queued, 4096).await
    }

    /// The same whose kernel takes about so many bytes for a peer that does not read.
    async fn follower_with(feed: &Arc<Feed>, max_queued: usize, kernel: usize) -> (OutletIo, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, remote) = listener.accept().await.unwrap();
        tcp.writable().await.unwrap();
        socket2::SockRef::from(&tcp).set_send_buffer_size(kernel).unwrap();
        let limits = SlowReader { max_queued, max_stall: Duration::from_secs(10) };
        let outlet = Outlet::new(tcp, remote, limits, Arc::default(), Box::new(()));
        let sessions = Sessions::new(Arc::default(), Arc::new(DecisionLog::off(Arc::default())));
        let session = sessions.open(remote.ip(), HeaderMap::new(), Box::new(()));
        assert!(session.bind_websocket(&outlet));
        // The first frame finds that everything the library was given has been written.
        assert_eq!(outlet.offer(&frame(0), || true, || {}), Offer::NeedsFlush);
        assert!(outlet.follow(feed, PeerId::next()));
        (OutletIo::new(outlet), peer)
    }

    fn frame(number: u8) -> Bytes {
        vec![number; FRAME].into()
    }

    fn publish(feed: &Arc<Feed>, outlet: &Outlet, number: u8) -> Offer {
        feed.publish(Entry { frame: frame(number), except: None });
        let batch = feed.batch();
        let slices = batch.as_ref().map(Batch::slices).unwrap_or_default();
        let offer = outlet.take(feed, batch.as_ref(), &slices);
        feed.forget(feed.head());
        offer
    }

    /// Frames of the feed, of the outlet's own queue and of the library, in the order in which they were handed over.
    #[tokio::test]
    async fn a_follower_gets_whole_frames_in_order_however_little_the_kernel_takes() {
        let feed = Arc::<Feed>::default();
        let (mut io, mut peer) = follower(&feed, 1 << 20).await;
        for number in 1..100 {
            let offer = match number % 3 {
                0 => io.0.offer_ours(&frame(number)),
                1 => publish(&feed, &io.0, number),
                // Its turn is still to come when the next is offered.
                _ => {
                    feed.publish(Entry { frame: frame(number), except: None });
                    continue;
                }
            };
            assert!(matches!(offer, Offer::Queued | Offer::NeedsFlush), "{number}: {offer:?}");
        }
        assert!(io.0.waiting() > 0, "the kernel took everything");
        // Published, and nobody's turn yet: the library's own frame must not come before it.
        feed.publish(Entry { frame: frame(100), except: None });
        let writes = async move {
            io.write_all(&frame(101)).await.unwrap();
            io.flush().await.unwrap();
            io
        };
        let reads = async {
            let mut bytes = vec![0; 102 * FRAME];
            peer.read_exact(&mut bytes).await.unwrap();
            bytes
        };
        let both = async { tokio::join!(writes, reads) };
        let (_io, bytes) = tokio::time::timeout(PATIENCE, both).await.expect("all frames arrive");
        let expected: Vec<u8> = (0..102).flat_map(|number| frame(number).to_vec()).collect();
        assert!(bytes == expected);
    }

    /// Between the moment when a round reads who follows and the one when it writes, a connection may get another peer, in
    /// another team, whose feed has come just as far.
    #[tokio::test]
    async fn a_follower_of_another_feed_is_not_given_this_ones_frames() {
        let (left, followed) = (Arc::<Feed>::default(), Arc::<Feed>::default());
        let (io, mut peer) = follower(&left, 1 << 20).await;
        io.0.flush();
        left.publish(Entry { frame: frame(1), except: None });
        let batch = left.batch().unwrap();
        if io.0.unfollow() {
            io.0.flush();
        }
        assert!(io.0.follow(&followed, PeerId::next()));
        io.0.take(&left, Some(&batch), &batch.slices());
        assert_eq!(publish(&followed, &io.0, 2), Offer::Queued);
        drop(io);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes == [frame(0), frame(1), frame(2)].concat(), "{} bytes", bytes.len());
    }

    /// Nobody has had a turn to write: that is no fault of the peer's.
    #[tokio::test]
    async fn what_the_kernel_takes_makes_nobody_slow_however_much_comes_at_once() {
        let feed = Arc::<Feed>::default();
        let (io, _peer) = follower_with(&feed, 20 * FRAME, 1 << 20).await;
        for number in 1..=100 {
            let offer = io.0.offer_ours(&frame(number));
            assert!(matches!(offer, Offer::Queued | Offer::NeedsFlush), "{number}: {offer:?}");
        }
        (101..=200).for_each(|number| {
            feed.publish(Entry { frame: frame(number), except: None });
        });
        // As for somebody who has come less far than the others, for whom no batch is made.
        assert_eq!(io.0.take(&feed, None, &[]), Offer::Queued);
        assert_eq!(io.0.waiting(), 0);
    }

    #[tokio::test]
    async fn a_follower_that_does_not_read_overflows() {
        let feed = Arc::<Feed>::default();
        let (io, _peer) = follower(&feed, 20 * FRAME).await;
        let queued =
            (1..=u8::MAX).take_while(|number| publish(&feed, &io.0, *number) == Offer::Queued).count();
        assert!((10..u8::MAX.into()).contains(&queued), "{queued}");
        assert!(io.0.waiting() <= 21 * FRAME, "{}", io.0.waiting());
    }
}
