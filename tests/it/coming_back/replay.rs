//! `auth.since`: what was missed is replayed, or it is said that it cannot be.

use serde_json::{Value, json};

use super::{KEPT, META, NOTICE, REPLAYED, apart, back, heard, heard_until_now, join, resyncs, sends, told};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member, mint, refusals};

fn id(heard: &(String, Value)) -> String {
    heard.1["id"].as_str().unwrap().to_owned()
}

/// A client that has heard `1` of the three that were sent in `red`, and the sender.
async fn away(settings: &str) -> (Sidecar, RawSocket, String) {
    let sidecar = Sidecar::start(settings).await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    sends(&mut ben, &["1"]).await;
    let since = id(&heard(&mut ann).await);
    drop(ann);
    sends(&mut ben, &["2", "3"]).await;
    (sidecar, ben, since)
}

#[tokio::test]
async fn what_was_missed_comes_first_in_order_as_it_was_and_once() {
    let (sidecar, mut ben, since) = away(KEPT).await;
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    sends(&mut ben, &["4"]).await;
    let at_ann = heard_until_now(&mut ann).await;
    assert_eq!(told(&at_ann), [("2", 2), ("3", 3), ("4", 4)]);
    assert_eq!(at_ann, heard_until_now(&mut ben).await[1..], "their meta are the same");
    assert_eq!(sidecar.metric(REPLAYED).await, 2.0);
    // The same for one that polls, and nothing for who has missed nothing.
    let auth = json!({ "since": since, "token": mint(json!({ "sub": "ann", "teams": ["red"] })) });
    let mut polling = Polling::join(sidecar.public, &auth).await;
    for expected in &at_ann {
        assert_eq!(&apart(&polling.packet().await.unwrap()).unwrap(), expected);
    }
    let mut ann = back(&sidecar, "ann", &["red"], &id(&at_ann[2])).await;
    assert_eq!(heard_until_now(&mut ann).await, []);
    assert_eq!(sidecar.metric(REPLAYED).await, 5.0);
    assert_eq!(sidecar.metrics("flowgate_resyncs_total").await.iter().sum::<f64>(), 0.0);
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
    let sidecar = Sidecar::start(&format!("{KEPT}{SETTINGS}")).await;
    let mut ann = join(&sidecar, "ann", &["red", "blue"]).await;
    let mut ben = join(&sidecar, "ben", &["red", "blue", "green"]).await;
    let event =
        |kind: &str, task: u32, team: &str| format!(r#"{{"type":"{kind}","taskId":{task},"team":"{team}"}}"#);
    let everywhere = r#"{"type":"task-updated","taskId":1}"#;
    sends(&mut ben, &[everywhere]).await;
    let since = id(&heard(&mut ann).await);
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
        let mut ann = RawSocket::join(sidecar.public, &auth).await;
        let heard = heard_until_now(&mut ann).await;
        let payloads: Vec<&str> = heard.iter().map(|(payload, _)| &**payload).collect();
        assert_eq!(payloads, expected, "{auth}");
    }
}

#[tokio::test]
async fn where_the_history_does_not_reach_back_there_is_one_notice_instead() {
    let kept = "[relay]\nmeta = true\n[relay.history]\ncount = 2\n";
    let (sidecar, mut ben, since) = away(kept).await;
    // Two are kept, and they are the two that it missed.
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    assert_eq!(told(&heard_until_now(&mut ann).await), [("2", 2), ("3", 3)]);
    drop(ann);
    sends(&mut ben, &["4"]).await;
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    let notice = heard_until_now(&mut ann).await;
    assert_eq!(told(&notice), [(NOTICE, 0)]);
    assert_eq!(sidecar.metric(&resyncs("unknown")).await, 1.0);
    drop(ann);
    // From the notice on it knows again where it is.
    sends(&mut ben, &["5"]).await;
    let mut ann = back(&sidecar, "ann", &["red"], &id(&notice[0])).await;
    assert_eq!(told(&heard_until_now(&mut ann).await), [("5", 5)]);
    sends(&mut ben, &["6", "7", "8"]).await;
    let mut ann = back(&sidecar, "ann", &["red"], &id(&notice[0])).await;
    assert_eq!(told(&heard_until_now(&mut ann).await), [(NOTICE, 0)]);
    assert_eq!(sidecar.metric(&resyncs("too_old")).await, 1.0);
}

