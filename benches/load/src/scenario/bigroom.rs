//! A team of ten that exchanges events, at first alone and then while a team of 10,000 hears a broadcast every second.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::phases::{self, Disturbance};
use super::{OPENING_CONCURRENCY, close_books};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

const SMALL_TEAM: usize = 10;
/// Time from one event of the small team to the next: each member sends twenty a second.
const EVERY: Duration = Duration::from_millis(5);
/// Time from one broadcast to the large team to the next.
const BROADCAST_EVERY: Duration = Duration::from_secs(1);
/// How many connections of the large team are read before the small team's are looked at again. Reading a thousand in a row
/// would delay the small team's deliveries here, in the load, by more than servers do.
pub const SLICE: usize = 16;
/// How often the large team is looked at when it was found quiet.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Measures a small team of `swarm` beside `members` of one large team, opened in `crowd`, which reads at most [`SLICE`] of them at a time.
pub fn run(
    swarm: &mut Swarm,
    crowd: Swarm,
    server: &Server,
    members: usize,
    timing: Timing,
) -> Result<Sample> {
    let mut broadcasts = Broadcasts { crowd, ledger: Ledger::new(members as u64), next: None };
    swarm.open(SMALL_TEAM, OPENING_CONCURRENCY, |_| 0)?;
    broadcasts.crowd.open(members, OPENING_CONCURRENCY, |_| 1)?;
    phases::run(swarm, server, (SMALL_TEAM, EVERY), timing, &mut broadcasts)
}

struct Broadcasts {
    crowd: Swarm,
    ledger: Ledger,
    /// When the next broadcast is due; none in the first phase.
    next: Option<Instant>,
}

impl Disturbance for Broadcasts {
    fn begin(&mut self, _: &mut Swarm, _: &mut Ledger) -> Result<()> {
        self.next = Some(Instant::now());
        Ok(())
    }

    fn turn(&mut self, _: &mut Swarm) -> Result<Duration> {
        if let Some(due) = self.next.filter(|&due| due <= Instant::now()) {
            let mut frame = Vec::new();
            message::write_change(&mut frame, self.ledger.enter(0));
            self.crowd.send(0, &frame)?;
            self.next = Some(due + BROADCAST_EVERY);
        }
        let before = self.ledger.received;
        self.crowd.pump(Duration::ZERO, &mut |_, at, incoming| {
            if let Incoming::Delivery(arguments) = incoming {
                self.ledger.deliver(arguments, at);
            }
        })?;
        Ok(if self.ledger.received > before { Duration::ZERO } else { LOOK_EVERY })
    }

    fn hear(&mut self, _: Incoming<'_>) {}

    fn end(&mut self, _: &mut Swarm, sample: &mut Sample) -> Result<()> {
        let crowd = close_books(&mut self.crowd, &mut self.ledger, Sample::default())?;
        let lost = sample[Measure::Lost].unwrap_or_default() + crowd[Measure::Lost].unwrap_or_default();
        sample[Measure::Lost] = Some(lost);
        Ok(())
    }
}
