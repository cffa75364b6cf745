//! The log's lines as they are made, for operators who look on. They are made whether or not a file is written, and only
//! while somebody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::DecisionLog;
use super::allowance::{Allowance, Spent};
use super::record::Record;

/// Lines a second that are shown, which is more than a person reads. Whoever decides makes them, so it is also what looking on
/// costs at most.
pub const MOST_SHOWN: u32 = 50;

/// Lines that wait for one who looks on.
const WAITING: usize = 128;

/// Where lines are shown.
pub(super) struct Tap {
    lines: Sender<Arc<str>>,
    shown: Allowance,
    left_out: AtomicU64,
}

impl Tap {
    /// Nobody looks on.
    pub fn new() -> Self {
        Tap { lines: channel(WAITING).0, shown: Allowance::default(), left_out: AtomicU64::new(0) }
    }

    /// Whether somebody looks on.
    pub fn is_watched(&self) -> bool {
        self.lines.receiver_count() > 0
    }

    /// Shows one record in this second, or counts it as left out.
    pub fn show(&self, record: &Record, second: u32) {
        if self.shown.spend(second, MOST_SHOWN) == Spent::Exceeded {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut line = Vec::new();
        record.write(&mut line);
        if let Ok(line) = String::from_utf8(line) {
            // Whoever looked on may just have left.
            let _ = self.lines.send(line.trim_end().into());
        }
    }
}

/// Somebody who looks on, until it is dropped.
pub struct Onlooker {
    log: Arc<DecisionLog>,
    lines: Option<Receiver<Arc<str>>>,
    /// Of [`Tap::left_out`], what has been said already.
    told: u64,
    missed: u64,
}

impl Onlooker {
    pub(super) fn new(log: Arc<DecisionLog>) -> Self {
        let lines = log.tap.lines.subscribe();
        let told = log.tap.left_out.load(Ordering::Relaxed);
        Onlooker { log, lines: Some(lines), told, missed: 0 }
    }

    /// The next line.
    pub async fn next(&mut self) -> Arc<str> {
        loop {
            let Some(lines) = &mut self.lines else { return std::future::pending().await };
            match lines.recv().await {
                Ok(line) => return line,
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                // The log is there as long as this is.
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    /// How many lines were not shown since this was asked last.
    pub fn skipped(&mut self) -> u64 {
        let left_out = self.log.tap.left_out.load(Ordering::Relaxed);
        let skipped = left_out - self.told + std::mem::take(&mut self.missed);
        self.told = left_out;
        skipped
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.lines = None;
        self.log.count_in();
    }
}
