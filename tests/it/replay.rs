//! The replay guard over real sockets.

use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, now, refusals};

const REMEMBERED: &str = "flowgate_replay_keys";

fn settings(replay: &str) -> String {
    format!(
        r#"
[events.database-change]
payload = "typed"
timestamp = {{ presence = "required" }}
replay = {replay}
[events.database-change.fields.id]
kind = "string"
[rooms]
multi_team = "all"
"#
    )
}

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

fn updated(task: u64, time: u64, more: &str) -> String {
    format!(r#"{{"type":"task-updated","taskId":{task},"timestamp":{time}{more}}}"#)
}

#[tokio::test]
async fn nobody_can_send_again_what_somebody_has_sent() {
    let sidecar = Sidecar::start(&settings(r#"{ by = "content" }"#)).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    let time = now() * 1000;
    let sent = updated(1, time, "");
    assert_eq!(ann.ask(&sent).await["ok"], true);
    let answer = ann.ask(&sent).await;
    assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &"duplicate".into()));
    // Who has heard it cannot send it either, nor can the same user from another socket.
    assert_eq!(ben.ask(&sent).await["code"], "duplicate");
    assert_eq!(join(&sidecar, "ann", &["red"]).await.ask(&sent).await["code"], "duplicate");
    assert_eq!(ann.ask(&updated(1, time + 1, "")).await["ok"], true);
    assert_eq!(ann.ask(&updated(2, time, "")).await["ok"], true);
    let expected = [sent.clone(), updated(1, time + 1, ""), updated(2, time, "")];
    assert_eq!(ben.heard_until_now().await, expected);
    assert_eq!(sidecar.metric(&refusals("duplicate")).await, 3.0);
    assert_eq!(sidecar.metric(REMEMBERED).await, 3.0);
    // Another team has heard nothing of it; one event to both is one or none.
    let mut both = join(&sidecar, "cleo", &["red", "blue"]).await;
    let mut blue = join(&sidecar, "dan", &["blue"]).await;
    assert_eq!(both.ask(&sent).await["code"], "duplicate");
    assert_eq!(blue.ask(&sent).await["ok"], true);
    assert_eq!(blue.heard_until_now().await, [sent]);
}

#[tokio::test]
async fn an_id_is_used_once_and_not_by_what_was_refused() {
    let sidecar = Sidecar::start(&settings(r#"{ by = "id", field = "id" }"#)).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let time = now() * 1000;
    let id = r#","id":"one""#;
    assert_eq!(ann.ask(r#"{"type":"task-lost","timestamp":0,"id":"one"}"#).await["code"], "unknown_type");
    assert_eq!(ann.ask(&updated(1, time, id)).await["ok"], true);
    assert_eq!(ann.ask(&updated(2, time + 1, id)).await["code"], "duplicate");
    assert_eq!(ann.ask(&updated(2, time + 1, "")).await["code"], "missing_field");
    assert_eq!(ann.ask(&updated(2, time + 1, r#","id":"two""#)).await["ok"], true);
    assert_eq!(ann.heard_until_now().await.len(), 2);
}

#[tokio::test]
async fn what_is_only_observed_passes_and_counts() {
    let sidecar = Sidecar::start(&settings(r#"{ by = "content", mode = "observe" }"#)).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let sent = updated(1, now() * 1000, "");
    for _ in 0..2 {
        assert_eq!(ann.ask(&sent).await["ok"], true);
    }
    assert_eq!(ann.heard_until_now().await.len(), 2);
    let observed =
        "flowgate_observed_events_total{event=\"database-change\",type=\"task-updated\",code=\"duplicate\"}";
    assert_eq!(sidecar.metric(observed).await, 1.0);
}

/// Many sockets send the same at once, and one of them is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_passes() {
    let sidecar = Sidecar::start(&settings(r#"{ by = "content" }"#)).await;
    let mut reader = join(&sidecar, "ben", &["red"]).await;
    let time = now() * 1000;
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let address = sidecar.public;
            tokio::spawn(async move {
                let mut socket = RawSocket::join(address, &member(&format!("ann-{sender}"), &["red"])).await;
                let mut passed = 0;
                for task in 0..50 {
                    passed += usize::from(socket.ask(&updated(task, time, "")).await["ok"] == true);
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for sender in senders {
        passed += sender.await.unwrap();
    }
    assert_eq!(passed, 50);
    assert_eq!(reader.heard_until_now().await.len(), 50);
}

#[tokio::test]
async fn where_no_policy_asks_nothing_is_remembered() {
    let sidecar = Sidecar::start(&settings(r#"{ by = "off" }"#)).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let sent = updated(1, now() * 1000, "");
    for _ in 0..2 {
        assert_eq!(ann.ask(&sent).await["ok"], true);
    }
    assert_eq!(sidecar.metric(REMEMBERED).await, 0.0);
}
