//! Rows 22 to 24: whoever sends more than anybody should.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

use super::scene::{Scene, source};
use crate::harness::frames::{CONTINUES_LAST, PING, PONG, TEXT, TEXT_BEGINS, frame};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{closes, member, until, within};

/// What a socket, a user and an address may send; the honest team does not come near. Nobody is closed for it, so that
/// the flood lasts.
const RATES: &str = r#"
[limits.events]
per_socket = { rate = "5/s", burst = 200 }
per_user = { rate = "10/s", burst = 400 }
per_address = { rate = "20/s", burst = 800 }
disconnect_after = { refusals = 10000000, per = "1m" }
"#;

/// Events that the honest team exchanges while a flood is under way.
const HONEST_EVENTS: u32 = 10;

/// A WebSocket of an attacker's, which another task reads and whose frames are written as they are.
struct Flooder {
    write: OwnedWriteHalf,
    reading: JoinHandle<()>,
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Flooder {
    async fn join(scene: &Scene, from: Ipv4Addr, user: &str) -> Self {
        let mut socket = RawSocket::open_from(from, scene.public).await.unwrap();
        // A team of its own, in which nobody counts what gets through.
        socket.connect(&member(user, &[&format!("of-{from}-{user}")])).await.unwrap();
        let tcp = socket.stream.into_inner();
        // Whatever the kernels still hold of the flood ends with it.
        SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        let (mut read, write) = tcp.into_split();
        let reading = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while read.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        });
        Flooder { write, reading }
    }

    /// Floods until the other side closes.
    async fn until_closed(mut self, frame: &[u8]) {
        let many = frame.repeat(100);
        while self.write.write_all(&many).await.is_ok() {}
    }
}

fn event_frame() -> Vec<u8> {
    frame(TEXT, packets::event(EVENT, "1", None).as_bytes())
}

/// All of them flood until the honest team, which talks meanwhile, has said enough; returns how many of the flood's
/// events got through, and how long it took.
async fn flood(scene: &Scene, flooders: Vec<Flooder>, frame: &[u8]) -> (f64, Duration) {
    let before = accepted_of_others(scene).await;
    let begin = Instant::now();
    let flooding: Vec<_> = flooders
        .into_iter()
        .map(|mut flooder| {
            let many = frame.repeat(50);
            tokio::spawn(async move {
                // It never ends by itself, and nobody closes it.
                while flooder.write.write_all(&many).await.is_ok() {
                    tokio::task::yield_now().await;
                }
                panic!("a flooder was closed");
            })
        })
        .collect();
    until("the flood is refused", async || scene.refused("rate_limited").await > 0.0).await;
    for _ in 0..HONEST_EVENTS {
        scene.honest_hears().await;
    }
    assert!(flooding.iter().all(|flooding| !flooding.is_finished()));
    flooding.iter().for_each(JoinHandle::abort);
    join_all(flooding).await;
    scene.at_rest().await;
    (accepted_of_others(scene).await - before, begin.elapsed())
}

/// Events that were relayed and are not the honest team's.
async fn accepted_of_others(scene: &Scene) -> f64 {
    scene.metric("flowgate_events_accepted_total").await - scene.honest_said().await
}

