//! `limits.events.on_limit = "coalesce"` over real sockets: what is over its sender's rate is heard later, once.
//!
//! Most tests have rates so slow that nothing comes due before the drain, which delivers what waits.

use std::time::Duration;

use crate::harness::packets;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, refusals, within};

const FOLDED: &str = "flowgate_events_folded_total{by=\"limit\"}";
const WAITING: &str = "flowgate_events_waiting{by=\"limit\"}";
const ACCEPTED: &str = "flowgate_events_accepted_total";

/// Typed payloads with a title, one event at once for each socket, and then another one every five seconds.
fn slow(more: &str) -> String {
    format!(
        r#"
[events.database-change]
payload = "typed"
[events.database-change.fields.title]
kind = "string"
[limits.events]
per_socket = {{ rate = "12/m", burst = 1 }}
on_limit = "coalesce"
{more}
"#
    )
}

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

fn updated(task: u64, title: &str) -> String {
    format!(r#"{{"type":"task-updated","taskId":{task},"title":"{title}"}}"#)
}

/// Sends it and asserts that it was accepted, and whether it was folded.
async fn sends(socket: &mut RawSocket, argument: &str, folded: bool) {
    let answer = socket.ask(argument).await;
    assert_eq!((&answer["ok"], answer["id"].is_string()), (&true.into(), true), "{argument}: {answer}");
    assert_eq!(answer.get("folded"), folded.then_some(&true.into()), "{argument}: {answer}");
}

/// What a member hears from here to its end.
async fn heard(socket: RawSocket) -> Vec<String> {
    let packets = within("the end", socket.closed()).await;
    packets.iter().filter_map(|packet| packets::heard(packet).map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_is_over_the_rate_is_heard_once_the_latest_and_in_order() {
    let mut sidecar = Sidecar::start(&slow("")).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    sends(&mut ann, &updated(2, "b"), true).await;
    sends(&mut ann, &updated(3, "c"), true).await;
    // It takes the place of its equal in time, and its own in the order.
    sends(&mut ann, &updated(2, "d"), true).await;
    assert_eq!(sidecar.metric(FOLDED).await, 1.0);
    assert_eq!(sidecar.metric(WAITING).await, 2.0);
    assert_eq!(sidecar.metric(ACCEPTED).await, 4.0);
    assert_eq!(sidecar.metric("flowgate_over_limit_total{key=\"limits.events.per_socket\"}").await, 3.0);
    // A third place would be fifteen seconds away, and ten are the most.
    let answer = ann.ask(&updated(4, "e")).await;
    assert_eq!(answer["code"], "rate_limited", "{answer}");
    assert!(answer["retryAfterMs"].as_u64().is_some_and(|wait| wait > 5_000), "{answer}");
    // Others' rates are their own.
    sends(&mut ben, &updated(5, "f"), false).await;
    assert_eq!(ben.heard_until_now().await, [updated(1, "a"), updated(5, "f")]);
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(3, "c"), updated(2, "d")]);
    // The sender hears its own, too, when the others do.
    let expected = [updated(1, "a"), updated(5, "f"), updated(3, "c"), updated(2, "d")];
    assert_eq!(heard(ann).await, expected);
    sidecar.stopped().await;
}

#[tokio::test]
async fn what_waits_goes_when_the_rate_allows_it() {
    let settings = slow("").replace("rate = \"12/m\", burst = 1", "rate = \"50/s\", burst = 20");
    let sidecar = Sidecar::start(&settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    for round in 0..3 {
        for task in 0..20 {
            ann.emit(&updated(task, &round.to_string())).await;
        }
    }
    // Each task is heard of at last, whatever was left out, and of one task never an earlier change after a later one.
    let mut latest = [None; 20];
    while latest != [Some(2); 20] {
        let event: serde_json::Value = serde_json::from_str(&within("the next", ben.event()).await).unwrap();
        let (task, round) = (event["taskId"].as_u64().unwrap() as usize, event["title"].as_str().unwrap());
        let round: u64 = round.parse().unwrap();
        assert!(latest[task] < Some(round), "{round} after {:?} of {task}", latest[task]);
        latest[task] = Some(round);
    }
    sidecar.until(WAITING, 0.0).await;
    // And then the rate is what it was, for who keeps to it.
    within("an event that does not wait", async {
        while ann.ask(&updated(1, "3")).await.get("folded").is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_waits_outlives_its_senders_connection() {
    let mut sidecar = Sidecar::start(&slow("")).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    sends(&mut ann, &updated(2, "b"), true).await;
    drop(ann);
    sidecar.until("flowgate_peers", 1.0).await;
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(1, "a"), updated(2, "b")]);
}

#[tokio::test]
async fn sockets_of_one_user_wait_for_their_common_rate() {
    let settings = slow("per_user = { rate = \"12/m\", burst = 1 }")
        .replace("per_socket = { rate = \"12/m\", burst = 1 }", "");
    let mut sidecar = Sidecar::start(&settings).await;
    let mut one = join(&sidecar, "ann", &["red"]).await;
    let mut two = join(&sidecar, "ann", &["red"]).await;
    let ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut one, &updated(1, "a"), false).await;
    sends(&mut two, &updated(1, "b"), true).await;
    sends(&mut one, &updated(1, "c"), true).await;
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(1, "a"), updated(1, "b"), updated(1, "c")]);
}

