//! One running server: started on its core, awaited by condition, and gone when dropped.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::peers::Peer;
use crate::pinning::Cores;
use crate::plan::Setup;

const READY_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at a port that nobody listens on yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Lines of a failed server's output that its error quotes.
const QUOTED_LINES: usize = 5;
/// Where the servers' output goes, beside the build.
const LOG_FOLDER: &str = "target/logs";

/// A server process, killed on drop.
pub struct Server {
    child: Child,
    address: SocketAddr,
    internal: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `peer` on its core, or on both, and on ports that the system picked, and returns once it accepts connections.
    /// `node` is its number among those that share `redis`.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or is not ready in time; the error quotes its last output.
    pub fn start(
        peer: Peer,
        node: usize,
        redis: Option<&Self>,
        setup: Setup,
        cores: Cores,
        secret: &str,
    ) -> Result<Self> {
        let [port, spare_port] = free_ports()?;
        let redis = redis.map(|redis| redis.address.port());
        let command = peer.command(port, spare_port, redis, setup, secret)?;
        let core_list =
            if setup.both_cores { cores.both() } else { cores.server.map(|core| core.to_string()) };
        let name = if node == 0 { peer.name().to_owned() } else { format!("{}-{node}", peer.name()) };
        Self::launch(&name, command, core_list, [port, spare_port])
    }

    /// Starts a Redis that keeps nothing, on the servers' core.
    ///
    /// # Errors
    /// When there is no `redis-server`, or as [`Self::start`] does.
    pub fn start_redis(cores: Cores) -> Result<Self> {
        let [port, _] = free_ports()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        Self::launch("redis", command, cores.server.map(|core| core.to_string()), [port, port])
    }

    fn launch(name: &str, command: Command, core_list: Option<String>, ports: [u16; 2]) -> Result<Self> {
        fs::create_dir_all(LOG_FOLDER).with_context(|| format!("making {LOG_FOLDER}"))?;
        let log = Path::new(LOG_FOLDER).join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("writing {}", log.display()))?;

        let program = command.get_program().to_string_lossy().into_owned();
        let child = bound_to_us(pinned(command, core_list))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let [address, internal] = ports.map(local);
        let mut server = Self { child, address, internal, log };
        server.wait_until_ready().map_err(|error| server.explain(error))?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for operators, of those that do.
    #[must_use]
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Its process: the wrappers it is started through replace themselves by it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Adds to `error` whether the server has ended, and the last lines it wrote.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!(" (the server ended: {status})"),
            _ => String::new(),
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n    ");
        let quoted = if last.is_empty() { String::new() } else { format!("; it wrote:\n    {last}") };
        anyhow::anyhow!("{error:#}{ended}{quoted}")
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            if self.child.try_wait()?.is_some() {
                bail!("it was never ready");
            }
            match TcpStream::connect_timeout(&self.address, READY_LIMIT) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => thread::sleep(LOOK_AGAIN),
                Err(error) => return Err(error).context("looking whether it is ready"),
            }
            if Instant::now() >= deadline {
                bail!("it was not ready within {} s", READY_LIMIT.as_secs());
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two different ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a free port");
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// `command` on the cores of that list.
pub(crate) fn pinned(command: Command, core_list: Option<String>) -> Command {
    match core_list {
        Some(list) => wrapped(&["taskset", "-c", &list], &command),
        None => command,
    }
}

/// Lets the kernel kill the server when this process ends in a way that runs no destructor, such as a signal.
pub(crate) fn bound_to_us(command: Command) -> Command {
    let available =
        Command::new("setpriv").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if available.is_ok_and(|status| status.success()) {
        wrapped(&["setpriv", "--pdeathsig", "KILL"], &command)
    } else {
        command
    }
}

/// `command`, started through a program that replaces itself by it.
fn wrapped(wrapper: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(wrapper[0]);
    outer.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}
