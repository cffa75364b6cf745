//! What waits for Redis, and the task that hands it over: in the order in which it came, each once at most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::NodeJs;
use crate::bus::node_format;
use crate::bus::redis::CallError;
use crate::relay::change::Change;

/// Changes that are written and handed over together.
const MOST_AT_ONCE: usize = 128;

/// What they take up together, beyond the first; bytes.
const MOST_BYTES_AT_ONCE: usize = 1 << 20;

/// What a change takes up beside its payload, roughly; bytes.
const OVERHEAD: usize = 256;

/// How long it waits before it tries again while Redis is away.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Changes that wait.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: Mutex<Queue>,
    most_bytes: usize,
    /// There is something to hand over.
    has_some: Notify,
    /// Nothing waits any more, and nothing is on its way.
    is_empty: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Change>,
    bytes: usize,
    /// Those that the task has taken and that have not arrived.
    under_way: usize,
}

impl Queue {
    fn push_back(&mut self, change: Change) {
        self.bytes += size(&change);
        self.waiting.push_back(change);
    }

    fn pop_front(&mut self) -> Option<Change> {
        let change = self.waiting.pop_front()?;
        self.bytes -= size(&change);
        Some(change)
    }
}

fn size(change: &Change) -> usize {
    OVERHEAD + change.payload.len()
}

impl Outgoing {
    pub fn new(most_bytes: usize) -> Self {
        Outgoing { queue: Mutex::default(), most_bytes, has_some: Notify::new(), is_empty: Notify::new() }
    }

    /// Takes a change. Returns how many of those that wait were dropped for it: the oldest.
    pub fn put(&self, change: &Change) -> u64 {
        let mut dropped = 0;
        {
            let mut queue = self.queue.lock();
            queue.push_back(change.clone());
            while queue.bytes > self.most_bytes && queue.waiting.len() > 1 {
                queue.pop_front();
                dropped += 1;
            }
        }
        self.has_some.notify_one();
        dropped
    }

    /// The next few, in their order.
    fn take(&self) -> Vec<Change> {
        let mut queue = self.queue.lock();
        let mut taken: Vec<Change> = Vec::new();
        let mut bytes = 0;
        while taken.len() < MOST_AT_ONCE && bytes < MOST_BYTES_AT_ONCE {
            let Some(change) = queue.pop_front() else { break };
            bytes += size(&change);
            taken.push(change);
        }
        queue.under_way = taken.len();
        taken
    }

    /// Puts those back before all others that were taken and not sent.
    fn put_back(&self, unsent: Vec<Change>) {
        let mut queue = self.queue.lock();
        queue.under_way = 0;
        for change in unsent.into_iter().rev() {
            queue.bytes += size(&change);
            queue.waiting.push_front(change);
        }
        if queue.waiting.is_empty() {
            self.is_empty.notify_waiters();
        }
    }

    /// How many wait or are on their way.
    pub fn len(&self) -> usize {
        let queue = self.queue.lock();
        queue.waiting.len() + queue.under_way
    }

    /// What those take up that wait, roughly; bytes.
    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Returns when everything has been handed over.
    pub async fn emptied(&self) {
        loop {
            let mut told = std::pin::pin!(self.is_empty.notified());
            told.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            told.await;
        }
    }
}

/// Hands over what waits for as long as it is polled.
pub(super) async fn send(nodejs: Arc<NodeJs>) {
    loop {
        let changes = nodejs.outgoing.take();
        if changes.is_empty() {
            nodejs.outgoing.put_back(Vec::new());
            nodejs.outgoing.has_some.notified().await;
            continue;
        }
        let unsent = hand_over(&nodejs, changes).await;
        let is_away = !unsent.is_empty();
        nodejs.outgoing.put_back(unsent);
        if is_away {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Returns those that were not sent and are to be tried again.
async fn hand_over(nodejs: &NodeJs, changes: Vec<Change>) -> Vec<Change> {
    let mut messages: Vec<(String, Vec<u8>)> = Vec::with_capacity(changes.len());
    let mut written: Vec<Change> = Vec::with_capacity(changes.len());
    for change in changes {
        match message(nodejs, &change) {
            Ok(message) => {
                messages.push(message);
                written.push(change);
            }
            Err(why) => {
                nodejs.counts.unwritable.inc();
                tracing::warn!(event = %change.id, %why, "a change that servers in Node.js cannot be told");
            }
        }
    }
    let answers =
        nodejs.driver.publish(messages.iter().map(|(channel, message)| (&**channel, &**message))).await;
    let mut unsent = Vec::new();
    for (change, answer) in written.into_iter().zip(answers) {
        match answer {
            Ok(_) => _ = nodejs.counts.sent.inc(),
            Err(CallError::Away | CallError::Busy) => unsent.push(change),
            // Redis may have told it to everybody before the connection broke.
            Err(CallError::Lost) => _ = nodejs.counts.lost.inc(),
            Err(CallError::Refused(why)) => {
                nodejs.counts.lost.inc();
                tracing::warn!(event = %change.id, %why, "servers in Node.js cannot be told of a change");
            }
        }
    }
    unsent
}

/// The message, and the channel that an adapter would publish it to.
fn message(nodejs: &NodeJs, change: &Change) -> Result<(String, Vec<u8>), node_format::Unwritable> {
    let rooms: Vec<&str> = change.key.teams().iter().map(|team| &**team).collect();
    let channel = match rooms[..] {
        [room] => nodejs.channels.of_room(room),
        _ => nodejs.channels.general().to_owned(),
    };
    let message = node_format::write(&nodejs.uid, &rooms, &change.emit, &change.payload)?;
    Ok((channel, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Topic;

    fn change(payload: &str) -> Change {
        Change::sample(&["red"], &Topic::default(), payload)
    }

    fn payloads(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| &*change.payload).collect()
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let outgoing = Outgoing::new(2 * (OVERHEAD + 1));
        assert_eq!(
            (outgoing.put(&change("1")), outgoing.put(&change("2")), outgoing.put(&change("3"))),
            (0, 0, 1)
        );
        // However large it is, the newest stays.
        let large = "4".repeat(4 * OVERHEAD);
        assert_eq!(outgoing.put(&change(&large)), 2);
        assert_eq!(payloads(&outgoing.take()), [&large]);
        assert_eq!((outgoing.bytes(), outgoing.len()), (0, 1));
    }

    #[test]
    fn what_was_not_sent_comes_first() {
        let outgoing = Outgoing::new(1 << 20);
        ["1", "2"].iter().for_each(|payload| _ = outgoing.put(&change(payload)));
        let taken = outgoing.take();
        outgoing.put(&change("3"));
        outgoing.put_back(taken[1..].to_vec());
        assert_eq!(payloads(&outgoing.take()), ["2", "3"]);
        outgoing.put_back(Vec::new());
        assert_eq!((outgoing.bytes(), outgoing.len()), (0, 0));
    }

    #[test]
    fn few_are_taken_at_once() {
        let outgoing = Outgoing::new(usize::MAX);
        (0..=MOST_AT_ONCE).for_each(|_| _ = outgoing.put(&change("1")));
        assert_eq!((outgoing.take().len(), outgoing.take().len()), (MOST_AT_ONCE, 1));
        let large = "1".repeat(MOST_BYTES_AT_ONCE);
        (0..2).for_each(|_| _ = outgoing.put(&change(&large)));
        assert_eq!((outgoing.take().len(), outgoing.take().len()), (1, 1));
    }
}
