//! A sidecar of a test's own on free ports, and clients that speak its protocols by hand.

pub mod endpoint;
pub mod frames;
pub mod http;
pub mod operator;
pub mod packets;
pub mod polling;
pub mod process;
pub mod websocket;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowgate::config::policy::Policy;
use flowgate::config::{self, Reading, Sources};
use flowgate::reload::{Origin, Reloader};
use flowgate::server::{Builder, Server};
use jsonwebtoken::Algorithm::HS256;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::keys;
use http::{Answer, get};

/// How long a condition may take to come true before a test gives up on it. It bounds a wait and asserts no speed: the
/// machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition that nobody announces.
pub const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The variable that holds the tests' secret.
pub const SECRET_VARIABLE: &str = "TEST_SECRET";

/// Beneath every test's own settings: an issuer, any payload, and limits that no test meets by accident.
pub const BASE: &str = r#"
[server]
listen = "127.0.0.1:0"
allowed_origins = ["https://app.example"]

[internal]
listen = "127.0.0.1:0"

[[auth.issuers]]
name = "app"
issuer = "https://app.example"
audience = ["flowgate"]
algorithms = ["HS256"]
secret_env = "TEST_SECRET"

[limits.connections]
per_ip = 10000
per_user = 10000
handshakes_per_ip = "100000/s"
handshakes_total = "100000/s"

[limits.events]
per_socket = "1000000/s"
per_user = "1000000/s"
per_address = "1000000/s"
per_team = "1000000/s"
disconnect_after = { refusals = 100000, per = "1m" }

[limits.slow_reader]
max_queued = "16MiB"

[events.database-change]
payload = "any"

[drain]
spread = "100ms"
deadline = "10s"
"#;

/// A running sidecar; it goes down with this value.
pub struct Sidecar {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// Writes settings into files of a folder, later ones above earlier ones, and returns their paths.
pub fn write_settings(folder: &Path, texts: &[&str]) -> Vec<std::path::PathBuf> {
    let write = |(at, text): (usize, &&str)| {
        let path = folder.join(format!("{at}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.iter().enumerate().map(write).collect()
}

/// These files, with the tests' secrets in the environment.
fn sources(paths: Vec<std::path::PathBuf>) -> Sources {
    let environment =
        vec![(SECRET_VARIABLE.into(), secret()), ("OTHER_SECRET".into(), secret().to_uppercase())];
    Sources { paths, environment, ..Sources::default() }
}

/// The tests' secret as a variable's value.
pub fn secret() -> String {
    String::from_utf8(keys::SECRET.to_vec()).unwrap()
}

impl Sidecar {
    /// Starts with these settings above [`BASE`].
    pub async fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of(write_settings(folder.path(), &[BASE, settings])).await
    }

    /// Starts with these settings above [`BASE`], and with what no setting can say.
    pub async fn start_with(settings: &str, edit: impl FnOnce(&mut Policy)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::of_with(write_settings(folder.path(), &[BASE, settings]), edit).await
    }

    /// Starts with these files and no others.
    pub async fn of(paths: Vec<std::path::PathBuf>) -> Self {
        Self::of_with(paths, |_| {}).await
    }

    /// Starts with these files, which can be read again. Nobody watches them, unless they say so.
    pub async fn reloading(paths: Vec<std::path::PathBuf>) -> (Self, Arc<Reloader>) {
        let sources = sources(paths);
        let Reading { result, files, look } = config::read(&sources);
        let loaded = result.unwrap_or_else(|problems| panic!("{problems}"));
        let origin = Origin { sources, content: loaded.content, files, look };
        let server = Builder::new(loaded.policy).origin(origin).bind().await.unwrap();
        let reloader = server.reloader().unwrap().clone();
        (Self::run(server), reloader)
    }

    async fn of_with(paths: Vec<std::path::PathBuf>, edit: impl FnOnce(&mut Policy)) -> Self {
        let mut loaded = config::load(&sources(paths)).unwrap_or_else(|problems| panic!("{problems}"));
        edit(&mut loaded.policy);
        Self::run(Builder::new(loaded.policy).bind().await.unwrap())
    }

    fn run(server: Server) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        Sidecar {
            public: server.public_addr(),
            internal: server.internal_addr(),
            stop: Some(stop),
            running: tokio::spawn(server.run(async {
                // A dropped sender stops it too.
                let _ = stopped.await;
            })),
        }
    }

    /// One series as the internal port shows it, by its whole name with labels.
    pub async fn metric(&self, series: &str) -> f64 {
        metric(self.internal, series).await
    }

    /// The values of all series whose names begin so.
    pub async fn metrics(&self, beginning: &str) -> Vec<f64> {
        let answer = within("metrics", get(self.internal, "/metrics", &[])).await;
        let lines = answer.body.lines().filter(|line| line.starts_with(beginning));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Waits until a series has this value.
    pub async fn until(&self, series: &str, value: f64) {
        until(&format!("{series} = {value}"), async || self.metric(series).await == value).await;
    }

    /// Waits until nothing is left: no session, no peer, no room.
    pub async fn until_empty(&self) {
        for gauge in ["flowgate_sessions", "flowgate_peers", "flowgate_rooms", "flowgate_members"] {
            self.until(gauge, 0.0).await;
        }
    }

    /// Asks it to go down and does not wait.
    pub fn stop(&mut self) {
        self.stop = None;
    }

    /// Waits until it has gone down.
    pub async fn stopped(mut self) {
        within("the sidecar goes down", &mut self.running).await.unwrap();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Lets this process, and those that it starts, open as many descriptors as the system allows: tests with thousands of
/// connections need more than the usual 1,024.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// One series of the process whose internal port this is.
pub async fn metric(internal: SocketAddr, series: &str) -> f64 {
    let answer = within("metrics", get(internal, "/metrics", &[])).await;
    assert_eq!(answer.status, 200);
    let line = answer.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{}", answer.body)).parse().unwrap()
}

/// Refusals counted under a code.
pub fn refusals(code: &str) -> String {
    format!("flowgate_refusals_total{{code=\"{code}\"}}")
}

/// Closed connections counted under a reason.
pub fn closes(reason: &str) -> String {
    format!("flowgate_closes_total{{reason=\"{reason}\"}}")
}

/// The answer's JSON code.
pub fn code_of(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
    body["code"].as_str().unwrap().to_owned()
}

/// Waits for a future, and says which when it never ends.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Looks again and again until a condition holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims that [`BASE`] accepts for ten minutes, of `user-1` in team `red`, with what `change` makes of them; `null`
/// removes one.
pub fn claims(change: Value) -> Value {
    let mut claims = keys::claims(json!({ "iat": now() - 10, "exp": now() + 600 }));
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A token with such claims.
pub fn mint(change: Value) -> String {
    keys::token(&claims(change), keys::SECRET, HS256)
}

/// The CONNECT payload of a user of these teams.
pub fn member(user: &str, teams: &[&str]) -> Value {
    json!({ "token": mint(json!({ "sub": user, "teams": teams })) })
}
