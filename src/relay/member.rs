//! One member of a room, and how a frame reaches it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

use super::frame::Frame;
use super::round::CourseId;
use crate::link::outlet::{Offer, Outlet};
use crate::link::session::{Carrier, Session};
use crate::metrics::CloseReason;
use crate::peer::PeerId;

/// One admitted socket, as rooms know it. It keeps nothing alive: the library owns socket and session.
pub struct Member {
    id: PeerId,
    session: Weak<Session>,
    socket: OnceLock<Weak<Socket>>,
    /// The connection that broadcasts are written to, once it is ours to write to.
    ours: OnceLock<Weak<Outlet>>,
    /// The feed that connection follows; 0 for none.
    follows: AtomicU64,
    max_queued: u64,
    entered: AtomicBool,
    /// What it is to hear first: frames from between its joining and its CONNECT's answer, which must come before them.
    early: Mutex<Early>,
}

#[derive(Default)]
struct Early {
    frames: Vec<Frame>,
    bytes: u64,
}

impl Member {
    /// The peer it is.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// A member that is being admitted: it may join rooms, and hears nothing before it has entered. `max_queued` bounds
    /// what may wait for it until then, and while it polls; bytes.
    pub fn new(id: PeerId, session: &Arc<Session>, max_queued: usize) -> Arc<Self> {
        Arc::new(Member {
            id,
            session: Arc::downgrade(session),
            socket: OnceLock::new(),
            ours: OnceLock::new(),
            follows: AtomicU64::new(0),
            max_queued: max_queued as u64,
            entered: AtomicBool::new(false),
            early: Mutex::default(),
        })
    }

    /// Its connection, once that is ours to write to and as long as it is there.
    pub fn outlet(&self) -> Option<Arc<Outlet>> {
        self.ours.get()?.upgrade()
    }

    /// Whether its connection is ours to write to and follows no feed yet.
    pub fn may_follow(&self) -> bool {
        self.follows().is_none() && self.ours.get().is_some()
    }

    /// The feed that it follows.
    pub fn follows(&self) -> Option<CourseId> {
        CourseId::from_number(self.follows.load(Ordering::Acquire))
    }

    /// Notes which feed it follows. Only rooms call it, with nobody publishing to them meanwhile.
    pub fn follow(&self, course: Option<CourseId>) {
        self.follows.store(course.map_or(0, CourseId::number), Ordering::Release);
    }

    /// Has it hear these before anything else. Only to be called before it joins a room.
    pub fn begin_with(&self, frames: Vec<Frame>) {
        let mut early = self.early.lock();
        early.bytes += frames.iter().map(|frame| frame.packet_len() as u64).sum::<u64>();
        early.frames = frames;
    }

    /// Its CONNECT has been answered: from here on it hears its rooms, beginning with what has waited.
    ///
    /// Returns the outlet to flush, if there is one.
    pub fn enter(&self, socket: &Arc<Socket>) -> Vec<Arc<Outlet>> {
        // A member enters once.
        let _ = self.socket.set(Arc::downgrade(socket));
        let mut round = Round::default();
        let mut early = self.early.lock();
        for frame in std::mem::take(&mut *early).frames {
            self.hand_over(&frame, &mut round);
        }
        // Under the lock, so that no later frame gets between.
        self.entered.store(true, Ordering::Release);
        round.to_flush
    }

    /// Hands the frame over, or keeps it until the member has entered. Returns whether one of these was done.
    pub fn deliver(&self, frame: &Frame, round: &mut Round) -> bool {
        if !self.entered.load(Ordering::Acquire) {
            let mut early = self.early.lock();
            if !self.entered.load(Ordering::Acquire) {
                return self.keep(frame, &mut early);
            }
        }
        self.hand_over(frame, round)
    }

