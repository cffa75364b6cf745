//! Ids by which an acknowledgement, the logs and later a replay speak of one event.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Random bits in a [`Run`], so that processes that start in the same microsecond are told apart.
const RANDOM_BITS: u32 = 12;

/// One run of one process, of all that ever were: the microseconds from 1970 to its start, and random bits below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(u64);

/// The id of one event, given when it arrives: unique within the process, and, by its run, among all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    origin: Run,
    number: u64,
}

impl Run {
    /// This process's.
    pub fn this() -> Self {
        static THIS: LazyLock<Run> = LazyLock::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            // Seeded by the system, once a process.
            let random = RandomState::new().hash_one(std::process::id());
            Run(((since_epoch.as_micros() as u64) << RANDOM_BITS) | (random >> (u64::BITS - RANDOM_BITS)))
        });
        *THIS
    }

    /// The run of this number; see [`Run::number`].
    pub(crate) fn numbered(number: u64) -> Self {
        Run(number)
    }

    /// All that it is, as one number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The run that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        hexadecimal(text).map(Run)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl EventId {
    /// The next unused id.
    pub fn next() -> Self {
        Self::next_of(Run::this())
    }

    /// An unused id, as another run in this process has them: an embedder may have several nodes.
    pub(crate) fn next_of(origin: Run) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        EventId { origin, number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// The run of the process that gave it.
    pub fn origin(self) -> Run {
        self.origin
    }

    /// Whether this process gave it.
    pub fn is_ours(self) -> bool {
        self.origin == Run::this()
    }

    /// Whether it is one in so many. They are spread evenly over all events, and over every second or third of them: what comes
    /// by turns is met alike (Fibonacci hashing).
    pub fn is_one_in(self, many: u64) -> bool {
        self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) < u64::MAX / many
    }

    /// The id that is written so, of this process or of another.
    pub fn parse(text: &str) -> Option<Self> {
        let (origin, number) = text.split_once('-')?;
        Some(EventId { origin: Run::parse(origin)?, number: hexadecimal(number)? })
    }

    /// Its number within the process.
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.origin, self.number)
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
                let of_one =
                    (0..800).map(|at| EventId { origin: Run(0), number: 7_000 + first + at * turns });
                let met = of_one.filter(|id| id.is_one_in(8)).count();
                assert!((90..=110).contains(&met), "{met} of every {turns}");
            }
        }
    }

    #[test]
    fn a_run_is_in_each_of_its_ids_and_reads_as_it_is_written() {
        let (one, other) = (EventId::next(), EventId::next());
        assert!(one != other && one.origin() == other.origin() && one.is_ours());
        assert_eq!(one.origin(), Run::this());
        assert_eq!(EventId::parse(&one.to_string()), Some(one));
        assert_eq!(Run::parse(&Run::this().to_string()), Some(Run::this()));
        assert_eq!(Run::this().to_string().len(), 16, "the time has all of its bits");
        let started = UNIX_EPOCH + std::time::Duration::from_micros(Run::this().0 >> RANDOM_BITS);
        let ago = SystemTime::now().duration_since(started).unwrap();
        assert!(ago < std::time::Duration::from_secs(3600), "{ago:?}");
        let elsewhere = EventId::parse("1-2").unwrap();
        assert!(!elsewhere.is_ours() && elsewhere.origin() == Run::parse("1").unwrap());
    }
}
