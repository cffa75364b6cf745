//! Redis goes away in every way there is, nodes die, and members are told where they may have missed something.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::{RESYNC, Scene, heard_before, join, on, publish, resyncs, resyncs_for, text};
use crate::harness::http::get;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, until};
use crate::redis::Redis;

const NOTHING: [&str; 0] = [];

async fn ready(node: &Sidecar) -> (u16, Value) {
    let answer = get(node.internal, "/ready", &[]).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// Two members of one node hear each other.
async fn hear_each_other(ann: &mut RawSocket, ben: &mut RawSocket, what: &str) {
    assert_eq!(ann.ask(&text(what)).await["ok"], true);
    heard_before(ben, &text(what)).await;
    assert_eq!(ben.ask(&text(format!("{what}, too"))).await["ok"], true);
    heard_before(ann, &text(format!("{what}, too"))).await;
}

/// Every connection that publishes is cut.
fn cut_publishers(redis: &Redis) {
    let _: u64 = redis.ask("CLIENT KILL TYPE normal");
}

fn cut_listeners(redis: &Redis) {
    let _: u64 = redis.ask("CLIENT KILL TYPE pubsub");
}

#[tokio::test]
async fn a_node_starts_and_serves_its_own_though_redis_is_not_there() {
    let mut scene = Scene::start();
    scene.redis.kill();
    let (node, _) = crate::harness::operator::operated(&scene.settings("")).await;
    let mut ann = join(&node, "ann", &["red"]).await;
    let mut ben = join(&node, "ben", &["red"]).await;
    hear_each_other(&mut ann, &mut ben, "alone").await;
    let answer = publish(&node, json!({ "team": "red", "payload": 1 })).await;
    assert_eq!((&answer["bus"], &answer["recipients"]), (&"pending".into(), &2.into()), "{answer}");
    let (status, body) = ready(&node).await;
    assert_eq!((status, &body["ready"], &body["bus"]), (200, &true.into(), &"connecting".into()));
    scene.redis.start_again();
    node.until("flowgate_bus_up", 1.0).await;
    assert_eq!(ready(&node).await.1["bus"], "up");
    // They were there before anything of other nodes could be heard.
    node.until(&resyncs_for("late"), 1.0).await;
    heard_before(&mut ann, RESYNC).await;
    heard_before(&mut ben, RESYNC).await;
    let answer = publish(&node, json!({ "team": "red", "payload": "end" })).await;
    assert_eq!(answer["bus"], "confirmed");
    assert_eq!(heard_before(&mut ann, &text("end")).await, NOTHING);
}

#[tokio::test]
async fn with_a_required_bus_a_node_is_ready_only_while_it_reaches_redis() {
    let mut scene = Scene::start();
    scene.redis.kill();
    let settings = scene.settings("").replace("[bus]\n", "[bus]\nrequired = true\n");
    let (node, _) = crate::harness::operator::operated(&settings).await;
    let (status, body) = ready(&node).await;
    assert_eq!(
        (status, &body["why"], &body["bus"]),
        (503, &"cut off from Redis".into(), &"connecting".into())
    );
    node.until("flowgate_not_ready{why=\"cut off from Redis\"}", 1.0).await;
    let mut ann = join(&node, "ann", &["red"]).await;
    let mut ben = join(&node, "ben", &["red"]).await;
    hear_each_other(&mut ann, &mut ben, "whoever comes all the same").await;
    scene.redis.start_again();
    until("it is ready", async || ready(&node).await.0 == 200).await;
    scene.redis.kill();
    until("it is not", async || ready(&node).await.0 == 503).await;
}

#[tokio::test]
async fn members_of_one_node_hear_each_other_while_redis_is_killed_or_stands_still() {
    let mut scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut again = join(&a, "cleo", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    scene.redis.stop();
    hear_each_other(&mut ann, &mut again, "while it stands still").await;
    scene.redis.go_on();
    heard_before(&mut ben, &text("while it stands still, too")).await;
    scene.redis.kill();
    hear_each_other(&mut ann, &mut again, "while it is gone").await;
    a.until("flowgate_bus_up", 0.0).await;
    assert_eq!(
        ready(&a).await,
        (200, json!({ "ready": true, "policy": ready(&a).await.1["policy"], "bus": "away" }))
    );
    scene.redis.start_again();
    for node in [&a, &b] {
        node.until("flowgate_bus_up", 1.0).await;
        until("its members are told", async || resyncs(node).await > 0.0).await;
    }
    heard_before(&mut ben, RESYNC).await;
    hear_each_other(&mut ann, &mut ben, "again").await;
}

#[tokio::test]
async fn what_is_not_confirmed_is_sent_again_and_nothing_is_lost_or_doubled() {
    const EVENTS: usize = 2_000;
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    let sending = tokio::spawn(async move {
        for number in 0..EVENTS {
            ann.emit(&number.to_string()).await;
            if number % 50 == 0 {
                // Some are on their way when the next cut comes.
                tokio::task::yield_now().await;
            }
        }
        ann
    });
    for number in 0..EVENTS {
        if number % 200 == 100 {
            cut_publishers(&scene.redis);
        }
        assert_eq!(ben.event().await, number.to_string());
    }
    sending.await.unwrap();
    assert!(a.metric("flowgate_bus_connects_total").await > 1.0);
    assert_eq!(b.metric("flowgate_bus_gaps_total").await, 0.0);
    assert_eq!(resyncs(&b).await, 0.0);
    assert_eq!(ben.heard_until_now().await, NOTHING);
}

#[tokio::test]
async fn where_more_waits_than_may_the_teams_are_told_once_and_no_others_are() {
    let scene = Scene::start();
    let settings = "[limits.payload]\nmax_bytes = \"1KiB\"\nhard_max_bytes = \"16KiB\"\n";
    let small = super::on(scene.redis.port, settings).replace("[bus]", "[bus]\nmax_queued = \"32KiB\"");
    let (a, _) = crate::harness::operator::operated(&small).await;
    a.until("flowgate_bus_up", 1.0).await;
    let b = scene.node("").await;
    let mut red = join(&b, "ben", &["red"]).await;
    let mut blue = join(&b, "cleo", &["blue"]).await;
    let mut ann = join(&a, "ann", &["red"]).await;
    ann.ask(&text("first")).await;
    assert_eq!(red.event().await, text("first"));
    // Publishing waits, everything else goes on.
    let () = scene.redis.ask("CLIENT PAUSE 600000 WRITE");
    publish(&a, json!({ "team": "blue", "payload": "before" })).await;
    for number in 0..300 {
        ann.ask(&number.to_string()).await;
    }
    let dropped = a.metric("flowgate_bus_sent_total{outcome=\"dropped\"}").await;
    assert!(dropped > 100.0, "{dropped}");
    let () = scene.redis.ask("CLIENT UNPAUSE");
    b.until(&resyncs_for("gap"), 1.0).await;
    ann.ask(&text("end")).await;
    publish(&a, json!({ "team": "blue", "payload": "end" })).await;
    let heard = heard_before(&mut red, &text("end")).await;
    let (notices, numbers): (Vec<String>, Vec<String>) = heard.into_iter().partition(|event| event == RESYNC);
    assert_eq!(notices.len(), 1, "for all of them together");
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&299), "the oldest are dropped");
    assert_eq!(numbers.len(), 300 - dropped as usize);
    assert_eq!(heard_before(&mut blue, &text("end")).await, [text("before")]);
    assert_eq!(resyncs(&b).await, 1.0);
}

