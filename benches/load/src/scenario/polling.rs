//! Polling handshakes from one address, each on a connection of its own. A session that is admitted is abandoned: nobody polls it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::settle::settled_bytes;
use super::{MEGABYTE, Mark};
use crate::account;
use crate::client::http_summary;
use crate::message;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Requests under way at a time: all of them are sent, then all answers are read.
const CONCURRENCY: usize = 64;
/// An answer that is late by this much will not come.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Makes `handshakes`, and returns by how much the server's peak memory grew and what each cost. `swarm` stays empty.
pub fn run(swarm: &mut Swarm, server: &Server, handshakes: usize) -> Result<Sample> {
    let before = settled_bytes(swarm, server)?;
    account::forget_peak(server.pid())?;
    let request = message::polling_request(&server.address().to_string());
    let start = Mark::now(server, 0, 0)?;
    let mut admitted = 0;
    for first in (0..handshakes).step_by(CONCURRENCY) {
        admitted += wave(server.address(), &request, CONCURRENCY.min(handshakes - first))?;
    }
    let costs = start.until(&Mark::now(server, handshakes as u64, 0)?);

    let mut sample = Sample::default();
    sample[Measure::HandshakeCpu] = costs[Measure::CpuPerEvent];
    sample[Measure::Admitted] = Some(admitted as f64);
    sample[Measure::PeakGrowth] = Some((account::peak_bytes(server.pid())? as f64 - before) / MEGABYTE);
    sample[Measure::ServerBusy] = costs[Measure::ServerBusy];
    sample[Measure::LoadBusy] = costs[Measure::LoadBusy];
    Ok(sample)
}

/// Sends `count` requests, reads their answers, and returns how many were admitted.
fn wave(server: SocketAddr, request: &str, count: usize) -> Result<usize> {
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    };
    let streams: Vec<TcpStream> =
        (0..count).map(|_| open()).collect::<Result<_>>().context("asking for a session")?;
    let mut admitted = 0;
    for mut stream in streams {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("waiting for a handshake's answer")?;
        admitted += usize::from(is_admitted(&answer)?);
    }
    Ok(admitted)
}

/// Whether a handshake's answer opens a session. Too many (429) and full (503) are refusals that are meant.
fn is_admitted(answer: &[u8]) -> Result<bool> {
    match answer.get(..12) {
        Some(b"HTTP/1.1 200") => Ok(true),
        Some(b"HTTP/1.1 429" | b"HTTP/1.1 503") => Ok(false),
        _ => bail!("the server answered a polling handshake with {:?}", http_summary(answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_a_handshake() {
        assert!(is_admitted(b"HTTP/1.1 200 OK\r\n\r\n0{}").unwrap());
        assert!(!is_admitted(b"HTTP/1.1 429 Too Many Requests\r\n\r\n").unwrap());
        let error = is_admitted(b"HTTP/1.1 400 Bad Request\r\n\r\nno").unwrap_err().to_string();
        assert!(error.contains("400 Bad Request no"), "{error}");
        assert!(is_admitted(b"").is_err());
    }
}
