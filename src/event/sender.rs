//! A sender: an admitted peer and what it has used up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::policy::{DisconnectAfter, Mode};
use crate::peer::Peer;

use super::now::{Epoch, Now};
use super::rate_limit::Buckets;

/// A peer with its rate-limit buckets and its refusals. Dropping it lets go of the buckets that it shares.
pub struct Sender {
    peer: Arc<Peer>,
    buckets: Buckets,
    refusals: RefusalWindow,
    epoch: Epoch,
}

impl Sender {
    pub(super) fn new(peer: Arc<Peer>, buckets: Buckets, limit: DisconnectAfter, epoch: Epoch) -> Self {
        Sender { peer, buckets, refusals: RefusalWindow::new(limit), epoch }
    }

    /// Sends as this peer from now on, of the same socket, with these buckets in the place of those that it shared, and of
    /// its own where that one's rate has `changed`. Its refusals stay counted.
    pub(super) fn judged_again(
        &mut self,
        peer: Arc<Peer>,
        buckets: Buckets,
        changed: bool,
        limit: DisconnectAfter,
    ) {
        self.peer = peer;
        self.buckets.take_over(buckets, changed);
        self.refusals.limit_to(limit);
    }

    /// Who sends.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Counts one refused event, and says whether `limits.events.disconnect_after` is reached.
    pub fn note_refusal(&self, now: Now) -> AfterRefusal {
        self.refusals.note(self.epoch.nanos(now))
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.peer).finish()
    }
}

/// What follows from one more refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// Nothing.
    Stay,
    /// The connection would be closed now, were that not only observed. Said once for each window.
    WouldClose,
    /// The connection must be closed.
    Close,
}

/// Refusals within a window that begins with the first of them.
struct RefusalWindow {
    limit: u32,
    mode: Mode,
    milliseconds: u64,
    /// The window's beginning in milliseconds since the epoch (40 bits, 34 years), then the count so far (24 bits).
    state: AtomicU64,
}

const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

impl RefusalWindow {
    fn new(limit: DisconnectAfter) -> Self {
        let mut window =
            RefusalWindow { limit: 0, mode: limit.mode, milliseconds: 0, state: AtomicU64::new(0) };
        window.limit_to(limit);
        window
    }

    /// Goes by this limit from now on, with what was counted so far.
    fn limit_to(&mut self, limit: DisconnectAfter) {
        self.limit = limit.refusals.min(COUNT_MAX as u32);
        self.mode = limit.mode;
        self.milliseconds = u64::try_from(limit.per.as_millis()).unwrap_or(u64::MAX);
    }

    fn note(&self, now: u64) -> AfterRefusal {
        if self.mode == Mode::Off {
            return AfterRefusal::Stay;
        }
        let now = now / 1_000_000;
        let next = |state: u64| {
            let (begin, count) = (state >> COUNT_BITS, state & COUNT_MAX);
            if count == 0 || now.saturating_sub(begin) >= self.milliseconds {
                now << COUNT_BITS | 1
            } else {
                begin << COUNT_BITS | (count + 1).min(COUNT_MAX)
            }
        };
        let before = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| Some(next(state)))
            .unwrap_or_else(|state| state);
        let (count, limit) = (next(before) & COUNT_MAX, u64::from(self.limit));
        match self.mode {
            Mode::Enforce if count >= limit => AfterRefusal::Close,
            // A limit of zero is reached by the first, too.
            Mode::Observe if count == limit.max(1) => AfterRefusal::WouldClose,
            _ => AfterRefusal::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use AfterRefusal::{Close, Stay, WouldClose};

    const MINUTE: u64 = 60_000_000_000;

    fn window(refusals: u32, mode: Mode) -> RefusalWindow {
        RefusalWindow::new(DisconnectAfter { refusals, per: Duration::from_secs(60), mode })
    }

    #[test]
    fn closes_at_the_last_refusal_of_a_window() {
        let window = window(3, Mode::Enforce);
        assert_eq!([5, 6, 7, 8].map(|now| window.note(now)), [Stay, Stay, Close, Close]);
    }

    #[test]
    fn a_new_window_forgets_the_old_one() {
        let window = window(3, Mode::Enforce);
        let times =
            [MINUTE, 2 * MINUTE - 2_000_000, 2 * MINUTE, 3 * MINUTE - 2_000_000, 3 * MINUTE - 1_000_000];
        assert_eq!(times.map(|now| window.note(now)), [Stay, Stay, Stay, Stay, Close]);
    }

    #[test]
    fn one_refusal_may_be_enough() {
        for refusals in [1, 0] {
            assert_eq!(window(refusals, Mode::Enforce).note(0), Close);
            assert_eq!(window(refusals, Mode::Observe).note(0), WouldClose);
        }
    }

    #[test]
    fn what_is_observed_is_said_once_for_each_window() {
        let window = window(2, Mode::Observe);
        let times = [0, 1, 2, 3, 2 * MINUTE, 2 * MINUTE, 2 * MINUTE];
        assert_eq!(times.map(|now| window.note(now)), [Stay, WouldClose, Stay, Stay, Stay, WouldClose, Stay]);
    }

    #[test]
    fn what_is_off_never_closes() {
        let window = window(1, Mode::Off);
        assert_eq!([0, 1, 2].map(|now| window.note(now)), [Stay; 3]);
    }
}