#[tokio::test]
async fn what_waits_has_been_judged_by_everything_else() {
    let more = "per_team = { rate = \"3/h\", burst = 3 }
[[rules]]
name = \"nobody deletes\"
on = [\"task-deleted\"]
allow_if = \"false\"";
    let sidecar = Sidecar::start(&slow(more).replace("burst = 1", "burst = 2")).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    for (argument, code) in
        [(r#"{"type":"nonsense"}"#, "unknown_type"), (r#"{"type":"task-deleted","taskId":1}"#, "not_allowed")]
    {
        assert_eq!(ann.ask(argument).await["code"], code, "{argument}");
    }
    assert_eq!(sidecar.metric(WAITING).await, 0.0);
    // The team's own rate is nobody's to go over: it has room for one more.
    sends(&mut ann, &updated(2, "b"), true).await;
    assert_eq!(ann.ask(&updated(3, "c")).await["code"], "rate_limited");
    // For an equal one nothing more is charged, nobody's rate included.
    sends(&mut ann, &updated(2, "d"), true).await;
    assert_eq!(sidecar.metric(WAITING).await, 1.0);
}

/// Looking at what is over the rate costs, so there is a bound to that as well; and what is refused past it closes the
/// connection as ever.
#[tokio::test]
async fn a_flood_is_refused_before_it_is_read_and_closed() {
    let settings = slow("disconnect_after = { refusals = 5, per = \"1h\" }").replace("12/m", "6/m");
    let mut sidecar = Sidecar::start(&settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    // Four times the burst is looked at, and four times the rate, which is one more in two and a half seconds.
    for title in ["b", "c", "d", "e"] {
        sends(&mut ann, &updated(1, title), true).await;
    }
    // What is not read is refused for the rate, and not for what it says.
    for _ in 0..5 {
        ann.emit(r#"{"type":"nonsense"}"#).await;
    }
    within("its close", ann.closed()).await;
    let [unread, read] = ["rate_limited", "unknown_type"].map(refusals);
    assert!(sidecar.metric(&unread).await >= 3.0);
    assert!(sidecar.metric(&read).await <= 2.0);
    assert_eq!(ben.heard_until_now().await, [updated(1, "a")]);
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(1, "e")]);
}

#[tokio::test]
async fn what_is_only_observed_passes_at_once() {
    let settings = slow("").replace("burst = 1", "burst = 1, mode = \"observe\"");
    let sidecar = Sidecar::start(&settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    for title in ["a", "b", "c"] {
        sends(&mut ann, &updated(1, title), false).await;
    }
    assert_eq!(ann.heard_until_now().await.len(), 3);
    let observed = "flowgate_observed_events_total{event=\"database-change\",type=\"task-updated\",code=\"rate_limited\"}";
    assert_eq!(sidecar.metric(observed).await, 2.0);
}

#[tokio::test]
async fn the_address_and_the_team_refuse() {
    for limit in ["per_address", "per_team"] {
        let settings = slow(&format!("{limit} = {{ rate = \"1/h\", burst = 1 }}"))
            .replace("per_socket = { rate = \"12/m\", burst = 1 }", "");
        let sidecar = Sidecar::start(&settings).await;
        let mut ann = join(&sidecar, "ann", &["red"]).await;
        sends(&mut ann, &updated(1, "a"), false).await;
        assert_eq!(ann.ask(&updated(1, "b")).await["code"], "rate_limited", "{limit}");
        assert_eq!(sidecar.metric(WAITING).await, 0.0);
    }
}

#[tokio::test]
async fn a_sender_that_does_not_hear_itself_does_not_hear_it_later_either() {
    let settings = slow("").replace("payload = \"typed\"", "payload = \"typed\"\nsender = \"exclude\"");
    let mut sidecar = Sidecar::start(&settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated(1, "a"), false).await;
    sends(&mut ann, &updated(2, "b"), true).await;
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(1, "a"), updated(2, "b")]);
    assert_eq!(heard(ann).await, Vec::<String>::new());
}

/// With a window too: what waited for its sender's rate then waits for the window's end, behind what came before.
#[tokio::test]
async fn what_waited_goes_through_the_window() {
    let window = Some(Duration::from_secs(3600));
    let settings = slow("").replace("12/m", "50/s");
    let mut sidecar = Sidecar::start_with(&settings, |policy| policy.relay.coalesce = window).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let ben = join(&sidecar, "ben", &["red"]).await;
    for title in ["a", "b", "c"] {
        ann.emit(&updated(1, title)).await;
    }
    sidecar.until(ACCEPTED, 3.0).await;
    sidecar.until(WAITING, 0.0).await;
    sidecar.until("flowgate_events_waiting{by=\"window\"}", 1.0).await;
    sidecar.stop();
    assert_eq!(heard(ben).await, [updated(1, "c")]);
}
