//! Ids by which an acknowledgement, the logs and later a replay speak of one event.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The id of one event, given when it arrives: unique within the process, and, by the time of its start, among restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    started: u64,
    number: u64,
}

impl EventId {
    /// The next unused id.
    pub fn next() -> Self {
        static STARTED: LazyLock<u64> = LazyLock::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since_epoch.as_micros() as u64
        });
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        EventId { started: *STARTED, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it is one in so many. They are spread evenly over all events, and over every second or third of them: what comes
    /// by turns is met alike (Fibonacci hashing).
    pub fn is_one_in(self, many: u64) -> bool {
        self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) < u64::MAX / many
    }

    /// The id that is written so, of this process or of another.
    pub fn parse(text: &str) -> Option<Self> {
        let (started, number) = text.split_once('-')?;
        Some(EventId { started: hexadecimal(started)?, number: hexadecimal(number)? })
    }

    /// Its number within the process.
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.started, self.number)
    }
}

/// A number as [`EventId`] writes it, with no sign before it.
pub(crate) fn hexadecimal(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    if is_plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_met_whatever_comes_by_turns() {
        for turns in 1..=10_u64 {
            for first in 0..turns {
                let of_one = (0..800).map(|at| EventId { started: 0, number: 7_000 + first + at * turns });
                let met = of_one.filter(|id| id.is_one_in(8)).count();
                assert!((90..=110).contains(&met), "{met} of every {turns}");
            }
        }
    }
}
