//! Memory of connections that are admitted and then do nothing but answer heartbeats.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::OPENING_CONCURRENCY;
use crate::account;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Connections that stay open outside the count, so that code, pools and heaps that come with the first ones are not counted.
const BEFORE: usize = 200;
/// Members of each team.
const TEAM_SIZE: usize = 10;
/// Memory counts as settled when this many readings in a row differ by less than `SETTLED_WITHIN`.
const SETTLED_READINGS: usize = 5;
const READING_EVERY: Duration = Duration::from_millis(500);
const SETTLED_WITHIN: f64 = 0.002;
/// After this long the last reading counts even if memory still moves.
const SETTLING_LIMIT: Duration = Duration::from_secs(15);

/// Opens `connections` beside a few earlier ones and returns the growth of resident memory for each.
pub fn run(swarm: &mut Swarm, server: &Server, connections: usize) -> Result<Sample> {
    let team = |index| index / TEAM_SIZE;
    swarm.open(BEFORE, OPENING_CONCURRENCY, team)?;
    let before = settled_bytes(swarm, server)?;
    swarm.open(connections, OPENING_CONCURRENCY, team)?;
    let after = settled_bytes(swarm, server)?;

    let mut sample = Sample::default();
    sample[Measure::IdleKilobytes] = Some((after - before) / 1024.0 / connections as f64);
    Ok(sample)
}

fn settled_bytes(swarm: &mut Swarm, server: &Server) -> Result<f64> {
    let deadline = Instant::now() + SETTLING_LIMIT;
    let mut readings: Vec<f64> = Vec::new();
    loop {
        let next = Instant::now() + READING_EVERY;
        while let Some(wait) = next.checked_duration_since(Instant::now()) {
            swarm.pump(wait, &mut |_, _, _| {})?;
        }
        let bytes = account::resident_bytes(server.pid())? as f64;
        readings.push(bytes);
        let recent = readings.iter().rev().take(SETTLED_READINGS);
        let steady = recent.clone().all(|reading| (reading - bytes).abs() < bytes * SETTLED_WITHIN);
        if (steady && recent.count() == SETTLED_READINGS) || Instant::now() >= deadline {
            return Ok(bytes);
        }
    }
}
