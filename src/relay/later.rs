//! Changes over their sender's rate (`limits.events.on_limit = "coalesce"`): each waits until the rate allows it, and equal
//! ones become one meanwhile, so that the sender's teammates hear of the latest rather than of nothing.
//!
//! A change that finds no equal one waiting is given its time at once: the sender's buckets are charged for it in advance,
//! so that its later events come after it. One that finds its equal takes that one's time, and its own place behind what
//! was sent in between. What waits here outlives its sender's connection.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::change::Change;
use super::coalesce::Coalescer;
use super::held::{Held, weight};
use crate::metrics::{HeldCounts, Metrics};
use crate::peer::PeerId;

/// Changes of one sender that wait. At the default rate of a socket they have all gone after three seconds.
const MOST_OF_ONE: usize = 64;

/// What those take up together, roughly; bytes. All of them may come to go in one moment, when a reload raises the rate, and
/// must not be more than a member can be asked to hold.
const MOST_BYTES_OF_ONE: usize = 64 << 10;

/// Changes that wait in the process.
const MOST: usize = 4096;

/// What they take up together, roughly; bytes.
const MOST_BYTES: usize = 8 << 20;

/// Changes relayed before others get a turn.
const TURN: usize = 16;

/// Where changes over their sender's rate wait.
pub struct Later {
    relay: Arc<Coalescer>,
    counts: HeldCounts,
    waiting: Mutex<Waiting>,
    /// How many wait; read without a lock by every event.
    len: AtomicUsize,
    /// Whether nothing is to wait any more.
    is_finishing: AtomicBool,
    /// Held while a change is taken and relayed, so that nobody overtakes it in between.
    relaying: Mutex<()>,
    sooner: Notify,
}

/// What a change finds that is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An equal one waits, whose time it takes.
    Taken,
    /// It waits by itself.
    Free,
    /// Too much waits already.
    Full,
}

/// What waits, by sender. It reads no clock.
#[derive(Debug, Default)]
struct Waiting {
    senders: HashMap<PeerId, Queue>,
    /// When the first of each sender is due.
    order: BTreeSet<(Instant, PeerId)>,
    len: usize,
    bytes: usize,
}

/// What waits of one sender, and when the first, the second and so on may go.
#[derive(Debug, Default)]
struct Queue {
    held: Held,
    dues: VecDeque<Instant>,
}

impl Waiting {
    /// What this change would find.
    fn place(&self, change: &Change) -> Place {
        let queue = self.senders.get(&change.sender);
        let bytes_of_one = queue.map_or(0, |queue| queue.held.bytes());
        let is_too_much =
            self.bytes + weight(change) > MOST_BYTES || bytes_of_one + weight(change) > MOST_BYTES_OF_ONE;
        if queue.is_some_and(|queue| queue.held.holds(&change.key)) {
            return if is_too_much { Place::Full } else { Place::Taken };
        }
        let of_one = queue.map_or(0, |queue| queue.held.len());
        if is_too_much || of_one >= MOST_OF_ONE || self.len >= MOST { Place::Full } else { Place::Free }
    }

    /// Takes a change in, with a time of its own if it found no equal one. Returns how many were dropped for it, and whether
    /// something is due sooner than before.
    fn hold(&mut self, change: Change, due: Option<Instant>) -> (usize, bool) {
        let first = self.order.first().copied();
        let sender = change.sender;
        let queue = self.senders.entry(sender).or_default();
        self.len -= queue.held.len();
        self.bytes -= queue.held.bytes();
        let dropped = queue.held.hold(change);
        self.len += queue.held.len();
        self.bytes += queue.held.bytes();
        if let Some(due) = due {
            queue.dues.push_back(due);
            if queue.dues.len() == 1 {
                self.order.insert((due, sender));
            }
        }
        (dropped, self.order.first().copied() != first)
    }

