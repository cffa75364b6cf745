//! A team at a modest pace, then beside one client that streams events which the server refuses, as fast as its socket takes them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::OPENING_CONCURRENCY;
use super::phases::{self, Disturbance};
use super::refused::{self, BATCH, UNKNOWN_TYPE};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Time from one event of the honest team to the next: with 100 members each sends once a second.
const EVERY: Duration = Duration::from_millis(10);

/// Measures a team of `members` beside one more client, alone in a team of its own.
pub fn run(swarm: &mut Swarm, server: &Server, members: usize, timing: Timing) -> Result<Sample> {
    swarm.open(members + 1, OPENING_CONCURRENCY, |index| usize::from(index == members))?;
    let mut flood = Flood {
        client: members,
        batch: refused::batch(UNKNOWN_TYPE.kind),
        begun: None,
        answered: 0,
        unexpected: None,
    };
    phases::run(swarm, server, (members, EVERY), timing, &mut flood)
}

struct Flood {
    client: usize,
    /// Events of which the last asks for an answer, which tells how far the server has come.
    batch: Vec<u8>,
    begun: Option<Instant>,
    answered: u64,
    unexpected: Option<String>,
}

impl Disturbance for Flood {
    fn begin(&mut self, _: &mut Swarm, _: &mut Ledger) -> Result<()> {
        self.begun = Some(Instant::now());
        Ok(())
    }

    fn turn(&mut self, swarm: &mut Swarm) -> Result<Duration> {
        if let Some(answer) = &self.unexpected {
            bail!(
                "the server answered {answer} to an event that it should refuse with {}",
                UNKNOWN_TYPE.code
            );
        }
        // Only one batch a turn, so that the honest team's deliveries are read in between.
        if self.begun.is_some() && swarm.has_sent_all(self.client) {
            swarm.send(self.client, &self.batch)?;
            return Ok(Duration::ZERO);
        }
        Ok(Duration::MAX)
    }

    fn hear(&mut self, incoming: Incoming<'_>) {
        let text = match incoming {
            Incoming::Ack(answer) => String::from_utf8_lossy(answer),
            Incoming::Delivery(event) => String::from_utf8_lossy(event),
            Incoming::Admitted => return,
        };
        if UNKNOWN_TYPE.is_named_in(&text) {
            self.answered += 1;
        } else {
            self.unexpected = Some(text.into_owned());
        }
    }

    fn end(&mut self, _: &mut Swarm, sample: &mut Sample) -> Result<()> {
        ensure!(self.answered > 0, "the server worked off no batch of {BATCH} events: there was no flood");
        let seconds = self.begun.map(|begun| begun.elapsed().as_secs_f64());
        sample[Measure::RefusedPerSecond] =
            seconds.map(|seconds| self.answered as f64 * BATCH as f64 / seconds);
        Ok(())
    }
}
