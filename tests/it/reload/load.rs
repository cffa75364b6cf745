//! Reloads under load: no honest event is lost, doubled, or judged by half of each of two policies.
//!
//! The two policies differ in three things that hang together: which type is accepted, under which name it is heard, and
//! by which claim members are in teams. So whatever an event meets of each of them shows.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

use super::Scene;
use crate::harness::packets::{self, EVENT};
use crate::harness::websocket::RawSocket;
use crate::harness::{LOOK_AGAIN, PATIENCE, closes, mint, raise_descriptor_limit, until, within};

const CLIENTS: usize = 500;
/// Members of one team.
const TEAM: usize = 10;
/// Events of one client, two a second: 1,000 a second in all.
const EVENTS: usize = 16;
const PAUSE: Duration = Duration::from_millis(500);

fn policy(letter: char) -> String {
    format!(
        r#"
[auth.claims]
teams = "teams_{letter}"
[events.database-change]
emit = "heard-{letter}"
payload = "typed"
[[events.database-change.types]]
match = "kind-{letter}"
task_id = "required"
"#
    )
}

/// The team of a client under a policy. Nobody has the same mates under both.
fn team(letter: char, client: usize) -> usize {
    if letter == 'a' { client / TEAM } else { client % (CLIENTS / TEAM) }
}

/// What all clients share with the test.
#[derive(Default)]
struct Shared {
    heard: AtomicUsize,
    done: AtomicBool,
}

/// Events as they were sent: the sender, its running number, and the letter of the policy that accepts it.
type Sent = (usize, usize, char);

/// What one client has met.
#[derive(Default)]
struct Met {
    answers: HashMap<usize, Vec<Value>>,
    /// The name under which it was heard, and what was.
    heard: Vec<(char, Sent)>,
}

fn letter(number: usize) -> char {
    if number.is_multiple_of(2) { 'a' } else { 'b' }
}

