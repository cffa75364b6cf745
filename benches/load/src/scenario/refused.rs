//! A stream of events that the server refuses. They ask for no acknowledgement, but for the last of each batch: its
//! answer says that the server has worked the batch off, and why it refused.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{Mark, OPENING_CONCURRENCY};
use crate::client::Incoming;
use crate::frame;
use crate::message;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Senders, each a user and a team of its own.
const SENDERS: usize = 8;
/// Events in a batch, of which one asks for an answer. A sender has one batch in flight.
pub const BATCH: usize = 250;
/// An answer that is late by this much will not come.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// In the rate-limited stream, the largest share of events that may pass without the cost being that of a pass.
const PASSING_SHARE: f64 = 0.05;

/// What is sent, and how it is to be refused.
#[derive(Clone, Copy)]
pub struct Refusal {
    /// The type of the events.
    pub kind: &'static str,
    /// The code that the answer has to name.
    pub code: &'static str,
    /// Whether the sender's allowed rate passes.
    some_pass: bool,
}

impl Refusal {
    /// Whether an acknowledgement's `text` refuses for this reason.
    pub fn is_named_in(&self, text: &str) -> bool {
        text.strip_prefix("1[").is_some_and(|answer| answer.contains(&format!(r#""code":"{}""#, self.code)))
    }
}

/// Events well formed in everything but their type.
pub const UNKNOWN_TYPE: Refusal = Refusal { kind: "task-exploded", code: "unknown_type", some_pass: false };
/// Valid events, too many.
pub const OVER_RATE: Refusal = Refusal { kind: "task-updated", code: "rate_limited", some_pass: true };

/// Streams events that are refused as `refusal` says.
pub fn run(swarm: &mut Swarm, server: &Server, refusal: Refusal, timing: Timing) -> Result<Sample> {
    swarm.open(SENDERS, OPENING_CONCURRENCY, |index| index)?;
    let mut stream = Stream::new(refusal);
    stream.run(swarm, timing.warm_up)?;
    let start = Mark::now(server, stream.refused(), stream.passed)?;
    stream.run(swarm, timing.window)?;
    let end = Mark::now(server, stream.refused(), stream.passed)?;
    check_refused(&start, &end, refusal)?;

    let mut costs = start.until(&end);
    for measure in [Measure::CpuPerDelivery, Measure::DeliveriesPerSecond] {
        costs[measure] = None;
    }
    Ok(costs)
}

/// The stream and what came of it so far.
struct Stream {
    refusal: Refusal,
    batch: Vec<u8>,
    /// Senders whose last batch is answered.
    ready: Vec<usize>,
    answered: u64,
    passed: u64,
}

impl Stream {
    fn new(refusal: Refusal) -> Self {
        Self { refusal, batch: batch(refusal.kind), ready: (0..SENDERS).collect(), answered: 0, passed: 0 }
    }

    /// Events that the server has worked off.
    fn refused(&self) -> u64 {
        self.answered * BATCH as u64
    }

    /// Keeps every sender's batch in flight for `duration`.
    fn run(&mut self, swarm: &mut Swarm, duration: Duration) -> Result<()> {
        let ends = Instant::now() + duration;
        let mut last_answer = Instant::now();
        let mut unexpected = None;
        while Instant::now() < ends {
            for sender in self.ready.drain(..) {
                swarm.send(sender, &self.batch)?;
            }
            swarm.pump(Duration::from_millis(100), &mut |sender, at, incoming| match incoming {
                Incoming::Delivery(_) => self.passed += 1,
                Incoming::Ack(answer) => {
                    self.answered += 1;
                    self.ready.push(sender);
                    last_answer = at;
                    let text = String::from_utf8_lossy(answer);
                    let passed = text.contains(r#""ok":true"#);
                    let as_expected = self.refusal.is_named_in(&text) || (passed && self.refusal.some_pass);
                    if !as_expected {
                        unexpected = Some(text.into_owned());
                    }
                }
                Incoming::Admitted => {}
            })?;
            if let Some(answer) = unexpected {
                bail!(
                    "the server answered {answer} to an event that it should refuse with {}",
                    self.refusal.code
                );
            }
            if last_answer.elapsed() > ANSWER_LIMIT {
                bail!("the server answered no refused event for {} s", ANSWER_LIMIT.as_secs());
            }
        }
        Ok(())
    }
}

/// Whole frames of [`BATCH`] events of the type `kind`; the last asks for an answer.
pub fn batch(kind: &str) -> Vec<u8> {
    let mut frames = Vec::new();
    for task in 1..=BATCH {
        frame::write_masked(
            &mut frames,
            frame::TEXT,
            message::change(kind, task as u64, task == BATCH).as_bytes(),
        );
    }
    frames
}

/// Makes sure that what is measured is refusals.
fn check_refused(start: &Mark, end: &Mark, refusal: Refusal) -> Result<()> {
    let (events, passed) = (end.events - start.events, end.deliveries - start.deliveries);
    ensure!(events > 0, "the server worked off no batch of {BATCH} events within the window");
    let allowed = if refusal.some_pass { events as f64 * PASSING_SHARE } else { 0.0 };
    ensure!(
        passed as f64 <= allowed,
        "{passed} of {events} events were relayed instead of refused with {}",
        refusal.code
    );
    Ok(())
}
