//! Two nodes that share their teams through one Redis: events are sent to one node and heard on both. Where there is only the one, its
//! members alone hear them, which is what the bus is compared with.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::paced::Pacer;
use super::{DRAIN_LIMIT, OPENING_CONCURRENCY};
use crate::account::CpuReading;
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::stand::Stand;
use crate::swarm::Swarm;

/// Teams, so small that an event costs more than its deliveries: with 100 connections on a node two members of each are there.
const TEAMS: usize = 50;
/// Time from one event to the next, over all members of the node that they are sent to.
pub const EVERY: Duration = Duration::from_millis(2);
/// Members that send in the flood, and the events that each of them has in flight: until the whole team on both nodes has heard them.
const SENDERS: usize = 8;
const IN_FLIGHT: usize = 8;
/// A delivery that is late by this much will not come.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);

/// Has `members` on each node, and sends an event `every` so often to the first node, or, without that, as fast as all of them are heard.
pub fn run(
    swarm: &mut Swarm,
    stand: &Stand,
    members: usize,
    every: Option<Duration>,
    timing: Timing,
) -> Result<Sample> {
    let team = |index| index % TEAMS;
    let here = (members / TEAMS) as u64;
    let mut books = Books { members, own: Ledger::new(here), other: None };
    swarm.open(members, OPENING_CONCURRENCY, team)?;
    if let Some(second) = &stand.second {
        swarm.turn_to(second.address());
        swarm.open(members, OPENING_CONCURRENCY, team)?;
        books.other = Some(Ledger::new(here));
    }
    let mut load = match every {
        Some(every) => Load::Paced(Pacer::new(members, every)),
        None => Load::Flood { in_flight: [0; SENDERS], last: Instant::now() },
    };
    let opens = Instant::now() + timing.warm_up;
    while Instant::now() < opens {
        load.turn(swarm, &mut books)?;
    }
    books.record(true);
    let start = Mark::now(stand, &books)?;
    let closes = start.at + timing.window;
    while Instant::now() < closes {
        load.turn(swarm, &mut books)?;
    }
    let sample = start.until(&Mark::now(stand, &books)?);
    books.record(false);
    books.close(swarm, sample)
}

/// What the members on either node are to hear, which are the same events under the same numbers.
struct Books {
    members: usize,
    own: Ledger,
    other: Option<Ledger>,
}

impl Books {
    /// Enters an event that `sender` sends now and returns its task id.
    fn enter(&mut self, sender: usize) -> u64 {
        if let Some(other) = &mut self.other {
            other.enter(sender);
        }
        self.own.enter(sender)
    }

    /// Enters a delivery; when the other node's members, or, where there is none, this one's, have all heard the event, returns who sent it.
    fn deliver(&mut self, index: usize, arguments: &[u8], at: Instant) -> Option<usize> {
        match &mut self.other {
            Some(other) if index >= self.members => other.deliver(arguments, at),
            Some(_) => {
                self.own.deliver(arguments, at);
                None
            }
            None => self.own.deliver(arguments, at),
        }
    }

    fn record(&mut self, on: bool) {
        self.own.record(on);
        if let Some(other) = &mut self.other {
            other.record(on);
        }
    }

    fn received(&self) -> u64 {
        self.own.received + self.other.as_ref().map_or(0, |other| other.received)
    }

    fn expected(&self) -> u64 {
        self.own.expected() + self.other.as_ref().map_or(0, Ledger::expected)
    }

    /// Adds the latencies to `sample`, waits for what is on its way, and counts what never comes.
    fn close(&mut self, swarm: &mut Swarm, mut sample: Sample) -> Result<Sample> {
        (sample[Measure::LocalP50], sample[Measure::LocalP99]) = self.own.take_percentiles().unzip();
        let other = self.other.as_mut().and_then(Ledger::take_percentiles);
        (sample[Measure::LatencyP50], sample[Measure::LatencyP99]) = other.unzip();
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.received() < self.expected() && Instant::now() < deadline {
            pump(swarm, self, Duration::from_millis(50), |_| {})?;
        }
        let (received, expected) = (self.received(), self.expected());
        let due = |ledger: &Ledger| {
            let (received, expected) = (ledger.received, ledger.expected());
            ensure!(ledger.foreign == 0, "{} deliveries were none of the events sent", ledger.foreign);
            ensure!(
                received <= expected,
                "{received} deliveries arrived where {expected} were due: some came twice"
            );
            Ok(())
        };
        due(&self.own)?;
        self.other.as_ref().map_or(Ok(()), due)?;
        sample[Measure::Lost] = Some((expected - received) as f64);
        Ok(sample)
    }
}

