//! Coalescing over real sockets: which changes become one, who hears which, in what order, and when.
//!
//! Most tests wait in a window that only the drain ends, so that nothing depends on how fast the machine is.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, until, within};

/// Typed payloads with a title beside the task, and a type without a task id.
const TYPED: &str = r#"
[events.database-change]
payload = "typed"
[events.database-change.fields.title]
kind = "string"
"#;

/// Longer than any test.
const ENDLESS: Duration = Duration::from_secs(3600);

const FOLDED: &str = "flowgate_events_folded_total{by=\"window\"}";
const WAITING: &str = "flowgate_events_waiting{by=\"window\"}";
const ACCEPTED: &str = "flowgate_events_accepted_total";
const DELIVERIES: &str = "flowgate_deliveries_total";

/// A sidecar in whose window changes wait until it goes down.
async fn waiting(settings: &str) -> Sidecar {
    Sidecar::start_with(settings, |policy| policy.relay.coalesce = Some(ENDLESS)).await
}

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

fn updated(task: &str, title: &str) -> String {
    format!(r#"{{"type":"task-updated","taskId":{task},"title":"{title}"}}"#)
}

/// Sends it and asserts that it was accepted, and that nothing more is said of it.
async fn sends(socket: &mut RawSocket, argument: &str) {
    let answer = socket.ask(argument).await;
    assert_eq!(answer["ok"], true, "{argument}: {answer}");
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
}

/// What a member hears from here to its end.
async fn heard(socket: RawSocket) -> Vec<String> {
    let packets = within("the end", socket.closed()).await;
    packets.iter().filter_map(|packet| packets::heard(packet).map(str::to_owned)).collect()
}

#[tokio::test]
async fn equal_changes_become_the_latest_which_keeps_its_own_place() {
    let mut sidecar = waiting(TYPED).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated("1", "a")).await;
    sends(&mut ann, &updated("2", "b")).await;
    sends(&mut ben, &updated("1", "c")).await;
    sends(&mut ann, r#"{"type":"task-deleted","taskId":2}"#).await;
    sends(&mut ann, &updated("\"1\"", "d")).await;
    sends(&mut ann, &updated("1", "e")).await;
    // Nothing has been heard, though all has been accepted.
    assert_eq!(sidecar.metric(ACCEPTED).await, 6.0);
    assert_eq!(sidecar.metric(FOLDED).await, 2.0);
    assert_eq!(sidecar.metric(WAITING).await, 4.0);
    assert_eq!(sidecar.metric(DELIVERIES).await, 0.0);
    assert_eq!(ben.heard_until_now().await, Vec::<String>::new());
    sidecar.stop();
    let expected = [
        updated("2", "b"),
        r#"{"type":"task-deleted","taskId":2}"#.into(),
        // A task 1 and a task "1" are two.
        updated("\"1\"", "d"),
        updated("1", "e"),
    ];
    assert_eq!(heard(ann).await, expected);
    assert_eq!(heard(ben).await, expected);
    sidecar.stopped().await;
}

#[tokio::test]
async fn without_a_task_id_only_the_very_same_bytes_are_equal() {
    let mut sidecar = waiting(TYPED).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let created = |title: &str| format!(r#"{{"type":"task-created","title":"{title}"}}"#);
    for title in ["a", "b", "a"] {
        sends(&mut ann, &created(title)).await;
    }
    sidecar.stop();
    assert_eq!(heard(ann).await, [created("b"), created("a")]);
}

#[tokio::test]
async fn payloads_that_nobody_looks_into_fold_by_their_bytes() {
    let mut sidecar = waiting("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let answer = ann.ask("").await;
    assert_eq!(answer["ok"], true);
    for argument in
        [r#"{"type":"task-updated","taskId":1,"n":1}"#, r#"{"type":"task-updated","taskId":1,"n":2}"#, "null"]
    {
        sends(&mut ann, argument).await;
    }
    sidecar.stop();
    let expected = [
        r#"{"type":"task-updated","taskId":1,"n":1}"#,
        r#"{"type":"task-updated","taskId":1,"n":2}"#,
        "null",
    ];
    assert_eq!(heard(ann).await, expected);
}

#[tokio::test]
async fn a_sender_that_does_not_hear_itself_hears_others_changes_to_the_same_task() {
    let settings = TYPED.replace("payload = \"typed\"", "payload = \"typed\"\nsender = \"exclude\"");
    let mut sidecar = waiting(&settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    let cleo = join(&sidecar, "cleo", &["red"]).await;
    sends(&mut ann, &updated("1", "ann first")).await;
    sends(&mut ben, &updated("1", "ben first")).await;
    sends(&mut ann, &updated("1", "ann second")).await;
    sends(&mut ben, &updated("1", "ben second")).await;
    sends(&mut ben, &updated("1", "ben third")).await;
    sends(&mut ann, &updated("2", "ann alone")).await;
    assert_eq!(sidecar.metric(FOLDED).await, 3.0);
    sidecar.stop();
    assert_eq!(heard(ann).await, [updated("1", "ben third")]);
    assert_eq!(heard(ben).await, [updated("1", "ann second"), updated("2", "ann alone")]);
    assert_eq!(heard(cleo).await, [updated("1", "ben third"), updated("2", "ann alone")]);
}

/// What a change is about is known at the window's end too: also where one member alone is owed an earlier of two equal ones.
#[tokio::test]
async fn a_members_filter_holds_at_the_end_of_the_window() {
    let settings = TYPED.replace("payload = \"typed\"", "payload = \"typed\"\nsender = \"exclude\"");
    let mut sidecar = waiting(&settings).await;
    let filtered = |user: &str| {
        let mut auth = member(user, &["red"]);
        auth["filter"] = serde_json::json!({ "taskIds": [1] });
        auth
    };
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = RawSocket::join(sidecar.public, &filtered("ben")).await;
    let cleo = RawSocket::join(sidecar.public, &filtered("cleo")).await;
    for task in ["1", "2"] {
        sends(&mut ann, &updated(task, "ann")).await;
        sends(&mut ben, &updated(task, "ben")).await;
    }
    sidecar.stop();
    assert_eq!(heard(ann).await, [updated("1", "ben"), updated("2", "ben")]);
    assert_eq!(heard(ben).await, [updated("1", "ann")]);
    assert_eq!(heard(cleo).await, [updated("1", "ben")]);
}

#[tokio::test]
async fn changes_to_other_teams_are_others_and_each_member_hears_each_once() {
    let mut sidecar = waiting(&format!("{TYPED}[rooms]\nmulti_team = \"all\"")).await;
    let mut red = join(&sidecar, "ann", &["red"]).await;
    let mut both = join(&sidecar, "ben", &["red", "blue"]).await;
    let mut htob = join(&sidecar, "cleo", &["blue", "red"]).await;
    let blue = join(&sidecar, "dan", &["blue"]).await;
    sends(&mut both, &updated("1", "a")).await;
    sends(&mut red, &updated("1", "b")).await;
    // The same two teams, in another order.
    sends(&mut htob, &updated("1", "c")).await;
    sidecar.stop();
    assert_eq!(heard(red).await, [updated("1", "b"), updated("1", "c")]);
    assert_eq!(heard(both).await, [updated("1", "b"), updated("1", "c")]);
    assert_eq!(heard(htob).await, [updated("1", "b"), updated("1", "c")]);
    assert_eq!(heard(blue).await, [updated("1", "c")]);
}

#[tokio::test]
async fn who_comes_within_the_window_hears_what_waits_and_who_has_left_does_not() {
    let mut sidecar = waiting(TYPED).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ann, &updated("1", "a")).await;
    let cleo = join(&sidecar, "cleo", &["red"]).await;
    drop((ann, ben));
    sidecar.until("flowgate_peers", 1.0).await;
    // The sender is gone, and its change is not.
    sidecar.stop();
    assert_eq!(heard(cleo).await, [updated("1", "a")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_poll_and_members_that_upgrade_hear_the_same() {
    let mut sidecar = waiting(TYPED).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut polling = Polling::join(sidecar.public, &member("ben", &["red"])).await;
    let upgrading = Polling::join(sidecar.public, &member("cleo", &["red"])).await;
    sends(&mut ann, &updated("1", "a")).await;
    polling.emit(&updated("2", "b")).await;
    sidecar.until(ACCEPTED, 2.0).await;
    let upgraded = upgrading.upgrade().await;
    sends(&mut ann, &updated("1", "c")).await;
    sidecar.stop();
    let expected = [updated("2", "b"), updated("1", "c")];
    assert_eq!([polling.event().await, polling.event().await], expected);
    within("the polling one's end", polling.closed()).await;
    assert_eq!(heard(upgraded).await, expected);
    assert_eq!(heard(ann).await, expected);
}

/// Real windows, one after the other: with what is sent while another is relayed, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn windows_end_and_each_senders_order_holds() {
    const SENDERS: usize = 4;
    const EVENTS: u64 = 3_000;
    let sidecar = Sidecar::start(&format!("{TYPED}[relay]\ncoalesce = {{ window = \"2ms\" }}")).await;
    let mut reader = join(&sidecar, "ben", &["red"]).await;
    let mut other = join(&sidecar, "cleo", &["red"]).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let address = sidecar.public;
            tokio::spawn(async move {
                let mut socket = RawSocket::join(address, &member(&format!("ann-{sender}"), &["red"])).await;
                for number in 0..EVENTS {
                    // Three tasks each, and their numbers rise.
                    socket
                        .emit(&updated(&format!("{}", sender as u64 * 10 + number % 3), &number.to_string()))
                        .await;
                }
                // The last word is the sender's own, of a task that nobody else has.
                socket.emit(&updated(&format!("{}", 1000 + sender), "end")).await;
                socket.closed().await;
            })
        })
        .collect();
    let mut all = Vec::new();
    for reader in [&mut reader, &mut other] {
        let (mut last, mut ended, mut heard) = ([None; SENDERS], 0, Vec::new());
        while ended < SENDERS {
            let argument = reader.event().await;
            let event: serde_json::Value = serde_json::from_str(&argument).unwrap();
            let (task, title) = (event["taskId"].as_u64().unwrap(), event["title"].as_str().unwrap());
            if title == "end" {
                // By then it has heard the last of each task.
                assert_eq!(last[task as usize - 1000], Some(EVENTS - 1));
                ended += 1;
            } else {
                let number: u64 = title.parse().unwrap();
                let sender = task as usize / 10;
                assert!(last[sender] < Some(number), "{number} after {:?}", last[sender]);
                last[sender] = Some(number);
            }
            heard.push(argument);
        }
        all.push(heard);
    }
    // Two members hear two senders in the same order.
    assert_eq!(all[0], all[1]);
    let accepted = SENDERS as u64 * (EVENTS + 1);
    assert_eq!(sidecar.metric(ACCEPTED).await, accepted as f64);
    sidecar.until(WAITING, 0.0).await;
    let folded = sidecar.metric(FOLDED).await;
    assert_eq!(all[0].len() as f64, accepted as f64 - folded);
    assert!(folded > 0.0);
    senders.iter().for_each(|sender| sender.abort());
}

#[tokio::test]
async fn too_much_at_once_is_relayed_before_the_window_ends() {
    let sidecar = waiting("[limits.payload]\nmax_bytes = \"64KiB\"").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    // 8 MiB is what waits at most, and each is another.
    let large = |number: usize| format!("\"{number:05}{}\"", "x".repeat(60_000));
    for number in 0..150 {
        ann.emit(&large(number)).await;
    }
    for number in 0..10 {
        assert_eq!(ann.event().await, large(number));
    }
    assert_eq!(sidecar.metric(FOLDED).await, 0.0);
    assert!(sidecar.metric(WAITING).await <= 140.0);
}

/// More than may wait, relayed by whoever is in the way, and then the window is taken away under load: nobody overtakes
/// anybody and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_relayed_early_and_while_it_goes_down_keeps_its_order() {
    const SENDERS: usize = 4;
    let mut sidecar = waiting("[drain]\nspread = \"500ms\"").await;
    let reader = join(&sidecar, "ben", &["red"]).await;
    for sender in 0..SENDERS {
        let socket = join(&sidecar, &format!("ann-{sender}"), &["red"]).await;
        let (mut write, mut read) = socket.stream.split();
        tokio::spawn(async move { while read.next().await.is_some_and(|frame| frame.is_ok()) {} });
        tokio::spawn(async move {
            for number in 0_u64.. {
                let event = packets::event(EVENT, &format!("[{sender},{number}]"), None);
                if write.send(Message::text(event)).await.is_err() {
                    break;
                }
            }
        });
    }
    until("much has been relayed early", async || sidecar.metric(DELIVERIES).await > 30_000.0).await;
    sidecar.stop();
    let mut next = [0; SENDERS];
    for argument in heard(reader).await {
        let [sender, number]: [usize; 2] = serde_json::from_str(&argument).unwrap();
        assert_eq!(number, next[sender], "of {sender}");
        next[sender] += 1;
    }
    assert!(next.iter().sum::<usize>() > 10_000, "{next:?}");
}
