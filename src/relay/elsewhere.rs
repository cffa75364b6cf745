//! What the history that all nodes keep says of somebody who comes back from another node.
//!
//! It is one stream for each team. A change is put into those of all its teams and published in one go, so that there is one order
//! of all of them. Each entry names the one before it, so that it shows where something is missing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::change::Change;
use super::extent::{Extent, Stamp};
use crate::event_id::Run;

/// What the history says at one moment.
#[derive(Debug)]
pub struct Found {
    /// The last stamp that there was.
    pub upto: Stamp,
    /// Milliseconds since 1970, by the clock of Redis.
    pub now: u64,
    /// For how long streams are kept after their last entry.
    pub age: Duration,
    /// The number of the last change in it of the node from which somebody comes.
    pub theirs: u64,
    /// That of this node's own.
    pub own: u64,
    /// For each of the rooms.
    pub streams: Vec<Stream>,
}

/// What one team's stream has behind the stamp that was asked for.
#[derive(Debug)]
pub struct Stream {
    /// Whether there is such a stream.
    pub exists: bool,
    /// In their order.
    pub entries: Vec<Entry>,
}

/// One entry of a stream.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where.
    pub stamp: Stamp,
    /// That of the entry before it; `None` where there was no stream.
    pub before: Option<Stamp>,
    /// What; `None` where something was lost.
    pub what: Option<Stamped>,
}

/// A change in that history.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// Where.
    pub stamp: Stamp,
    /// Who relayed it.
    pub origin: Run,
    /// Its number among that node's own.
    pub number: u64,
    /// What.
    pub change: Change,
    /// When it was relayed first.
    pub at: SystemTime,
}

/// What somebody has missed, by what was found. This node has heard all of that itself when it is used.
#[derive(Debug)]
pub struct Read {
    /// What that one had heard.
    pub extent: Extent,
    /// In which rooms.
    pub rooms: Vec<Arc<str>>,
    /// Where this node's own order was before.
    pub began: u64,
    /// The last stamp that there was.
    pub upto: Stamp,
    /// The number of the last of this node's own changes that was in it.
    pub own: u64,
    /// What it has not heard, each once, in the order of their stamps.
    pub missed: Vec<Stamped>,
}

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Something that was heard on the other node is still on its way here.
    NotYet,
    /// It will never be.
    Never,
}

impl Found {
    /// What somebody has missed who had come so far.
    ///
    /// # Errors
    /// It is not all there.
    pub fn missed(self, extent: Extent, rooms: &[Arc<str>], began: u64) -> Result<Read, Unknown> {
        if self.upto.epoch != extent.upto.epoch {
            return Err(Unknown::Never);
        }
        // All that the other node had told by then was told before this node hears what comes next.
        if self.theirs < extent.own {
            return Err(Unknown::NotYet);
        }
        if !self.streams.iter().all(|stream| stream.is_whole(extent.upto, self.now, self.age)) {
            return Err(Unknown::Never);
        }
        let entries = self.streams.into_iter().flat_map(|stream| stream.entries);
        let mut missed: Vec<Stamped> = entries
            .filter_map(|entry| entry.what)
            .filter(|one| !extent.has(one.stamp, one.origin, one.number))
            .collect();
        missed.sort_unstable_by_key(|one| (one.stamp.ms, one.stamp.seq));
        // Several of its teams have it.
        missed.dedup_by_key(|one| one.stamp);
        Ok(Read { extent, rooms: rooms.to_vec(), began, upto: self.upto, own: self.own, missed })
    }
}

impl Stream {
    /// Whether it has everything that came behind `since`.
    fn is_whole(&self, since: Stamp, now: u64, age: Duration) -> bool {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // A stream that is gone had nothing so young.
        let nothing_until = |until: u64| since.ms.saturating_add(age) >= until;
        let begins = match self.entries.first() {
            None => self.exists || nothing_until(now),
            Some(first) => match first.before {
                Some(before) => before <= since,
                None => nothing_until(first.stamp.ms),
            },
        };
        let follows = |pair: &[Entry]| pair[1].before == Some(pair[0].stamp);
        begins
            && self.entries.windows(2).all(follows)
            && self.entries.iter().all(|entry| entry.what.is_some())
    }
}