/// Within burst and rate, and not much less: the flood was a flood.
fn assert_limited((accepted, passed): (f64, Duration), rate: f64, burst: f64) {
    let most = burst + rate * passed.as_secs_f64();
    assert!((burst..=most + 1.0).contains(&accepted), "{accepted} in {passed:?}, {most} at most");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_flood_from_one_socket_is_held_to_the_sockets_rate() {
    let scene = Scene::new(RATES).await;
    let flooder = Flooder::join(&scene, source(1), "eve").await;
    assert_limited(flood(&scene, vec![flooder], &event_frame()).await, 5.0, 200.0);
    scene.alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_flood_from_fifty_sockets_of_one_user_is_held_to_the_users_rate() {
    let scene = Scene::new(RATES).await;
    // Each from an address of its own, so that only the user is common to them.
    let flooders = join_all((0..50).map(|at| Flooder::join(&scene, source(at), "eve"))).await;
    assert_limited(flood(&scene, flooders, &event_frame()).await, 10.0, 400.0);
    scene.alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_flood_from_one_address_is_held_to_the_addresss_rate() {
    let scene = Scene::new(RATES).await;
    let users: Vec<_> = (0..50).map(|at| format!("eve-{at}")).collect();
    let flooders = join_all(users.iter().map(|user| Flooder::join(&scene, source(1), user))).await;
    assert_limited(flood(&scene, flooders, &event_frame()).await, 20.0, 800.0);
    scene.alive().await;
}

/// With the limit that closes: whoever is refused and goes on is disconnected, whatever it is refused for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_flood_of_refused_events_ends_with_its_connection() {
    let settings = r#"
        [limits.events]
        per_socket = { rate = "300/s", burst = 600 }
        disconnect_after = { refusals = 100, per = "1m" }
        "#;
    let scene = Scene::new(settings).await;
    let floods = [
        ("unknown_event", packets::event("no-such-event", "1", None)),
        ("invalid_payload", packets::event(EVENT, "1,2", None)),
        ("too_deep", packets::event(EVENT, "[[[[[[[[[[]]]]]]]]]]", None)),
        ("rate_limited", packets::event(EVENT, "1", None)),
        ("unknown_event", packets::event("no-such-event", "1", Some(1))),
    ];
    let attack = async {
        for (at, (code, packet)) in floods.iter().enumerate() {
            let counted = scene.refused(code).await;
            let flooder = Flooder::join(&scene, source(at as u32), &format!("eve-{at}")).await;
            within(code, flooder.until_closed(&frame(TEXT, packet.as_bytes()))).await;
            scene.until(&closes("refusals"), (at + 1) as f64).await;
            assert!(scene.refused(code).await >= counted + 1.0, "{code}");
        }
        // By polling it is the same.
        let mut polling = scene.polling("mallory", &["blue"]).await;
        let body = vec![packets::event("no-such-event", "", None); 150].join("\x1e");
        polling.post(&body).await;
        within("the polling one's end", polling.closed()).await;
        assert_eq!(scene.closed("refusals").await, (floods.len() + 1) as f64);
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_connect_floods_are_budgeted_and_closed() {
    let scene = Scene::new("").await;
    let bad = packets::connect(&json!({ "token": "a.b.c" }));
    let good = packets::connect(&member("eve", &["blue"]));
    let attack = async {
        let mut floods = 0.0;
        // Of an admitted peer, whose second CONNECT the library passes over; and again and again on one session.
        for packet in [good.as_str(), bad.as_str(), "40", "40{}"] {
            let flooder = Flooder::join(&scene, source(1), "eve").await;
            within(packet, flooder.until_closed(&frame(TEXT, packet.as_bytes()))).await;
            floods += 1.0;
            scene.until(&closes("connect_flood"), floods).await;
        }
        // Before it is admitted: three tries, each answered, and the fourth closes.
        let mut guessing = RawSocket::open_from(source(1), scene.public).await.unwrap();
        for _ in 0..3 {
            assert_eq!(guessing.connect(&json!({ "token": "a.b.c" })).await, Err("token_invalid".into()));
        }
        assert_eq!(guessing.connect(&member("eve", &["blue"])).await, Err("closed".into()));
        let mut polling = Polling::open(scene.public).await;
        for _ in 0..3 {
            assert_eq!(polling.connect(&json!({ "token": "a.b.c" })).await, Err("token_invalid".into()));
        }
        assert_eq!(polling.connect(&member("eve", &["blue"])).await, Err("closed".into()));
        assert_eq!(scene.refused("token_invalid").await, 6.0);
        // To leave and to come back costs the same.
        let mut restless = scene.websocket("eve", &["blue"]).await;
        for _ in 0..2 {
            restless.send("41").await;
            scene.until("flowgate_peers", 3.0).await;
            assert_eq!(restless.connect(&member("eve", &["blue"])).await, Ok(()));
        }
        restless.send("41").await;
        assert_eq!(restless.connect(&member("eve", &["blue"])).await, Err("closed".into()));
        scene.until(&closes("connect_flood"), floods + 3.0).await;
        // Namespaces that do not exist close at once: the library would answer each.
        let mut forbidden = 0.0;
        for packet in
            ["40/admin,", "40/admin,{\"token\":\"x\"}", "40/,", "41/admin,", "42/admin,[\"database-change\"]"]
        {
            let mut admitted = scene.websocket("eve", &["blue"]).await;
            admitted.send(packet).await;
            assert_eq!(admitted.closed().await, Vec::<String>::new(), "{packet}");
            let mut unadmitted = RawSocket::open(scene.public).await;
            unadmitted.send(packet).await;
            assert_eq!(unadmitted.closed().await, Vec::<String>::new(), "{packet}");
            let mut polling = Polling::open(scene.public).await;
            assert_eq!(polling.post(packet).await.status, 400, "{packet}");
            forbidden += 3.0;
            scene.until(&closes("bad_packet"), forbidden).await;
        }
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_control_floods_have_a_budget() {
    let scene = Scene::new("").await;
    let attack = async {
        let mut closed = 0.0;
        for (name, bytes) in [
            ("pings", frame(TEXT, b"2")),
            ("pongs", frame(TEXT, b"3")),
            ("WebSocket pings", frame(PING, b"x")),
            ("WebSocket pongs", frame(PONG, b"")),
            ("empty fragments", [frame(TEXT_BEGINS, b"42[\"a\""), frame(CONTINUES_LAST, b"]")].concat()),
        ] {
            let flooder = Flooder::join(&scene, source(1), "eve").await;
            within(name, flooder.until_closed(&bytes)).await;
            closed += 1.0;
            scene.until(&closes("inbound_budget"), closed).await;
        }
        // What is no packet of a client's closes at once.
        for (name, bytes) in [("empty frames", frame(TEXT, b"")), ("noops", frame(TEXT, b"6"))] {
            let flooder = Flooder::join(&scene, source(1), "eve").await;
            within(name, flooder.until_closed(&bytes)).await;
        }
        scene.until(&closes("bad_packet"), 2.0).await;
        // One that nobody has admitted, and one that polls.
        let mut unadmitted = RawSocket::open(scene.public).await;
        let pongs = frame(TEXT, b"3").repeat(100);
        within("unadmitted pongs", async {
            while unadmitted.stream.get_mut().write_all(&pongs).await.is_ok() {}
        })
        .await;
        let mut polling = scene.polling("eve", &["blue"]).await;
        assert_eq!(polling.post(&["3"; 1000].join("\x1e")).await.status, 400);
        scene.until(&closes("inbound_budget"), closed + 2.0).await;
        scene.until("flowgate_peers", 3.0).await;
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

/// 25 s to the ping and 20 s for the pong: the library's defaults, which stock clients are told in the handshake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_who_never_answers_a_ping_is_closed() {
    let scene = Scene::new("").await;
    let attack = async {
        let mut websocket = scene.websocket("eve", &["blue"]).await;
        let _abandoned = scene.polling("mallory", &["blue"]).await;
        // It reads, and it even sends, but never a pong.
        websocket.send(&packets::event("no-such-event", "", Some(1))).await;
        assert!(websocket.packet().await.is_some());
        assert_eq!(websocket.frame().await.as_deref(), Some("2"));
        websocket.send(&packets::event("no-such-event", "", None)).await;
        // Engine.IO's close packet, and the end.
        assert_eq!(websocket.frame().await.as_deref(), Some("1"));
        assert_eq!(websocket.frame().await, None);
        scene.until(&closes("heartbeat"), 2.0).await;
        // Who answers stays.
        scene.until("flowgate_peers", 3.0).await;
    };
    scene.during(attack).await;
    scene.at_rest().await;
}
