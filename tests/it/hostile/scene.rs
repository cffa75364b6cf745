//! The binary with an honest team on it, and what an attack may do to neither.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::harness::http::{Answer, Http, get};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{
    LOOK_AGAIN, PATIENCE, closes, code_of, member, metric, raise_descriptor_limit, refusals, within,
};

/// The honest team. An attacker that holds it too is an insider.
pub const TEAM: &str = "red";

/// Who is honest: one speaks on a WebSocket, one listens on a WebSocket, one polls.
const HONEST: f64 = 3.0;

/// The one that speaks.
const SENDER: &str = "ann";

/// Events that the honest sender has under way at once while an attack goes on.
const ROUND: u64 = 5;

/// Between two such rounds: the attack needs some of a small machine too.
const PAUSE: Duration = Duration::from_millis(20);

/// What is back to what it was once an attack is over.
const GAUGES: [&str; 5] =
    ["flowgate_sessions", "flowgate_peers", "flowgate_rooms", "flowgate_members", "flowgate_connection_keys"];

/// Open TCP connections: those of the honest, of which the one that polls has two at most.
const CONNECTIONS: &str = "flowgate_connections";
const HONEST_CONNECTIONS: f64 = 4.0;

/// The running binary and its honest team.
pub struct Scene {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    honest: Arc<Mutex<Honest>>,
    process: StdMutex<Process>,
    at_rest: Vec<(&'static str, f64)>,
}

impl Scene {
    /// The binary with these settings above [`crate::harness::BASE`], and an honest team that has heard its first event.
    pub async fn new(settings: &str) -> Self {
        Self::new_in(settings, &[]).await
    }

    /// The same with further variables in the binary's environment, such as `RUST_LOG`.
    pub async fn new_in(settings: &str, environment: &[(&str, &str)]) -> Self {
        raise_descriptor_limit();
        Self::on(Process::serve_in(settings, environment)).await
    }

    /// An honest team on a binary that runs.
    pub async fn on(process: Process) -> Self {
        let (public, internal) = (process.public, process.internal);
        let honest = Arc::new(Mutex::new(Honest::join(public).await));
        let mut scene =
            Scene { public, internal, honest, process: StdMutex::new(process), at_rest: Vec::new() };
        scene.honest_hears().await;
        for gauge in GAUGES {
            scene.at_rest.push((gauge, scene.metric(gauge).await));
        }
        assert_eq!(scene.metric("flowgate_peers").await, HONEST);
        scene
    }

    /// The honest sender says something, and every honest member hears exactly that next.
    pub async fn honest_hears(&self) {
        self.honest.lock().await.round(1).await;
    }

    /// How many events the honest sender has said; exactly those have been accepted, if no attacker's has.
    pub async fn honest_said(&self) -> f64 {
        self.honest.lock().await.said as f64
    }

    /// Carries an attack out while the honest team talks in a task of its own, without a pause and before and after
    /// too. Every member hears everything exactly once and in order, or the test fails, at once if it can.
    pub async fn during<T>(&self, attack: impl Future<Output = T>) -> T {
        let honest = self.honest.clone();
        let (stop, mut stopped) = oneshot::channel::<()>();
        self.honest_hears().await;
        let mut talking = tokio::spawn(async move {
            let mut honest = honest.lock().await;
            // Once more after the attack, when the other end is dropped.
            while let Err(oneshot::error::TryRecvError::Empty) = stopped.try_recv() {
                honest.round(ROUND).await;
                tokio::time::sleep(PAUSE).await;
            }
            honest.round(ROUND).await;
        });
        let done = tokio::select! {
            done = attack => done,
            ended = &mut talking => panic!("the honest team fell silent: {ended:?}"),
        };
        drop(stop);
        within("the honest team's last words", talking).await.expect("the honest team goes on");
        self.alive().await;
        done
    }

    /// The process runs, answers on its internal port, and nothing in it has panicked.
    pub async fn alive(&self) {
        assert!(self.process().is_running(), "the process is dead:\n{}", self.log());
        assert_eq!(within("/live", get(self.internal, "/live", &[])).await.status, 200);
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// One series as the internal port shows it, by its whole name with labels.
    pub async fn metric(&self, series: &str) -> f64 {
        metric(self.internal, series).await
    }

    /// Waits until a series has this value.
    pub async fn until(&self, series: &str, value: f64) {
        self.until_it(series, &format!("= {value}"), |now| now == value).await;
    }

    /// Waits until a series has this value or more.
    pub async fn until_at_least(&self, series: &str, value: f64) {
        self.until_it(series, &format!(">= {value}"), |now| now >= value).await;
    }

    async fn until_it(&self, series: &str, what: &str, holds: impl Fn(f64) -> bool) {
        let waiting = async {
            while !holds(self.metric(series).await) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let metrics = get(self.internal, "/metrics", &[]).await.body;
            let is_news = |line: &&str| !line.starts_with('#') && !line.ends_with(" 0");
            let news: Vec<_> = metrics.lines().filter(is_news).collect();
            panic!("waited in vain: {series} {what} in\n{}", news.join("\n"));
        }
    }

    /// Closed connections counted under a reason.
    pub async fn closed(&self, reason: &str) -> f64 {
        self.metric(&closes(reason)).await
    }

    /// Refusals counted under a code.
    pub async fn refused(&self, code: &str) -> f64 {
        self.metric(&refusals(code)).await
    }

    /// Waits until everything is free again that an attack took: only the honest team is left, as it was at first.
    pub async fn at_rest(&self) {
        for (gauge, value) in &self.at_rest {
            self.until(gauge, *value).await;
        }
        self.until_it(CONNECTIONS, "at rest", |now| now <= HONEST_CONNECTIONS).await;
    }

    /// What the process has logged so far.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// The process itself: signals, memory, descriptors.
    pub fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap()
    }

