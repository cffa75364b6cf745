//! `relay.history.store = "redis"`: who comes back to another node hears there what it has missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json, value::RawValue};

use super::{RESYNC, Scene, join, text};
use crate::harness::packets;
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{LOOK_AGAIN, Sidecar, member, mint, within};

const SHARED: &str = "[relay]\nmeta = true\n[relay.history]\nstore = \"redis\"\ncount = 4096\nage = \"1h\"\nbytes = \"8MiB\"\n";
const ALONE: &str = "[relay]\nmeta = true\n[relay.history]\ncount = 4096\n";

/// Comes in as somebody who has heard all this.
async fn back(node: &Sidecar, user: &str, teams: &[&str], since: &str) -> RawSocket {
    let mut auth = member(user, teams);
    auth["since"] = since.into();
    RawSocket::join(node.public, &auth).await
}

/// An event's payload and meta; `None` for another packet.
fn apart(packet: &str) -> Option<(String, Value)> {
    let arguments = format!("[{}]", packets::heard(packet)?);
    let [payload, meta]: [Box<RawValue>; 2] = serde_json::from_str(&arguments).unwrap();
    Some((payload.get().to_owned(), serde_json::from_str(meta.get()).unwrap()))
}

/// The next event with its meta.
async fn heard(socket: &mut RawSocket) -> (String, Value) {
    loop {
        if let Some(heard) = apart(&socket.packet().await.expect("an event rather than the end")) {
            return heard;
        }
    }
}

/// The payloads of the next so many events, and the id of the last.
async fn hear(socket: &mut RawSocket, count: usize) -> (Vec<String>, String) {
    let (mut payloads, mut last) = (Vec::new(), String::new());
    for _ in 0..count {
        let (payload, meta) = heard(socket).await;
        payloads.push(payload);
        last = meta["id"].as_str().unwrap().to_owned();
    }
    (payloads, last)
}

async fn sends(socket: &mut RawSocket, payloads: &[&str]) {
    for payload in payloads {
        assert_eq!(socket.ask(payload).await["ok"], true);
    }
}

async fn told(node: &Sidecar) -> f64 {
    node.metrics("flowgate_resyncs_total").await.iter().sum()
}

/// Two nodes, a sender on each, and somebody who has heard the first of the first one's events there.
struct Away {
    scene: Scene,
    nodes: [Sidecar; 2],
    senders: [RawSocket; 2],
    since: String,
}

async fn away(settings: &str) -> Away {
    let scene = Scene::start();
    let nodes = [scene.node(settings).await, scene.node(settings).await];
    let mut senders =
        [join(&nodes[0], "ben", &["red", "blue"]).await, join(&nodes[1], "cleo", &["red", "blue"]).await];
    let mut ann = join(&nodes[0], "ann", &["red", "blue"]).await;
    sends(&mut senders[0], &["1"]).await;
    let (_, since) = hear(&mut ann, 1).await;
    // Both have all that was sent so far, each in its own order.
    hear(&mut senders[1], 1).await;
    hear(&mut senders[0], 1).await;
    Away { scene, nodes, senders, since }
}

/// Sends on both nodes, until both have heard it.
async fn send_on_both(senders: &mut [RawSocket; 2], payloads: [&[&str]; 2]) {
    for (sender, payloads) in senders.iter_mut().zip(payloads) {
        sends(sender, payloads).await;
    }
    let count = payloads.concat().len();
    for sender in senders {
        hear(sender, count).await;
    }
}

const BOTH: &str = "[rooms]\nmulti_team = \"all\"\n";

#[tokio::test]
async fn what_was_missed_on_one_node_is_replayed_by_another() {
    let Away { scene: _scene, nodes, mut senders, since } = away(&format!("{SHARED}{BOTH}")).await;
    send_on_both(&mut senders, [&["2", "3"], &[]]).await;
    send_on_both(&mut senders, [&[], &["4"]]).await;
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
    sends(&mut senders[1], &["5"]).await;
    let (mut events, mut metas) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (event, meta) = heard(&mut ann).await;
        events.push(event);
        metas.push(meta);
    }
    assert_eq!(events, ["2", "3", "4", "5"]);
    assert_eq!(metas.iter().map(|meta| &meta["actor"]).collect::<Vec<_>>(), ["ben", "ben", "cleo", "cleo"]);
    assert!(metas.iter().all(|meta| meta["team"] == "blue" || meta["team"] == "red"), "{metas:?}");
    // The node that replays has not counted it; what comes then it has.
    assert_eq!(
        metas.iter().map(|meta| meta["seq"].as_u64()).collect::<Vec<_>>(),
        [None, None, None, Some(5)]
    );
    assert_eq!((nodes[1].metric("flowgate_replayed_events_total").await, told(&nodes[1]).await), (3.0, 0.0));
    // From the middle of the replay to the first node again; and to the second, where it was.
    let middle = metas[0]["id"].as_str().unwrap();
    let mut ann = back(&nodes[0], "ann", &["red", "blue"], middle).await;
    let (events, last) = hear(&mut ann, 3).await;
    assert_eq!(events, ["3", "4", "5"]);
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], middle).await;
    assert_eq!(hear(&mut ann, 3).await.0, ["3", "4", "5"]);
    send_on_both(&mut senders, [&["6"], &[]]).await;
    assert_eq!(hear(&mut ann, 1).await.0, ["6"]);
    for node in &nodes {
        let mut ann = back(node, "ann", &["red", "blue"], &last).await;
        assert_eq!(hear(&mut ann, 1).await.0, ["6"]);
        assert_eq!(told(node).await, 0.0);
    }
}