fn event(client: usize, number: usize) -> String {
    let payload = format!(r#"{{"type":"kind-{}","taskId":{}}}"#, letter(number), client * 1000 + number);
    packets::event(EVENT, &payload, Some(number as u64))
}

/// What a frame is of that a client hears.
fn read(frame: &str, met: &mut Met, heard_in_all: &AtomicUsize) {
    if let Some(answer) = frame.strip_prefix("43") {
        let at = answer.find('[').unwrap();
        let arguments: Vec<Value> = serde_json::from_str(&answer[at..]).unwrap();
        met.answers.entry(answer[..at].parse().unwrap()).or_default().extend(arguments);
    } else if let Some(heard) = frame.strip_prefix("42") {
        let (name, payload): (String, Value) = serde_json::from_str(heard).unwrap();
        let id = payload["taskId"].as_u64().unwrap() as usize;
        let sent = (id / 1000, id % 1000, payload["type"].as_str().unwrap().chars().last().unwrap());
        heard_in_all.fetch_add(1, Ordering::Relaxed);
        met.heard.push((name.chars().last().unwrap(), sent));
    }
}

/// Sends its events in its own time, hears what comes until all have been sent and everything has been heard.
async fn client(number: usize, socket: RawSocket, shared: Arc<Shared>) -> Met {
    let mut met = Met::default();
    let (mut sink, mut stream) = socket.stream.split();
    // Not all at once.
    tokio::time::sleep(PAUSE * number as u32 / CLIENTS as u32).await;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = 0;
    while next < EVENTS || !shared.done.load(Ordering::Relaxed) {
        tokio::select! {
            frame = stream.next() => {
                let frame = frame.expect("nobody is disconnected").expect("nobody is disconnected");
                let Message::Text(text) = frame else { continue };
                match text.as_str() {
                    "2" => sink.send(Message::text("3")).await.unwrap(),
                    text => read(text, &mut met, &shared.heard),
                }
            }
            _ = ticks.tick() => if next < EVENTS {
                sink.send(Message::text(event(number, next))).await.unwrap();
                next += 1;
            }
        }
    }
    met
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_doubled_or_judged_by_half_of_each() {
    raise_descriptor_limit();
    let scene = Scene::with(&policy('a')).await;
    let (clients, shared) = (&mut JoinSet::new(), Arc::<Shared>::default());
    let mut sockets = Vec::new();
    for number in 0..CLIENTS {
        let teams = |letter| [format!("{letter}-{}", team(letter, number))];
        let claims = json!({ "sub": format!("u{number}"), "teams_a": teams('a'), "teams_b": teams('b') });
        sockets.push(RawSocket::join(scene.sidecar.public, &json!({ "token": mint(claims) })).await);
    }
    // Nobody sends before all are there.
    for (number, socket) in sockets.into_iter().enumerate() {
        let shared = shared.clone();
        clients.spawn(async move { (number, client(number, socket, shared).await) });
    }
    let began = Instant::now();
    let sent = (CLIENTS * EVENTS) as f64;
    let judged = async || {
        let refused = scene.sidecar.metric(&crate::harness::refusals("unknown_type")).await;
        (scene.sidecar.metric("flowgate_events_accepted_total").await, refused)
    };
    // As long as events come.
    let mut reloads = 0;
    while {
        let (accepted, refused) = judged().await;
        accepted + refused < sent
    } {
        reloads += 1;
        let (_, closed) = scene.change(&policy(letter(reloads))).await;
        assert_eq!(closed, 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let took = began.elapsed();
    let deliveries = scene.sidecar.metric("flowgate_deliveries_total").await;
    // What has been handed to connections is on its way to clients that read. If it never comes, the counts below say so.
    let all_heard = async {
        while (shared.heard.load(Ordering::Relaxed) as f64) < deliveries {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE / 2, all_heard).await;
    // One time more, for what would come twice.
    tokio::time::sleep(PAUSE).await;
    shared.done.store(true, Ordering::Relaxed);
    let mut met: HashMap<usize, Met> = HashMap::new();
    within("all clients", async {
        while let Some(one) = clients.join_next().await {
            let (number, one) = one.unwrap();
            met.insert(number, one);
        }
    })
    .await;
    check(&met, reloads, took, deliveries);
    assert_eq!(scene.sidecar.metric(&closes("policy_changed")).await, 0.0);
    until("all are gone", async || scene.sidecar.metric("flowgate_peers").await == 0.0).await;
}

fn check(met: &HashMap<usize, Met>, reloads: usize, took: Duration, deliveries: f64) {
    let (mut accepted, mut refused, mut heard, mut expected) = (0, 0, 0, 0);
    let (mut lost, mut doubled, mut halved) = (0, 0, 0);
    // How often each client has heard each event, under which names.
    let mut ears: HashMap<(usize, Sent), Vec<char>> = HashMap::new();
    for (&client, one) in met {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for &(name, sent) in &one.heard {
            heard += 1;
            ears.entry((client, sent)).or_default().push(name);
            let before = last.insert(sent.0, sent.1);
            assert!(before.is_none_or(|before| before < sent.1), "{sent:?} after {before:?}");
        }
    }
    for (&sender, one) in met {
        for number in 0..EVENTS {
            let letter = letter(number);
            let sent = (sender, number, letter);
            let answers = one.answers.get(&number).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(answers.len(), 1, "one answer to {sent:?}: {answers:?}");
            let is_accepted = answers[0]["ok"] == true;
            assert!(is_accepted || answers[0]["code"] == "unknown_type", "{answers:?}");
            accepted += usize::from(is_accepted);
            refused += usize::from(!is_accepted);
            for client in 0..CLIENTS {
                let names = ears.remove(&(client, sent)).unwrap_or_default();
                let is_mate = team(letter, client) == team(letter, sender);
                let wanted = usize::from(is_accepted && is_mate);
                expected += wanted;
                lost += wanted.saturating_sub(names.len());
                doubled += names.len().saturating_sub(1);
                halved += names.iter().filter(|name| **name != letter || wanted == 0).count();
            }
        }
    }
    println!(
        "{CLIENTS} clients, {} events in {took:.1?}, {reloads} reloads: {accepted} accepted, {refused} refused, \
         {expected} deliveries expected, {deliveries} made, {heard} heard, {lost} lost, {doubled} doubled, {halved} judged by half of each",
        CLIENTS * EVENTS
    );
    assert_eq!((lost, doubled, halved), (0, 0, 0));
    assert_eq!((heard, heard as f64), (expected, deliveries));
    assert!(accepted > 0 && refused > 0 && reloads > 2, "both policies have judged");
}