#[tokio::test]
async fn what_nobody_here_knows_is_answered_with_a_notice_whatever_is_on() {
    let other = Sidecar::start(KEPT).await;
    let mut zoe = join(&other, "zoe", &["red"]).await;
    sends(&mut zoe, &["0"]).await;
    let of_another = id(&heard(&mut zoe).await);
    let (sidecar, _ben, since) = away(META).await;
    for (since, reason) in [("", "nothing_heard"), (&of_another, "unknown"), ("1-1+0", "unknown")] {
        let before = sidecar.metric(&resyncs(reason)).await;
        let mut ann = back(&sidecar, "ann", &["red"], since).await;
        assert_eq!(told(&heard_until_now(&mut ann).await), [(NOTICE, 0)], "{since}");
        assert_eq!(sidecar.metric(&resyncs(reason)).await, before + 1.0, "{since}");
    }
    // Nothing is kept, so that there is something to be missed.
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    assert_eq!(told(&heard_until_now(&mut ann).await), [(NOTICE, 0)]);
    let off = Sidecar::start("").await;
    let mut ann = back(&off, "ann", &["red"], &since).await;
    assert_eq!(ann.heard_until_now().await, [NOTICE]);
}

#[tokio::test]
async fn what_would_not_fit_into_its_queue_is_not_replayed() {
    let settings = format!("{KEPT}[limits.slow_reader]\nmax_queued = \"16KiB\"\n");
    let (sidecar, mut ben, since) = away(&settings).await;
    let large = format!("\"{}\"", "x".repeat(3000));
    sends(&mut ben, &[&large, &large]).await;
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    assert_eq!(heard_until_now(&mut ann).await.len(), 4);
    sends(&mut ben, &[&large]).await;
    let mut ann = back(&sidecar, "ann", &["red"], &since).await;
    assert_eq!(told(&heard_until_now(&mut ann).await), [(NOTICE, 0)]);
    assert_eq!(sidecar.metric(&resyncs("too_much")).await, 1.0);
}

#[tokio::test]
async fn what_is_no_position_is_refused_for_good() {
    let sidecar = Sidecar::start(KEPT).await;
    for bad in [json!(7), json!({ "red": "1-1" }), json!("seven"), json!("1-1+"), json!("x".repeat(9999))] {
        let mut auth = member("ann", &["red"]);
        auth["since"] = bad.clone();
        let mut ann = RawSocket::open(sidecar.public).await;
        assert_eq!(ann.connect(&auth).await, Err("invalid_payload".into()), "{bad}");
    }
    assert_eq!(sidecar.metric(&refusals("invalid_payload")).await, 5.0);
    // Nobody whose token is bad learns even that.
    let mut eve = RawSocket::open(sidecar.public).await;
    assert_eq!(eve.connect(&json!({ "token": "x", "since": 7 })).await, Err("token_invalid".into()));
    let mut auth = member("ann", &["red"]);
    auth["since"] = Value::Null;
    let mut ann = RawSocket::join(sidecar.public, &auth).await;
    assert_eq!(ann.heard_until_now().await, [""; 0]);
}

#[tokio::test]
async fn a_kept_event_is_let_go_with_its_team_alone() {
    let kept = "[relay]\nmeta = true\n[relay.history]\ncount = 2\n[rooms]\nmulti_team = \"all\"\n";
    let sidecar = Sidecar::start(kept).await;
    let mut both = join(&sidecar, "bo", &["red", "blue"]).await;
    let mut red = join(&sidecar, "ron", &["red"]).await;
    sends(&mut both, &["1", "2"]).await;
    let since = id(&heard(&mut both).await);
    sends(&mut red, &["3", "4"]).await;
    // Red has let 2 go, blue has it still.
    let mut blue = back(&sidecar, "bea", &["blue"], &since).await;
    assert_eq!(told(&heard_until_now(&mut blue).await), [("2", 2)]);
    let mut again = back(&sidecar, "bo", &["red", "blue"], &since).await;
    assert_eq!(told(&heard_until_now(&mut again).await), [(NOTICE, 0)]);
    let size = sidecar.metric("flowgate_history_events").await;
    assert_eq!(size, 4.0, "two of each");
}