    fn keep(&self, frame: &Frame, early: &mut Early) -> bool {
        early.bytes += frame.packet_len() as u64;
        if early.bytes <= self.max_queued {
            early.frames.push(frame.clone());
            return true;
        }
        if let Some(session) = self.session.upgrade() {
            drop(session.close(CloseReason::SlowReader));
        }
        false
    }

    /// Hands the frame over, in order behind everything handed over before, or closes the connection: nothing is
    /// dropped silently. Returns whether it was handed over.
    fn hand_over(&self, frame: &Frame, round: &mut Round) -> bool {
        // Nearly always: then nothing of the session has to be fetched into the cache.
        if let Some(outlet) = self.ours.get().and_then(Weak::upgrade) {
            match outlet.offer_ours(frame.websocket()) {
                Offer::Queued => return true,
                Offer::NeedsFlush => {
                    round.to_flush.push(outlet);
                    return true;
                }
                _ => {}
            }
        }
        let Some(session) = self.session.upgrade() else { return false };
        let give = || session.tally().give(frame.packet_len());
        let carrier = session.carrier();
        let offer = match &carrier {
            Carrier::WebSocket(outlet) => outlet.offer(frame.websocket(), || self.is_websocket(round), give),
            Carrier::Polling => {
                give();
                Offer::Library
            }
            Carrier::Gone => Offer::Closed,
        };
        if let (Offer::Queued | Offer::NeedsFlush, Carrier::WebSocket(outlet)) = (offer, &carrier) {
            // It stays ours until it closes.
            let _ = self.ours.set(Arc::downgrade(outlet));
        }
        let closed = match offer {
            Offer::Queued => None,
            Offer::NeedsFlush => {
                if let Carrier::WebSocket(outlet) = carrier {
                    round.to_flush.push(outlet);
                }
                None
            }
            Offer::Library => match self.deliver_through_library(&session, frame, round) {
                Ok(true) => None,
                Ok(false) => {
                    session.tally().take_back(frame.packet_len());
                    return false;
                }
                Err(reason) => Some(reason),
            },
            Offer::Overflow => Some(CloseReason::SlowReader),
            Offer::Closed => return false,
        };
        if let Some(reason) = closed {
            // Nobody waits for it: a broadcast must not hang on one member.
            drop(session.close(reason));
        }
        closed.is_none()
    }

    /// Members that poll, or are in the middle of an upgrade. `false`: the library has let go of the socket, for a reason
    /// that it is about to tell, and what the member holds is freed then.
    fn deliver_through_library(
        &self,
        session: &Session,
        frame: &Frame,
        round: &mut Round,
    ) -> Result<bool, CloseReason> {
        if session.tally().queued_bytes() > self.max_queued {
            return Err(CloseReason::SlowReader);
        }
        let Some(socket) = self.socket(round) else { return Ok(false) };
        let payload = frame.raw().ok_or(CloseReason::SendFailed)?;
        let sent = match frame.raw_meta() {
            None => socket.emit(frame.emit(), payload),
            // The library makes each part of a tuple an argument.
            Some(meta) => socket.emit(frame.emit(), &(payload, meta)),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(SendError::Socket(SocketError::Closed)) => Ok(false),
            Err(_) => Err(CloseReason::SendFailed),
        }
    }

    fn is_websocket(&self, round: &mut Round) -> bool {
        let socket = self.socket(round);
        socket.is_some_and(|socket| socket.transport_type() == socketioxide::TransportType::Websocket)
    }

    fn socket(&self, round: &mut Round) -> Option<Arc<Socket>> {
        let socket = self.socket.get()?.upgrade()?;
        round.sockets.push(socket.clone());
        Some(socket)
    }
}

/// What one broadcast gathers.
#[derive(Default)]
pub struct Round {
    /// Outlets that were idle and hold a frame now.
    pub to_flush: Vec<Arc<Outlet>>,
    /// Sockets that were used, kept until the rooms are unlocked: dropping the last reference to one leaves its rooms.
    sockets: Vec<Arc<Socket>>,
}
