//! What an open admin page costs a server with connections that only answer heartbeats.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::settle::settled_bytes;
use super::{Mark, OPENING_CONCURRENCY};
use crate::peers::ADMIN_TOKEN;
use crate::plan::Timing;
use crate::sample::{Measure, Sample};
use crate::server::Server;
use crate::swarm::Swarm;

/// Members of each team.
const TEAM_SIZE: usize = 10;
/// How often the page asks for the list that it shows; the page itself says so in `listing.js`.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// The longest of the page's lists.
const LISTS: [&str; 2] = ["/api/connections?limit=100", "/api/teams?limit=100"];
/// How long a read may take before it is looked at whether the page is to be closed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// An answer that takes longer will not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Opens `connections`, and measures the server's CPU for as long without the page as with it.
pub fn run(swarm: &mut Swarm, server: &Server, connections: usize, timing: Timing) -> Result<Sample> {
    swarm.open(connections, OPENING_CONCURRENCY, |index| index / TEAM_SIZE)?;
    settled_bytes(swarm, server)?;
    let alone = busy(swarm, server, timing)?;
    let page = Page::open(server.internal())?;
    let watched = busy(swarm, server, timing)?;
    page.close()?;

    let mut sample = Sample::default();
    sample[Measure::UnwatchedBusy] = Some(alone);
    sample[Measure::PageBusy] = Some(watched - alone);
    Ok(sample)
}

/// The share of a core that the server uses, in percent, while the connections do nothing.
fn busy(swarm: &mut Swarm, server: &Server, timing: Timing) -> Result<f64> {
    rest(swarm, timing.warm_up)?;
    let begin = Mark::now(server, 0, 0)?;
    rest(swarm, timing.window)?;
    let sample = begin.until(&Mark::now(server, 0, 0)?);
    sample[Measure::ServerBusy].context("the window was measured")
}

fn rest(swarm: &mut Swarm, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while let Some(wait) = until.checked_duration_since(Instant::now()) {
        swarm.pump(wait, &mut |_, _, _| {})?;
    }
    Ok(())
}

/// What a browser with the page asks for: the live stream, and its lists every few seconds.
struct Page {
    closes: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Page {
    fn open(internal: SocketAddr) -> Result<Self> {
        let closes = Arc::<AtomicBool>::default();
        let stream = ask(internal, "/api/live")?;
        let (for_live, for_lists) = (closes.clone(), closes.clone());
        let threads = vec![
            thread::spawn(move || listen(stream, &for_live)),
            thread::spawn(move || list(internal, &for_lists)),
        ];
        Ok(Self { closes, threads })
    }

    /// Fails if the server did not answer as a page needs it.
    fn close(self) -> Result<()> {
        self.closes.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("the page's thread has panicked"))??;
        }
        Ok(())
    }
}

/// Reads the stream, in which something must come.
fn listen(mut stream: TcpStream, closes: &AtomicBool) -> Result<()> {
    stream.set_read_timeout(Some(LOOK_AGAIN))?;
    let (mut buffer, mut bytes) = ([0; 16 * 1024], 0);
    while !closes.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes += read,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("reading /api/live"),
        }
    }
    ensure!(bytes > 0, "nothing came on /api/live");
    Ok(())
}

fn list(internal: SocketAddr, closes: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    while !closes.load(Ordering::Relaxed) {
        if Instant::now() < next {
            thread::sleep(LOOK_AGAIN);
            continue;
        }
        next += LIST_EVERY;
        for target in LISTS {
            let mut answer = Vec::new();
            ask(internal, target)?.read_to_end(&mut answer).with_context(|| format!("reading {target}"))?;
            ensure!(answer.len() > 1000, "{target} was answered with {} bytes", answer.len());
        }
    }
    Ok(())
}

/// Asks with the admin token, and reads the first line of the answer, which must be 200.
fn ask(internal: SocketAddr, target: &str) -> Result<TcpStream> {
    const OK: &[u8] = b"HTTP/1.1 200";
    let mut stream = TcpStream::connect(internal)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut begin = [0; OK.len()];
    stream.read_exact(&mut begin).with_context(|| format!("waiting for {target}"))?;
    ensure!(begin == OK, "{target} was answered {}", String::from_utf8_lossy(&begin));
    Ok(stream)
}