    fn first_due(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Takes the change that is due first, if it is by `now`.
    fn take_due(&mut self, now: Instant) -> Option<Change> {
        let (due, sender) = *self.order.first()?;
        if due > now { None } else { self.take_of(sender) }
    }

    /// Takes the first change of a sender, whether or not it is due.
    fn take_of(&mut self, sender: PeerId) -> Option<Change> {
        let queue = self.senders.get_mut(&sender)?;
        if let Some(due) = queue.dues.pop_front() {
            self.order.remove(&(due, sender));
        }
        let bytes = queue.held.bytes();
        let taken = queue.held.take_first(u64::MAX);
        self.len -= usize::from(taken.is_some());
        self.bytes -= bytes - queue.held.bytes();
        match queue.dues.front() {
            Some(due) if !queue.held.is_empty() => {
                self.order.insert((*due, sender));
            }
            _ => {
                self.len -= queue.held.len();
                self.bytes -= queue.held.bytes();
                self.senders.remove(&sender);
            }
        }
        if self.senders.is_empty() && self.senders.capacity() > MOST_OF_ONE {
            self.senders = HashMap::new();
        }
        taken.map(|(change, _)| change)
    }
}

impl Later {
    /// Nothing waits yet. [`Later::run`] has to be running.
    pub fn new(relay: Arc<Coalescer>, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Later {
            relay,
            counts: metrics.held_by_limit.clone(),
            waiting: Mutex::default(),
            len: AtomicUsize::new(0),
            is_finishing: AtomicBool::new(false),
            relaying: Mutex::default(),
            sooner: Notify::new(),
        })
    }

    /// Holds a change until its time, which `time` says for the place that it finds: how long after `now`.
    ///
    /// # Errors
    /// Those of `time`, which has to say no where there is no place. The change is forgotten then.
    pub fn hold<E>(
        &self,
        change: Change,
        now: Instant,
        time: impl FnOnce(Place) -> Result<Duration, E>,
    ) -> Result<(), E> {
        let (dropped, is_sooner) = {
            let mut waiting = self.waiting.lock();
            let place = waiting.place(&change);
            let wait = time(place)?;
            let wait = if self.is_finishing.load(Ordering::Acquire) { Duration::ZERO } else { wait };
            let held = waiting.hold(change, (place != Place::Taken).then(|| now + wait));
            self.count(&waiting);
            held
        };
        self.counts.folded.inc_by(dropped as u64);
        if is_sooner {
            self.sooner.notify_one();
        }
        Ok(())
    }

    /// Relays what waits of a sender whose next event is about to be relayed, so that it stays behind them.
    pub fn let_go(&self, sender: PeerId) {
        if self.len.load(Ordering::Acquire) == 0 {
            // The last of them may have been taken and not yet been relayed.
            if self.relaying.is_locked() {
                drop(self.relaying.lock());
            }
            return;
        }
        let _turn = self.relaying.lock();
        while self.relay_one(|waiting| waiting.take_of(sender)) {}
    }

    /// Relays what waits, and from now on what comes, without waiting for its time. Returns whether anything waited.
    pub fn finish(&self) -> bool {
        self.is_finishing.store(true, Ordering::Release);
        let _turn = self.relaying.lock();
        let any = |waiting: &mut Waiting| {
            let (_, sender) = *waiting.order.first()?;
            waiting.take_of(sender)
        };
        let mut waited = false;
        while self.relay_one(any) {
            waited = true;
        }
        waited
    }

