//! The flowgate under soak: the release build, with the soak's policy, on ports that the system picks.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::server::{bound_to_us, pinned};
use crate::token::SECRET_VARIABLE;

const PROGRAM: &str = "../../target/release/flowgate";
const POLICY: &str = "soak.toml";
const LOG: &str = "target/logs/soak.log";
/// The drain's deadline is 20 s; a busy machine gets three times that.
const END_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Lines of the log that are quoted.
const QUOTED_LINES: usize = 5;

/// A running flowgate, killed on drop.
pub struct Flowgate {
    child: Child,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Health and metrics.
    pub internal: SocketAddr,
}

impl Flowgate {
    /// Starts it on `core`, and returns once it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not say where it listens.
    pub fn start(core: Option<usize>, secret: &str) -> Result<Self> {
        let log = Path::new(LOG);
        fs::create_dir_all(log.parent().unwrap_or(log)).context("making the folder of logs")?;
        let mut command = Command::new(PROGRAM);
        // Each admission is a line at the level `info`, which would be all that is in the log.
        command
            .args(["serve", "--config", POLICY, "--log", "warn"])
            .args(["--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"])
            .env(SECRET_VARIABLE, secret)
            .env("TOKIO_WORKER_THREADS", "1");
        let mut child = bound_to_us(pinned(command, core.map(|core| core.to_string())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log).with_context(|| format!("writing {LOG}"))?)
            .spawn()
            .with_context(|| format!("starting {PROGRAM}"))?;
        match child.stdout.take().and_then(announced) {
            Some((public, internal)) => Ok(Self { child, public, internal }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("flowgate did not say where it listens; it wrote: {}", fs::read_to_string(log)?)
            }
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends SIGTERM and waits for the end, `None` when that takes too long.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&mut self) -> Result<Option<ExitStatus>> {
        let status = Command::new("kill").arg(self.pid().to_string()).status().context("running kill")?;
        if !status.success() {
            bail!("kill ended with {status}");
        }
        let begun = Instant::now();
        while begun.elapsed() < END_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }
}

impl Drop for Flowgate {
    fn drop(&mut self) {
        // Either fails only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Panics and errors in the log: how many, and the first of them.
#[must_use]
pub fn complaints() -> (usize, Vec<String>) {
    let text = fs::read_to_string(PathBuf::from(LOG)).unwrap_or_default();
    let complains = |line: &&str| line.contains("panicked at") || line.contains("ERROR");
    let lines: Vec<&str> = text.lines().filter(complains).collect();
    (lines.len(), lines.iter().take(QUOTED_LINES).map(|line| (*line).to_owned()).collect())
}

/// Reads the two lines that scripts wait for.
fn announced(stdout: ChildStdout) -> Option<(SocketAddr, SocketAddr)> {
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut address = |words: &str| -> Option<SocketAddr> {
        lines.next()?.strip_prefix(words)?.rsplit_once("//")?.1.parse().ok()
    };
    Some((address("listening on ")?, address("internal on ")?))
}
