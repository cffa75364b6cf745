//! Redis servers of a test's own: one, or a cluster of three masters; with signals, TLS and users. And a proxy that cuts.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::harness::{LOOK_AGAIN, PATIENCE};

/// Ports that are tried: somebody may take one between our look and its start.
const ATTEMPTS: usize = 10;

/// A redis-server on a port of its own of 127.0.0.1, without persistence; killed with this value.
pub struct Redis {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    pub port: u16,
    /// Another one, which speaks TLS, where it is of a cluster that does.
    pub tls_port: Option<u16>,
}

impl Redis {
    /// With further arguments, such as `["--requirepass", "secret"]`, once it accepts connections.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_on("--port", arguments)
    }

    /// The same with TLS and nothing else on its port. It wants a certificate of `authority`'s from its clients.
    pub fn start_tls(authority: &Authority, arguments: &[&str]) -> Self {
        let tls = authority.arguments();
        let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
        Self::start_on("--tls-port", &[&["--port", "0"], &tls[..], arguments].concat())
    }

    fn start_on(option: &str, arguments: &[&str]) -> Self {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut all: Vec<String> = vec![option.to_owned(), port.to_string()];
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            if let Some(child) = run(folder.path(), &all) {
                return Redis { child, folder, arguments: all, port, tls_port: None };
            }
        }
        panic!("redis-server does not start with {arguments:?}");
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Ends it at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port after [`Redis::kill`]. It has forgotten everything but its cluster.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = run(self.folder.path(), &self.arguments) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < deadline, "redis-server does not start on port {} again", self.port);
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Suspends it: its connections stay, and nothing answers (SIGSTOP).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// A connection to it without a password. It blocks.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(format!("redis://{}", self.address())).unwrap().get_connection().unwrap()
    }

    /// A command over a connection of its own, as in `ask("CLIENT KILL TYPE pubsub")`. It blocks.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        words.for_each(|word| _ = asked.arg(word));
        asked.query(&mut self.connect()).unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has, below those that the kernel gives to connections.
fn free_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = u64::from(std::process::id()) * 97;
    loop {
        let number = start + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + number % 20_000).unwrap();
        if StdListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `None` if it ended instead of accepting connections.
fn run(folder: &Path, arguments: &[String]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is to be installed");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    if lines.any(|line| line.contains("Ready to accept connections")) {
        // Somebody has to read on, or it would stand still when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Three masters that share the slots, without replicas.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

/// The slots of each master.
const SHARES: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    /// Once all of them say that the cluster is whole.
    pub fn start(arguments: &[&str]) -> Self {
        let nodes = SHARES.map(|_| Redis::start(&[&Self::arguments()[..], arguments].concat()));
        Self::joined(nodes.into())
    }

    /// The same with TLS between them, and for whoever comes to their `tls_port`; the other port is there too.
    pub fn start_tls(authority: &Authority, arguments: &[&str]) -> Self {
        let tls = authority.arguments();
        let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
        let start = |_| {
            let port = free_port();
            let (number, own) = (port.to_string(), Self::arguments());
            let ours = ["--tls-port", &number, "--tls-cluster", "yes"];
            let mut node = Redis::start(&[&own[..], &ours, &tls, arguments].concat());
            node.tls_port = Some(port);
            node
        };
        Self::joined(SHARES.map(start).into())
    }

    fn arguments() -> Vec<&'static str> {
        let bus: &'static str = free_port().to_string().leak();
        vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus]
    }

    fn joined(nodes: Vec<Redis>) -> Self {
        for (node, (first, last)) in nodes.iter().zip(SHARES) {
            let () = node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for (number, node) in nodes.iter().enumerate() {
            // Otherwise two of them may each take the other's number for their own.
            let () = node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        for node in &nodes[1..] {
            let bus =
                node.arguments.iter().skip_while(|argument| *argument != "--cluster-port").nth(1).unwrap();
            let port = node.tls_port.unwrap_or(node.port);
            let () = nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
        }
        let cluster = Cluster { nodes };
        cluster.wait_until_whole();
        cluster
    }

    /// Every node says that all slots are served, and knows all three.
    pub fn wait_until_whole(&self) {
        let deadline = Instant::now() + PATIENCE;
        let is_whole = |node: &Redis| {
            let info: String = node.ask("CLUSTER INFO");
            info.contains("cluster_state:ok")
                && info.contains("cluster_size:3")
                && info.contains("cluster_slots_ok:16384")
        };
        while !self.nodes.iter().all(is_whole) {
            assert!(Instant::now() < deadline, "the cluster does not come together");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// The number of the master that has a key.
    pub fn owner(&self, key: &str) -> usize {
        let slot: u16 = self.nodes[0].ask(&format!("CLUSTER KEYSLOT {key}"));
        let nodes: String = self.nodes[0].ask("CLUSTER NODES");
        let serves = |line: &str| {
            line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        };
        let line = nodes.lines().find(|line| serves(line)).unwrap();
        self.nodes.iter().position(|node| line.contains(&format!("127.0.0.1:{}@", node.port))).unwrap()
    }

    /// Moves the empty slot of a key to another master, told to all of them.
    pub fn migrate(&self, key: &str, to: usize) {
        let slot: u16 = self.nodes[0].ask(&format!("CLUSTER KEYSLOT {key}"));
        let id: String = self.nodes[to].ask("CLUSTER MYID");
        let from = self.owner(key);
        let others = (0..self.nodes.len()).filter(|number| *number != to && *number != from);
        for number in [to, from].into_iter().chain(others) {
            let () = self.nodes[number].ask(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
        }
    }
}

/// A certificate authority, with a certificate for `localhost` and 127.0.0.1 that serves both ends.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By its name it is found; the certificate's own would be taken for one that vouches for itself.
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        write("ca.crt", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        write("tls.crt", &params.signed_by(&key, &issuer).unwrap().pem());
        write("tls.key", &key.serialize_pem());
        Authority { folder }
    }

    /// `ca.crt`, `tls.crt` or `tls.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn arguments(&self) -> Vec<String> {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        let arguments = [
            ["--tls-ca-cert-file".into(), path("ca.crt")],
            ["--tls-cert-file".into(), path("tls.crt")],
            ["--tls-key-file".into(), path("tls.key")],
        ];
        arguments.into_iter().flatten().collect()
    }
}

/// A TCP proxy that can cut its connections in the middle of what the server says.
pub struct Cutter {
    pub port: u16,
    /// How many more bytes of the server's are let through.
    left: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Cutter {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let all_left = left.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(to).await {
                    connections.spawn(pass(client, server, all_left.clone()));
                }
            }
        });
        Cutter { port, left, task: task.abort_handle() }
    }

    /// Lets so many bytes more of the server's through, all connections together, then closes the one that had the last of
    /// them. Whatever comes after it passes again.
    pub fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Whether [`Cutter::cut_after`] has cut.
    pub fn has_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) == u64::MAX
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: TcpStream, left: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            let before = left.load(Ordering::SeqCst);
            let passing = read.min(usize::try_from(before).unwrap_or(usize::MAX));
            if to_client.write_all(&buffer[..passing]).await.is_err() {
                return;
            }
            if before != u64::MAX {
                let now = before - passing as u64;
                left.store(if now == 0 { u64::MAX } else { now }, Ordering::SeqCst);
                if now == 0 {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = down => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}
