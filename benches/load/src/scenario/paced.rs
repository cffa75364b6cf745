//! Open loop: events at a fixed pace, each from the next member in turn, whatever the server does.

use std::iter::Cycle;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{OPENING_CONCURRENCY, Window, close_books};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::Sample;
use crate::server::Server;
use crate::swarm::Swarm;

/// How members are spread and how often any of them sends.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Teams of equal size.
    pub teams: usize,
    /// Time from one event to the next, over all members.
    pub every: Duration,
}

/// Runs `members` connections at `pace`. The turns go round, so each member sends once in `members` events and stays
/// far below any rate limit.
pub fn run(swarm: &mut Swarm, server: &Server, members: usize, pace: Pace, timing: Timing) -> Result<Sample> {
    swarm.open(members, OPENING_CONCURRENCY, |index| index % pace.teams)?;
    let mut ledger = Ledger::new((members / pace.teams) as u64);
    let mut pacer = Pacer::new(members, pace.every);
    let mut window = Window::after_warm_up(server, timing);
    let sample = loop {
        pacer.send_due(swarm, &mut ledger)?;
        swarm.pump(pacer.wait(), &mut |_, at, incoming| {
            if let Incoming::Delivery(arguments) = incoming {
                ledger.deliver(arguments, at);
            }
        })?;
        if let Some(sample) = window.turn(&mut ledger)? {
            break sample;
        }
    };
    close_books(swarm, &mut ledger, sample)
}

/// Whose turn it is to send, and when.
pub struct Pacer {
    turns: Cycle<Range<usize>>,
    every: Duration,
    due: Instant,
    frame: Vec<u8>,
}

impl Pacer {
    /// The first `members` connections take turns, one event `every` so often, from now on.
    pub fn new(members: usize, every: Duration) -> Self {
        Self { turns: (0..members).cycle(), every, due: Instant::now(), frame: Vec::new() }
    }

    /// Goes on from now, without making up for what was not sent in between.
    pub fn restart(&mut self) {
        self.due = Instant::now();
    }

    /// Sends the events that are due.
    pub fn send_due(&mut self, swarm: &mut Swarm, ledger: &mut Ledger) -> Result<()> {
        self.send_due_as(swarm, &mut |sender| ledger.enter(sender))
    }

    /// Sends the events that are due, under the numbers that `enter` gives them.
    pub fn send_due_as(&mut self, swarm: &mut Swarm, enter: &mut impl FnMut(usize) -> u64) -> Result<()> {
        let now = Instant::now();
        while self.due <= now {
            let sender = self.turns.next().unwrap_or_default();
            self.frame.clear();
            message::write_change(&mut self.frame, enter(sender));
            swarm.send(sender, &self.frame)?;
            self.due += self.every;
        }
        Ok(())
    }

    /// Time until the next event is due.
    pub fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }
}