    /// Relays each change in its time, for as long as it is polled. While nothing waits it sleeps without a timer.
    pub async fn run(self: Arc<Self>) {
        loop {
            let due = self.waiting.lock().first_due();
            let Some(due) = due else {
                self.sooner.notified().await;
                continue;
            };
            // Whether it is time or something else has become due sooner, there may be something to do.
            let _ = tokio::time::timeout_at(due.into(), self.sooner.notified()).await;
            while self.relay_turn(Instant::now()) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Relays what is due, up to [`TURN`] changes. Returns whether more may be left.
    fn relay_turn(&self, now: Instant) -> bool {
        let _turn = self.relaying.lock();
        (0..TURN).all(|_| self.relay_one(|waiting| waiting.take_due(now)))
    }

    /// Relays the change that `take` takes, if there is one. Only to be called while [`Later::relaying`] is held.
    fn relay_one(&self, take: impl FnOnce(&mut Waiting) -> Option<Change>) -> bool {
        let change = {
            let mut waiting = self.waiting.lock();
            let change = take(&mut waiting);
            self.count(&waiting);
            change
        };
        let Some(change) = change else { return false };
        self.relay.relay(change, Instant::now());
        true
    }

    fn count(&self, waiting: &Waiting) {
        self.len.store(waiting.len, Ordering::Release);
        self.counts.waiting.set(waiting.len as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{TaskId, Topic};

    const SECOND: Duration = Duration::from_secs(1);

    fn change(sender: u64, task: &str, payload: &str) -> Change {
        let topic = Topic { kind: Some("t".into()), task_id: Some(TaskId::Integer(task)) };
        Change { sender: PeerId::numbered(sender), ..Change::sample(&["red"], &topic, payload) }
    }

    /// Holds it as [`Later::hold`] does.
    fn hold(waiting: &mut Waiting, change: Change, due: Instant) -> Place {
        let place = waiting.place(&change);
        if place != Place::Full {
            waiting.hold(change, (place == Place::Free).then_some(due));
        }
        place
    }

    fn payloads(waiting: &mut Waiting, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| waiting.take_due(now)).map(|change| change.payload.to_string()).collect()
    }

    #[test]
    fn each_waits_for_its_time_and_equal_ones_share_one() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        assert_eq!(hold(&mut waiting, change(1, "a", "1"), now + SECOND), Place::Free);
        assert_eq!(hold(&mut waiting, change(1, "b", "2"), now + 2 * SECOND), Place::Free);
        assert_eq!(hold(&mut waiting, change(1, "a", "3"), now), Place::Taken);
        assert_eq!(hold(&mut waiting, change(2, "a", "4"), now + 3 * SECOND), Place::Free, "another sender");
        assert_eq!(waiting.len, 3);
        assert_eq!(waiting.first_due(), Some(now + SECOND));
        assert!(payloads(&mut waiting, now).is_empty());
        // In the order in which they were sent, at the times that there are.
        assert_eq!(payloads(&mut waiting, now + SECOND), ["2"]);
        assert_eq!(payloads(&mut waiting, now + 3 * SECOND), ["3", "4"]);
        assert!(waiting.senders.is_empty() && waiting.order.is_empty());
        assert_eq!((waiting.len, waiting.bytes), (0, 0));
    }

    #[test]
    fn an_earlier_time_than_the_last_does_not_overtake_it() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        hold(&mut waiting, change(1, "a", "1"), now + 2 * SECOND);
        hold(&mut waiting, change(1, "b", "2"), now + SECOND);
        assert!(payloads(&mut waiting, now + SECOND).is_empty());
        assert_eq!(payloads(&mut waiting, now + 2 * SECOND), ["1", "2"]);
    }

    #[test]
    fn one_sender_has_so_many_places_and_all_together_so_many() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for task in 0..MOST_OF_ONE {
            assert_eq!(hold(&mut waiting, change(1, &task.to_string(), "1"), now), Place::Free);
        }
        assert_eq!(hold(&mut waiting, change(1, "more", "1"), now), Place::Full);
        assert_eq!(hold(&mut waiting, change(1, "0", "2"), now), Place::Taken, "it takes no more room");
        assert_eq!(hold(&mut waiting, change(2, "more", "1"), now), Place::Free);
        for sender in 3.. {
            if waiting.len == MOST {
                break;
            }
            for task in 0..MOST_OF_ONE {
                hold(&mut waiting, change(sender, &task.to_string(), "1"), now);
            }
        }
        assert_eq!(hold(&mut waiting, change(9999, "a", "1"), now), Place::Full);
        let mut waiting = Waiting::default();
        let large = "x".repeat(MOST_BYTES_OF_ONE * 3 / 4);
        assert_eq!(hold(&mut waiting, change(1, "a", &large), now), Place::Free);
        assert_eq!(hold(&mut waiting, change(1, "a", &large), now), Place::Full);
        assert_eq!(hold(&mut waiting, change(1, "b", &large), now), Place::Full);
        let places = (2..1000).map(|sender| hold(&mut waiting, change(sender, "a", &large), now));
        let held = places.take_while(|place| *place == Place::Free).count();
        assert!((MOST_BYTES / large.len() - 3..MOST_BYTES / large.len()).contains(&held), "{held}");
    }

    #[test]
    fn a_sender_is_let_go_whole() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        hold(&mut waiting, change(1, "a", "1"), now + SECOND);
        hold(&mut waiting, change(2, "a", "2"), now + SECOND);
        hold(&mut waiting, change(1, "b", "3"), now + 2 * SECOND);
        let gone: Vec<_> = std::iter::from_fn(|| waiting.take_of(PeerId::numbered(1))).collect();
        assert_eq!(gone.iter().map(|change| &*change.payload).collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(payloads(&mut waiting, now + SECOND), ["2"]);
        assert_eq!((waiting.len, waiting.bytes), (0, 0));
    }
}
