//! The scenarios' loads, one file each, and the window in which they measure.

mod bigroom;
mod bus;
mod flood;
mod handshake;
mod idle;
mod noisy;
mod paced;
mod phases;
mod polling;
mod refused;
mod settle;
mod stalled;
mod watched;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::account::CpuReading;
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::plan::{Scenario, Timing};
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::stand::Stand;
use crate::swarm::{EVENTS_PER_TURN, Swarm};
use crate::token::Mint;

/// Connections in their handshake at a time while a scenario's audience is opened.
const OPENING_CONCURRENCY: usize = 64;
/// How long deliveries that are still on their way are waited for after the load has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// What the memory columns count in.
const MEGABYTE: f64 = 1_048_576.0;

/// Loads what stands with `scenario` and returns what it cost.
///
/// # Errors
/// When the server refuses, closes or stalls what the scenario expects it to carry.
pub fn run(scenario: Scenario, quick: bool, stand: &Stand, secret: &str) -> Result<Sample> {
    let server = &stand.server;
    let open = |events_per_turn| {
        Swarm::new(server.address(), Mint::new(scenario.setup().algorithm, secret)?, events_per_turn)
    };
    let mut swarm = open(EVENTS_PER_TURN)?;
    let connections = scenario.connections(quick);
    let timing = scenario.timing(quick);
    match scenario {
        Scenario::Team1000 | Scenario::Threads2 => {
            let pace = paced::Pace { teams: 1, every: Duration::from_millis(50) };
            paced::run(&mut swarm, server, connections, pace, timing)
        }
        Scenario::Teams200 => {
            let pace = paced::Pace { teams: 200, every: Duration::from_micros(2_500) };
            paced::run(&mut swarm, server, connections, pace, timing)
        }
        Scenario::Flood100 | Scenario::Flood1000 => flood::run(&mut swarm, server, connections, timing),
        Scenario::BigRoom => bigroom::run(&mut swarm, open(bigroom::SLICE)?, server, connections, timing),
        Scenario::Noisy => noisy::run(&mut swarm, server, connections, timing),
        Scenario::Stalled => stalled::run(&mut swarm, server, connections, timing),
        Scenario::Idle10k => idle::run(&mut swarm, server, connections),
        Scenario::Watched10k => watched::run(&mut swarm, server, connections, timing),
        Scenario::Handshake | Scenario::HandshakeEs256 | Scenario::HandshakeRs256 => {
            handshake::run(&mut swarm, server, connections)
        }
        Scenario::Bus2 => bus::run(&mut swarm, stand, connections / 2, Some(bus::EVERY), timing),
        Scenario::BusFlood => bus::run(&mut swarm, stand, connections / 2, None, timing),
        Scenario::PollingFlood => polling::run(&mut swarm, server, connections),
        Scenario::RefusedType => refused::run(&mut swarm, server, refused::UNKNOWN_TYPE, timing),
        Scenario::RefusedRate => refused::run(&mut swarm, server, refused::OVER_RATE, timing),
    }
}

/// The state of both sides at one edge of a measured window.
struct Mark {
    at: Instant,
    server: CpuReading,
    load: CpuReading,
    events: u64,
    deliveries: u64,
}

impl Mark {
    fn now(server: &Server, events: u64, deliveries: u64) -> Result<Self> {
        Ok(Self {
            server: CpuReading::of(server.pid())?,
            load: CpuReading::of(std::process::id())?,
            at: Instant::now(),
            events,
            deliveries,
        })
    }

    /// What the server cost from `self` to `end`; a cost for each of none stays empty.
    fn until(&self, end: &Self) -> Sample {
        let cpu = end.server.since(&self.server).as_secs_f64();
        let load = end.load.since(&self.load).as_secs_f64();
        let elapsed = end.at.duration_since(self.at).as_secs_f64();
        let (events, deliveries) = (end.events - self.events, end.deliveries - self.deliveries);
        let micros_each = |count: u64| (count > 0).then(|| cpu * 1e6 / count as f64);

        let mut sample = Sample::default();
        sample[Measure::CpuPerEvent] = micros_each(events);
        sample[Measure::CpuPerDelivery] = micros_each(deliveries);
        sample[Measure::DeliveriesPerSecond] = Some(deliveries as f64 / elapsed);
        sample[Measure::ServerBusy] = Some(cpu / elapsed * 100.0);
        sample[Measure::LoadBusy] = Some(load / elapsed * 100.0);
        sample
    }
}

/// The two edges of the window, taken as a relaying scenario's loop passes them.
struct Window<'a> {
    server: &'a Server,
    opens: Instant,
    closes: Instant,
    start: Option<Mark>,
}

impl<'a> Window<'a> {
    fn after_warm_up(server: &'a Server, timing: Timing) -> Self {
        let opens = Instant::now() + timing.warm_up;
        Self { server, opens, closes: opens + timing.window, start: None }
    }

    /// Called at each turn of the loop: starts recording when the warm-up is over, and gives the costs when the window is.
    fn turn(&mut self, ledger: &mut Ledger) -> Result<Option<Sample>> {
        let now = Instant::now();
        let Some(start) = &self.start else {
            if now >= self.opens {
                ledger.record(true);
                self.start = Some(Mark::now(self.server, ledger.sent(), ledger.received)?);
            }
            return Ok(None);
        };
        if now < self.closes {
            return Ok(None);
        }
        let sample = start.until(&Mark::now(self.server, ledger.sent(), ledger.received)?);
        ledger.record(false);
        Ok(Some(sample))
    }
}

/// Adds the latencies to a relaying scenario's `sample`, waits for deliveries on their way, and counts those that never come.
fn close_books(swarm: &mut Swarm, ledger: &mut Ledger, mut sample: Sample) -> Result<Sample> {
    (sample[Measure::LatencyP50], sample[Measure::LatencyP99]) = ledger.take_percentiles().unzip();
    drain(swarm, ledger)?;
    let expected = ledger.expected();
    ensure!(ledger.foreign == 0, "{} deliveries were none of the events sent", ledger.foreign);
    ensure!(
        ledger.received <= expected,
        "{} deliveries arrived where {expected} were due: some went to the wrong team or came twice",
        ledger.received
    );
    sample[Measure::Lost] = Some((expected - ledger.received) as f64);
    Ok(sample)
}

/// Waits for the deliveries that are on their way, as long as they may take.
fn drain(swarm: &mut Swarm, ledger: &mut Ledger) -> Result<()> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    while ledger.received < ledger.expected() && Instant::now() < deadline {
        swarm.pump(Duration::from_millis(50), &mut |_, at, incoming| {
            if let Incoming::Delivery(arguments) = incoming {
                ledger.deliver(arguments, at);
            }
        })?;
    }
    Ok(())
}
