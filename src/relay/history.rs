//! What was relayed of late, for those who come back: numbered for each team, in one order, and kept within bounds.
//!
//! There is one order of everything that this node relays while `relay.meta` is on, and whoever has heard something here has heard
//! all before it that it was to hear. So one place in that order says how far a client has come, whatever its teams. Other nodes
//! have orders of their own, and what was heard there says nothing here. What is kept is bounded for each team; of what has been
//! let go each team knows the last, and so whether it reaches back to a place. It reads no clock.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use super::change::Change;
use super::extent::{Extent, Passing, Stamp};
use super::frame::Frame;
use super::held::weight;
use super::meta::Meta;
use super::since::{Heard, Last, Position, Since};
use crate::config::policy::HistoryBounds;
use crate::event_id::{EventId, Run};
use crate::hears::Listening;
use crate::metrics::ResyncReason;

/// What the events of all teams that are kept take up together, roughly; bytes.
pub const MOST_BYTES: usize = 64 << 20;

/// Events that are replayed to one client. They wait for it in the library, whose queue they must not fill.
pub const MOST_REPLAYED: usize = 4096;

/// Teams that are remembered by their last number alone. Above it those of which nothing is kept are forgotten.
const MOST_TEAMS: usize = 65_536;

/// Numbers what is relayed, and keeps some of it.
#[derive(Debug)]
pub struct History {
    /// Tells this order from that of another process, or of an earlier start of this one.
    epoch: EventId,
    bounds: Option<HistoryBounds>,
    /// The place of what was relayed last; the first is 1.
    latest: u64,
    kept: BTreeMap<u64, Kept>,
    places: HashMap<EventId, u64>,
    bytes: usize,
    teams: HashMap<Arc<str>, Team>,
    /// How many teams there may be before some are forgotten.
    most_teams: usize,
    forgotten: Forgotten,
    /// The last stamp that this node has heard, where all nodes keep one history.
    upto: Option<Stamp>,
    /// The number of the last change that this node has given to the others.
    own: u64,
    /// Teams whose members may have missed something and have not been told yet.
    doubted: HashSet<Arc<str>>,
    hole: Hole,
    /// Whether some have not heard yet what came last.
    is_partial: bool,
    /// Whether members may miss what other nodes say.
    is_deaf: bool,
}

/// From where a change comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This node, which has given it to the others under this number, if it has.
    Here(Option<u64>),
    /// Another node; as it came by, where all nodes keep one history.
    Elsewhere(Option<Passing>),
}

/// An event that is kept.
#[derive(Debug)]
struct Kept {
    change: Change,
    /// Its numbers, in the order of the change's teams.
    seqs: Seqs,
    at: SystemTime,
    since: Instant,
    /// In how many of its teams it is kept.
    holders: usize,
    from: From,
    /// How far this node had come with it.
    reached: Reached,
}

/// Whether something was told here that is not in the history that all nodes keep: another node has stamped nothing. It lies before
/// the next stamp that comes.
#[derive(Clone, Copy, Debug)]
enum Hole {
    None,
    Open,
    Before(Stamp),
}

/// How far this node had come in what all share.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    upto: Option<Stamp>,
    own: u64,
    /// Whether its members had heard all of that.
    is_sure: bool,
}

/// One team's events.
#[derive(Debug, Default)]
struct Team {
    /// The number of the last.
    seq: u64,
    /// The places of those that are kept.
    kept: VecDeque<u64>,
    bytes: usize,
    /// The last that is kept no more.
    gone: Option<(EventId, u64)>,
    /// Up to which place something may be missing, of what other nodes relayed.
    gap: u64,
    /// How far this node had come with the last that is kept no more.
    gone_at: Reached,
}

/// What is known of all teams that were forgotten: nothing of them is later, or has a higher number.
#[derive(Debug, Default)]
struct Forgotten {
    place: u64,
    seq: u64,
}

/// One event's numbers, one for each of its teams.
pub type Seqs = SmallVec<[u64; 2]>;

impl History {
    /// Nothing has been relayed, and so much of what will be is kept. `epoch` was given to nothing else, by the process whose
    /// order it is.
    pub fn new(epoch: EventId, bounds: Option<HistoryBounds>) -> Self {
        History {
            epoch,
            bounds,
            latest: 0,
            kept: BTreeMap::new(),
            places: HashMap::new(),
            bytes: 0,
            teams: HashMap::new(),
            most_teams: MOST_TEAMS,
            forgotten: Forgotten::default(),
            upto: None,
            own: 0,
            doubted: HashSet::new(),
            hole: Hole::None,
            is_partial: false,
            is_deaf: false,
        }
    }

