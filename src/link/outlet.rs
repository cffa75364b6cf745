//! The guarded connection: one TCP stream, shared by the protocol library and by broadcasts.
//!
//! The library reads and writes through [`super::outlet_io::OutletIo`]. A broadcast does not wake one task per member:
//! it frames its packet once, in the feed of its room ([`super::feed`]) which the outlet follows, or in the outlet's own
//! queue, and one write per outlet follows at the end of the tick. What keeps all writers in order is one lock and two
//! rules: all hand over whole WebSocket frames, never a part of one; and before anything else is queued or written, what the
//! feed holds for this outlet is queued.
//!
//! States: *library* (plain HTTP, polling, upgrading, or packets that the library was given are not all written yet:
//! nothing of ours is written) → *direct* → *closed*. While the library still has packets of this session, broadcasts
//! follow them through the library: held back here instead, they would be overtaken by answers, which always take the
//! library's way, and a sender would have its answer before its echo.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::feed::{Batch, Feed};
use super::session::Session;
use super::tally::Tally;
use crate::config::policy::SlowReader;
use crate::metrics::Traffic;
use crate::peer::PeerId;

/// Frames handed to the kernel in one `writev`; more gain nothing, and the array lives on the stack.
pub const FRAMES_PER_WRITE: usize = 32;

/// Buffers of at most so many bytes are made ready by writing zeros into them, which costs nothing; those that hyper reads a
/// request's head into would cost memory that is never used.
const SMALL_READ: usize = 1024;

/// A queue that grew under a burst is given back once it has drained, above this many slots.
const KEPT_QUEUE_SLOTS: usize = 16;

/// One accepted connection.
pub struct Outlet {
    tcp: TcpStream,
    remote: SocketAddr,
    limits: SlowReader,
    lane: Mutex<Lane>,
    /// Bytes in the lane, readable without its lock.
    waiting: AtomicUsize,
    /// The library has bytes of which the kernel takes none.
    refused: AtomicBool,
    closed: AtomicBool,
    head_ended: AtomicBool,
    session: OnceLock<Weak<Session>>,
    traffic: Arc<Traffic>,
    _place: Place,
}

/// What happened to a frame that was offered to an outlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Queued; the outlet was idle before and must be flushed at the end of the tick.
    NeedsFlush,
    /// Queued behind others that are on their way.
    Queued,
    /// The connection still belongs to the library, which has to send it.
    Library,
    /// More bytes would wait than one peer may hold back.
    Overflow,
    /// The connection is gone.
    Closed,
}

/// Whatever is to be freed with a connection.
pub type Place = Box<dyn Send + Sync>;

/// A feed, and how far this connection has come in it.
struct Following {
    feed: Arc<Feed>,
    next: u64,
    peer: PeerId,
}

struct Lane {
    state: State,
    following: Option<Following>,
    /// What the kernel did not take of a buffer that counts as written; goes out before anything else.
    rest: Bytes,
    /// Our frames.
    queue: VecDeque<Bytes>,
    /// The task that reads this connection. It is the one that waits for the kernel to take more.
    reader: Option<Waker>,
    /// Since when bytes wait without the kernel taking any.
    stalled_since: Option<Instant>,
}

enum State {
    /// Nothing of ours may be written. A tally is there once a session has been bound to this connection.
    Library(Option<Arc<Tally>>),
    /// TLS is spoken here: the same, for good.
    Encrypted(Option<Arc<Tally>>),
    Direct,
}

impl Outlet {
    /// Wraps an accepted stream, which keeps its `place` until it is closed and counts its bytes in `traffic`.
    pub fn new(
        tcp: TcpStream,
        remote: SocketAddr,
        limits: SlowReader,
        traffic: Arc<Traffic>,
        place: Place,
    ) -> Arc<Self> {
        Arc::new(Outlet {
            tcp,
            remote,
            limits,
            lane: Mutex::new(Lane {
                state: State::Library(None),
                following: None,
                rest: Bytes::new(),
                queue: VecDeque::new(),
                reader: None,
                stalled_since: None,
            }),
            waiting: AtomicUsize::new(0),
            refused: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            head_ended: AtomicBool::new(false),
            session: OnceLock::new(),
            traffic,
            _place: place,
        })
    }

