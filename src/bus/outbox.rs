//! What waits for Redis: numbered, in order, and within bounds. It knows nothing of connections, and reads no clock.
//!
//! What has been handed over stays here until Redis has confirmed it, and goes again if that does not come: whoever has heard it
//! already knows it by its number. Where only some of it cannot go, as when one server of a cluster is away, its teams are held back for
//! a moment, and others do not wait for them. Where too much waits, what has waited longest is dropped, for other nodes only. Its teams
//! are then owed a message that says so.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;

use crate::relay::change::Change;

/// Messages handed over at once. So many are on their way while the next gather.
pub const BATCH: usize = 512;

/// What they take up together, roughly; bytes. The first goes whatever it takes up.
pub const BATCH_BYTES: usize = 256 << 10;

/// What a message takes up beside its payload, roughly; bytes. With it the bound on bytes bounds their number too.
const OVERHEAD: usize = 512;

/// Teams whose numbers are remembered. Above it those in which nothing waits are forgotten, and begin anew above the highest
/// number that any of them had: who has heard of such a team is told to fetch everything, and nobody takes new for old.
const MOST_TEAMS: usize = 65_536;

/// Teams that are owed a message. Above it all are told at once, without being named.
const MOST_OWED: usize = 4096;

/// Messages to owed teams that are put in line at once.
const OWED_AT_ONCE: usize = 256;

/// How long owed teams wait where the line does not come to its end: as long as one whose nodes tell their members.
const OWED_FOR: Duration = Duration::from_secs(1);

/// How long teams are held back whose messages could not go while others could.
const HELD_FOR: Duration = Duration::from_millis(500);

/// The teams of a message, each with the message's number among all to that team: 1, 2, 3…
pub type Numbers = SmallVec<[(Arc<str>, u64); 2]>;

/// A message in line.
#[derive(Debug)]
pub struct Outgoing {
    /// Its teams. Without any it is for all nodes.
    pub teams: Numbers,
    /// What it says.
    pub what: What,
    /// Since when it waits.
    pub since: Instant,
    number: u64,
}

/// What is told to other nodes.
#[derive(Debug)]
pub enum What {
    /// A change that was relayed here then.
    Change(Change, SystemTime),
    /// That changes to its only team were dropped.
    Missed,
    /// That changes to more teams than can be named were dropped.
    MissedAnywhere,
}

/// What has become of a message that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Redis has it, for all of its teams.
    Through,
    /// Nobody knows, or it had no chance.
    Again,
    /// Redis will not have it, however often it is tried.
    Refused,
}

/// The line.
#[derive(Debug)]
pub struct Outbox {
    most_bytes: usize,
    most_teams: usize,
    /// Handed over and not confirmed, in order; all of them come before what waits.
    flying: VecDeque<Arc<Outgoing>>,
    waiting: VecDeque<Arc<Outgoing>>,
    /// Held back: what could not go while something else could, and what came later to its teams.
    held: VecDeque<Arc<Outgoing>>,
    held_teams: HashSet<Arc<str>>,
    held_until: Option<Instant>,
    bytes: usize,
    /// The number of the message that came last, over all teams.
    latest: u64,
    /// That of the last one that was dropped.
    last_dropped: u64,
    /// The last number of each team.
    numbers: HashMap<Arc<str>, u64>,
    /// The highest number of a team that was forgotten.
    forgotten: u64,
    /// Messages in line that say that something was dropped.
    notices: usize,
    /// Whether nothing ever goes before what came earlier, to whatever team.
    is_strict: bool,
    owed: BTreeSet<Arc<str>>,
    owed_everywhere: bool,
    /// Since when somebody is owed something.
    owed_since: Option<Instant>,
}