#[tokio::test]
async fn only_what_the_new_token_its_audience_and_the_filter_let_it_hear() {
    const SETTINGS: &str = r#"
[rooms]
multi_team = "all"
[events.database-change]
payload = "typed"
team_field = "team"
[[events.database-change.types]]
match = "secret-*"
[[audience]]
name = "secrets"
on = ["secret-*"]
hear_if = '"admin" in peer.roles'
"#;
    let scene = Scene::start();
    let settings = format!("{SHARED}{SETTINGS}");
    let nodes = [scene.node(&settings).await, scene.node(&settings).await];
    let event =
        |kind: &str, task: u32, team: &str| format!(r#"{{"type":"{kind}","taskId":{task},"team":"{team}"}}"#);
    let everywhere = r#"{"type":"task-updated","taskId":1}"#;
    let mut ben = join(&nodes[0], "ben", &["red", "blue", "green"]).await;
    let mut ann = join(&nodes[0], "ann", &["red", "blue"]).await;
    sends(&mut ben, &[everywhere]).await;
    let (_, since) = hear(&mut ann, 1).await;
    drop(ann);
    let (in_red, in_blue) = (event("task-updated", 2, "red"), event("task-updated", 3, "blue"));
    let (in_green, secret) = (event("task-updated", 4, "green"), event("secret-told", 5, "red"));
    let all = [&in_red, &in_blue, &in_green, &secret, everywhere];
    sends(&mut ben, &all).await;
    let auth = |teams: &[&str], roles: &[&str], filter: Value| {
        let token = mint(json!({ "sub": "ann", "teams": teams, "roles": roles }));
        json!({ "token": token, "since": since, "filter": filter })
    };
    for (auth, expected) in [
        (auth(&["red", "blue"], &[], Value::Null), vec![&*in_red, &in_blue, everywhere]),
        (auth(&["red"], &["admin"], Value::Null), vec![&*in_red, &secret, everywhere]),
        (auth(&["blue"], &[], json!({ "taskIds": [3] })), vec![&*in_blue]),
        // A team that it did not hold before.
        (auth(&["green"], &[], Value::Null), vec![&*in_green, everywhere]),
        (auth(&["mauve"], &[], Value::Null), vec![]),
    ] {
        let mut ann = RawSocket::join(nodes[1].public, &auth).await;
        let heard = ann.heard_until_now().await;
        let payloads: Vec<String> = heard
            .iter()
            .map(|arguments| apart(&format!("2[\"database-changed\",{arguments}]")).unwrap().0)
            .collect();
        assert_eq!(payloads, expected, "{auth}");
    }
    assert_eq!(told(&nodes[1]).await, 0.0);
}

#[tokio::test]
async fn who_missed_nothing_is_told_nothing_wherever_it_comes_back() {
    let scene = Scene::start();
    let nodes = [scene.node(SHARED).await, scene.node(SHARED).await];
    // It has heard nothing, then: a notice, on which it fetches.
    let mut ann = back(&nodes[0], "ann", &["red"], "").await;
    let (events, mut since) = hear(&mut ann, 1).await;
    assert_eq!(events, [RESYNC]);
    drop(ann);
    let mut ben = join(&nodes[0], "ben", &["red"]).await;
    for node in [&nodes[1], &nodes[0], &nodes[1]] {
        let mut ann = back(node, "ann", &["red"], &since).await;
        assert_eq!(ann.heard_until_now().await, [""; 0]);
        sends(&mut ben, &[&text(&*since)]).await;
        let (events, next) = hear(&mut ann, 1).await;
        assert_eq!(events, [text(&*since)]);
        since = next;
    }
    assert_eq!((told(&nodes[0]).await, told(&nodes[1]).await), (1.0, 0.0));
}

#[tokio::test]
async fn without_a_shared_history_only_the_node_that_told_it_replays() {
    let Away { scene: _scene, nodes, mut senders, since } = away(&format!("{ALONE}{BOTH}")).await;
    send_on_both(&mut senders, [&["2"], &[]]).await;
    send_on_both(&mut senders, [&[], &["3"]]).await;
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
    assert_eq!(hear(&mut ann, 1).await.0, [RESYNC]);
    assert_eq!(nodes[1].metric("flowgate_resyncs_total{reason=\"unknown\"}").await, 1.0);
    let mut ann = back(&nodes[0], "ann", &["red", "blue"], &since).await;
    assert_eq!(hear(&mut ann, 2).await.0, ["2", "3"]);
}

#[tokio::test]
async fn where_the_streams_do_not_reach_back_there_is_a_notice() {
    // Where the stamp of what it heard last is not known, one more is needed: that event itself.
    let settings = format!("{}{BOTH}", SHARED.replace("4096", "3"));
    let Away { scene: _scene, nodes, mut senders, since } = away(&settings).await;
    send_on_both(&mut senders, [&["2"], &[]]).await;
    send_on_both(&mut senders, [&[], &["3"]]).await;
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
    assert_eq!(hear(&mut ann, 2).await.0, ["2", "3"]);
    drop(ann);
    send_on_both(&mut senders, [&["4"], &[]]).await;
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
    assert_eq!(hear(&mut ann, 1).await.0, [RESYNC]);
}

#[tokio::test]
async fn after_redis_has_lost_everything_nothing_wrong_is_replayed() {
    for is_restarted in [false, true] {
        let Away { mut scene, nodes, mut senders, since } = away(&format!("{SHARED}{BOTH}")).await;
        send_on_both(&mut senders, [&["2"], &[]]).await;
        if is_restarted {
            scene.redis.kill();
            scene.redis.start_again();
            for node in &nodes {
                node.until("flowgate_bus_up", 1.0).await;
            }
        } else {
            let () = scene.redis.ask("FLUSHALL");
        }
        // Until it gets through again: others are told to fetch then.
        sends(&mut senders[0], &["3"]).await;
        loop {
            let (payload, _) = heard(&mut senders[1]).await;
            if payload == "3" || payload == RESYNC {
                break;
            }
        }
        let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
        assert_eq!(hear(&mut ann, 1).await.0, [RESYNC], "restarted: {is_restarted}");
        let reached = nodes[1].metric("flowgate_resyncs_total{reason=\"unknown\"}").await;
        assert_eq!(reached, 1.0, "restarted: {is_restarted}");
    }
}

#[tokio::test]
async fn what_redis_does_not_have_yet_is_not_taken_for_everything() {
    let Away { scene, nodes, mut senders, since: _ } = away(&format!("{SHARED}{BOTH}")).await;
    let mut ann = join(&nodes[0], "ann", &["red", "blue"]).await;
    scene.redis.stop();
    sends(&mut senders[0], &["2"]).await;
    // Heard on its own node, and nowhere else.
    let (_, since) = hear(&mut ann, 1).await;
    drop(ann);
    let mut ann = back(&nodes[1], "ann", &["red", "blue"], &since).await;
    assert_eq!(hear(&mut ann, 1).await.0, [RESYNC]);
    scene.redis.go_on();
    let (payload, _) = heard(&mut ann).await;
    assert!(payload == "2" || payload == RESYNC, "{payload}");
}

const NODES: usize = 3;
const SENDERS: usize = 5;
const EVENTS: usize = 200;
const ROUNDS: usize = 50;

enum Client {
    WebSocket(RawSocket),
    Polling(Polling),
}

impl Client {
    async fn back(node: &Sidecar, since: &str, polls: bool) -> Self {
        let mut auth = member("ann", &["red", "blue"]);
        auth["since"] = since.into();
        match polls {
            true => Client::Polling(Polling::join(node.public, &auth).await),
            false => Client::WebSocket(RawSocket::join(node.public, &auth).await),
        }
    }

    async fn heard(&mut self) -> (String, Value) {
        loop {
            let packet = match self {
                Client::WebSocket(socket) => socket.packet().await,
                Client::Polling(polling) => polling.packet().await,
            };
            if let Some(heard) = apart(&packet.expect("an event rather than the end")) {
                return heard;
            }
        }
    }
}

/// What one client has come to.
#[derive(Debug, Default)]
struct Account {
    heard: usize,
    notices: usize,
    rounds: usize,
}

const CLIENTS: usize = 4;

/// So many events at most are sent beyond what every client has heard, so that they are spread over all of their rounds.
const AHEAD: usize = 40;

/// How many events each sender has had answers for, and how far each client has come, once it has come in.
#[derive(Default)]
struct Progress {
    sent: [AtomicUsize; SENDERS],
    heard: [AtomicUsize; CLIENTS],
    come: AtomicUsize,
}

impl Progress {
    fn sent(&self) -> [usize; SENDERS] {
        self.sent.each_ref().map(|sent| sent.load(Ordering::SeqCst))
    }

    async fn wait(&self) {
        let slowest = || self.heard.iter().map(|heard| heard.load(Ordering::SeqCst)).min().unwrap();
        while self.sent().iter().sum::<usize>() > slowest() + AHEAD {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Comes and goes from node to node until it has heard everything. Of each sender it must hear the next each time.
async fn come_and_go(nodes: Arc<[Sidecar; NODES]>, number: usize, progress: Arc<Progress>) -> Account {
    let (mut since, mut account) = (String::new(), Account::default());
    // The next that is to be heard of each, and up to which one it may also be one that was fetched.
    let mut next: [(usize, usize); SENDERS] = [(0, 0); SENDERS];
    loop {
        let node = &nodes[(account.rounds + number) % NODES];
        let mut client = Client::back(node, &since, (account.rounds + number) % 4 == 3).await;
        account.rounds += 1;
        let stays = 1 + (account.rounds * 7 + number * 13) % 30;
        for _ in 0..stays {
            let (payload, meta) = client.heard().await;
            since = meta["id"].as_str().unwrap().to_owned();
            if payload == RESYNC {
                account.notices += 1;
                // It fetches: what was answered before has been taken into account.
                next = progress.sent().map(|sent| (0, sent));
                progress.come.fetch_add(usize::from(account.notices == 1), Ordering::SeqCst);
            } else {
                let [sender, event]: [usize; 2] = serde_json::from_str(&payload).unwrap();
                let (first, upto) = &mut next[sender];
                let is_next = event == *upto || *first == 0 && event <= *upto;
                assert!(is_next, "client {number} heard {event} of {sender}, not {first}..={upto}");
                (*first, *upto) = (event + 1, event + 1);
                account.heard += 1;
            }
            let upto = next.iter().map(|(_, upto)| upto).sum();
            progress.heard[number].store(upto, Ordering::SeqCst);
            if next.iter().all(|(_, upto)| *upto >= EVENTS) {
                return account;
            }
        }
        drop(client);
        // Away for a moment.
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_event_is_heard_once_by_those_who_go_from_node_to_node() {
    let scene = Scene::start();
    let settings = format!("{SHARED}{BOTH}");
    let nodes =
        Arc::new([scene.node(&settings).await, scene.node(&settings).await, scene.node(&settings).await]);
    let progress = Arc::new(Progress::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(come_and_go(nodes.clone(), number, progress.clone())))
        .collect();
    within("the clients", async {
        while progress.come.load(Ordering::SeqCst) < clients.len() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            let (nodes, progress) = (nodes.clone(), progress.clone());
            tokio::spawn(async move {
                let teams: &[&str] = [&["red", "blue"][..], &["red"], &["blue"]][number % 3];
                let mut sender = join(&nodes[number % NODES], &format!("sender-{number}"), teams).await;
                for event in 0..EVENTS {
                    progress.wait().await;
                    sends(&mut sender, &[&format!("[{number},{event}]")]).await;
                    progress.sent[number].store(event + 1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let (mut accounts, mut resyncs) = (Vec::new(), 0);
    for client in clients {
        let account = within("a client's last event", client).await.unwrap();
        resyncs += account.notices - 1;
        accounts.push(account);
    }
    for sender in senders {
        within("a sender", sender).await.unwrap();
    }
    let mut replayed = 0.0;
    for node in nodes.iter() {
        replayed += node.metric("flowgate_replayed_events_total").await;
    }
    println!("{resyncs} resyncs, {replayed} replayed, {accounts:?}");
    assert!(replayed > 0.0);
    let rounds: usize = accounts.iter().map(|account| account.rounds).sum();
    // Whoever waits for more than a second for what it heard last is told to fetch, on a machine that is busy.
    assert!(resyncs <= rounds / 10, "{resyncs} of {rounds} were told to fetch");
    assert!(resyncs > 0 || accounts.iter().all(|account| account.heard >= SENDERS * EVENTS), "{accounts:?}");
    assert!(accounts.iter().all(|account| account.rounds >= ROUNDS || account.notices > 1), "{accounts:?}");
}
