//! The time of an event, read once by the caller and handed to every stage, so that tests decide what time it is.

use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time of day, against which timestamps are judged. It may step backwards.
    pub wall: SystemTime,
    /// The steady clock, by which rates are counted.
    pub steady: Instant,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Now { wall: SystemTime::now(), steady: Instant::now() }
    }
}

/// The same moment, later on both clocks.
impl std::ops::Add<Duration> for Now {
    type Output = Now;

    fn add(self, later: Duration) -> Now {
        Now { wall: self.wall + later, steady: self.steady + later }
    }
}

/// The moment from which rates are counted. Times become nanoseconds since then, which fit an atomic integer for 584 years.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch(Instant);

impl Epoch {
    /// Counts from `now`.
    pub fn at(now: Now) -> Self {
        Epoch(now.steady)
    }

    /// Nanoseconds since the epoch; zero for a moment before it.
    pub fn nanos(self, now: Now) -> u64 {
        u64::try_from(now.steady.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}