    /// The same for another order, which begins where this one is in what all nodes share.
    pub fn anew(&self, epoch: EventId, bounds: Option<HistoryBounds>) -> Self {
        let (upto, own, doubted, hole) = (self.upto, self.own, self.doubted.clone(), self.hole);
        History { upto, own, doubted, hole, ..History::new(epoch, bounds) }
    }

    /// Keeps so much from now on.
    pub fn set_bounds(&mut self, bounds: Option<HistoryBounds>) {
        self.bounds = bounds;
        let teams: Vec<Arc<str>> = self.teams.keys().cloned().collect();
        teams.iter().for_each(|team| self.trim(team));
    }

    /// Where whoever has heard all that was relayed so far is.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, place: self.latest }
    }

    /// What such a one says when it comes back.
    pub fn here(&self) -> Since {
        Since { last: Last::Place(self.position()), extent: self.reached().extent(self.run()) }
    }

    /// Notes that something stamped has come by, of whatever node.
    pub fn pass(&mut self, passing: Passing) {
        self.advance(passing.stamp);
        self.is_partial = !passing.is_whole;
        if matches!(self.hole, Hole::Open) {
            self.hole = Hole::Before(passing.stamp);
        }
    }

    /// Notes that this node has heard all that is stamped up to here.
    pub fn advance(&mut self, stamp: Stamp) {
        // Of another epoch nothing is earlier or later.
        if self.upto.is_none_or(|upto| upto.epoch != stamp.epoch || upto < stamp) {
            self.upto = Some(stamp);
        }
    }

    /// Notes that members of these teams may have missed something. Until they have been told, what they hear says nothing to other
    /// nodes of how far they have come.
    pub fn doubt<'n>(&mut self, teams: impl IntoIterator<Item = &'n Arc<str>>) {
        self.doubted.extend(teams.into_iter().cloned());
    }

    /// Takes back that they may have.
    pub fn trust<'n>(&mut self, teams: impl IntoIterator<Item = &'n Arc<str>>) {
        teams.into_iter().for_each(|name| _ = self.doubted.remove(name));
    }

    /// Says whether members may miss what other nodes say just now.
    pub fn be_deaf(&mut self, is_deaf: bool) {
        self.is_deaf = is_deaf;
    }

    /// Notes that members of these teams are told now that they may have missed something.
    pub fn settle<'n>(&mut self, teams: impl IntoIterator<Item = &'n Arc<str>> + Clone) {
        self.trust(teams.clone());
        self.note_gap(teams);
    }

    fn reached(&self) -> Reached {
        let is_sure = self.doubted.is_empty() && !self.is_partial && !self.is_deaf;
        Reached { upto: self.upto, own: self.own, is_sure }
    }

    /// The process whose order it is.
    pub fn run(&self) -> Run {
        self.epoch.origin()
    }

    /// How many events are kept, and what they take up, roughly; bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    /// Numbers a change that is about to be relayed, and keeps it if the bounds let it. Returns its numbers.
    pub fn note(&mut self, change: &Change, from: From, at: SystemTime, now: Instant) -> Seqs {
        self.let_go_of_old(now);
        match from {
            From::Here(number) => self.own = number.unwrap_or(self.own),
            From::Elsewhere(Some(passing)) => self.pass(passing),
            From::Elsewhere(None) => self.hole = Hole::Open,
        }
        self.latest += 1;
        let place = self.latest;
        let seqs: Seqs = change.key.teams().iter().map(|team| self.number(team, change.id, place)).collect();
        if self.bounds.is_some() {
            let bytes = weight(change);
            let kept = Kept {
                change: change.clone(),
                seqs: seqs.clone(),
                at,
                since: now,
                holders: change.key.teams().len(),
                from,
                reached: self.reached(),
            };
            self.kept.insert(place, kept);
            self.places.insert(change.id, place);
            self.bytes += bytes;
            for name in change.key.teams() {
                if let Some(team) = self.teams.get_mut(name) {
                    team.kept.push_back(place);
                    team.bytes += bytes;
                }
                self.trim(name);
            }
            while self.bytes > MOST_BYTES && self.let_go_of_first() {}
        }
        seqs
    }

    /// Notes that something of these teams may be missing up to here: whoever was here before and comes back has to fetch.
    pub fn note_gap<'n>(&mut self, teams: impl IntoIterator<Item = &'n Arc<str>>) {
        // A place of its own, so that whoever has come as far as the gap is told apart from whoever had heard all before it.
        self.latest += 1;
        let place = self.latest;
        teams.into_iter().for_each(|name| self.team(name).gap = place);
    }

    fn team(&mut self, name: &Arc<str>) -> &mut Team {
        if !self.teams.contains_key(name) {
            self.forget_teams();
        }
        let first = &self.forgotten;
        self.teams.entry(name.clone()).or_insert_with(|| Team {
            seq: first.seq,
            gap: first.place,
            ..Team::default()
        })
    }

    /// The number of a team's next event.
    fn number(&mut self, name: &Arc<str>, id: EventId, place: u64) -> u64 {
        let (is_kept, reached) = (self.bounds.is_some(), self.reached());
        let team = self.team(name);
        team.seq += 1;
        if !is_kept {
            team.gone = Some((id, place));
            team.gone_at = reached;
        }
        team.seq
    }

    /// Makes room for one more team, if there are very many.
    fn forget_teams(&mut self) {
        if self.teams.len() < self.most_teams {
            return;
        }
        let forgotten = &mut self.forgotten;
        self.teams.retain(|_, team| {
            let is_kept = !team.kept.is_empty();
            if !is_kept {
                forgotten.place = forgotten.place.max(team.reaches_back_to());
                forgotten.seq = forgotten.seq.max(team.seq);
            }
            is_kept
        });
        // Those that are left are bounded by what is kept. The next time pays for itself.
        self.most_teams = MOST_TEAMS.max(2 * self.teams.len());
    }

    /// A change that was noted last, as it is heard through each of its teams.
    pub fn frames(&self, change: &Change, seqs: &Seqs, at: SystemTime) -> SmallVec<[Frame; 1]> {
        let said = said(change.id, self.run(), self.reached());
        let teams = change.key.teams().iter().zip(seqs);
        teams.map(|(team, seq)| frame(change, &said, team, Some(*seq), at)).collect()
    }

    /// Lets go of what one team has too much of.
    fn trim(&mut self, name: &Arc<str>) {
        let (count, bytes) = self.bounds.map_or((0, 0), |bounds| (bounds.count, bounds.bytes));
        while self.teams.get(name).is_some_and(|team| team.kept.len() > count || team.bytes > bytes) {
            self.let_go(name);
        }
    }

    /// Lets go of what is too old.
    pub fn let_go_of_old(&mut self, now: Instant) {
        let Some(HistoryBounds { age, .. }) = self.bounds else { return };
        let is_old = |kept: &Kept| now.saturating_duration_since(kept.since) > age;
        while self.kept.first_key_value().is_some_and(|(_, kept)| is_old(kept)) && self.let_go_of_first() {}
    }

    /// Lets go of the first of all. Returns whether there was one.
    fn let_go_of_first(&mut self) -> bool {
        let Some((&place, kept)) = self.kept.first_key_value() else { return false };
        let key = kept.change.key.clone();
        for name in key.teams() {
            if self.teams.get(name).is_some_and(|team| team.kept.front() == Some(&place)) {
                self.let_go(name);
            }
        }
        true
    }

    /// Lets go of a team's first.
    fn let_go(&mut self, name: &Arc<str>) {
        let Some(team) = self.teams.get_mut(name) else { return };
        let Some(place) = team.kept.pop_front() else { return };
        let Some(kept) = self.kept.get_mut(&place) else { return };
        let (id, bytes) = (kept.change.id, weight(&kept.change));
        team.bytes -= bytes;
        team.gone = Some((id, place));
        team.gone_at = kept.reached;
        kept.holders -= 1;
        if kept.holders == 0 {
            self.kept.remove(&place);
            self.places.remove(&id);
            self.bytes -= bytes;
        }
    }

    /// What a client has missed that comes back to these rooms: each event that it hears in one of them, once and in order, as
    /// frames of at most so many bytes together.
    ///
    /// # Errors
    /// Nobody can tell, or it is too much.
    pub fn missed(
        &mut self,
        since: &Since,
        listening: &[Listening],
        most_bytes: usize,
        now: Instant,
    ) -> Result<Vec<Frame>, ResyncReason> {
        self.let_go_of_old(now);
        let since = self.place_of(since, listening.iter().map(|one| &one.room))?;
        let mut places = Vec::new();
        for Listening { room, .. } in listening {
            if let Some(Team { kept, .. }) = self.teams.get(room) {
                places.extend(kept.range(kept.partition_point(|place| *place <= since)..));
            }
        }
        places.sort_unstable();
        // Several of its teams have it.
        places.dedup();
        let mut replay = Replay::of_at_most(most_bytes);
        for kept in places.iter().filter_map(|place| self.kept.get(place)) {
            let said = said(kept.change.id, self.run(), kept.reached);
            replay.add(&kept.change, listening, said, |at| Some(kept.seqs[at]), kept.at)?;
        }
        Ok(replay.frames)
    }

    /// The place of what a client has heard last that comes back to these rooms.
    ///
    /// # Errors
    /// Nobody can tell what it has missed.
    pub fn place_of<'r>(
        &self,
        since: &Since,
        rooms: impl IntoIterator<Item = &'r Arc<str>> + Clone,
    ) -> Result<u64, ResyncReason> {
        let since = self.heard_last(since, rooms.clone())?;
        for room in rooms {
            let (gone, gap) = match self.teams.get(room) {
                Some(team) => (team.gone.map_or(0, |(_, place)| place), team.gap),
                None => (self.forgotten.place, 0),
            };
            if gone > since {
                return Err(ResyncReason::TooOld);
            }
            if gap > since {
                let is_known = gap > self.forgotten.place;
                return Err(if is_known { ResyncReason::Missed } else { ResyncReason::TooOld });
            }
        }
        Ok(since)
    }

    fn heard_last<'r>(
        &self,
        since: &Since,
        rooms: impl IntoIterator<Item = &'r Arc<str>>,
    ) -> Result<u64, ResyncReason> {
        match &since.last {
            Last::Nothing => Err(ResyncReason::NothingHeard),
            Last::Replayed(_) => Err(ResyncReason::Unknown),
            Last::Place(Position { epoch, place }) => {
                let is_known = *epoch == self.epoch && *place <= self.latest;
                is_known.then_some(*place).ok_or(ResyncReason::Unknown)
            }
            Last::Event(Heard { on, .. }) if *on != self.run() => Err(ResyncReason::Unknown),
            Last::Event(Heard { id, .. }) => {
                // The last that a team has let go of is still known: nothing has been missed by whoever heard that.
                let mut gone = rooms.into_iter().filter_map(|room| self.teams.get(room)?.gone);
                let place = self.places.get(id).copied();
                let place = place.or_else(|| gone.find_map(|(gone, place)| (gone == *id).then_some(place)));
                place.ok_or(ResyncReason::Unknown)
            }
        }
    }
}