#[tokio::test]
async fn a_node_that_does_not_hear_for_a_moment_tells_each_of_its_teams_once() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut ben = join(&b, "ben", &["red", "blue"]).await;
    let mut cleo = join(&b, "cleo", &["green"]).await;
    // Several cuts at once are one outage.
    for _ in 0..3 {
        cut_listeners(&scene.redis);
    }
    b.until(&resyncs_for("interrupted"), 3.0).await;
    a.until(&resyncs_for("interrupted"), 1.0).await;
    ann.ask(&text("end")).await;
    publish(&a, json!({ "team": "green", "payload": "end" })).await;
    // Who is in two of the teams is told once.
    assert_eq!(heard_before(&mut ben, &text("end")).await, [RESYNC]);
    assert_eq!(heard_before(&mut cleo, &text("end")).await, [RESYNC]);
    assert_eq!(heard_before(&mut ann, &text("end")).await, [RESYNC]);
}

#[tokio::test]
async fn a_node_that_dies_has_the_others_members_fetch_everything() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ben = join(&b, "ben", &["red"]).await;
    b.until("flowgate_bus_nodes", 1.0).await;
    // Without a word.
    drop(a);
    b.until(&resyncs_for("node_died"), 1.0).await;
    assert_eq!(ben.event().await, RESYNC);
    assert_eq!(b.metric("flowgate_bus_nodes").await, 0.0);
}