    /// The address at the other end of the TCP connection, which may be a proxy's.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Binds the session whose WebSocket this connection is about to become; from here on the library's packets are
    /// counted in its tally, and what the client sends is counted against it.
    pub fn bind(&self, session: &Arc<Session>) {
        let tally = session.tally().clone();
        match &mut self.lane.lock().state {
            State::Encrypted(bound) => *bound = Some(tally),
            state => *state = State::Library(Some(tally)),
        }
        // A connection carries one WebSocket, so it is bound once.
        let _ = self.session.set(Arc::downgrade(session));
    }

    /// The session that was bound, if one was.
    pub fn session(&self) -> Option<&Weak<Session>> {
        self.session.get()
    }

    /// Says whether the last byte that was read ended a request's head.
    pub fn note_end_of_head(&self, ended: bool) {
        self.head_ended.store(ended, Ordering::Release);
    }

    /// Whether nothing was read after a request's head. What a client sends before it may would be read by hyper, and
    /// then be a WebSocket frame that nobody has looked at.
    pub fn head_ended(&self) -> bool {
        self.head_ended.load(Ordering::Acquire)
    }

    /// From here on TLS is spoken on this connection, so that nothing but the library's way leads to its peer.
    pub fn encrypt(&self) {
        self.lane.lock().state = State::Encrypted(None);
    }

    /// The tally of the session whose WebSocket this is about to become, where TLS is spoken: its frames can only be
    /// counted before they are encrypted.
    pub fn tally_above_tls(&self) -> Option<Arc<Tally>> {
        match &self.lane.lock().state {
            State::Encrypted(tally) => tally.clone(),
            State::Library(_) | State::Direct => None,
        }
    }

