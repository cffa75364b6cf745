//! Coalescing (`relay.coalesce`): accepted changes wait for the end of a window, and equal ones become one.
//!
//! A window begins with the first change that is held while none is, and ends for all of them together. Everything that
//! is accepted passes through it, also what is equal to nothing, so that there is one order: each member hears its part of
//! the order of acceptance, whoever sent, and one sender's events in the order in which they were sent. [`super::held`]
//! says which are left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::change::Change;
use super::chronicle::Chronicle;
use super::held::{Hearers, Held};
use crate::metrics::{HeldCounts, Metrics};

/// Changes that wait in the process. With 50 ms that is 80,000 different ones a second, more than one process relays.
const MOST: usize = 4096;

/// What they take up together, roughly; bytes.
const MOST_BYTES: usize = 8 << 20;

/// Copies handed to members before others get a turn: about a tenth of a millisecond.
const TURN: usize = 1024;

/// Where accepted changes wait, and the one place from which they are relayed while coalescing is on.
pub struct Coalescer {
    chronicle: Arc<Chronicle>,
    counts: HeldCounts,
    is_on: AtomicBool,
    window: Mutex<Window>,
    /// Held while changes are taken and relayed, so that nobody overtakes who has taken one and not yet relayed it.
    relaying: Mutex<()>,
    began: Notify,
}

/// What waits, and until when. It reads no clock.
#[derive(Debug, Default)]
struct Window {
    held: Held,
    /// `None`: nothing waits for longer than it takes to relay it.
    length: Option<Duration>,
    ends: Option<Instant>,
}

/// What follows from holding a change.
#[derive(Debug, PartialEq, Eq)]
struct Holding {
    /// Earlier changes that were dropped for it.
    dropped: usize,
    /// Whether a window begins with it.
    begins: bool,
}

impl Window {
    fn hold(&mut self, change: Change, now: Instant) -> Holding {
        let dropped = self.held.hold(change);
        let begins = self.ends.is_none();
        if begins {
            self.ends = self.length.map(|length| now + length);
        }
        Holding { dropped, begins: begins && self.ends.is_some() }
    }

    /// Ends the window: all that came before the place which this returns is to be relayed. What comes from here on is in
    /// a window of its own.
    fn end(&mut self) -> u64 {
        self.ends = None;
        self.held.next_place()
    }

    /// Whether something has to go though its window has not ended, because too much waits or because there is none.
    fn is_too_full(&self) -> bool {
        let is_too_much = self.held.len() > MOST || self.held.bytes() > MOST_BYTES;
        is_too_much || (self.length.is_none() && !self.held.is_empty())
    }
}

