//! Rooms of this process, and broadcasts to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use socketioxide::socket::Socket;

use super::bus::Bus;
use super::flusher::{Flusher, SLICE};
use super::frame::Frame;
use super::member::{Member, Round};
use super::room::{GroupNumber, Room};
use super::round::CourseId;
use super::traffic::Traffic;
use crate::hears::{Hearing, Listening};
use crate::link::feed::Entry;
use crate::link::outlet::Outlet;
use crate::message::Topic;
use crate::metrics::{Metrics, WithheldReason};
use crate::peer::PeerId;

/// All rooms of this process. A room exists while it has members.
pub struct Rooms {
    by_name: Mutex<HashMap<Arc<str>, Arc<Room>>>,
    flusher: Flusher,
    traffic: Traffic,
    metrics: Arc<Metrics>,
    bus: Arc<dyn Bus>,
    /// Rooms whose members have become more or fewer since somebody asked; where there are other nodes, which want to know.
    changed: Option<Mutex<HashSet<Arc<str>>>>,
}

/// A member's place in its rooms; dropping it leaves them all.
pub struct Membership {
    rooms: Arc<Rooms>,
    names: Box<[Arc<str>]>,
    id: PeerId,
}

impl Rooms {
    /// No rooms yet; the bus hears of those that come and go. Must be called on a runtime, which will flush.
    pub fn new(metrics: Arc<Metrics>, bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Rooms {
            by_name: Mutex::default(),
            flusher: Flusher::start(),
            traffic: Traffic::default(),
            metrics,
            changed: bus.is_on().then(Mutex::default),
            bus,
        })
    }

    /// Puts a member into these rooms, each given once.
    pub fn join(self: &Arc<Self>, listening: &[Listening], member: &Arc<Member>) -> Membership {
        let mut to_flush = Vec::new();
        let mut by_name = self.by_name.lock();
        for Listening { room, hears } in listening {
            to_flush.extend(self.room(&mut by_name, room).add(member, hears));
        }
        self.metrics.rooms.set(by_name.len() as i64);
        self.metrics.peers.inc();
        self.metrics.members.inc_by(listening.len() as i64);
        drop(by_name);
        self.flusher.want(&mut to_flush);
        let names = listening.iter().map(|one| one.room.clone()).collect();
        Membership { rooms: self.clone(), names, id: member.id() }
    }

    /// The room of this name, where somebody is about to join.
    fn room<'r>(&self, by_name: &'r mut HashMap<Arc<str>, Arc<Room>>, name: &Arc<str>) -> &'r Arc<Room> {
        self.note_changed(name);
        by_name.entry(name.clone()).or_insert_with(|| {
            self.bus.opened(name);
            Arc::default()
        })
    }

    /// Lets a member that has joined hear what has waited for it and what comes.
    pub fn enter(&self, member: &Member, socket: &Arc<Socket>) {
        self.flusher.want(&mut member.enter(socket));
    }

    /// Hands the frame of a room to every member that hears of `topic` there, or whatever it hears without one, to each member
    /// of several rooms once, except one. Returns to how many.
    ///
    /// Every queue has it when this returns, so that a member of two teams hears two senders' events in one order;
    /// only the writing is sliced. `order` is what whoever tells has locked for it, and is let go once every queue has it.
    pub fn broadcast<'n>(
        &self,
        frames: impl IntoIterator<Item = (&'n Arc<str>, &'n Frame)> + Clone,
        topic: Option<&Topic<'_>>,
        except: Option<PeerId>,
        order: impl Sized,
    ) -> usize {
        let mut rooms: SmallVec<[(Arc<Room>, &Frame); 1]> = {
            let by_name = self.by_name.lock();
            let frames = frames.clone().into_iter();
            frames.filter_map(|(name, frame)| Some((by_name.get(name)?.clone(), frame))).collect()
        };
        // One order for all who lock several.
        rooms.sort_unstable_by_key(|(room, _)| Arc::as_ptr(room));
        let mut round = Round::default();
        let told = self.publish(&rooms, topic, except, &mut round);
        drop(order);
        self.flusher.want(&mut round.to_flush);
        self.metrics.deliveries.inc_by(told.members as u64);
        for ((room, _), copies) in rooms.iter().zip(&told.by_room) {
            if room.passed().add(*copies) {
                self.note_traffic(frames.clone().into_iter().map(|(name, _)| name), room);
            }
        }
        if !told.feeds.is_empty() {
            let (now, mut few) = (Instant::now(), SLICE);
            for feed in &told.feeds {
                self.flusher.want_room(&rooms[feed.room].0, feed.group, now, feed.is_full, &mut few);
            }
        }
        if let (true, Some(topic)) = (told.withheld, topic) {
            self.count_withheld(&rooms, topic, except, &told.feeds, told.seen);
        }
        told.members
    }

    /// Has the room's traffic looked at with the next sample.
    #[cold]
    fn note_traffic<'n>(&self, names: impl IntoIterator<Item = &'n Arc<str>>, room: &Arc<Room>) {
        let by_name = self.by_name.lock();
        let is_it = |name: &&Arc<str>| by_name.get(*name).is_some_and(|found| Arc::ptr_eq(found, room));
        let name = names.into_iter().find(is_it).cloned();
        drop(by_name);
        // Nobody is left in a room that is not found any more.
        if let Some(name) = name {
            self.traffic.note(&name, room);
        }
    }

    /// The rooms whose names begin so, in no order.
    pub fn named(&self, beginning: &str) -> Vec<(Arc<str>, Arc<Room>)> {
        let by_name = self.by_name.lock();
        let named = by_name.iter().filter(|(name, _)| name.starts_with(beginning));
        named.map(|(name, room)| (name.clone(), room.clone())).collect()
    }

    /// How many members those rooms have in which that has changed since it was asked last; 0 where nobody is left. Nothing where
    /// there are no other nodes.
    pub fn changed(&self) -> Vec<(Arc<str>, usize)> {
        let changed = self.changed.as_ref().map(|changed| std::mem::take(&mut *changed.lock()));
        let by_name = self.by_name.lock();
        let members = |name: &Arc<str>| by_name.get(name).map_or(0, |room| room.len());
        let changed = changed.into_iter().flatten();
        changed
            .map(|name| {
                let many = members(&name);
                (name, many)
            })
            .collect()
    }

    fn note_changed(&self, name: &Arc<str>) {
        if let Some(changed) = &self.changed {
            changed.lock().insert(name.clone());
        }
    }

    /// The members of these rooms that are in none of those, each once.
    pub fn only_in(&self, rooms: &[Arc<str>], others: &[Arc<str>]) -> Vec<PeerId> {
        let [rooms, others] = {
            let by_name = self.by_name.lock();
            [rooms, others]
                .map(|names| names.iter().filter_map(|name| by_name.get(name).cloned()).collect::<Vec<_>>())
        };
        let mut seen: HashSet<PeerId> = HashSet::new();
        let ids = |room: &Room| -> Vec<PeerId> {
            room.read().groups().flat_map(|(_, group)| group.iter().map(Member::id)).collect()
        };
        others.iter().for_each(|room| seen.extend(ids(room)));
        rooms.iter().flat_map(|room| ids(room)).filter(|id| seen.insert(*id)).collect()
    }

    /// What is relayed to them.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Hands the frame to every member of these rooms that hears of it, once.
    fn publish(
        &self,
        rooms: &[(Arc<Room>, &Frame)],
        topic: Option<&Topic<'_>>,
        except: Option<PeerId>,
        round: &mut Round,
    ) -> Told {
        // All at once, so that nobody begins to follow one room's feed after another's members have been gone through.
        let all: SmallVec<[_; 1]> = rooms.iter().map(|(room, _)| room.read()).collect();
        let mut told = Told { by_room: smallvec![0; rooms.len()], ..Told::default() };
        let mut handed: SmallVec<[_; 1]> = SmallVec::new();
        for (room, members) in all.iter().enumerate() {
            for (number, group) in members.groups().filter(|(_, group)| !group.is_empty()) {
                let hearing = topic.map_or(Hearing::Heard, |topic| group.hears().judge(topic));
                if !hearing.is_heard() {
                    told.withheld = true;
                    continue;
                }
                if group.followers() > 0 {
                    let entry = Entry { frame: rooms[room].1.websocket().clone(), except };
                    let is_full = group.course().feed().publish(entry);
                    told.feeds.push(Published { room, group: number, course: group.course().id(), is_full });
                    let without_echo = except.is_some_and(|id| members.is_in(group, id) == (true, true));
                    let heard = group.followers() - usize::from(without_echo);
                    told.members += heard;
                    told.by_room[room] += heard;
                    self.count(&hearing, heard);
                }
                if !group.others().is_empty() {
                    handed.push((room, group, hearing));
                }
            }
        }
        let mut may_follow: SmallVec<[(usize, Vec<Arc<Member>>); 1]> = SmallVec::new();
        for (room, group, hearing) in handed {
            let before = told.members;
            let mut candidates = Vec::new();
            for member in group.others() {
                let is_first = rooms.len() == 1 || !told.by_feed(member) && told.seen.insert(member.id());
                if Some(member.id()) != except && is_first && member.deliver(rooms[room].1, round) {
                    told.members += 1;
                }
                if member.may_follow() {
                    candidates.push(member.clone());
                }
            }
            told.by_room[room] += told.members - before;
            self.count(&hearing, told.members - before);
            if !candidates.is_empty() {
                may_follow.push((room, candidates));
            }
        }
        drop(all);
        may_follow.iter().for_each(|(room, candidates)| rooms[*room].0.promote(candidates));
        told
    }

    /// Counts the members of these rooms from whom an event was withheld, each once. `heard` are those who heard it in
    /// another of several rooms, or hear it by one of `feeds`.
    fn count_withheld(
        &self,
        rooms: &[(Arc<Room>, &Frame)],
        topic: &Topic<'_>,
        except: Option<PeerId>,
        feeds: &[Published],
        mut heard: HashSet<PeerId>,
    ) {
        for (room, _) in rooms {
            let members = room.read();
            for (_, group) in members.groups() {
                let hearing = group.hears().judge(topic);
                if hearing.is_heard() {
                    continue;
                }
                let mut without = |member: &Member| {
                    let id = member.id();
                    Some(id) != except && !by_feed(feeds, member) && heard.insert(id)
                };
                let count = match rooms {
                    // No member has to be looked at.
                    [_] => group.len() - usize::from(except.is_some_and(|id| members.is_in(group, id).0)),
                    _ => group.iter().filter(|member| without(member)).count(),
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

    /// Hands one member the frame of the first of these rooms that it is in and hears of `topic` in. Returns whether there is
    /// such a room. `order` is as for [`Rooms::broadcast`].
    pub fn tell<'n>(
        &self,
        told: impl IntoIterator<Item = (&'n Arc<str>, &'n Frame)>,
        topic: &Topic<'_>,
        id: PeerId,
        order: impl Sized,
    ) -> bool {
        let rooms: Vec<(Arc<Room>, &Frame)> = {
            let by_name = self.by_name.lock();
            let told = told.into_iter();
            told.filter_map(|(name, frame)| Some((by_name.get(name)?.clone(), frame))).collect()
        };
        let mut round = Round::default();
        let heard = rooms.iter().any(|(room, frame)| {
            let members = room.read();
            let Some((group, member)) = members.find(id) else { return false };
            group.hears().judge(topic).is_heard() && member.deliver(frame, &mut round)
        });
        drop(order);
        self.flusher.want(&mut round.to_flush);
        self.metrics.deliveries.inc_by(u64::from(heard));
        heard
    }

    /// Moves a member from these rooms to those, where it hears that. It joins before it leaves, so that a broadcast to both
    /// finds it.
    fn change(&self, from: &[Arc<str>], to: &[Listening], member: &Arc<Member>) {
        let mut to_flush = Vec::new();
        let mut by_name = self.by_name.lock();
        for Listening { room, hears } in to {
            to_flush.extend(self.room(&mut by_name, room).add(member, hears));
        }
        for name in from.iter().filter(|name| !to.iter().any(|one| one.room == **name)) {
            self.leave_one(&mut by_name, name, member.id(), &mut to_flush);
        }
        self.metrics.rooms.set(by_name.len() as i64);
        self.metrics.members.inc_by(to.len() as i64 - from.len() as i64);
        drop(by_name);
        self.flusher.want(&mut to_flush);
    }

    fn leave(&self, names: &[Arc<str>], id: PeerId) {
        let mut to_flush = Vec::new();
        let mut by_name = self.by_name.lock();
        for name in names {
            self.leave_one(&mut by_name, name, id, &mut to_flush);
        }
        self.metrics.rooms.set(by_name.len() as i64);
        drop(by_name);
        self.flusher.want(&mut to_flush);
    }

    fn leave_one(
        &self,
        by_name: &mut HashMap<Arc<str>, Arc<Room>>,
        name: &Arc<str>,
        id: PeerId,
        to_flush: &mut Vec<Arc<Outlet>>,
    ) {
        let Some(room) = by_name.get(name) else { return };
        self.note_changed(name);
        let (is_empty, outlet) = room.remove(id);
        to_flush.extend(outlet);
        if is_empty {
            by_name.remove(name);
            self.bus.closed(name);
        }
    }
}

/// What a broadcast came to.
#[derive(Default)]
struct Told {
    members: usize,
    /// The same by room, in the broadcast's order.
    by_room: SmallVec<[usize; 1]>,
    /// Feeds that it was published in.
    feeds: SmallVec<[Published; 1]>,
    /// Members of several rooms that were handed it.
    seen: HashSet<PeerId>,
    withheld: bool,
}

struct Published {
    /// Which of the broadcast's rooms.
    room: usize,
    group: GroupNumber,
    course: CourseId,
    is_full: bool,
}

impl Told {
    fn by_feed(&self, member: &Member) -> bool {
        by_feed(&self.feeds, member)
    }
}

/// Whether the member follows one of these feeds.
fn by_feed(feeds: &[Published], member: &Member) -> bool {
    member.follows().is_some_and(|course| feeds.iter().any(|feed| feed.course == course))
}

impl Membership {
    /// Listens there from now on, in rooms each given once. Where it was already it hears on without a break.
    pub fn change(&mut self, listening: &[Listening], member: &Arc<Member>) {
        self.rooms.change(&self.names, listening, member);
        self.names = listening.iter().map(|one| one.room.clone()).collect();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.rooms.leave(&self.names, self.id);
        self.rooms.metrics.peers.dec();
        self.rooms.metrics.members.dec_by(self.names.len() as i64);
    }
}