    /// Whether the connection has been closed from this side.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Queues one whole WebSocket frame, if the connection is ours to write to.
    ///
    /// `is_websocket` is asked only while the library still owns the connection: it says whether the library has
    /// finished the upgrade. The connection becomes ours when it has, and everything it was given has been seen written.
    /// On [`Offer::Library`] the caller sends the packet the library's way; `count_library_packet` has then been called
    /// under the lock, so that the tally never lags behind what the library was given.
    pub fn offer(
        &self,
        frame: &Bytes,
        is_websocket: impl FnOnce() -> bool,
        count_library_packet: impl FnOnce(),
    ) -> Offer {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return Offer::Closed;
        }
        let is_ours = match &lane.state {
            State::Direct => true,
            State::Library(tally) => tally.as_ref().is_some_and(|tally| tally.is_even() && is_websocket()),
            State::Encrypted(_) => false,
        };
        if !is_ours {
            count_library_packet();
            return Offer::Library;
        }
        lane.state = State::Direct;
        self.queue(&mut lane, frame)
    }

    /// The same for a connection that has been ours before, and so is as long as it is open.
    pub fn offer_ours(&self, frame: &Bytes) -> Offer {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return Offer::Closed;
        }
        let was_idle = lane.is_empty();
        self.queue_new(&mut lane);
        match self.queue(&mut lane, frame) {
            // What the feed held has gone before it, and is flushed with it.
            Offer::Queued if was_idle => Offer::NeedsFlush,
            offer => offer,
        }
    }

    fn queue(&self, lane: &mut Lane, frame: &Bytes) -> Offer {
        if self.waiting.load(Ordering::Relaxed) + frame.len() > self.limits.max_queued {
            // Nobody may have had a turn to write yet: what counts is what the kernel does not take.
            self.flush_locked(lane);
            if self.is_closed() {
                return Offer::Closed;
            }
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting + frame.len() > self.limits.max_queued {
            return Offer::Overflow;
        }
        lane.queue.push_back(frame.clone());
        self.waiting.store(waiting + frame.len(), Ordering::Release);
        // Once the queue is not empty, its flush is on its way or the reader waits for the kernel.
        if lane.queue.len() == 1 && lane.rest.is_empty() { Offer::NeedsFlush } else { Offer::Queued }
    }

    /// Has `peer`, whose connection this is, follow a feed from its next frame on. `false`: it is not ours to write to, or
    /// follows another already.
    pub fn follow(&self, feed: &Arc<Feed>, peer: PeerId) -> bool {
        let mut lane = self.lane.lock();
        if self.is_closed() || lane.following.is_some() || !matches!(lane.state, State::Direct) {
            return false;
        }
        lane.following = Some(Following { feed: feed.clone(), next: feed.head(), peer });
        true
    }

    /// Follows nothing any more, with what was published before still to be heard. Returns whether it must be flushed.
    pub fn unfollow(&self) -> bool {
        let mut lane = self.lane.lock();
        let was_idle = lane.is_empty();
        self.queue_new(&mut lane);
        lane.following = None;
        was_idle && !lane.is_empty()
    }

    /// Queues what the feed holds and this connection has not taken yet. Nobody's limit is looked at: a feed is bounded.
    fn queue_new(&self, lane: &mut Lane) {
        let Lane { following: Some(following), queue, .. } = lane else { return };
        if self.is_closed() || following.next == following.feed.head() {
            return;
        }
        let mut bytes = 0;
        following.next = following.feed.read(following.next, |entry| {
            if entry.except != Some(following.peer) {
                bytes += entry.frame.len();
                queue.push_back(entry.frame.clone());
            }
        });
        self.waiting.fetch_add(bytes, Ordering::Release);
    }

    /// Writes what its feed holds for it as far as the kernel takes it, and queues the rest. `batch` is what most followers
    /// of `feed` lack, and `slices` its frames; who has come to follow another feed meanwhile is not given them. [`Offer::Overflow`]: more waits now than one peer may hold back.
    pub fn take(&self, feed: &Arc<Feed>, batch: Option<&Batch>, slices: &[IoSlice<'_>]) -> Offer {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return Offer::Closed;
        }
        let was_idle = lane.is_empty();
        match (&mut lane.following, batch) {
            // Nearly always: then the frames need not pass through the queue.
            (Some(following), Some(batch))
                if was_idle
                    && Arc::ptr_eq(&following.feed, feed)
                    && following.next == batch.from
                    && batch.is_for(following.peer) =>
            {
                following.next = batch.to;
                match self.send(slices) {
                    Ok(written) if written == batch.bytes => return Offer::Queued,
                    Ok(written) => self.queue_rest(&mut lane, batch, written),
                    // The kernel is full, or the connection has failed, which the next attempt tells.
                    Err(_) => self.queue_rest(&mut lane, batch, 0),
                }
            }
            _ => self.queue_new(&mut lane),
        }
        if was_idle || self.waiting.load(Ordering::Relaxed) > self.limits.max_queued {
            self.flush_locked(&mut lane);
        }
        match self.waiting.load(Ordering::Relaxed) > self.limits.max_queued {
            true => Offer::Overflow,
            false => Offer::Queued,
        }
    }

    /// One system call, past tokio's view of the connection: that is only brought up to date when the kernel is full.
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = match slices {
            [frame] => rustix::net::send(&self.tcp, frame, SendFlags::NOSIGNAL),
            _ => rustix::net::sendmsg(
                &self.tcp,
                slices,
                &mut SendAncillaryBuffer::default(),
                SendFlags::NOSIGNAL,
            ),
        };
        let sent = sent?;
        self.traffic.sent.inc_by(sent as u64);
        Ok(sent)
    }

    fn queue_rest(&self, lane: &mut Lane, batch: &Batch, mut written: usize) {
        self.waiting.fetch_add(batch.bytes - written, Ordering::Release);
        for frame in batch.frames() {
            if written >= frame.len() {
                written -= frame.len();
            } else if written > 0 {
                lane.rest = frame.slice(written..);
                written = 0;
            } else {
                lane.queue.push_back(frame.clone());
            }
        }
    }

    /// Writes what the kernel takes; called by the flusher at the end of a tick.
    pub fn flush(&self) {
        let mut lane = self.lane.lock();
        if !self.is_closed() && matches!(lane.state, State::Direct) {
            self.flush_locked(&mut lane);
        }
    }

    fn flush_locked(&self, lane: &mut Lane) {
        match self.write_waiting(lane) {
            Ok(()) => {}
            // The reader's task waits for the kernel: only a task's own poll may register with the driver.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => lane.wake_reader(),
            Err(_) => self.close_locked(lane),
        }
    }

    /// Whether bytes have waited too long for the kernel to take any: ours, or those of a write of the library's.
    pub fn is_stalled(&self, now: Instant) -> bool {
        if self.waiting.load(Ordering::Relaxed) == 0 && !self.refused.load(Ordering::Relaxed) {
            return false;
        }
        let mut lane = self.lane.lock();
        let since = *lane.stalled_since.get_or_insert(now);
        now.saturating_duration_since(since) >= self.limits.max_stall
    }

    /// Bytes that wait here, not those in the library's queue.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Closes at once: what the kernel has taken still goes out, everything else is dropped.
    pub fn kill(&self) {
        self.close_locked(&mut self.lane.lock());
    }

    /// Closes with a reset: a peer that does not read must not leave what it has not read in the kernel.
    pub fn abort(&self) {
        // Without it the kernel goes on keeping the bytes; the connection is closed all the same.
        let _ = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        self.kill();
    }

    /// Sends what is queued as far as the kernel takes it, then a WebSocket close frame (RFC 6455 §5.5.1) if it is a
    /// WebSocket, then closes.
    pub fn close(&self, close_frame: &'static [u8]) {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return;
        }
        self.queue_new(&mut lane);
        if lane.is_websocket() && lane.rest.is_empty() {
            lane.state = State::Direct;
            lane.queue.push_back(Bytes::from_static(close_frame));
            self.waiting.fetch_add(close_frame.len(), Ordering::Release);
            // Whatever the kernel does not take now is lost with the connection.
            let _ = self.write_waiting(&mut lane);
        }
        self.close_locked(&mut lane);
    }

    fn close_locked(&self, lane: &mut Lane) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        lane.following = None;
        lane.queue = VecDeque::new();
        lane.rest = Bytes::new();
        self.waiting.store(0, Ordering::Release);
        // Both directions: the library's pending read ends and its pending write fails, whichever task it is in.
        let _ = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Both);
        lane.wake_reader();
    }

    /// Reads into `buffer`. The reading task also carries what broadcasts left behind when the kernel was full.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The waker is stored before the queue is looked at: a flush that runs dry in between finds it.
        {
            let mut lane = self.lane.lock();
            lane.remember_reader(cx.waker());
            if !lane.is_empty() && matches!(lane.state, State::Direct) {
                let _ = self.poll_drain(&mut lane, cx)?;
            }
        }
        loop {
            if self.is_closed() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.tcp.poll_read_ready(cx))?;
            match self.try_read(buffer) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// One system call. A read that leaves room has emptied the kernel's buffer: tokio is told so along with it, which
    /// spares the read that would only find nothing.
    fn try_read(&self, buffer: &mut tokio::io::ReadBuf<'_>) -> io::Result<()> {
        if buffer.remaining() > SMALL_READ {
            let read = self.tcp.try_read_buf(buffer)?;
            self.traffic.received.inc_by(read as u64);
            return Ok(());
        }
        let mut filled = None;
        let unfilled = buffer.initialize_unfilled();
        let read = self.tcp.try_io(Interest::READABLE, || {
            let room = unfilled.len();
            let read = rustix::io::read(&self.tcp, &mut *unfilled)?;
            filled = Some(read);
            if (1..room).contains(&read) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match filled {
            Some(filled) => {
                self.traffic.received.inc_by(filled as u64);
                buffer.advance(filled);
                Ok(())
            }
            None => read,
        }
    }

    /// Writes a buffer of the library's, whole or not at all, after everything that counts as written before it.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.queue_new(&mut lane);
        ready!(self.poll_drain(&mut lane, cx))?;
        let more = self.is_followed_at_once(&lane, buffer);
        let taken = loop {
            // Where that fails the ordinary way does too, and tells tokio that the kernel is full.
            let sent = if more { self.send_with_more_to_come(buffer).ok() } else { None };
            match sent.map_or_else(|| self.tcp.try_write(buffer), Ok) {
                Ok(taken) => break taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    lane.stalled_since.get_or_insert_with(Instant::now);
                    self.refused.store(true, Ordering::Relaxed);
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        self.traffic.sent.inc_by(taken as u64);
        lane.stalled_since = None;
        self.refused.store(false, Ordering::Relaxed);
        if taken < buffer.len() {
            lane.rest = Bytes::copy_from_slice(&buffer[taken..]);
            self.waiting.fetch_add(lane.rest.len(), Ordering::Release);
        }
        if let State::Library(Some(tally)) = &lane.state {
            tally.wrote_frames(buffer);
        }
        Poll::Ready(Ok(buffer.len()))
    }

    fn send_with_more_to_come(&self, buffer: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.tcp, buffer, SendFlags::NOSIGNAL | SendFlags::MORE)?)
    }

    /// Whether this is the answer that opens a WebSocket on which the library's first packet follows at once: then they leave
    /// together. After a polling session's upgrade it is the client that speaks next.
    fn is_followed_at_once(&self, lane: &Lane, buffer: &[u8]) -> bool {
        const SWITCHING_PROTOCOLS: &[u8] = b"HTTP/1.1 101 ";
        matches!(lane.state, State::Library(Some(_)))
            && buffer.starts_with(SWITCHING_PROTOCOLS)
            && self.session().and_then(Weak::upgrade).is_some_and(|session| session.began_as_websocket())
    }

    /// Ready when nothing that may be written waits.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.lane.lock();
        if self.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.poll_drain(&mut lane, cx)
    }

    /// Sends what waits, then FIN.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.lane.lock();
        if !self.is_closed() {
            self.queue_new(&mut lane);
            ready!(self.poll_drain(&mut lane, cx))?;
            let _ = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.write_waiting(lane) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.tcp.poll_write_ready(cx))?;
                }
                Err(error) => {
                    self.close_locked(lane);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Writes the rest, then, when direct, the queue. `Ok` when nothing that may be written is left.
    fn write_waiting(&self, lane: &mut Lane) -> io::Result<()> {
        loop {
            let ours = if matches!(lane.state, State::Direct) { lane.queue.len() } else { 0 };
            if lane.rest.is_empty() && ours == 0 {
                // What the library could not hand over still waits, and its next attempt does not begin a new wait.
                if !self.refused.load(Ordering::Relaxed) {
                    lane.stalled_since = None;
                }
                if lane.queue.is_empty() && lane.queue.capacity() > KEPT_QUEUE_SLOTS {
                    lane.queue = VecDeque::new();
                }
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); FRAMES_PER_WRITE];
            let mut used = 0;
            let rest = (!lane.rest.is_empty()).then_some(&lane.rest);
            for frame in rest.into_iter().chain(lane.queue.iter().take(ours)).take(FRAMES_PER_WRITE) {
                slices[used] = IoSlice::new(frame);
                used += 1;
            }
            // A plain write costs the kernel less than a vector of one.
            let written = match used {
                1 => self.tcp.try_write(&slices[0]),
                _ => self.tcp.try_write_vectored(&slices[..used]),
            };
            match written {
                Ok(written) => {
                    self.traffic.sent.inc_by(written as u64);
                    lane.advance(written);
                    self.waiting.fetch_sub(written, Ordering::Release);
                    lane.stalled_since = None;
                }
                Err(error) => {
                    lane.stalled_since.get_or_insert_with(Instant::now);
                    return Err(error);
                }
            }
        }
    }
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.queue.is_empty()
    }

    /// Whether frames have been written, by whomever; so another may follow at the end of one.
    fn is_websocket(&self) -> bool {
        match &self.state {
            State::Direct => true,
            State::Library(tally) => tally.as_ref().is_some_and(|tally| tally.saw_frames()),
            // Its frames are not ours to make.
            State::Encrypted(_) => false,
        }
    }

    fn remember_reader(&mut self, waker: &Waker) {
        match &mut self.reader {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
    }

    fn wake_reader(&self) {
        if let Some(waker) = &self.reader {
            waker.wake_by_ref();
        }
    }

    /// Forgets `written` bytes from the front.
    fn advance(&mut self, mut written: usize) {
        let of_rest = written.min(self.rest.len());
        // A `Bytes` of length 0 still holds its buffer, so an emptied one is replaced.
        self.rest = if of_rest == self.rest.len() { Bytes::new() } else { self.rest.slice(of_rest..) };
        written -= of_rest;
        while written > 0 {
            let Some(frame) = self.queue.pop_front() else { return };
            if written < frame.len() {
                self.rest = frame.slice(written..);
                return;
            }
            written -= frame.len();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // Nothing waits any more; the descriptor closes with the stream.
        self.closed.store(true, Ordering::Release);
    }
}

/// How long the kernel keeps unacknowledged data before it gives the connection up (`TCP_USER_TIMEOUT`): a peer that
/// has vanished without FIN must not hold buffers for the quarter of an hour that TCP's own retries take.
pub const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
