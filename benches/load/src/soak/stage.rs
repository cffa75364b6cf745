//! What everybody in a soak shares: the server, the books, the mood, and the counts of what was done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use tokio::sync::watch;

use super::books::Books;
use super::target::Target;

/// What the honest do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Everything: sending, leaving, returning, expiring.
    Mix,
    /// Those who have a lasting token are there and send.
    Settle,
    /// They are there and send nothing more.
    Quiet,
    /// They leave, and don't return.
    Leave,
}

/// What became of one kind of attack.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How often it was begun. The end of the mix cuts some short, which then count as nothing else.
    pub turns: u64,
    /// How often the server refused it, or closed the connection.
    pub stopped: u64,
    /// How often the attacker left by itself, as it meant to.
    pub left: u64,
    /// How often the attacker's patience ended first.
    pub outlasted: u64,
}

/// What everybody shares. One thread, so nothing is locked.
pub struct Stage {
    /// The server.
    pub target: Target,
    /// The books of the honest.
    pub books: RefCell<Books>,
    /// Honest clients that are admitted now.
    pub present: Cell<usize>,
    /// Honest events whose acknowledgement is awaited.
    pub unanswered: Cell<usize>,
    /// Times that an honest client left and came back.
    pub returns: Cell<u64>,
    /// Times that an honest client's token expired, and it came back with another.
    pub expiries: Cell<u64>,
    /// Times that an honest client had to knock again.
    pub retries: Cell<u64>,
    /// Events of hostile clients that honest ones heard, as members of one team do.
    pub hostile_heard: Cell<u64>,
    /// Bad tokens that were let in.
    pub let_in: Cell<u64>,
    tallies: RefCell<BTreeMap<&'static str, Tally>>,
    numbers: Cell<u64>,
    mood: watch::Sender<Mood>,
}

impl Stage {
    /// Nobody is there yet.
    #[must_use]
    pub fn new(target: Target, teams: usize) -> Self {
        Self {
            target,
            books: RefCell::new(Books::new(teams)),
            present: Cell::new(0),
            unanswered: Cell::new(0),
            returns: Cell::new(0),
            expiries: Cell::new(0),
            retries: Cell::new(0),
            hostile_heard: Cell::new(0),
            let_in: Cell::new(0),
            tallies: RefCell::default(),
            numbers: Cell::new(0),
            mood: watch::Sender::new(Mood::Settle),
        }
    }

    /// What the honest do now.
    #[must_use]
    pub fn mood(&self) -> Mood {
        *self.mood.borrow()
    }

    /// Hears of every new mood.
    #[must_use]
    pub fn moods(&self) -> watch::Receiver<Mood> {
        self.mood.subscribe()
    }

    /// From now on the honest do this.
    pub fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// A number that was not given before.
    pub fn number(&self) -> u64 {
        add(&self.numbers, 1);
        self.numbers.get()
    }

    /// Counts what an attack does.
    pub fn tally(&self, name: &'static str, count: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.borrow_mut();
        count(tallies.entry(name).or_default());
    }

    /// What was done, by name.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<&'static str, Tally> {
        self.tallies.borrow().clone()
    }
}

/// Adds to a count.
pub fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get() + more);
}
