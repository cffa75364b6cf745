//! The pauses between attempts to connect.

use std::time::Duration;

/// The first pause: a server that was just restarted is found soon.
const FLOOR: Duration = Duration::from_millis(50);
/// The longest: a server that is away for long is not asked more often by each node.
pub(super) const CEILING: Duration = Duration::from_secs(5);

/// Pauses that double with each failure, each varied so that nodes which lost the same server do not come back as one.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// What to wait after one more failure: between half and all of the doubled pause.
    pub(super) fn next(&mut self) -> Duration {
        let longest = FLOOR.saturating_mul(1 << self.failures.min(16)).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        varied(longest)
    }

    /// A connection lasted.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn varied(longest: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness it is just not varied.
    let _ = getrandom::fill(&mut random);
    longest / 2 + longest.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::default();
        for longest in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let pause = backoff.next();
            let longest = Duration::from_millis(longest);
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
        }
        (0..1000).for_each(|_| assert!(backoff.next() <= CEILING));
        backoff.reset();
        assert!(backoff.next() <= FLOOR);
    }

    #[test]
    fn pauses_vary() {
        let pauses: std::collections::HashSet<_> = (0..32).map(|_| Backoff::default().next()).collect();
        assert!(pauses.len() > 1);
    }
}