#[tokio::test]
async fn a_node_that_stops_hands_over_what_waits_and_nobody_has_to_fetch_anything() {
    const EVENTS: usize = 500;
    let scene = Scene::start();
    let (mut a, b) = (scene.node("").await, scene.node("").await);
    let mut ben = join(&b, "ben", &["red"]).await;
    let mut ann = join(&a, "ann", &["red"]).await;
    b.until("flowgate_bus_nodes", 1.0).await;
    // Nothing goes out before it is asked to stop.
    let () = scene.redis.ask("CLIENT PAUSE 600000 WRITE");
    for number in 0..EVENTS {
        ann.ask(&number.to_string()).await;
    }
    a.stop();
    until("it drains", async || ready(&a).await.0 == 503).await;
    let () = scene.redis.ask("CLIENT UNPAUSE");
    a.stopped().await;
    for number in 0..EVENTS {
        assert_eq!(ben.event().await, number.to_string());
    }
    b.until("flowgate_bus_nodes", 0.0).await;
    assert_eq!(resyncs(&b).await, 0.0);
    assert_eq!(ben.heard_until_now().await, NOTHING);
}

/// A proxy whose next connections go to another server than those before.
struct Switch {
    port: u16,
    to: Arc<AtomicU16>,
    task: AbortHandle,
}

impl Switch {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = Arc::new(AtomicU16::new(to));
        let next = to.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let to = ("127.0.0.1", next.load(Ordering::SeqCst));
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Switch { port, to, task: task.abort_handle() }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_node_whose_connections_lead_to_two_servers_notices_and_connects_anew() {
    let (old, new) = (Redis::start(&[]), Scene::start());
    let switch = Switch::start(old.port).await;
    let (a, _) = crate::harness::operator::operated(&super::on(switch.port, "")).await;
    a.until("flowgate_bus_up", 1.0).await;
    let mut ann = join(&a, "ann", &["red"]).await;
    // As after a failover: what is said goes to the new one, and what is heard is what the old one says.
    switch.to.store(new.redis.port, Ordering::SeqCst);
    cut_publishers(&old);
    let b = new.node("").await;
    let mut ben = join(&b, "ben", &["red"]).await;
    a.until(&resyncs_for("interrupted"), 1.0).await;
    publish(&b, json!({ "team": "red", "payload": "end" })).await;
    assert_eq!(heard_before(&mut ann, &text("end")).await, [RESYNC]);
    publish(&a, json!({ "team": "red", "payload": "heard" })).await;
    heard_before(&mut ben, &text("heard")).await;
}

#[tokio::test]
async fn a_node_that_stops_while_redis_stands_still_goes_by_its_deadline_all_the_same() {
    let scene = Scene::start();
    let mut node = Process::serve(&scene.settings("[drain]\nspread = \"0s\"\ndeadline = \"500ms\"\n"));
    let mut ann = RawSocket::join(node.public, &crate::harness::member("ann", &["red"])).await;
    scene.redis.stop();
    assert_eq!(ann.ask("1").await["ok"], true);
    node.signal("TERM");
    assert_eq!(node.exit_code(), Some(0));
    // By itself it would have waited for longer, and said so in other words.
    assert!(node.log().contains("before other nodes had everything"), "{}", node.log());
}

#[tokio::test]
async fn the_log_says_why_other_nodes_are_not_reached() {
    let redis = Redis::start(&["--requirepass", "topsecret"]);
    let nodes = [on(1, ""), on(redis.port, "")];
    for (settings, why) in
        nodes.iter().zip(["127.0.0.1:1: cannot connect", "it refused the user or the password"])
    {
        let node = Process::serve(settings);
        until("the log says why", async || node.log().contains(why)).await;
        assert!(node.log().contains("tries again"), "{}", node.log());
    }
    let user = "ACL SETUSER mute on nopass resetchannels &fg:* -@all +ping +subscribe +unsubscribe +select";
    let open = Redis::start(&[]);
    let () = open.ask(user);
    let named = "username = \"mute\"\npassword_env = \"MUTE_PASSWORD\"\n";
    let settings = format!("{}{named}", on(open.port, ""));
    let node = Process::serve_in(&settings, &[("MUTE_PASSWORD", "any")]);
    until("the log says why", async || node.log().contains("NOPERM")).await;
}