enum Load {
    Paced(Pacer),
    Flood { in_flight: [usize; SENDERS], last: Instant },
}

impl Load {
    fn turn(&mut self, swarm: &mut Swarm, books: &mut Books) -> Result<()> {
        match self {
            Self::Paced(pacer) => {
                pacer.send_due_as(swarm, &mut |sender| books.enter(sender))?;
                pump(swarm, books, pacer.wait(), |_| {})
            }
            Self::Flood { in_flight, last } => {
                let mut frames = Vec::new();
                for (sender, count) in
                    in_flight.iter_mut().enumerate().filter(|(_, count)| **count < IN_FLIGHT)
                {
                    frames.clear();
                    for _ in *count..IN_FLIGHT {
                        message::write_change(&mut frames, books.enter(sender));
                    }
                    *count = IN_FLIGHT;
                    swarm.send(sender, &frames)?;
                }
                pump(swarm, books, Duration::from_millis(100), |sender: usize| {
                    in_flight[sender] -= 1;
                    *last = Instant::now();
                })?;
                if last.elapsed() > DELIVERY_LIMIT {
                    bail!("no event was heard on both nodes for {} s", DELIVERY_LIMIT.as_secs());
                }
                Ok(())
            }
        }
    }
}

/// Waits for traffic, up to `timeout`; `whole` is told who sent an event that all have heard.
fn pump(swarm: &mut Swarm, books: &mut Books, timeout: Duration, mut whole: impl FnMut(usize)) -> Result<()> {
    swarm.pump(timeout, &mut |index, at, incoming| {
        if let Incoming::Delivery(arguments) = incoming
            && let Some(sender) = books.deliver(index, arguments, at)
        {
            whole(sender);
        }
    })
}

/// The state of all processes at one edge of the measured window.
struct Mark {
    at: Instant,
    sending: CpuReading,
    receiving: Option<CpuReading>,
    redis: Option<CpuReading>,
    load: CpuReading,
    events: u64,
    deliveries: u64,
}

impl Mark {
    fn now(stand: &Stand, books: &Books) -> Result<Self> {
        let of =
            |server: &Option<Server>| server.as_ref().map(|server| CpuReading::of(server.pid())).transpose();
        Ok(Self {
            sending: CpuReading::of(stand.server.pid())?,
            receiving: of(&stand.second)?,
            redis: of(&stand.redis)?,
            load: CpuReading::of(std::process::id())?,
            at: Instant::now(),
            events: books.own.sent(),
            deliveries: books.received(),
        })
    }

    /// What each process cost from `self` to `end`.
    fn until(&self, end: &Self) -> Sample {
        let elapsed = end.at.duration_since(self.at).as_secs_f64();
        let (events, deliveries) = (end.events - self.events, end.deliveries - self.deliveries);
        let spent = |earlier: &CpuReading, later: &CpuReading| later.since(earlier).as_secs_f64();
        let both = |earlier: &Option<CpuReading>, later: &Option<CpuReading>| {
            earlier.as_ref().zip(later.as_ref()).map(|(earlier, later)| spent(earlier, later))
        };
        let sending = spent(&self.sending, &end.sending);
        let receiving = both(&self.receiving, &end.receiving);
        let redis = both(&self.redis, &end.redis);
        let whole = sending + receiving.unwrap_or_default() + redis.unwrap_or_default();
        let each = |cpu: f64| (events > 0).then(|| cpu * 1e6 / events as f64);

        let mut sample = Sample::default();
        sample[Measure::CpuPerEvent] = each(whole);
        sample[Measure::SendingCpu] = each(sending);
        sample[Measure::ReceivingCpu] = receiving.and_then(each);
        sample[Measure::RedisCpu] = redis.and_then(each);
        sample[Measure::DeliveriesPerSecond] = Some(deliveries as f64 / elapsed);
        sample[Measure::ServerBusy] = Some(whole / elapsed * 100.0);
        sample[Measure::LoadBusy] = Some(spent(&self.load, &end.load) / elapsed * 100.0);
        sample
    }
}
