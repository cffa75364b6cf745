//! CPU of bringing one connection from TCP accept to admission: upgrade, Engine.IO, token check, CONNECT, rooms.

use anyhow::Result;

use super::Mark;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Handshakes under way at a time.
const CONCURRENCY: usize = 8;
/// Members of each team.
const TEAM_SIZE: usize = 10;

/// Opens `connections`, each with a token of its own, after a warm-up of as many. All stay open, so that no closing is measured.
pub fn run(swarm: &mut Swarm, server: &Server, connections: usize) -> Result<Sample> {
    let team = |index| index / TEAM_SIZE;
    swarm.open(connections, CONCURRENCY, team)?;
    let start = Mark::now(server, 0, 0)?;
    swarm.open(connections, CONCURRENCY, team)?;
    let mut costs = start.until(&Mark::now(server, connections as u64, 0)?);

    let mut sample = Sample::default();
    sample[Measure::HandshakeCpu] = costs[Measure::CpuPerEvent].take();
    sample[Measure::ServerBusy] = costs[Measure::ServerBusy];
    sample[Measure::LoadBusy] = costs[Measure::LoadBusy];
    Ok(sample)
}
