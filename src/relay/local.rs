//! Rooms of this process, and broadcasts to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use socketioxide::socket::Socket;

use super::flusher::Flusher;
use super::frame::Frame;
use super::member::{Member, Round};
use super::room::Room;
use crate::metrics::Metrics;
use crate::peer::PeerId;

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
            room.add(member);
        }
        self.metrics.rooms.set(by_name.len() as i64);
        self.metrics.peers.inc();
        self.metrics.members.inc_by(names.len() as i64);
        Membership { rooms: self.clone(), names: names.into(), id: member.id() }
    }

    /// Lets a member that has joined hear what has waited for it and what comes.
    pub fn enter(&self, member: &Member, socket: &Arc<Socket>) {
        self.flusher.want(&mut member.enter(socket));
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
            for member in room.read().iter() {
                let is_first = rooms.len() == 1 || seen.insert(member.id());
                if Some(member.id()) != except && is_first && member.deliver(frame, &mut round) {
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
            if by_name.get(name).is_some_and(|room| room.remove(id)) {
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
        self.rooms.metrics.members.dec_by(self.names.len() as i64);
    }
}
