//! The one place from which changes are relayed, and the one order in which that happens where `relay.meta` is on.
//!
//! Without it nothing is ordered, numbered or kept here. With it, whoever relays holds the history until every queue has the
//! event, and whoever comes in does so between two events: it is replayed what it missed before, and in its rooms for what
//! comes after, so that nothing is lost or doubled between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::bus::Bus;
use super::change::Change;
use super::elsewhere::Read;
use super::extent::{Extent, Passing, Stamp};
use super::frame::Frame;
use super::held::Hearers;
use super::history::{From, History};
use super::local::{Membership, Rooms};
use super::member::Member;
use super::meta::Meta;
use super::since::Since;
use crate::config::policy::{Policy, Relay};
use crate::event_id::EventId;
use crate::hears::Listening;
use crate::metrics::{Metrics, ResyncReason};
use crate::peer::PeerId;

/// What tells a client to fetch everything anew.
const RESYNC: &str = r#"{"type":"resync"}"#;

/// From where a change comes, and to whom else it goes.
enum Whence<'b> {
    Here(Option<&'b dyn Bus>),
    Elsewhere(Option<Passing>),
}

/// Relays changes, and remembers them.
pub struct Chronicle {
    rooms: Arc<Rooms>,
    metrics: Arc<Metrics>,
    is_on: AtomicBool,
    history: Mutex<History>,
    bus: Arc<dyn Bus>,
}

impl Chronicle {
    /// Off, with nothing remembered. What it relays is given to the bus too.
    pub fn new(rooms: Arc<Rooms>, metrics: Arc<Metrics>, bus: Arc<dyn Bus>) -> Arc<Self> {
        let history = Mutex::new(History::new(EventId::next_of(bus.run()), None));
        Arc::new(Chronicle { rooms, metrics, is_on: AtomicBool::new(false), history, bus })
    }

    /// Goes by these settings from now on. What was relayed while it was off has no place, so that positions from before that
    /// mean nothing any more.
    pub fn set(&self, relay: &Relay) {
        let mut history = self.history.lock();
        if relay.meta && self.is_on() {
            history.set_bounds(relay.history);
        } else {
            *history = history.anew(EventId::next_of(self.bus.run()), relay.history);
        }
        self.bus.keep(relay.history);
        self.is_on.store(relay.meta, Ordering::Release);
        self.count(&history);
    }

    /// Whether changes are to be given to [`Chronicle::tell`] rather than to the rooms.
    pub fn is_wanted(&self) -> bool {
        self.is_on() || self.bus.is_on()
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Hands a change to those that are to hear it, and to the bus. Returns to how many of this node.
    pub fn tell(&self, change: &Change, hearers: Hearers) -> usize {
        // One member's alone is no news to other nodes: they hear the later change in whose place it is.
        let bus = (!matches!(hearers, Hearers::Only(_))).then_some(&*self.bus);
        self.relay(change, hearers, &[], Whence::Here(bus))
    }

    /// Hands a change that another node has relayed to those who are to hear it here, except the members of `heard`, who have heard
    /// it in those rooms. Returns to how many.
    pub fn hear(&self, change: &Change, heard: &[Arc<str>], passing: Option<Passing>) -> usize {
        self.relay(change, Hearers::All, heard, Whence::Elsewhere(passing))
    }

    fn relay(&self, change: &Change, hearers: Hearers, heard: &[Arc<str>], whence: Whence<'_>) -> usize {
        let teams = change.key.teams();
        if !self.is_on() {
            let frame = Frame::new(&change.emit, &change.payload);
            let told = teams.iter().map(|team| (team, &frame));
            let told = self.hand_over(told, change, hearers, heard, ());
            if let Whence::Here(Some(bus)) = whence {
                bus.publish(change);
            }
            return told;
        }
        let mut history = self.history.lock();
        let from = match whence {
            // Under the lock, so that other nodes have this node's changes in the order of its history.
            Whence::Here(bus) => From::Here(bus.and_then(|bus| bus.publish(change))),
            Whence::Elsewhere(passing) => From::Elsewhere(passing),
        };
        history.be_deaf(self.bus.is_deaf());
        let at = SystemTime::now();
        let seqs = history.note(change, from, at, Instant::now());
        if !heard.is_empty() {
            // It has two places now, of which an id can say only one.
            history.note_gap(teams.iter().chain(heard));
        }
        self.count(&history);
        // Each team's own: who is in one of them is not told of the others.
        let frames = history.frames(change, &seqs, at);
        self.hand_over(teams.iter().zip(&frames), change, hearers, heard, history)
    }

    fn hand_over<'n>(
        &self,
        told: impl IntoIterator<Item = (&'n Arc<str>, &'n Frame)> + Clone,
        change: &Change,
        hearers: Hearers,
        heard: &[Arc<str>],
        order: impl Sized,
    ) -> usize {
        let topic = change.key.topic();
        match hearers {
            _ if !heard.is_empty() => {
                let members = self.rooms.only_in(change.key.teams(), heard);
                let tell = |id: &PeerId| self.rooms.tell(told.clone(), &topic, *id, ());
                members.iter().filter(|id| tell(id)).count()
            }
            Hearers::All => self.rooms.broadcast(told, Some(&topic), None, order),
            Hearers::Except(sender) => self.rooms.broadcast(told, Some(&topic), Some(sender), order),
            Hearers::Only(member) => usize::from(self.rooms.tell(told, &topic, member, order)),
        }
    }