    /// A WebSocket of a member of these teams, which need not be the honest one's.
    pub async fn websocket(&self, user: &str, teams: &[&str]) -> RawSocket {
        RawSocket::join(self.public, &member(user, teams)).await
    }

    /// A member of these teams that polls.
    pub async fn polling(&self, user: &str, teams: &[&str]) -> Polling {
        Polling::join(self.public, &member(user, teams)).await
    }

    /// A raw connection from an attacker's address.
    pub async fn tcp(&self, source: Ipv4Addr) -> Http {
        within("a connection", Http::from(source, self.public)).await
    }

    /// Sends a request by hand on a connection of its own, and asserts the status and code of the refusal.
    pub async fn refuses(&self, request: impl AsRef<[u8]>, status: u16, code: &str) -> Answer {
        let mut http = Http::to(self.public).await;
        http.send_raw(&request).await;
        let shown = String::from_utf8_lossy(request.as_ref()).chars().take(200).collect::<String>();
        let answer = within("an answer", http.answer()).await.unwrap_or_else(|| panic!("closed: {shown}"));
        assert_eq!((answer.status, code_of(&answer).as_str()), (status, code), "{shown}");
        answer
    }
}

/// An attacker's address, its own for each number below 16 million. The honest come from 127.0.0.1.
pub fn source(at: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + at)
}

/// A team that reads all the time, so that nothing in it depends on when a test looks.
struct Honest {
    says: mpsc::UnboundedSender<String>,
    members: Vec<Member>,
    said: u64,
}

/// Socket.IO packets in the order in which a member heard them. Its task ends with it.
struct Member {
    name: &'static str,
    heard: mpsc::UnboundedReceiver<String>,
    reading: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Honest {
    async fn join(address: SocketAddr) -> Self {
        let auth = |user: &str| member(user, &[TEAM]);
        let (says, said) = mpsc::unbounded_channel();
        let (_silent, nothing) = mpsc::unbounded_channel();
        let members = vec![
            Member::on_websocket(SENDER, RawSocket::join(address, &auth("ann")).await, said),
            Member::on_websocket("ben", RawSocket::join(address, &auth("ben")).await, nothing),
            Member::polling("cleo", Polling::join(address, &auth("cleo")).await),
        ];
        Honest { says, members, said: 0 }
    }

    /// Says that many numbered events at once and waits until everybody has heard exactly those, in order, and the
    /// sender has been told so for each.
    async fn round(&mut self, events: u64) {
        let begin = self.said;
        self.said += events;
        for at in begin..self.said {
            let packet = packets::event(EVENT, &text(at), Some(at));
            self.says.send(packet).expect("the honest sender is there");
        }
        for member in &mut self.members {
            let is_sender = member.name == SENDER;
            // An answer takes another way than events do, so it may come behind later ones, but not before its own.
            let (mut heard, mut answered) = (begin, begin);
            while heard < self.said || (is_sender && answered < self.said) {
                let packet = member.next().await;
                match packets::heard(&packet) {
                    Some(argument) => {
                        assert_eq!(argument, text(heard), "{}", member.name);
                        heard += 1;
                    }
                    None => {
                        assert!(is_sender && answered < heard, "{}: {packet}", member.name);
                        let answer = packets::answer(&packet, answered).unwrap_or_default();
                        assert_eq!(answer["ok"], true, "event {answered}: {packet}");
                        answered += 1;
                    }
                }
            }
        }
    }
}

fn text(at: u64) -> String {
    format!(r#"{{"honest":{at}}}"#)
}

impl Member {
    fn on_websocket(
        name: &'static str,
        mut socket: RawSocket,
        mut says: mpsc::UnboundedReceiver<String>,
    ) -> Self {
        let (send, heard) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            let mut has_more_to_say = true;
            loop {
                tokio::select! {
                    frame = socket.frame() => match frame.as_deref().map(|frame| frame.split_at(1)) {
                        None => break,
                        Some(("2", "")) => socket.send("3").await,
                        Some(("4", packet)) => drop(send.send(packet.to_owned())),
                        Some(_) => {}
                    },
                    packet = says.recv(), if has_more_to_say => match packet {
                        Some(packet) => socket.send(&packet).await,
                        None => has_more_to_say = false,
                    },
                }
            }
        });
        Member { name, heard, reading }
    }

    fn polling(name: &'static str, mut client: Polling) -> Self {
        let (send, heard) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            while let Some(packet) = client.packet().await {
                drop(send.send(packet));
            }
        });
        Member { name, heard, reading }
    }

    async fn next(&mut self) -> String {
        let packet = within(&format!("a packet for {}", self.name), self.heard.recv()).await;
        packet.unwrap_or_else(|| panic!("{} has been disconnected", self.name))
    }
}
