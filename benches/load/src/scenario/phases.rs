//! An honest team's latencies twice in one run on one server: while nothing else happens, and while something disturbs it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::paced::Pacer;
use super::{Window, close_books};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// What happens beside the honest team.
pub trait Disturbance {
    /// Called once, between the phases. What is sent to the honest team meanwhile goes into its `ledger`.
    fn begin(&mut self, swarm: &mut Swarm, ledger: &mut Ledger) -> Result<()>;

    /// Called at each turn of the load's loop, in both phases. Returns how long the loop may wait for the honest team's traffic.
    fn turn(&mut self, swarm: &mut Swarm) -> Result<Duration>;

    /// Takes what came for a connection that is not of the honest team.
    fn hear(&mut self, incoming: Incoming<'_>);

    /// Called after the second phase: makes sure that the disturbance lasted through it, and adds its own measures.
    fn end(&mut self, swarm: &mut Swarm, sample: &mut Sample) -> Result<()>;
}

/// Has the first `members` connections of `swarm`, which are one team, send one event `every` so often in turn, and compares the latencies
/// without and with the `disturbance`. The other measures are those of the second phase.
pub fn run(
    swarm: &mut Swarm,
    server: &Server,
    (members, every): (usize, Duration),
    timing: Timing,
    disturbance: &mut impl Disturbance,
) -> Result<Sample> {
    let mut honest =
        Honest { members, pacer: Pacer::new(members, every), ledger: Ledger::new(members as u64) };
    honest.phase(swarm, server, timing, disturbance)?;
    let (quiet_p50, quiet_p99) = honest.ledger.take_percentiles().unzip();
    disturbance.begin(swarm, &mut honest.ledger)?;
    honest.pacer.restart();
    let sample = honest.phase(swarm, server, timing, disturbance)?;

    let mut sample = close_books(swarm, &mut honest.ledger, sample)?;
    (sample[Measure::QuietP50], sample[Measure::QuietP99]) = (quiet_p50, quiet_p99);
    sample[Measure::LatencyRatio] = sample.ratio(Measure::LatencyP99, Measure::QuietP99);
    // Both would be those of the honest team's events only, while the CPU is that of everything.
    (sample[Measure::CpuPerDelivery], sample[Measure::CpuPerEvent]) = (None, None);
    disturbance.end(swarm, &mut sample)?;
    Ok(sample)
}

struct Honest {
    members: usize,
    pacer: Pacer,
    ledger: Ledger,
}

impl Honest {
    fn phase(
        &mut self,
        swarm: &mut Swarm,
        server: &Server,
        timing: Timing,
        disturbance: &mut impl Disturbance,
    ) -> Result<Sample> {
        let mut window = Window::after_warm_up(server, timing);
        loop {
            self.pacer.send_due(swarm, &mut self.ledger)?;
            let wait = disturbance.turn(swarm)?.min(self.pacer.wait());
            swarm.pump(wait, &mut |index, at: Instant, incoming| match incoming {
                Incoming::Delivery(arguments) if index < self.members => {
                    self.ledger.deliver(arguments, at);
                }
                other => disturbance.hear(other),
            })?;
            if let Some(sample) = window.turn(&mut self.ledger)? {
                return Ok(sample);
            }
        }
    }
}