    /// Puts a member into these rooms that says it has heard all `since` then. It hears first what it has missed, or that it is
    /// to fetch everything anew. `read` is what the history of all nodes says of it, where that was asked.
    pub fn join(
        &self,
        listening: &[Listening],
        member: &Arc<Member>,
        since: Option<&Since>,
        read: Option<&Read>,
        policy: &Policy,
    ) -> Membership {
        if since.is_none() && !policy.relay.resync_on_connect {
            return self.rooms.join(listening, member);
        }
        // Held until it is in its rooms, so that nothing is relayed between what it has missed and what it hears there.
        let mut history = self.history.lock();
        history.be_deaf(self.bus.is_deaf());
        // What is still to come until it has entered has the other half.
        let most_bytes = policy.limits.slow_reader.max_queued / 2;
        let missed = match (since, read) {
            (None, _) => Err(ResyncReason::Connect),
            (Some(_), _) if !self.is_on() => Err(ResyncReason::Unknown),
            (Some(_), Some(read)) => history.missed_elsewhere(read, listening, most_bytes),
            (Some(since), None) => history.missed(since, listening, most_bytes, Instant::now()),
        };
        member.begin_with(match missed {
            Ok(frames) => {
                self.metrics.replayed.inc_by(frames.len() as u64);
                frames
            }
            Err(reason) => {
                self.metrics.resynced(reason, 1);
                let reason = reason.as_str();
                tracing::debug!(connection = %member.id(), reason, "is told to fetch everything anew");
                notices(policy, self.is_on().then(|| history.here()))
            }
        });
        self.rooms.join(listening, member)
    }

    /// Whether what a client has missed that comes back to these rooms has to be read in the history of all nodes: it says how far
    /// it has come there, and this node's own cannot tell. If so, from where, and where this node's own order is now.
    pub fn is_to_read(&self, since: &Since, rooms: &[Arc<str>]) -> Option<(Extent, u64)> {
        let extent = since.extent.filter(|_| self.is_on())?;
        let history = self.history.lock();
        history.place_of(since, rooms).is_err().then(|| (extent, history.latest()))
    }

    /// Tells every member of these rooms, once, to fetch everything anew: they may have missed something that other nodes relayed.
    /// Returns how many were told.
    pub fn resync(&self, rooms: &[Arc<str>], policy: &Policy) -> usize {
        let mut history = self.history.lock();
        history.be_deaf(self.bus.is_deaf());
        // For those who are away just now too.
        history.settle(rooms);
        let mut told = 0;
        for notice in notices(policy, self.is_on().then(|| history.here())) {
            told = self.rooms.broadcast(rooms.iter().map(|room| (room, &notice)), None, None, ());
        }
        self.metrics.resynced(ResyncReason::Missed, told as u64);
        told
    }

    /// Notes that what other nodes tell these rooms is heard from now on. What they told before this was not, so that whoever
    /// was here earlier and comes back cannot be told what it has missed.
    pub fn hears_from_now(&self, rooms: &[Arc<str>]) {
        if self.is_on() {
            self.history.lock().note_gap(rooms);
        }
    }

    /// Notes that members of these rooms may have missed something, of which [`Chronicle::resync`] is to tell them. Meanwhile nothing
    /// that they hear says to other nodes how far they have come.
    pub fn doubt(&self, rooms: &[Arc<str>]) {
        self.history.lock().doubt(rooms);
    }

    /// Takes back a [`Chronicle::doubt`]: there was nobody who could have missed something.
    pub fn trust(&self, rooms: &[Arc<str>]) {
        self.history.lock().trust(rooms);
    }

    /// Notes that something stamped so has come that is not told here: this node's own, or what was told before.
    pub fn passed(&self, passing: Passing) {
        self.history.lock().pass(passing);
    }

    /// Notes that all that was stamped up to here has come.
    pub fn heard_all(&self, stamp: Stamp) {
        self.history.lock().advance(stamp);
    }

    /// Lets go of what is too old to be kept.
    pub fn sweep(&self, now: Instant) {
        if self.is_on() {
            let mut history = self.history.lock();
            history.let_go_of_old(now);
            self.count(&history);
        }
    }

    fn count(&self, history: &History) {
        let (events, bytes) = history.size();
        self.metrics.history_events.set(events as i64);
        self.metrics.history_bytes.set(bytes as i64);
    }
}

/// That a client is to fetch everything anew, once under each name that it may listen to.
fn notices(policy: &Policy, here: Option<Since>) -> Vec<Frame> {
    let mut names: Vec<&str> = policy.events.values().map(|event| &*event.emit).collect();
    names.sort_unstable();
    names.dedup();
    let notice = |name: &&str| match here {
        None => Frame::new(name, RESYNC),
        Some(here) => {
            let meta = Meta::of_notice(here.to_string(), SystemTime::now());
            Frame::with_meta(name, RESYNC, meta.to_json())
        }
    };
    names.iter().map(notice).collect()
}
