//! Rooms of this process, and broadcasts to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use socketioxide::socket::Socket;

use super::flusher::Flusher;
use super::frame::Frame;
use super::member::{Member, Round};
use super::room::Room;
use crate::hears::{Hearing, Listening};
use crate::message::Topic;
use crate::metrics::{Metrics, WithheldReason};
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

    /// Puts a member into these rooms, each given once.
    pub fn join(self: &Arc<Self>, listening: &[Listening], member: &Arc<Member>) -> Membership {
        let mut by_name = self.by_name.lock();
        for Listening { room, hears } in listening {
            by_name.entry(room.clone()).or_default().add(member, hears);
        }
        self.metrics.rooms.set(by_name.len() as i64);
        self.metrics.peers.inc();
        self.metrics.members.inc_by(listening.len() as i64);
        let names = listening.iter().map(|one| one.room.clone()).collect();
        Membership { rooms: self.clone(), names, id: member.id() }
    }

    /// Lets a member that has joined hear what has waited for it and what comes.
    pub fn enter(&self, member: &Member, socket: &Arc<Socket>) {
        self.flusher.want(&mut member.enter(socket));
    }

    /// Hands the frame to every member of these rooms that hears of `topic` there, to each once, except one. Returns to how
    /// many.
    ///
    /// Every queue has it when this returns, so that a member of two teams hears two senders' events in one order;
    /// only the writing is sliced.
    pub fn broadcast<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Arc<str>>,
        frame: &Frame,
        topic: &Topic<'_>,
        except: Option<PeerId>,
    ) -> usize {
        let rooms: Vec<Arc<Room>> = {
            let by_name = self.by_name.lock();
            names.into_iter().filter_map(|name| by_name.get(name).cloned()).collect()
        };
        let mut round = Round::default();
        let mut heard = 0;
        let mut seen = HashSet::new();
        let mut withheld = false;
        for room in &rooms {
            let members = room.read();
            for group in members.groups().filter(|group| !group.is_empty()) {
                let hearing = group.hears().judge(topic);
                if !hearing.is_heard() {
                    withheld = true;
                    continue;
                }
                let before = heard;
                for member in group.iter() {
                    let is_first = rooms.len() == 1 || seen.insert(member.id());
                    if Some(member.id()) != except && is_first && member.deliver(frame, &mut round) {
                        heard += 1;
                    }
                }
                self.count(&hearing, heard - before);
            }
        }
        self.flusher.want(&mut round.to_flush);
        self.metrics.deliveries.inc_by(heard as u64);
        if withheld {
            self.count_withheld(&rooms, topic, except, seen);
        }
        heard
    }

    /// Counts the members of these rooms from whom an event was withheld, each once. `heard` are those who heard it in
    /// another of several rooms.
    fn count_withheld(
        &self,
        rooms: &[Arc<Room>],
        topic: &Topic<'_>,
        except: Option<PeerId>,
        mut heard: HashSet<PeerId>,
    ) {
        for room in rooms {
            let members = room.read();
            for group in members.groups() {
                let hearing = group.hears().judge(topic);
                if hearing.is_heard() {
                    continue;
                }
                let mut without = |id| Some(id) != except && heard.insert(id);
                let count = match rooms {
                    // No member has to be looked at.
                    [_] => group.len() - usize::from(except.is_some_and(|id| members.is_in(group, id))),
                    _ => group.iter().filter(|member| without(member.id())).count(),
                };
                self.count(&hearing, count);
            }
        }
    }

    /// Counts so many deliveries that were withheld, or would have been.
    fn count(&self, hearing: &Hearing<'_>, deliveries: usize) {
        let (reason, rule) = match hearing {
            Hearing::Heard => return,
            Hearing::Observed(rule) => (WithheldReason::Observed, Some(rule)),
            Hearing::Ruled(rule) => (WithheldReason::Audience, Some(rule)),
            Hearing::Filtered => (WithheldReason::Filter, None),
        };
        self.metrics.withheld(reason, deliveries as u64);
        if let Some(rule) = rule {
            rule.count(deliveries as u64);
        }
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
