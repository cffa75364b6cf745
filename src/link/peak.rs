//! A high-water mark that falls again.

use std::time::{Duration, Instant};

/// A mark holds for this long at least, and for twice as long at most: longer than it is between two scrapes.
const HOLDS: Duration = Duration::from_secs(60);

/// The most that was seen lately.
#[derive(Debug, Default)]
pub struct Peak {
    since: Option<Instant>,
    present: u64,
    before: u64,
}

impl Peak {
    /// Something was as high as `mark` at `now`.
    pub fn saw(&mut self, mark: u64, now: Instant) {
        self.turn(now);
        self.present = self.present.max(mark);
    }

    /// The highest of those that still hold.
    pub fn at(&mut self, now: Instant) -> u64 {
        self.turn(now);
        self.present.max(self.before)
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed < HOLDS {
            return;
        }
        self.before = if passed < 2 * HOLDS { self.present } else { 0 };
        self.present = 0;
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_for_a_while() {
        let (mut peak, begin) = (Peak::default(), Instant::now());
        peak.saw(3, begin);
        peak.saw(7, begin + HOLDS / 2);
        peak.saw(5, begin + HOLDS);
        assert_eq!(peak.at(begin + HOLDS), 7);
        assert_eq!(peak.at(begin + 2 * HOLDS), 5);
        assert_eq!(peak.at(begin + 9 * HOLDS), 0);
    }
}
