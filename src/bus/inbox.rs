//! What has come from other nodes: which of it is new, and whether something is missing. It knows nothing of connections.
//!
//! An origin numbers its messages for each team, and each team's channel carries them in that order. So a number that has been there is
//! a message that came before, and one that is left out is a message that will never come.
//!
//! A change to several teams comes once on the channel of each. The first copy is heard by all of its teams that are due to hear
//! it, and the others pass by. In a Cluster channels do not wait for each other: a team for which something older is still on its way,
//! or may be, hears the change when its own copy comes, and then only those of its members do who have not heard it in another team.
//!
//! A number also passes for heard where a hole was found over it: nobody is told anything twice for that, since whoever missed
//! something there is told to fetch everything.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use smallvec::SmallVec;

use super::envelope::{Numbered, Origin};

/// Origins that are remembered of one team. More nodes than that there are not; who makes them up pushes out its own.
const MOST_ORIGINS: usize = 1024;

/// How far every origin has come with every team.
#[derive(Debug, Default)]
pub struct Inbox {
    teams: HashMap<Arc<str>, HashMap<Origin, Track>>,
    tracks: usize,
    /// Whether nothing older can come on another channel.
    is_ordered: bool,
    /// Counts what has come.
    time: u64,
}

/// One origin's messages to one team.
#[derive(Debug)]
struct Track {
    /// The first that was heard.
    first: u64,
    /// The last.
    last: u64,
    /// Whether the next one is known to be the one after that.
    is_sure: bool,
    /// When something came last; see [`Inbox::time`].
    time: u64,
}

/// What is to be done with a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The teams whose members are to hear it.
    pub hear: Teams,
    /// Teams whose members have heard it, and do not hear it again though they are in one of those.
    pub heard: Teams,
    /// Whether something before it is missing, in the team on whose channel it came.
    pub is_gap: bool,
}

/// Some of a message's teams.
pub type Teams = SmallVec<[Arc<str>; 2]>;

impl Inbox {
    /// Nothing has come yet. In one server all channels have one order; in a Cluster each has its own.
    pub fn new(is_ordered: bool) -> Self {
        Inbox { is_ordered, ..Inbox::default() }
    }

    /// Listens to a team's channel from now on. What came before on it is not known to be complete.
    pub fn listen(&mut self, team: &Arc<str>) {
        let tracks = self.teams.entry(team.clone()).or_default();
        tracks.values_mut().for_each(|track| track.is_sure = false);
    }

    /// Does not listen to it any more.
    pub fn ignore(&mut self, team: &str) {
        if let Some(tracks) = self.teams.remove(team) {
            self.tracks -= tracks.len();
        }
    }

    /// Takes a message that came on the channel of `via`, one of its teams. `None` where it is to pass by: it came before, or nobody
    /// listens to that channel.
    pub fn take(&mut self, origin: Origin, via: &str, teams: &[Numbered<'_>]) -> Option<Verdict> {
        self.time += 1;
        let number = teams.iter().find(|team| team.0 == via)?.1;
        let (name, _) = self.teams.get_key_value(via)?;
        let name = name.clone();
        let is_gap = self.advance(&name, origin, number)?;
        let mut verdict = Verdict { hear: Teams::from_iter([name]), heard: Teams::new(), is_gap };
        for Numbered(other, number) in teams.iter().filter(|team| team.0 != via) {
            let Some((name, _)) = self.teams.get_key_value(&**other) else { continue };
            let name = name.clone();
            let track = self.teams.get(&name).and_then(|tracks| tracks.get(&origin));
            let is_due = match track {
                Some(track) if track.has(*number) => {
                    verdict.heard.push(name);
                    continue;
                }
                Some(track) if track.is_sure => track.last.checked_add(1) == Some(*number),
                Some(track) => self.is_ordered && *number > track.last,
                None => self.is_ordered,
            };
            if is_due && self.advance(&name, origin, *number).is_some() {
                verdict.hear.push(name);
            }
        }
        Some(verdict)
    }

    /// Notes a number that came on its team's own channel. Returns whether some before it are missing; `None` where it came before.
    fn advance(&mut self, team: &Arc<str>, origin: Origin, number: u64) -> Option<bool> {
        let time = self.time;
        let tracks = self.teams.get_mut(team)?;
        if tracks.len() >= MOST_ORIGINS && !tracks.contains_key(&origin) {
            let oldest = tracks.iter().min_by_key(|(_, track)| track.time).map(|(origin, _)| *origin);
            oldest.map(|oldest| tracks.remove(&oldest));
            self.tracks -= 1;
        }
        match tracks.entry(origin) {
            Entry::Vacant(place) => {
                place.insert(Track { first: number, last: number, is_sure: true, time });
                self.tracks += 1;
                Some(false)
            }
            Entry::Occupied(mut track) => {
                let track = track.get_mut();
                if number <= track.last {
                    return None;
                }
                let is_gap = track.is_sure && track.last.checked_add(1) != Some(number);
                *track = Track { first: track.first, last: number, is_sure: true, time };
                Some(is_gap)
            }
        }
    }

    /// Forgets the origins of which this is false.
    pub fn retain(&mut self, mut is_known: impl FnMut(Origin) -> bool) {
        self.teams.values_mut().for_each(|tracks| tracks.retain(|origin, _| is_known(*origin)));
        self.tracks = self.teams.values().map(HashMap::len).sum();
    }

    /// How many pairs of a team and an origin are remembered.
    pub fn len(&self) -> usize {
        self.tracks
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.tracks == 0
    }
}

impl Track {
    /// Whether this number has been heard, or passes for it.
    fn has(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

/// A message to this team alone.
pub fn to_one(team: &str, number: u64) -> [Numbered<'_>; 1] {
    [Numbered(Cow::Borrowed(team), number)]
}

#[cfg(test)]
mod tests;