impl Coalescer {
    /// Off. [`Coalescer::run`] has to be running while it is on.
    pub fn new(chronicle: Arc<Chronicle>, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Coalescer {
            chronicle,
            counts: metrics.held_by_window.clone(),
            is_on: AtomicBool::new(false),
            window: Mutex::default(),
            relaying: Mutex::default(),
            began: Notify::new(),
        })
    }

    /// Sets the window, or with `None` turns coalescing off. What waits is relayed first, so that what is sent after this
    /// has returned is behind it.
    pub async fn set(&self, length: Option<Duration>) {
        // From here on, and until it is known what counts, each change goes as soon as those before it have gone.
        self.window.lock().length = None;
        self.relay_waiting().await;
        if length.is_some() {
            self.is_on.store(true, Ordering::Release);
            self.window.lock().length = length;
        } else {
            self.is_on.store(false, Ordering::Release);
        }
    }

    /// Whether changes are to be given to [`Coalescer::hold`] rather than to the rooms.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Relays a change: at once, or at the end of the window.
    pub fn relay(&self, change: Change, now: Instant) {
        if self.is_on() {
            self.hold(change, now);
        } else {
            self.tell(&change, Hearers::of(&change));
        }
    }

    /// Holds a change until the window ends. If too much waits then, what has waited longest is relayed at once.
    ///
    /// Returns whether an earlier change was dropped for it.
    pub fn hold(&self, change: Change, now: Instant) -> bool {
        let (holding, is_too_full) = {
            let mut window = self.window.lock();
            let holding = window.hold(change, now);
            self.counts.waiting.set(window.held.len() as i64);
            (holding, window.is_too_full())
        };
        self.counts.folded.inc_by(holding.dropped as u64);
        if holding.begins {
            self.began.notify_one();
        }
        if is_too_full {
            let _turn = self.relaying.lock();
            while self.relay_first(|window| if window.is_too_full() { u64::MAX } else { 0 }).is_some() {}
        }
        holding.dropped > 0
    }

    /// Ends windows for as long as it is polled. While nothing waits it sleeps without a timer.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.began.notified().await;
            while let Some(ends) = self.ends() {
                tokio::time::sleep_until(ends.into()).await;
                self.relay_waiting().await;
            }
        }
    }

    fn ends(&self) -> Option<Instant> {
        self.window.lock().ends
    }

    /// Relays all that waits now, with turns for others in between.
    async fn relay_waiting(&self) {
        let before = self.window.lock().end();
        while self.relay_turn(before) {
            tokio::task::yield_now().await;
        }
    }

    /// Relays what came before a place, up to [`TURN`] copies of it. Returns whether more may be left.
    fn relay_turn(&self, before: u64) -> bool {
        let _turn = self.relaying.lock();
        let mut copies = 0;
        while copies < TURN {
            match self.relay_first(|_| before) {
                Some(heard) => copies += heard.max(1),
                None => return false,
            }
        }
        true
    }

    /// Relays the change that has waited longest, if it came before the place that is asked for. Returns to how many.
    ///
    /// Only to be called while [`Coalescer::relaying`] is held.
    fn relay_first(&self, before: impl FnOnce(&Window) -> u64) -> Option<usize> {
        let (change, hearers) = {
            let mut window = self.window.lock();
            let before = before(&window);
            let first = window.held.take_first(before)?;
            self.counts.waiting.set(window.held.len() as i64);
            first
        };
        Some(self.tell(&change, hearers))
    }

    /// Hands a change to those that are to hear it. Returns to how many.
    fn tell(&self, change: &Change, hearers: Hearers) -> usize {
        let heard = self.chronicle.tell(change, hearers);
        tracing::trace!(connection = %change.sender, heard, "relayed");
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Topic;

    fn change(text: &str) -> Change {
        Change::sample(&["red"], &Topic::default(), text)
    }

    const LENGTH: Duration = Duration::from_millis(50);

    #[test]
    fn a_window_begins_with_the_first_change_and_is_not_prolonged() {
        let mut window = Window { length: Some(LENGTH), ..Window::default() };
        let now = Instant::now();
        assert_eq!(window.hold(change("1"), now), Holding { dropped: 0, begins: true });
        assert_eq!(window.hold(change("1"), now + LENGTH / 2), Holding { dropped: 1, begins: false });
        assert_eq!(window.ends, Some(now + LENGTH));
    }

    #[test]
    fn what_comes_while_a_window_is_relayed_is_in_the_next() {
        let mut window = Window { length: Some(LENGTH), ..Window::default() };
        let now = Instant::now();
        window.hold(change("1"), now);
        let before = window.end();
        let later = now + 2 * LENGTH;
        assert!(window.hold(change("2"), later).begins);
        assert_eq!(window.ends, Some(later + LENGTH));
        assert!(window.held.take_first(before).is_some() && window.held.take_first(before).is_none());
    }

    #[test]
    fn too_much_does_not_wait_for_the_end() {
        let mut window = Window { length: Some(LENGTH), ..Window::default() };
        let now = Instant::now();
        for number in 0..MOST {
            window.hold(change(&number.to_string()), now);
            assert!(!window.is_too_full());
        }
        window.hold(change("0"), now);
        assert!(!window.is_too_full(), "it took the place of its equal");
        window.hold(change("another"), now);
        assert!(window.is_too_full());
        let mut window = Window { length: Some(LENGTH), ..Window::default() };
        window.hold(change(&"x".repeat(MOST_BYTES)), now);
        assert!(window.is_too_full());
    }

    #[test]
    fn without_a_window_nothing_waits() {
        let mut window = Window::default();
        assert!(!window.is_too_full());
        assert!(!window.hold(change("1"), Instant::now()).begins);
        assert!(window.is_too_full());
    }
}
