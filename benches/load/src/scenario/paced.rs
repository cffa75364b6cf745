//! Open loop: events at a fixed pace, each from the next member in turn, whatever the server does.

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
    let mut frame = Vec::new();
    let mut turns = (0..members).cycle();
    let mut due = Instant::now();
    let mut window = Window::after_warm_up(server, timing);
    let sample = loop {
        let now = Instant::now();
        while due <= now {
            let sender = turns.next().unwrap_or_default();
            frame.clear();
            message::write_change(&mut frame, ledger.enter(sender));
            swarm.send(sender, &frame)?;
            due += pace.every;
        }
        swarm.pump(due.saturating_duration_since(Instant::now()), &mut |_, at, incoming| {
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
