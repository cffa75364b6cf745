//! A feed's rounds: whose turn it is to be written to.
//!
//! A round gives every follower of a feed one write with all that has been published since its last turn, in slices. One that
//! has ended begins anew if more has been published meanwhile.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::link::feed::{Batch, Feed};
use crate::link::outlet::Outlet;

/// Where nothing was published for so long, followers are written to at once if they are few: nothing that could share
/// the writes is likely to come within the tick.
const QUIET: Duration = Duration::from_millis(1);

/// A feed and its rounds.
pub struct Course {
    id: CourseId,
    feed: Arc<Feed>,
    rounds: Mutex<Rounds>,
}

/// A course's number within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CourseId(NonZeroU64);

#[derive(Default)]
struct Rounds {
    current: Option<Round>,
    /// When something was last published.
    published: Option<Instant>,
}

/// Followers are gone through from the last to the first. Whoever leaves is replaced by the last, which had its turn before
/// or still stands before the turn; whoever comes stands behind it, and lacks nothing that was published before.
struct Round {
    /// What the feed had when the round began: every follower has it when the round ends.
    until: u64,
    /// Followers that have not been claimed.
    unclaimed: usize,
    /// Slices that have been claimed and are not written yet.
    being_written: usize,
}

/// Some followers and what they are to be written.
pub struct Slice {
    /// Whose turn it is.
    pub outlets: Vec<Arc<Outlet>>,
    /// What most of them lack; `None` where each has to look for itself.
    pub batch: Option<Batch>,
    /// Followers whose turn comes later in this round.
    pub left: usize,
    /// The round that they were claimed from.
    pub course: Arc<Course>,
}

/// How followers get what was just published.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Somebody is at it already.
    UnderWay,
    /// A round has begun, and somebody has to go through it.
    Round,
    /// The same, and they are few and it is quiet: go through it now.
    Now,
}

impl CourseId {
    /// The course of this number; there is no course 0.
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(CourseId)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl Default for Course {
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // No process makes 2^64 of them.
        let id = CourseId(NonZeroU64::MIN.saturating_add(LAST.fetch_add(1, Ordering::Relaxed)));
        Course { id, feed: Arc::default(), rounds: Mutex::default() }
    }
}

impl Course {
    /// Its number.
    pub fn id(&self) -> CourseId {
        self.id
    }

    /// What its followers follow.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Says what is due after something was published, at `now`, to so many followers. `few` of them can be written to at once.
    pub fn due(&self, now: Instant, followers: usize, few: usize) -> Due {
        let mut rounds = self.rounds.lock();
        let published = rounds.published.replace(now);
        if rounds.current.is_some() {
            return Due::UnderWay;
        }
        if followers == 0 {
            // They have left meanwhile, and whoever comes begins behind it.
            self.feed.forget(self.feed.head());
            return Due::UnderWay;
        }
        rounds.current = Some(Round { until: self.feed.head(), unclaimed: followers, being_written: 0 });
        let is_quiet = published.is_none_or(|before| now.saturating_duration_since(before) >= QUIET);
        if is_quiet && followers <= few { Due::Now } else { Due::Round }
    }

    /// Claims the next `most` places of `followers`, if a round is under way: from where, to where. [`Course::wrote`] must
    /// follow. Whoever stands there must have been read before another can take the place.
    pub fn claim(&self, followers: usize, most: usize) -> Option<std::ops::Range<usize>> {
        let mut rounds = self.rounds.lock();
        let round = rounds.current.as_mut()?;
        round.being_written += 1;
        let end = round.unclaimed.min(followers);
        round.unclaimed = end.saturating_sub(most);
        Some(round.unclaimed..end)
    }

    /// Says that what was claimed has been written. Returns whether a new round has begun, of so many `followers`: the old
    /// one has ended, and more has been published.
    pub fn wrote(&self, followers: usize) -> bool {
        let mut rounds = self.rounds.lock();
        let Some(round) = rounds.current.as_mut() else { return false };
        round.being_written = round.being_written.saturating_sub(1);
        if round.unclaimed > 0 || round.being_written > 0 {
            return false;
        }
        self.feed.forget(round.until);
        let head = self.feed.head();
        if head == round.until || followers == 0 {
            self.feed.forget(head);
            rounds.current = None;
            return false;
        }
        *round = Round { until: head, unclaimed: followers, being_written: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::link::feed::Entry;

    fn publish(course: &Course) {
        course.feed.publish(Entry { frame: Bytes::from_static(b"x"), except: None });
    }

    fn held(course: &Course) -> u64 {
        let mut held = 0;
        course.feed.read(0, |_| held += 1);
        held
    }

    #[test]
    fn a_round_goes_through_all_and_begins_anew_for_what_came_meanwhile() {
        let course = Course::default();
        let now = Instant::now();
        publish(&course);
        assert_eq!(course.due(now, 5, 2), Due::Round);
        assert_eq!(course.claim(5, 2), Some(3..5));
        publish(&course);
        assert_eq!(course.due(now, 5, 2), Due::UnderWay);
        assert!(!course.wrote(5));
        assert_eq!(course.claim(5, 2), Some(1..3));
        assert_eq!(course.claim(5, 2), Some(0..1));
        // Two are at it: the round ends with the last of them, and only what it began with is forgotten.
        assert!(!course.wrote(5));
        assert_eq!(held(&course), 2);
        assert!(course.wrote(5));
        assert_eq!(held(&course), 1);
        assert_eq!(course.claim(5, 9), Some(0..5));
        assert!(!course.wrote(5));
        assert_eq!(held(&course), 0);
        assert_eq!(course.claim(5, 9), None);
    }

    #[test]
    fn followers_that_leave_shorten_a_round() {
        let course = Course::default();
        publish(&course);
        course.due(Instant::now(), 10, 2);
        assert_eq!(course.claim(10, 4), Some(6..10));
        assert_eq!(course.claim(3, 4), Some(0..3));
    }

    #[test]
    fn a_round_without_followers_ends() {
        let course = Course::default();
        let now = Instant::now();
        publish(&course);
        assert_eq!(course.due(now, 0, 2), Due::UnderWay);
        publish(&course);
        assert_eq!(course.due(now, 3, 2), Due::Round);
        publish(&course);
        course.claim(0, 9);
        assert!(!course.wrote(0));
        assert_eq!(held(&course), 0);
        publish(&course);
        assert_eq!(course.due(now, 3, 2), Due::Round);
    }

    #[test]
    fn few_followers_are_written_to_at_once_where_it_is_quiet() {
        let course = Course::default();
        let now = Instant::now();
        let due = |after: Duration, followers| {
            publish(&course);
            let due = course.due(now + after, followers, 2);
            course.claim(followers, followers);
            course.wrote(followers);
            due
        };
        assert_eq!(due(Duration::ZERO, 2), Due::Now);
        assert_eq!(due(QUIET / 2, 2), Due::Round);
        assert_eq!(due(QUIET * 2, 2), Due::Now);
        assert_eq!(due(QUIET * 4, 3), Due::Round);
    }

    #[test]
    fn where_other_groups_have_used_up_what_may_be_written_at_once_even_one_waits() {
        let course = Course::default();
        publish(&course);
        assert_eq!(course.due(Instant::now(), 1, 0), Due::Round);
    }
}
