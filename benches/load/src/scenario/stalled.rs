//! A team, and then the same team with one more member that has stopped reading. What the kernel would keep for that member is filled
//! first, with larger events, so that the server has to hold or refuse its deliveries from the beginning of the second phase.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::phases::{self, Disturbance};
use super::{OPENING_CONCURRENCY, drain};
use crate::client::Incoming;
use crate::ledger::Ledger;
use crate::message;
use crate::plan::Timing;
use crate::sample::Sample;
use crate::server::Server;
use crate::swarm::Swarm;

/// Time from one event of the team to the next: with 100 members each sends once a second.
const EVERY: Duration = Duration::from_millis(10);
/// What is sent beyond the sender's buffer in the kernel. The reader's is far smaller: it grows only for who reads fast.
const BEYOND_KERNEL_BYTES: usize = 4 << 20;
/// flowgate's and the hardened Node peer's policies allow a note of so many.
const NOTE_BYTES: usize = 15_000;
/// Larger events under way at a time: few, so that no other member's queue is near its limit.
const FILLING_IN_FLIGHT: u64 = 4;
/// A delivery that is late by this much will not come.
const DELIVERY_LIMIT: Duration = Duration::from_secs(5);

/// Measures a team of `members`, and again when one more has joined who does not read. That one comes between the phases, because it
/// answers no heartbeat: socketioxide closes it at the first ping, 25 s after it came, that finds its queue full.
pub fn run(swarm: &mut Swarm, server: &Server, members: usize, timing: Timing) -> Result<Sample> {
    swarm.open(members, OPENING_CONCURRENCY, |_| 0)?;
    phases::run(swarm, server, (members, EVERY), timing, &mut Stall { client: members })
}

struct Stall {
    client: usize,
}

impl Disturbance for Stall {
    fn begin(&mut self, swarm: &mut Swarm, ledger: &mut Ledger) -> Result<()> {
        drain(swarm, ledger)?;
        swarm.open(1, OPENING_CONCURRENCY, |_| 0)?;
        swarm.stop_reading(self.client)?;
        let filling = kernel_send_bytes()? + BEYOND_KERNEL_BYTES;
        let mut frame = Vec::new();
        for _ in 0..filling / NOTE_BYTES {
            frame.clear();
            message::write_noted_change(&mut frame, ledger.enter(0), NOTE_BYTES);
            swarm.send(0, &frame)?;
            let allowed = FILLING_IN_FLIGHT * ledger.audience();
            let sent = Instant::now();
            while ledger.expected() - ledger.received > allowed {
                ensure!(sent.elapsed() < DELIVERY_LIMIT, "the team no longer hears its events");
                swarm.pump(Duration::from_millis(100), &mut |_, at, incoming| {
                    if let Incoming::Delivery(arguments) = incoming {
                        ledger.deliver(arguments, at);
                    }
                })?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, _: &mut Swarm) -> Result<Duration> {
        Ok(Duration::MAX)
    }

    fn hear(&mut self, _: Incoming<'_>) {}

    fn end(&mut self, swarm: &mut Swarm, _: &mut Sample) -> Result<()> {
        ensure!(
            !swarm.is_closed(self.client),
            "the server closed the member that did not read, so the second phase ended as quiet as the first"
        );
        Ok(())
    }
}

/// The most bytes that the kernel keeps for a TCP peer that does not read, whether or not the server chose its buffer's size: tcp(7)
/// and socket(7) name the two settings, the second of which Linux doubles.
fn kernel_send_bytes() -> Result<usize> {
    let [automatic, chosen] = ["ipv4/tcp_wmem", "core/wmem_max"].map(|setting| {
        let path = format!("/proc/sys/net/{setting}");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        last_number(&text).with_context(|| format!("{path} ends in no number: {text:?}"))
    });
    Ok(automatic?.max(chosen? * 2))
}

/// The last of a setting's numbers, which is the largest where there are several.
fn last_number(text: &str) -> Option<usize> {
    text.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_settings_are_read() {
        assert_eq!(last_number("4096\t16384\t4194304\n"), Some(4_194_304));
        assert_eq!(last_number("212992\n"), Some(212_992));
        assert_eq!(last_number(""), None);
        assert!(kernel_send_bytes().unwrap() >= 65_536);
    }
}
