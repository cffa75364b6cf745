//! A team, and then the same team with one member that has stopped reading. What the kernel would keep for that member is filled
//! first, with larger events, so that the server has to hold or refuse its deliveries from the beginning of the second phase.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::OPENING_CONCURRENCY;
use super::phases::{self, Disturbance};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::Sample;
use crate::server::Server;
use crate::swarm::Swarm;

/// Time from one event of the team to the next: with 100 members each sends once a second.
const EVERY: Duration = Duration::from_millis(10);
/// On the loopback device Linux keeps some 2.6 MB on the sender's side and little on the other's, for whom a reader hasn't shown to be fast.
const FILLING_BYTES: usize = 6 << 20;
/// flowgate's and the hardened Node peer's policies allow a note of so many.
const NOTE_BYTES: usize = 8_000;
/// Larger events under way at a time: few, so that no other member's queue is near its limit.
const FILLING_IN_FLIGHT: u64 = 4;
/// A delivery that is late by this much will not come.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);

/// Measures a team of `members` that has one more, who reads in the first phase only.
pub fn run(swarm: &mut Swarm, server: &Server, members: usize, timing: Timing) -> Result<Sample> {
    swarm.open(members + 1, OPENING_CONCURRENCY, |_| 0)?;
    phases::run(swarm, server, (members, EVERY), timing, &mut Stall { client: members })
}

struct Stall {
    client: usize,
}

impl Disturbance for Stall {
    fn begin(&mut self, swarm: &mut Swarm, ledger: &mut Ledger) -> Result<()> {
        swarm.stop_reading(self.client)?;
        let mut frame = Vec::new();
        for _ in 0..FILLING_BYTES / NOTE_BYTES {
            frame.clear();
            message::write_noted_change(&mut frame, ledger.enter(0), NOTE_BYTES);
            swarm.send(0, &frame)?;
            let allowed = FILLING_IN_FLIGHT * ledger.audience();
            let sent = Instant::now();
            while ledger.expected() - ledger.received > allowed {
                ensure!(sent.elapsed() < DELIVERY_LIMIT, "the team no longer hears its events");
                swarm.pump(Duration::from_millis(100), &mut |index, at, incoming| {
                    if let Incoming::Delivery(arguments) = incoming
                        && index != self.client
                    {
                        ledger.deliver(arguments, at);
                    }
                })?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, _: &mut Swarm) -> Result<Duration> {
        Ok(Duration::MAX)
    }

    fn hear(&mut self, _: Incoming<'_>) {}

    fn end(&mut self, swarm: &mut Swarm, _: &mut Sample) -> Result<()> {
        ensure!(
            !swarm.is_closed(self.client),
            "the server closed the member that did not read, so the second phase was as quiet as the first"
        );
        Ok(())
    }
}
