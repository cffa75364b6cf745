//! The replay guard (`events.NAME.replay`): no event is relayed twice into a team while its timestamp would still pass.
//!
//! It comes last, since only what is relayed is remembered: an event that something refuses may be sent again. What is
//! remembered is a keyed hash of 64 bits, so nobody can make two events of their own choosing look alike, and with two
//! million remembered one in ten million million is refused by chance. It is forgotten when the timestamp is too old to
//! pass by itself, in slices of the time until then, so that forgetting costs nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::config::policy::{EventPolicy, ReplayBy, ReplayPolicy, TimestampPolicy, TypedPayload};
use crate::message::{Event, TaskId};
use crate::reject::{Code, Reject};

use super::pipeline::Context;
use super::validate::{self, Validate};

/// Events of one name that are remembered of one team. The default rate of a team fills two thirds of it in the default
/// window.
const MOST_OF_ONE: usize = 1 << 18;

/// Events that are remembered in all, some 20 to 40 bytes each.
const MOST: usize = 1 << 21;

/// From three quarters of that on, the rest is for teams that hold less than their share of the three quarters: whoever fills
/// it from a few teams, or from many at once, leaves the others what they need.
const fn unshared(most: usize) -> usize {
    most / 4 * 3
}

/// Slices of the longest time for which an event is remembered; it is remembered for up to one slice longer.
const SLICES: u64 = 8;

/// What refusals of the guard are counted under.
pub const NAME: &str = "replay";

/// What was relayed lately. Shared by the pipelines of all policies of a process.
#[derive(Default)]
pub struct Replays {
    keyed: RandomState,
    remembered: Mutex<Remembered>,
}

/// By the event's name and the team.
struct Remembered {
    events: HashMap<Arc<str>, HashMap<Arc<str>, Team>>,
    len: usize,
    /// How many there may be.
    most: usize,
    /// When all were last asked for what has ended, which is not done for each event; seconds since 1970.
    forgot_at: u64,
}

impl Default for Remembered {
    fn default() -> Self {
        Remembered { events: HashMap::new(), len: 0, most: MOST, forgot_at: 0 }
    }
}

/// What one team has heard of one event. Each slice has its end, in seconds since 1970, at which it is forgotten.
#[derive(Default)]
struct Team(Vec<(u64, HashSet<u64>)>);

/// What tells an event from others, and until when it is remembered; seconds since 1970.
#[derive(Debug, PartialEq)]
pub struct Mark {
    hash: u64,
    until: u64,
    slice: u64,
}

/// Why an event is not remembered.
#[derive(Debug, PartialEq, Eq)]
enum Not {
    /// It has been before.
    Duplicate,
    /// There is no room until then; seconds since 1970.
    Full(u64),
}

impl Team {
    fn len(&self) -> usize {
        self.0.iter().map(|(_, slice)| slice.len()).sum()
    }

    fn holds(&self, hash: u64) -> bool {
        self.0.iter().any(|(_, slice)| slice.contains(&hash))
    }

    /// Forgets the slices that have ended. Returns how many events those were.
    fn forget(&mut self, now: u64) -> usize {
        let before = self.len();
        self.0.retain(|(end, _)| *end > now);
        before - self.len()
    }

    fn insert(&mut self, mark: &Mark) {
        let end = (mark.until / mark.slice + 1) * mark.slice;
        match self.0.iter_mut().find(|(of, _)| *of == end) {
            Some((_, slice)) => drop(slice.insert(mark.hash)),
            None => self.0.push((end, HashSet::from([mark.hash]))),
        }
    }

    /// When the next slice is forgotten.
    fn next_end(&self) -> u64 {
        self.0.iter().map(|(end, _)| *end).min().unwrap_or_default()
    }
}

impl Remembered {
    /// Remembers an event in all of these teams, or in none.
    fn remember(&mut self, event: &Arc<str>, teams: &[&Arc<str>], mark: &Mark, now: u64) -> Result<(), Not> {
        let of_event = self.events.entry(event.clone()).or_default();
        for &team in teams {
            let Some(known) = of_event.get_mut(team) else { continue };
            self.len -= known.forget(now);
            if known.holds(mark.hash) {
                return Err(Not::Duplicate);
            }
            if known.len() >= MOST_OF_ONE {
                return Err(Not::Full(known.next_end()));
            }
        }
        if self.len + teams.len() > unshared(self.most) {
            if self.forgot_at != now {
                self.forget(now);
            }
            self.check_shares(event, teams, now)?;
        }
        let of_event = self.events.entry(event.clone()).or_default();
        for &team in teams {
            of_event.entry(team.clone()).or_default().insert(mark);
            self.len += 1;
        }
        Ok(())
    }

