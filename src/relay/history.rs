//! What was relayed of late, for those who come back: numbered for each team, in one order, and kept within bounds.
//!
//! There is one order of everything that this node relays while `relay.meta` is on, and whoever has heard something here has heard
//! all before it that it was to hear. So one place in that order says how far a client has come, whatever its teams. Other nodes
//! have orders of their own, and what was heard there says nothing here. What is kept is bounded for each team; of what has been
//! let go each team knows the last, and so whether it reaches back to a place. It reads no clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;

use super::change::Change;
use super::frame::Frame;
use super::held::weight;
use super::meta::Meta;
use super::since::{Heard, Position, Since};
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
        }
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

    /// The process whose order it is.
    pub fn run(&self) -> Run {
        self.epoch.origin()
    }

    /// How many events are kept, and what they take up, roughly; bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    /// Numbers a change that is about to be relayed, and keeps it if the bounds let it. Returns its numbers.
    pub fn note(&mut self, change: &Change, at: SystemTime, now: Instant) -> Seqs {
        self.let_go_of_old(now);
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
        let is_kept = self.bounds.is_some();
        let team = self.team(name);
        team.seq += 1;
        if !is_kept {
            team.gone = Some((id, place));
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
        let since = self.place_of(since, listening)?;
        let mut places = Vec::new();
        for Listening { room, .. } in listening {
            let team = self.teams.get(room);
            let (gone, gap) = match team {
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
            if let Some(Team { kept, .. }) = team {
                places.extend(kept.range(kept.partition_point(|place| *place <= since)..));
            }
        }
        places.sort_unstable();
        // Several of its teams have it.
        places.dedup();
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for kept in places.iter().filter_map(|place| self.kept.get(place)) {
            let Some(frame) = kept.heard_in(listening, self.run()) else { continue };
            bytes += frame.packet_len();
            if frames.len() == MOST_REPLAYED || bytes > most_bytes {
                return Err(ResyncReason::TooMuch);
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    fn place_of(&self, since: &Since, listening: &[Listening]) -> Result<u64, ResyncReason> {
        match since {
            Since::Nothing => Err(ResyncReason::NothingHeard),
            Since::Place(Position { epoch, place }) => {
                let is_known = *epoch == self.epoch && *place <= self.latest;
                is_known.then_some(*place).ok_or(ResyncReason::Unknown)
            }
            Since::Event(Heard { on, .. }) if *on != self.run() => Err(ResyncReason::Unknown),
            Since::Event(Heard { id, .. }) => {
                // The last that a team has let go of is still known: nothing has been missed by whoever heard that.
                let mut gone = listening.iter().filter_map(|one| self.teams.get(&one.room)?.gone);
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

impl Kept {
    /// As it is heard in the first of its teams, if it is.
    fn heard_in(&self, listening: &[Listening], on: Run) -> Option<Frame> {
        let topic = self.change.key.topic();
        let hears = |team: &Arc<str>| {
            listening.iter().any(|one| one.room == *team && one.hears.judge(&topic).is_heard())
        };
        let (team, seq) = self.change.key.teams().iter().zip(&self.seqs).find(|(team, _)| hears(team))?;
        Some(frame(&self.change, on, team, *seq, self.at))
    }
}

/// A change as it is heard through one of its teams on a node.
pub fn frame(change: &Change, on: Run, team: &str, seq: u64, at: SystemTime) -> Frame {
    let id = Heard { id: change.id, on };
    let meta = Meta::of_event(id.to_string(), seq, team, change.actor.as_deref(), at);
    Frame::with_meta(&change.emit, &change.payload, meta.to_json())
}

#[cfg(test)]
mod tests;
