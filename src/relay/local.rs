//! Rooms of this process, and broadcasts to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use socketioxide::socket::Socket;

use super::flusher::Flusher;
use super::frame::Frame;
use crate::link::outlet::{Offer, Outlet};
use crate::link::session::Session;
use crate::metrics::{CloseReason, Metrics};
use crate::peer::PeerId;

/// One admitted socket, as rooms know it. It keeps nothing alive: the library owns socket and session.
pub struct Member {
    id: PeerId,
    session: Weak<Session>,
    socket: Weak<Socket>,
    max_queued: u64,
}

impl Member {
    /// A member that has just been admitted; `max_queued` bounds what may wait for it while it polls.
    pub fn new(id: PeerId, session: &Arc<Session>, socket: &Arc<Socket>, max_queued: usize) -> Arc<Self> {
        let max_queued = max_queued as u64;
        Arc::new(Member { id, session: Arc::downgrade(session), socket: Arc::downgrade(socket), max_queued })
    }

    /// Hands the frame over, in order behind everything handed over before, or closes the connection: nothing is
    /// dropped silently. Returns whether it was handed over.
    fn deliver(&self, frame: &Frame, round: &mut Round) -> bool {
        let Some(session) = self.session.upgrade() else { return false };
        let give = || session.tally().give(frame.packet_len());
        let offer = match session.websocket() {
            Some(outlet) => outlet.offer(frame.websocket(), || self.is_websocket(round), give),
            None => {
                give();
                Offer::Library
            }
        };
        let closed = match offer {
            Offer::Queued => None,
            Offer::NeedsFlush => {
                round.to_flush.extend(session.websocket().cloned());
                None
            }
            Offer::Library => self.deliver_through_library(&session, frame, round).err(),
            Offer::Overflow => Some(CloseReason::SlowReader),
            Offer::Closed => return false,
        };
        if let Some(reason) = closed {
            // Nobody waits for it: a broadcast must not hang on one member.
            drop(session.close(reason));
        }
        closed.is_none()
    }

    /// Members that poll, or are in the middle of an upgrade.
    fn deliver_through_library(
        &self,
        session: &Session,
        frame: &Frame,
        round: &mut Round,
    ) -> Result<(), CloseReason> {
        if session.tally().queued_bytes() > self.max_queued {
            return Err(CloseReason::SlowReader);
        }
        let socket = self.socket(round).ok_or(CloseReason::SendFailed)?;
        let payload = frame.raw().ok_or(CloseReason::SendFailed)?;
        socket.emit(frame.emit(), payload).map_err(|_| CloseReason::SendFailed)
    }

    fn is_websocket(&self, round: &mut Round) -> bool {
        let socket = self.socket(round);
        socket.is_some_and(|socket| socket.transport_type() == socketioxide::TransportType::Websocket)
    }

    fn socket(&self, round: &mut Round) -> Option<Arc<Socket>> {
        let socket = self.socket.upgrade()?;
        round.sockets.push(socket.clone());
        Some(socket)
    }
}

/// What one broadcast gathers.
#[derive(Default)]
struct Round {
    to_flush: Vec<Arc<Outlet>>,
    /// Sockets that were used, kept until the rooms are unlocked: dropping the last reference to one leaves its rooms.
    sockets: Vec<Arc<Socket>>,
}

#[derive(Default)]
struct Room {
    members: RwLock<Vec<Arc<Member>>>,
}

/// All rooms of this process. A room exists while it has members.
pub struct Rooms {
    by_name: Mutex<HashMap<Arc<str>, Arc<Room>>>,
    flusher: Flusher,
    metrics: Arc<Metrics>,
}

/// A member's place in its rooms; dropping it leaves them all.
pub struct Membership {
    rooms: Arc<Rooms>,
    names: Box<[Arc<str>]>,
    id: PeerId,
}

impl Rooms {
    /// No rooms yet. Must be called on a runtime, which will flush.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Rooms { by_name: Mutex::default(), flusher: Flusher::start(), metrics })
    }

    /// Puts a member into the rooms of these names, each given once.
    pub fn join(self: &Arc<Self>, names: &[Arc<str>], member: &Arc<Member>) -> Membership {
        let mut by_name = self.by_name.lock();
        for name in names {
            let room = by_name.entry(name.clone()).or_default();
            room.members.write().push(member.clone());
        }
        self.metrics.rooms.set(by_name.len() as i64);
        self.metrics.peers.inc();
        Membership { rooms: self.clone(), names: names.into(), id: member.id }
    }

    /// Hands the frame to every member of these rooms, to each once, except one. Returns to how many.
    ///
    /// Every queue has it when this returns, so that a member of two teams hears two senders' events in one order;
    /// only the writing is sliced.
    pub fn broadcast<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Arc<str>>,
        frame: &Frame,
        except: Option<PeerId>,
    ) -> usize {
        let rooms: Vec<Arc<Room>> = {
            let by_name = self.by_name.lock();
            names.into_iter().filter_map(|name| by_name.get(name).cloned()).collect()
        };
        let mut round = Round::default();
        let mut heard = 0;
        let mut seen = HashSet::new();
        for room in &rooms {
            for member in room.members.read().iter() {
                let is_first = rooms.len() == 1 || seen.insert(member.id);
                if Some(member.id) != except && is_first && member.deliver(frame, &mut round) {
                    heard += 1;
                }
            }
        }
        self.flusher.want(&mut round.to_flush);
        self.metrics.deliveries.inc_by(heard as u64);
        heard
    }

    fn leave(&self, names: &[Arc<str>], id: PeerId) {
        let mut by_name = self.by_name.lock();
        for name in names {
            let Some(room) = by_name.get(name) else { continue };
            let mut members = room.members.write();
            // Order within a room means nothing: each sender's events pass through it one after the other.
            if let Some(at) = members.iter().position(|member| member.id == id) {
                members.swap_remove(at);
            }
            let is_empty = members.is_empty();
            drop(members);
            if is_empty {
                by_name.remove(name);
            }
        }
        self.metrics.rooms.set(by_name.len() as i64);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.rooms.leave(&self.names, self.id);
        self.rooms.metrics.peers.dec();
    }
}