impl Outbox {
    /// Nothing waits, and what will may take up so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Outbox {
            most_bytes,
            most_teams: MOST_TEAMS,
            flying: VecDeque::new(),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            held_teams: HashSet::new(),
            held_until: None,
            bytes: 0,
            latest: 0,
            last_dropped: 0,
            numbers: HashMap::new(),
            forgotten: 0,
            notices: 0,
            is_strict: false,
            owed: BTreeSet::new(),
            owed_everywhere: false,
            owed_since: None,
        }
    }

    /// The same, of which nothing ever goes before what came earlier: whoever takes it knows by the number alone what came before.
    pub fn in_order(self) -> Self {
        Outbox { is_strict: true, ..self }
    }

    /// Puts a change in line that was relayed `at`. Returns how many changes were dropped for it.
    pub fn put(&mut self, change: Change, at: SystemTime, now: Instant) -> usize {
        let teams = change.key.teams().iter().map(|team| (team.clone(), self.number(team))).collect();
        self.push(teams, What::Change(change, at), now)
    }

    fn push(&mut self, teams: Numbers, what: What, now: Instant) -> usize {
        self.latest += 1;
        let outgoing = Arc::new(Outgoing { teams, what, since: now, number: self.latest });
        self.bytes += outgoing.weight();
        self.notices += usize::from(!outgoing.is_change());
        self.waiting.push_back(outgoing);
        let mut dropped = 0;
        while self.bytes > self.most_bytes
            && let Some(first) = self.held.pop_front().or_else(|| self.waiting.pop_front())
        {
            dropped += usize::from(first.is_change());
            self.drop(&first, now);
        }
        dropped
    }

    fn drop(&mut self, outgoing: &Outgoing, now: Instant) {
        self.leave(outgoing);
        self.last_dropped = outgoing.number;
        self.owed_since.get_or_insert(now);
        match outgoing.what {
            What::MissedAnywhere => self.owed_everywhere = true,
            _ => self.owed.extend(outgoing.teams.iter().map(|(team, _)| team.clone())),
        }
        if self.owed.len() > MOST_OWED {
            self.owed = BTreeSet::new();
            self.owed_everywhere = true;
        }
    }

    /// A message is in line no more.
    fn leave(&mut self, outgoing: &Outgoing) {
        self.bytes -= outgoing.weight();
        self.notices -= usize::from(!outgoing.is_change());
    }

    /// The number of the next message to this team.
    fn number(&mut self, team: &Arc<str>) -> u64 {
        if let Some(last) = self.numbers.get_mut(team) {
            *last += 1;
            return *last;
        }
        if self.numbers.len() >= self.most_teams {
            self.forgotten = self.numbers.values().fold(self.forgotten, |most, last| most.max(*last));
            self.numbers = HashMap::new();
        }
        let number = self.forgotten + 1;
        self.numbers.insert(team.clone(), number);
        number
    }

    /// Takes what is to be handed over next, in order. [`Outbox::settle`] follows, before it is called again.
    pub fn take(&mut self, now: Instant) -> Vec<Arc<Outgoing>> {
        if self.held_until.is_some_and(|until| until <= now) {
            self.let_go();
        }
        self.pay(now);
        let mut bytes = 0;
        while self.flying.len() < BATCH
            && let Some(next) = self.waiting.front()
        {
            if next.teams.iter().any(|(team, _)| self.held_teams.contains(team)) {
                let next = self.waiting.pop_front();
                next.into_iter().for_each(|next| self.hold(next));
                continue;
            }
            bytes += next.weight();
            if bytes > BATCH_BYTES && !self.flying.is_empty() {
                break;
            }
            self.flying.extend(self.waiting.pop_front());
        }
        self.flying.iter().cloned().collect()
    }

    fn hold(&mut self, outgoing: Arc<Outgoing>) {
        self.held_teams.extend(outgoing.teams.iter().map(|(team, _)| team.clone()));
        self.held.push_back(outgoing);
    }

    /// Holds nothing back any more.
    pub fn let_go(&mut self) {
        if self.held_until.take().is_some() {
            self.held_teams = HashSet::new();
            self.waiting.append(&mut self.held);
            // Something may have come back that is older than what was held because of it.
            self.waiting.make_contiguous().sort_by_key(|outgoing| outgoing.number);
        }
    }

    /// Until when something is held back, if anything is.
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Puts in line what is owed to teams, once what waited is through, or if that takes long.
    fn pay(&mut self, now: Instant) {
        let Some(since) = self.owed_since else { return };
        let is_all_through = self.waiting.is_empty() && self.held.is_empty();
        if !is_all_through && now.saturating_duration_since(since) < OWED_FOR {
            return;
        }
        if std::mem::take(&mut self.owed_everywhere) {
            self.push(Numbers::new(), What::MissedAnywhere, now);
        }
        for _ in 0..OWED_AT_ONCE {
            let Some(team) = self.owed.pop_first() else { break };
            let number = self.number(&team);
            self.push(Numbers::from_iter([(team, number)]), What::Missed, now);
        }
        let is_paid = self.owed.is_empty() && !self.owed_everywhere;
        self.owed_since = (!is_paid).then_some(now);
    }

    /// Says what has become of what was taken, one for each in order; those of which nothing is said go again, before all
    /// that waits. Where others may go meanwhile, because some did or because `others_may`, they are held back for that. Returns those
    /// that are through.
    pub fn settle(&mut self, fates: &[Fate], others_may: bool, now: Instant) -> Vec<Arc<Outgoing>> {
        let flying = std::mem::take(&mut self.flying);
        let fates = fates.iter().copied().chain(std::iter::repeat(Fate::Again));
        let (mut through, mut again) = (Vec::new(), VecDeque::new());
        for (outgoing, fate) in flying.into_iter().zip(fates) {
            match fate {
                Fate::Through => {
                    self.leave(&outgoing);
                    through.push(outgoing);
                }
                Fate::Again => again.push_back(outgoing),
                Fate::Refused if outgoing.is_change() => self.drop(&outgoing, now),
                // Nothing can be said to those teams at all.
                Fate::Refused => self.leave(&outgoing),
            }
        }
        if self.is_strict || through.is_empty() && !others_may {
            again.append(&mut self.waiting);
            self.waiting = again;
        } else if !again.is_empty() {
            again.into_iter().for_each(|outgoing| self.hold(outgoing));
            self.held_until = Some(now + HELD_FOR);
        }
        through
    }

    /// Whether there is something to hand over.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.held.is_empty() || self.owed_since.is_some()
    }

    /// Whether everything is confirmed, and nobody is owed anything.
    pub fn is_empty(&self) -> bool {
        self.flying.is_empty() && !self.is_waiting()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Outgoing>> {
        self.flying.iter().chain(&self.held).chain(&self.waiting)
    }

    /// How many messages are not confirmed.
    pub fn len(&self) -> usize {
        self.flying.len() + self.held.len() + self.waiting.len()
    }

    /// What they take up, roughly; bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of the message that came last: 1, 2, 3…
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// The place of the last message that was dropped; `None` while somebody has not been told of it yet.
    pub fn dropped(&self) -> Option<u64> {
        (self.owed_since.is_none() && self.notices == 0).then_some(self.last_dropped)
    }

    /// Whether all messages up to that place are confirmed, behind the one at `after`; `None` while some wait, false where one
    /// was dropped.
    pub fn is_through(&self, after: u64, upto: u64) -> Option<bool> {
        if self.all().any(|outgoing| outgoing.number <= upto) {
            return None;
        }
        Some(self.last_dropped <= after || after >= upto)
    }
}

impl Outgoing {
    /// Its place among all of this node: 1, 2, 3…
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether members are to hear it.
    pub fn is_change(&self) -> bool {
        matches!(self.what, What::Change(..))
    }

    /// What it takes up, roughly; bytes. Each of its teams is a message to Redis.
    fn weight(&self) -> usize {
        let payload = match &self.what {
            What::Change(change, _) => change.payload.len(),
            What::Missed | What::MissedAnywhere => 0,
        };
        (payload + OVERHEAD) * self.teams.len().max(1)
    }
}

#[cfg(test)]
mod tests;