    /// Whether there is room for one more of each of these teams, now that it is scarce.
    fn check_shares(&self, event: &Arc<str>, teams: &[&Arc<str>], now: u64) -> Result<(), Not> {
        let len = self.len + teams.len();
        if len <= unshared(self.most) {
            return Ok(());
        }
        if len > self.most {
            let ends = self.events.values().flat_map(HashMap::values).map(Team::next_end);
            return Err(Not::Full(ends.min().unwrap_or(now)));
        }
        let known: usize = self.events.values().map(HashMap::len).sum();
        let share = unshared(self.most) / known.max(1);
        let of_event = self.events.get(event);
        let over = teams.iter().filter_map(|&team| of_event?.get(team)).find(|team| team.len() >= share);
        over.map_or(Ok(()), |team| Err(Not::Full(team.next_end())))
    }

    /// Forgets what has ended, and teams of which nothing is left. An event's own place stays: there are as many as the policy names.
    fn forget(&mut self, now: u64) {
        self.forgot_at = now;
        for of_event in self.events.values_mut() {
            of_event.retain(|_, team| {
                self.len -= team.forget(now);
                !team.0.is_empty()
            });
            if of_event.is_empty() {
                *of_event = HashMap::new();
            }
        }
    }
}

impl Replays {
    /// How many events are remembered, each in each of its teams.
    pub fn len(&self) -> usize {
        self.remembered.lock().len
    }

    /// Forgets what has ended.
    pub fn sweep(&self, now: SystemTime) {
        self.remembered.lock().forget(seconds(now));
    }

    /// What tells this event from others; `None` where the policy does not ask for it, or where validation has let something
    /// pass that lacks what would tell.
    ///
    /// # Errors
    /// It lacks its id.
    pub fn mark(&self, event: &Event<'_>, cx: &Context<'_>) -> Result<Option<Mark>, Reject> {
        let Some((policy, typed, guard)) = guarded(event.policy()) else { return Ok(None) };
        let was_let_pass = || event.observed().iter().any(|refused| refused.stage == Validate::NAME);
        let payload = &event.payload;
        let hash = match &guard.by {
            ReplayBy::Id(field) => match event.id().map(validate::text_or_integer) {
                Some(Some(id)) => self.keyed.hash_one((0, &policy.name, id)),
                None | Some(None) if was_let_pass() => return Ok(None),
                None => {
                    let message = "without an id nobody can tell it from a replay";
                    return Err(Reject::new(Code::MissingField, message).rule(&guard.rule).field(field));
                }
                Some(None) => {
                    let message = "an id is a text or an integer";
                    return Err(Reject::new(Code::InvalidPayload, message).rule(&guard.rule).field(field));
                }
            },
            ReplayBy::Content => {
                let (Some(kind), Some(time)) = (payload.kind.as_deref(), payload.timestamp) else {
                    return Ok(None);
                };
                // Without a task id the type says too little: two tasks may be created at the same moment.
                let (of, what) = match &payload.task_id {
                    Some(TaskId::Integer(id)) => (1, *id),
                    Some(TaskId::String(id)) => (2, &**id),
                    None => (3, &*event.outgoing),
                };
                self.keyed.hash_one((of, &policy.name, kind, what, time))
            }
        };
        Ok(Some(mark(hash, &typed.timestamp, payload.timestamp, cx.now.wall)))
    }

    /// Remembers an event in all of these teams, or says why it may not be relayed.
    pub fn remember(
        &self,
        event: &EventPolicy,
        teams: &[&Arc<str>],
        mark: &Mark,
        now: SystemTime,
    ) -> Result<(), Reject> {
        let Some((_, _, guard)) = guarded(Some(event)) else { return Ok(()) };
        let now = seconds(now);
        let remembered = self.remembered.lock().remember(&event.name, teams, mark, now);
        remembered.map_err(|not| match not {
            Not::Duplicate => Reject::new(Code::Duplicate, "it has been relayed before").rule(&guard.rule),
            Not::Full(until) => {
                let wait = Duration::from_secs(until.saturating_sub(now).max(1));
                let message = "more events than can be told from replays; send again after the given time";
                Reject::new(Code::RateLimited, message).rule(&guard.rule).retry_after(wait)
            }
        })
    }
}

/// The event's guard, if it has one.
pub(super) fn guarded(event: Option<&EventPolicy>) -> Option<(&EventPolicy, &TypedPayload, &ReplayPolicy)> {
    let event = event?;
    let typed = event.typed.as_ref()?;
    Some((event, typed, typed.replay.as_ref()?))
}

/// An event is remembered until its own timestamp would be stale, or as long from now where it has none.
fn mark(hash: u64, window: &TimestampPolicy, time: Option<SystemTime>, now: SystemTime) -> Mark {
    let (now, max_age) = (seconds(now), window.max_age.as_secs().saturating_add(1));
    // Where validation only observes, a timestamp may be any.
    let latest = now.saturating_add(window.max_ahead.as_secs());
    let from = time.map_or(now, |time| seconds(time).min(latest));
    let longest = max_age.saturating_add(window.max_ahead.as_secs());
    Mark { hash, until: from.saturating_add(max_age).max(now), slice: (longest / SLICES).max(1) }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
