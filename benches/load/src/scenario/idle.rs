//! Memory of connections that are admitted and then do nothing but answer heartbeats.

use anyhow::Result;

use super::OPENING_CONCURRENCY;
use super::settle::settled_bytes;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Connections that stay open outside the count, so that code, pools and heaps that come with the first ones are not counted.
const BEFORE: usize = 200;
/// Members of each team.
const TEAM_SIZE: usize = 10;

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
