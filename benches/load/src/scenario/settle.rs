//! A server's memory once it has come to rest.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::account;
use crate::server::Server;
use crate::swarm::Swarm;

/// Memory counts as settled when this many readings in a row differ by less than `SETTLED_WITHIN`.
const SETTLED_READINGS: usize = 5;
const READING_EVERY: Duration = Duration::from_millis(500);
const SETTLED_WITHIN: f64 = 0.002;
/// After this long the last reading counts even if memory still moves.
const SETTLING_LIMIT: Duration = Duration::from_secs(15);

/// The server's resident memory in bytes once it no longer moves. Meanwhile `swarm` only answers heartbeats.
pub fn settled_bytes(swarm: &mut Swarm, server: &Server) -> Result<f64> {
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
