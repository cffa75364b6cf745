//! One token bucket: governor's GCRA over a single atomic integer of our own, so that a token can be given back.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use crate::config::policy::Rate;

/// The longest time an empty bucket may take to fill, about 73 years: governor's sums of nanoseconds stay far from overflow.
const LONGEST_FILL: u64 = 1 << 61;

/// Governor's form of a rate.
pub fn quota(rate: Rate) -> Quota {
    let interval =
        (rate.per / rate.count.get()).clamp(Duration::from_nanos(1), Duration::from_nanos(LONGEST_FILL));
    let longest = u32::try_from(u128::from(LONGEST_FILL) / interval.as_nanos()).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(rate.burst.get().min(longest)).unwrap_or(NonZeroU32::MIN);
    // `with_period` answers `None` for a period of zero only, which the clamp rules out.
    Quota::with_period(interval).unwrap_or(Quota::per_second(rate.count)).allow_burst(burst)
}

/// A bucket's whole state: the time, in nanoseconds since the epoch, at which it will be full again.
///
/// The rate is not part of it. It comes with each call, so that a changed policy holds for buckets that exist.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes one token at the time `now`, or says how long to wait for one.
    pub fn take(&self, quota: Quota, now: u64) -> Result<(), Duration> {
        RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, Seen { bucket: self, now }, Standstill)
            .check()
            .map_err(|refused| refused.wait_time_from(Nanos::new(0)))
    }

    /// Undoes one [`Bucket::take`] at the same rate.
    pub fn give_back(&self, quota: Quota) {
        let token = nanos(quota.replenish_interval());
        // The closure always answers `Some`, so there is no failure to look at.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| Some(full.saturating_sub(token)));
    }

    /// How long after `now` the next token could be taken.
    pub fn wait(&self, quota: Quota, now: u64) -> Duration {
        wait(self.full_at(), quota, now)
    }

    /// Takes the next token in advance, whenever there is one. Returns how long after `now` that is.
    pub fn take_in_advance(&self, quota: Quota, now: u64) -> Duration {
        let token = nanos(quota.replenish_interval());
        // The closure always answers `Some`, so the other case is the same value.
        let full = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
                Some(full.max(now).saturating_add(token))
            })
            .unwrap_or_else(|full| full);
        wait(full, quota, now)
    }

    /// How many tokens could be taken at the time `now`.
    pub fn left(&self, quota: Quota, now: u64) -> u32 {
        let token = quota.replenish_interval().as_nanos().max(1);
        let lacking = u128::from(self.full_at().saturating_sub(now)).div_ceil(token);
        quota.burst_size().get().saturating_sub(u32::try_from(lacking).unwrap_or(u32::MAX))
    }

    /// When the bucket will be full, in nanoseconds since the epoch.
    pub fn full_at(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How long after `now` there is a token in a bucket that will be full at `full`.
fn wait(full: u64, quota: Quota, now: u64) -> Duration {
    let others = u64::from(quota.burst_size().get() - 1).saturating_mul(nanos(quota.replenish_interval()));
    Duration::from_nanos(full.saturating_sub(now).saturating_sub(others))
}

/// A bucket as governor sees it: not the time at which it will be full but how long that still takes.
///
/// Seen so, governor's own clock may stand at zero for ever, and the time is an argument instead of something to be read.
struct Seen<'a> {
    bucket: &'a Bucket,
    now: u64,
}

impl StateStore for Seen<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Nothing but this one integer is shared, so relaxed ordering is enough.
        let state = &self.bucket.0;
        let mut full = state.load(Ordering::Relaxed);
        loop {
            let (outcome, left) = decide(Some(Nanos::new(full.saturating_sub(self.now))))?;
            let next = self.now.saturating_add(left.as_u64());
            match state.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(outcome),
                Err(found) => full = found,
            }
        }
    }
}

/// The clock that stands at zero.
struct Standstill;

impl Clock for Standstill {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, per: Duration, burst: u32) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per, burst: NonZeroU32::new(burst).unwrap() }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let quota = quota(rate(20, Duration::from_secs(1), 40));
        let bucket = Bucket::default();
        let start = 5 * SECOND;
        for _ in 0..40 {
            assert_eq!(bucket.take(quota, start), Ok(()));
        }
        assert_eq!(bucket.take(quota, start), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(quota, start + 20_000_000), Err(Duration::from_millis(30)));
        assert_eq!(bucket.take(quota, start + 50_000_000), Ok(()));
        assert!(bucket.take(quota, start + 50_000_000).is_err());
        assert_eq!(bucket.full_at(), start + 41 * 50_000_000);
    }

    #[test]
    fn a_token_given_back_can_be_taken_again() {
        let quota = quota(rate(1, Duration::from_secs(60), 2));
        let bucket = Bucket::default();
        bucket.take(quota, SECOND).unwrap();
        bucket.take(quota, SECOND).unwrap();
        assert!(bucket.take(quota, SECOND).is_err());
        bucket.give_back(quota);
        assert_eq!(bucket.take(quota, SECOND), Ok(()));
        assert!(bucket.take(quota, SECOND).is_err());
    }

    #[test]
    fn tokens_taken_in_advance_come_one_after_the_other_and_before_others() {
        let quota = quota(rate(20, Duration::from_secs(1), 2));
        let bucket = Bucket::default();
        let interval = Duration::from_millis(50);
        let waits = [0; 4].map(|_| bucket.take_in_advance(quota, SECOND));
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, interval, 2 * interval]);
        assert_eq!(bucket.wait(quota, SECOND), 3 * interval);
        assert_eq!(bucket.take(quota, SECOND), Err(3 * interval));
        assert_eq!(bucket.take(quota, SECOND + 150_000_000), Ok(()));
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        for (count, per, burst) in [
            (1, Duration::MAX, u32::MAX),
            (u32::MAX, Duration::from_nanos(1), u32::MAX),
            (u32::MAX, Duration::MAX, 1),
            (1, Duration::ZERO, 1),
        ] {
            let quota = quota(rate(count, per, burst));
            let bucket = Bucket::default();
            for now in [0, 1, SECOND, u64::MAX / 2] {
                let _ = bucket.take(quota, now);
                let _ = (bucket.wait(quota, now), bucket.take_in_advance(quota, now));
                let _ = bucket.take(quota, now);
            }
        }
    }

    #[test]
    fn many_threads_never_get_more_than_the_burst() {
        let quota = quota(rate(1, Duration::from_secs(3600), 1000));
        let bucket = Bucket::default();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| bucket.take(quota, SECOND).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    proptest! {
        /// Our state and standing clock decide exactly as governor's own do.
        #[test]
        fn decides_as_governor_does(steps in prop::collection::vec(0_u64..400_000_000, 1..200), count in 1_u32..50, burst in 1_u32..50) {
            let quota = quota(rate(count, Duration::from_secs(1), burst));
            let clock = FakeRelativeClock::default();
            let theirs = RateLimiter::direct_with_clock(quota, clock.clone());
            let ours = Bucket::default();
            let mut now = 0;
            for step in steps {
                now += step;
                clock.advance(Duration::from_nanos(step));
                let expected = theirs.check().map_err(|refused| refused.wait_time_from(clock.now()));
                let left = ours.left(quota, now);
                prop_assert_eq!(left > 0, expected.is_ok());
                prop_assert_eq!(ours.wait(quota, now), expected.err().unwrap_or_default());
                prop_assert_eq!(ours.take(quota, now), expected);
                prop_assert_eq!(ours.left(quota, now), left.saturating_sub(1));
            }
        }
    }
}
