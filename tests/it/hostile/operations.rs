//! Rows 32, 34 and 35: restarts, ends, and a process that runs out of descriptors. (There is no audit log yet whose disk
//! could be full, and a test cannot turn back the clock of the machine that it shares.)

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::scene::{Scene, source};
use crate::harness::http::{Http, POLLING, get};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{code_of, member, raise_descriptor_limit, until, within};

/// Clients of the storm, over that many addresses. The first of them were there before it.
const CLIENTS: u32 = 2_000;
const FORMER: u32 = 500;
const ADDRESSES: u32 = 200;

/// One that comes back as it was told to. Returns each `Retry-After` that it was given.
async fn comes_in(at: u32, public: std::net::SocketAddr) -> (RawSocket, Vec<u64>) {
    let mut hints = Vec::new();
    loop {
        match RawSocket::open_from(source(at % ADDRESSES), public).await {
            Ok(mut socket) => {
                let team = format!("of-{}", at % ADDRESSES);
                socket.connect(&member(&format!("user-{at}"), &[&team])).await.unwrap();
                return (socket, hints);
            }
            Err(answer) => {
                assert_eq!((answer.status, &*code_of(&answer)), (429, "too_many_requests"));
                let hint: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=60).contains(&hint), "{hint}");
                hints.push(hint);
                tokio::time::sleep(Duration::from_secs(hint)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_32_a_reconnect_storm_after_a_restart_is_spread_and_everybody_comes_in() {
    raise_descriptor_limit();
    let before = Process::serve("");
    let clients = join_all((0..FORMER).map(|at| comes_in(at, before.public))).await;
    let public = before.public;
    // It dies, and the next one stands in the same place.
    drop(before);
    for (socket, _) in clients {
        socket.closed().await;
    }
    let scene = Scene::new(&format!(
        "[server]\nlisten = \"{public}\"\n[limits.connections]\nhandshakes_total = \"200/s\"\nhandshakes_per_ip = \"20/s\""
    ))
    .await;
    let internal = scene.internal;
    let probe = tokio::spawn(async move {
        loop {
            let live = within("/live", get(internal, "/live", &[])).await;
            assert_eq!(live.status, 200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let storm = join_all((0..CLIENTS).map(|at| comes_in(at, public)));
    let mut clients = scene.during(async { within("everybody comes in", storm).await }).await;
    assert!(!probe.is_finished(), "it stayed live throughout");
    probe.abort();
    let hints: Vec<u64> = clients.iter().flat_map(|(_, hints)| hints).copied().collect();
    assert!(hints.len() >= CLIENTS as usize / 4, "that was no storm");
    assert_eq!(scene.refused("too_many_requests").await, hints.len() as f64);
    // Those who were turned away together were not told to come back together.
    assert!(hints.iter().collect::<BTreeSet<_>>().len() > 1);
    // They are in, and hear their own.
    assert_eq!(scene.metric("flowgate_peers").await, f64::from(CLIENTS) + 3.0);
    for (socket, _) in clients.iter_mut().take(ADDRESSES as usize) {
        assert_eq!(socket.ask("1").await["ok"], true);
        assert_eq!(socket.event().await, "1");
    }
    drop(clients);
    scene.at_rest().await;
}

/// Says one number after the other, as each comes back, until it is closed; returns how many were taken.
async fn talks(mut socket: RawSocket, name: String) -> u64 {
    let mut said = 0;
    loop {
        let text = format!("\"{name} {said}\"");
        socket.send(&packets::event(EVENT, &text, Some(said))).await;
        loop {
            let Some(packet) = socket.packet().await else { return said };
            if let Some(answer) = packets::answer(&packet, said) {
                assert_eq!(answer["ok"], true);
                break;
            }
        }
        said += 1;
    }
}

/// Hears the numbers of one who talks, each once and in order, until it is closed.
async fn listens(mut socket: RawSocket, name: String) {
    let mut heard = 0_u64;
    while let Some(packet) = socket.packet().await {
        if packets::heard(&packet).is_some_and(|text| text.starts_with(&format!("\"{name} "))) {
            assert_eq!(packets::heard(&packet).unwrap(), format!("\"{name} {heard}\""));
            heard += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_34_sigterm_under_load_with_stuck_peers_tells_everybody_and_exits_0() {
    let settings = r#"
        [drain]
        spread = "2s"
        deadline = "4s"
        [limits.slow_reader]
        max_stall = "1h"
        [limits.payload]
        max_bytes = "1MiB"
        hard_max_bytes = "2MiB"
        "#;
    let mut process = Process::serve(settings);
    let (public, internal) = (process.public, process.internal);
    let join = async |user: &str, team: &str| RawSocket::join(public, &member(user, &[team])).await;
    // Stuck: one whose kernel is full, one that never says who it is, one that never polls, one in the middle of a head,
    // and one whose refusal the library holds on to.
    let mut full = RawSocket::open_narrow(public).await;
    full.connect(&member("eve", &["blue"])).await.unwrap();
    let mut sender = join("mallory", "blue").await;
    for _ in 0..12 {
        let text = format!("\"{}\"", "x".repeat(800_000));
        sender.emit(&text).await;
        assert_eq!(sender.event().await, text);
    }
    let _nobody = RawSocket::open(public).await;
    let _never_polls = Polling::join(public, &member("oscar", &["blue"])).await;
    let mut half_a_head = TcpStream::connect(public).await.unwrap();
    half_a_head.write_all(b"GET /socket.io/?EIO=4&tran").await.unwrap();
    let mut refused = Polling::open(public).await;
    assert_eq!(refused.connect(&serde_json::json!({ "token": "a.b.c" })).await, Err("token_invalid".into()));
    // Load: twenty pairs, of which half have upgraded.
    let mut pairs = Vec::new();
    for at in 0..20 {
        let name = format!("pair-{at}");
        let auth = member(&name, &["red"]);
        let listener = match at % 2 {
            0 => Polling::join(public, &auth).await.upgrade().await,
            _ => RawSocket::join(public, &auth).await,
        };
        let speaker = RawSocket::join(public, &auth).await;
        pairs.push((tokio::spawn(talks(speaker, name.clone())), tokio::spawn(listens(listener, name))));
    }
    let idle: Vec<_> = join_all((0..100).map(async |at| join(&format!("idle-{at}"), "green").await)).await;
    let polling = Polling::join(public, &member("polling", &["green"])).await;
    let polling = tokio::spawn(polling.closed());
    assert_eq!(get(internal, "/ready", &[]).await.status, 200);
    process.signal("TERM");
    // Nobody new from then on, and the probes say so.
    let refusal = within("newcomers are turned away", async {
        loop {
            match Polling::open_with(public, &[]).await {
                Ok(mut early) => drop(early.post("1").await),
                Err(answer) => break answer,
            }
        }
    })
    .await;
    assert_eq!((refusal.status, &*code_of(&refusal)), (503, "draining"));
    assert!(refusal.header("retry-after").is_some());
    // Everybody is told, and nobody has missed or doubled anything until then.
    for socket in idle {
        assert_eq!(socket.close_code().await, Some(1001));
    }
    for (talking, listening) in pairs {
        let said = within("a speaker's end", talking).await.unwrap();
        within("a listener's end", listening).await.unwrap();
        assert!(said > 0);
    }
    within("the polling one's end", polling).await.unwrap();
    assert_eq!(process.exit_code(), Some(0));
    assert!(!process.log().contains("panicked"), "{}", process.log());
}

/// Connections that do nothing, as many as there may be and some more.
fn hold(public: std::net::SocketAddr, connections: u32) -> JoinHandle<Vec<Http>> {
    tokio::spawn(async move { join_all((0..connections).map(|at| Http::from(source(at), public))).await })
}

/// Whether a new connection gets an answer.
async fn is_served(scene: &Scene) -> bool {
    let mut http = scene.tcp(source(1)).await;
    http.send("GET", "/elsewhere", &[], "").await;
    within("an answer or the end", http.answer()).await.is_some_and(|answer| answer.status == 404)
}

/// The public port's connections end before the descriptors do, and are refused one by one; the internal port, and those
/// who are in, have theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_with_few_descriptors_clients_are_turned_away_and_the_process_stays_live() {
    const LIMIT: u32 = 64;
    let scene = Scene::on(Process::serve_with_descriptors("", LIMIT)).await;
    assert!(scene.log().contains("limits.connections.total: 20000, but this process may have 64 files open"));
    let files = scene.process().open_files();
    let attack = async {
        let mut held = hold(scene.public, 2 * LIMIT).await.unwrap();
        until("connections are refused", async || scene.refused("too_many_connections").await > 0.0).await;
        assert!(scene.process().open_files() < LIMIT as usize);
        for path in ["/live", "/ready", "/metrics"] {
            assert_eq!(get(scene.internal, path, &[]).await.status, 200, "{path}");
        }
        // One more is closed without an answer.
        let mut late = scene.tcp(source(1)).await;
        late.send("GET", POLLING, &[], "").await;
        assert!(within("the end", late.answer()).await.is_none());
        held.clear();
        until("there is room again", async || is_served(&scene).await).await;
        let mut newcomer = RawSocket::open(scene.public).await;
        assert_eq!(newcomer.connect(&member("dan", &["blue"])).await, Ok(()));
    };
    scene.during(attack).await;
    scene.at_rest().await;
    until("the descriptors are free", async || scene.process().open_files() <= files).await;
}

/// Where even the reserve is used up, here by the internal port, accepting fails: it is logged, tried again with pauses,
/// and works again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_out_of_descriptors_accepting_pauses_and_recovers() {
    const LIMIT: u32 = 64;
    let scene = Scene::on(Process::serve_with_descriptors("", LIMIT)).await;
    let files = scene.process().open_files();
    let attack = async {
        // More than there are, on both ports; those that cannot be accepted wait in the kernel.
        let internal = hold(scene.internal, LIMIT).await.unwrap();
        let public = hold(scene.public, LIMIT).await.unwrap();
        let failed = |log: &str| log.matches("cannot accept connections").count();
        until("it says so", async || failed(&scene.log()) > 0).await;
        assert!(scene.log().contains("Too many open files"), "{}", scene.log());
        // With pauses: the log is not flooded.
        let before = failed(&scene.log());
        until("it has tried again", async || failed(&scene.log()) > before).await;
        assert!(failed(&scene.log()) < 1_000);
        drop((internal, public));
        until("it accepts again", async || is_served(&scene).await).await;
        let mut newcomer = scene.websocket("dan", &["blue"]).await;
        assert_eq!(newcomer.ask("1").await["ok"], true);
    };
    scene.during(attack).await;
    scene.at_rest().await;
    until("the descriptors are free", async || scene.process().open_files() <= files).await;
}

/// The decision log's disk is full: its lines are lost and counted, nobody else notices, and it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_a_full_disk_costs_the_decision_log_lines_and_nobody_else_anything() {
    const BLOCKS: u32 = 64;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let settings = format!("[decision_log]\npath = \"{}\"\nsample = 1\n", path.display());
    let scene = Scene::on(Process::serve_with_little_disk(&settings, BLOCKS)).await;
    let lost = "flowgate_decision_log_dropped_total{reason=\"unwritable\"}";
    let attack = async {
        scene.until_at_least(lost, 100.0).await;
        assert!(scene.log().contains("the decision log cannot be written"), "{}", scene.log());
        // However often a short line has found room meanwhile.
        for said in ["the decision log cannot be written", "the decision log is written again"] {
            assert!(scene.log().matches(said).count() <= 2, "{}", scene.log());
        }
        // Whole lines only, up to the last byte that the disk took.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n') && text.len() <= BLOCKS as usize * 512, "{}", text.len());
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        // Somebody makes room.
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        until("it is written again", async || {
            std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() > 1)
        })
        .await;
    };
    scene.during(attack).await;
    // The files themselves say how many lines they lack. A short one may still have found room where others had not.
    let missing = |name: &str| -> u64 {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["code"] == "unwritable").map(|line| line["count"].as_u64().unwrap()).sum()
    };
    assert!(missing("aside") + missing("log") >= 100, "{} {}", missing("aside"), missing("log"));
    scene.at_rest().await;
}
