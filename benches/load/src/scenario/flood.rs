//! Closed loop: a few senders keep a fixed number of events in flight, so that the server is always busy and never overrun.
//! An event is in flight until the whole team has heard it. Were it only until its sender has, a server that writes to the senders
//! sooner than to the rest would be flooded without bound: plain socketioxide then dropped most of the deliveries to a team of 1,000.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::settle::settled_bytes;
use super::{MEGABYTE, OPENING_CONCURRENCY, Window, close_books};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Members that send: the first ones of the team.
const SENDERS: usize = 4;
/// Events that each sender has in flight. All of them together stay below the 128 packets that socketioxide queues for a member by
/// default, so that no server is measured while it drops.
const IN_FLIGHT: usize = 8;
/// A delivery that is late by this much will not come.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);

/// Floods one team of `members`. Its memory is that at rest, before the flood and after it.
pub fn run(swarm: &mut Swarm, server: &Server, members: usize, timing: Timing) -> Result<Sample> {
    swarm.open(members, OPENING_CONCURRENCY, |_| 0)?;
    let before = settled_bytes(swarm, server)?;
    let mut ledger = Ledger::new(members as u64);
    let mut in_flight = [0_usize; SENDERS];
    let mut frames = Vec::new();
    let mut last_whole = Instant::now();
    let mut window = Window::after_warm_up(server, timing);
    let sample = loop {
        for (sender, count) in in_flight.iter_mut().enumerate() {
            frames.clear();
            while *count < IN_FLIGHT {
                message::write_change(&mut frames, ledger.enter(sender));
                *count += 1;
            }
            if !frames.is_empty() {
                swarm.send(sender, &frames)?;
            }
        }
        swarm.pump(Duration::from_millis(100), &mut |_, at, incoming| {
            let Incoming::Delivery(arguments) = incoming else {
                return;
            };
            if let Some(sender) = ledger.deliver(arguments, at) {
                in_flight[sender] -= 1;
                last_whole = at;
            }
        })?;
        if last_whole.elapsed() > DELIVERY_LIMIT {
            let missing = ledger.expected() - ledger.received;
            bail!(
                "no event reached its whole team for {} s; {missing} deliveries are missing",
                DELIVERY_LIMIT.as_secs()
            );
        }
        if let Some(sample) = window.turn(&mut ledger)? {
            break sample;
        }
    };
    let mut sample = close_books(swarm, &mut ledger, sample)?;
    let after = settled_bytes(swarm, server)?;
    sample[Measure::MegabytesBefore] = Some(before / MEGABYTE);
    sample[Measure::MegabytesAfter] = Some(after / MEGABYTE);
    sample[Measure::MemoryRatio] = Some(after / before);
    Ok(sample)
}
