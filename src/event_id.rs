//! Ids by which an acknowledgement, the logs and later a replay speak of one event.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The id of one event, given when it arrives: unique within the process, and, by the time of its start, among restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