impl Team {
    /// After which place it has everything.
    fn reaches_back_to(&self) -> u64 {
        self.gone.map_or(0, |(_, place)| place).max(self.gap)
    }
}

impl Reached {
    /// What somebody has heard who has heard all that this node had told by then.
    fn extent(self, of: Run) -> Option<Extent> {
        let upto = self.upto.filter(|_| self.is_sure)?;
        Some(Extent { upto, of, own: self.own })
    }
}

/// What a client says that has heard this event last, on a node that had come so far with it.
fn said(id: EventId, on: Run, reached: Reached) -> Since {
    Since { last: Last::Event(Heard { id, on }), extent: reached.extent(on) }
}

/// A change as it is heard through one of its teams.
fn frame(change: &Change, said: &Since, team: &str, seq: Option<u64>, at: SystemTime) -> Frame {
    let meta = Meta::of_event(said.to_string(), seq, team, change.actor.as_deref(), at);
    Frame::with_meta(&change.emit, &change.payload, meta.to_json())
}

/// What one client is handed that it has missed.
struct Replay {
    frames: Vec<Frame>,
    bytes: usize,
    most_bytes: usize,
}

impl Replay {
    fn of_at_most(most_bytes: usize) -> Self {
        Replay { frames: Vec::new(), bytes: 0, most_bytes }
    }

    /// Adds a change as it is heard in the first of its teams, if it is. `seq` gives the number in each of them.
    ///
    /// # Errors
    /// It is too much.
    fn add(
        &mut self,
        change: &Change,
        listening: &[Listening],
        said: Since,
        seq: impl Fn(usize) -> Option<u64>,
        at: SystemTime,
    ) -> Result<(), ResyncReason> {
        let topic = change.key.topic();
        let hears = |team: &Arc<str>| {
            listening.iter().any(|one| one.room == *team && one.hears.judge(&topic).is_heard())
        };
        let Some(through) = change.key.teams().iter().position(hears) else { return Ok(()) };
        let frame = frame(change, &said, &change.key.teams()[through], seq(through), at);
        self.bytes += frame.packet_len();
        if self.frames.len() == MOST_REPLAYED || self.bytes > self.most_bytes {
            return Err(ResyncReason::TooMuch);
        }
        self.frames.push(frame);
        Ok(())
    }
}

mod comers;

#[cfg(test)]
mod tests;
