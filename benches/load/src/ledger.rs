//! The books of a scenario: what was sent, what arrived, and how long each delivery took.

use std::time::Instant;

use crate::message;

/// Sends whose time is remembered: far more than can be in flight in any scenario. A power of two, as the index is a mask.
const REMEMBERED: usize = 1 << 16;

/// Matches deliveries with the events that caused them; an event's task id is its sequence number.
pub struct Ledger {
    audience: u64,
    sends: Vec<Option<Send>>,
    next: u64,
    /// Deliveries of our events.
    pub received: u64,
    /// Deliveries that were none of our events.
    pub foreign: u64,
    recording: bool,
    latencies: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Send {
    at: Instant,
    sender: usize,
    /// Recipients that have not heard it yet.
    awaited: u64,
}

impl Ledger {
    /// Empty books of events that each reach `audience` recipients.
    #[must_use]
    pub fn new(audience: u64) -> Self {
        Self {
            audience,
            sends: vec![None; REMEMBERED],
            next: 0,
            received: 0,
            foreign: 0,
            recording: false,
            latencies: Vec::new(),
        }
    }

    /// Enters an event that `sender` sends now and returns its task id.
    pub fn enter(&mut self, sender: usize) -> u64 {
        let task = self.next;
        self.sends[slot(task)] = Some(Send { at: Instant::now(), sender, awaited: self.audience });
        self.next += 1;
        task
    }

    /// Recipients of each event.
    #[must_use]
    pub fn audience(&self) -> u64 {
        self.audience
    }

    /// Events sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Deliveries that all events sent so far make.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.next * self.audience
    }

    /// Enters a delivery, read at `at`. When it was the event's last, returns who sent it.
    pub fn deliver(&mut self, arguments: &[u8], at: Instant) -> Option<usize> {
        let Some(task) = message::delivered_task(arguments).filter(|&task| task < self.next) else {
            self.foreign += 1;
            return None;
        };
        self.received += 1;
        if task + (REMEMBERED as u64) < self.next {
            return None;
        }
        let send = self.sends[slot(task)].as_mut()?;
        if self.recording {
            let nanos = at.saturating_duration_since(send.at).as_nanos();
            self.latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        }
        send.awaited = send.awaited.saturating_sub(1);
        (send.awaited == 0).then_some(send.sender)
    }

    /// Starts or stops collecting latencies.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
    }

    /// The 50th and 99th percentile of the latencies collected since the last call, in milliseconds (4.29 s at most), when there are any.
    pub fn take_percentiles(&mut self) -> Option<(f64, f64)> {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.latencies.len() * percent).div_ceil(100).saturating_sub(1);
            self.latencies.get(rank).map(|&nanos| f64::from(nanos) / 1e6)
        };
        let percentiles = at(50).zip(at(99));
        self.latencies.clear();
        percentiles
    }
}

fn slot(task: u64) -> usize {
    usize::try_from(task).unwrap_or(usize::MAX) & (REMEMBERED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deliveries_are_matched_and_strangers_are_not() {
        let mut ledger = Ledger::new(2);
        ledger.record(true);
        assert_eq!((ledger.enter(7), ledger.enter(8)), (0, 1));
        let text = |task: u64| {
            format!(r#"["database-changed",{{"type":"task-updated","taskId":{task},"timestamp":1}}]"#)
        };
        let later = Instant::now() + Duration::from_millis(3);
        assert_eq!(ledger.deliver(text(1).as_bytes(), later), None);
        assert_eq!(ledger.deliver(text(2).as_bytes(), later), None);
        assert_eq!(ledger.deliver(text(1).as_bytes(), later), Some(8));
        assert_eq!((ledger.received, ledger.foreign, ledger.expected()), (2, 1, 4));
        let (p50, p99) = ledger.take_percentiles().unwrap();
        assert!(p50 >= 3.0 && p50 <= p99, "{p50} {p99}");
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut ledger = Ledger::new(1);
        ledger.latencies = (1..=200).map(|ms| ms * 1_000_000).collect();
        assert_eq!(ledger.take_percentiles(), Some((100.0, 198.0)));
        assert_eq!(ledger.take_percentiles(), None);
    }
}
