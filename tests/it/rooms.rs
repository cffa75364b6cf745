//! Who hears what: the sender's teams and nobody else, each member once.

use serde_json::{Value, json};

use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, member};

const NOTHING: [&str; 0] = [];

async fn join(sidecar: &Sidecar, user: &str, teams: &[&str]) -> RawSocket {
    RawSocket::join(sidecar.public, &member(user, teams)).await
}

fn no_room() -> Value {
    json!({ "ok": false, "code": "no_room" })
}

#[tokio::test]
async fn a_team_hears_its_own_and_no_other() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ben = join(&sidecar, "ben", &["red"]).await;
    let mut cleo = join(&sidecar, "cleo", &["blue"]).await;
    let mut both = join(&sidecar, "dan", &["red", "blue"]).await;
    // Names that only nearly match.
    let mut near = join(&sidecar, "eve", &["Red", "re", "redd"]).await;
    assert_eq!(ann.ask("\"red\"").await["ok"], true);
    assert_eq!(cleo.ask("\"blue\"").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, ["\"red\""]);
    assert_eq!(ben.heard_until_now().await, ["\"red\""]);
    assert_eq!(cleo.heard_until_now().await, ["\"blue\""]);
    assert_eq!(both.heard_until_now().await, ["\"red\"", "\"blue\""]);
    assert_eq!(near.heard_until_now().await, NOTHING);
    assert_eq!(sidecar.metric("flowgate_deliveries_total").await, 5.0);
}

#[tokio::test]
async fn nothing_is_heard_from_before_one_joined() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    ann.ask("1").await;
    let mut late = join(&sidecar, "ben", &["red"]).await;
    ann.ask("2").await;
    assert_eq!(late.heard_until_now().await, ["2"]);
}

#[tokio::test]
async fn who_holds_several_teams_names_one() {
    let sidecar = Sidecar::start("").await;
    let mut unnamed = join(&sidecar, "ann", &["red", "blue"]).await;
    let mut auth = member("ben", &["red", "blue"]);
    auth["team"] = "blue".into();
    let mut named = RawSocket::join(sidecar.public, &auth).await;
    let mut red = join(&sidecar, "cleo", &["red"]).await;
    let mut blue = join(&sidecar, "dan", &["blue"]).await;
    assert_eq!(unnamed.ask("1").await, no_room());
    assert_eq!(named.ask("2").await["ok"], true);
    assert_eq!(red.ask("3").await["ok"], true);
    assert_eq!(red.heard_until_now().await, ["3"]);
    assert_eq!(blue.heard_until_now().await, ["2"]);
    // Naming a team is about sending: it listens in all of its own.
    assert_eq!(named.heard_until_now().await, ["2", "3"]);
    assert_eq!(unnamed.heard_until_now().await, ["2", "3"]);
}

#[tokio::test]
async fn a_payload_may_name_a_team_that_is_held() {
    let sidecar =
        Sidecar::start("[events.database-change]\npayload = \"typed\"\nteam_field = \"team\"").await;
    let mut auth = member("ann", &["red", "blue"]);
    auth["team"] = "blue".into();
    let mut sender = RawSocket::join(sidecar.public, &auth).await;
    let mut red = join(&sidecar, "cleo", &["red"]).await;
    let mut blue = join(&sidecar, "dan", &["blue"]).await;
    let mut green = join(&sidecar, "eve", &["green"]).await;
    let change = |team: &str| format!(r#"{{"type":"task-created","team":{team}}}"#);
    assert_eq!(sender.ask(&change("\"red\"")).await["ok"], true);
    assert_eq!(sender.ask(&change("\"green\"")).await, no_room());
    assert_eq!(sender.ask(&change("\"RED\"")).await, no_room());
    assert_eq!(sender.ask(&change("\"*\"")).await, no_room());
    for odd in ["[\"green\"]", "{\"green\":1}", "7", "true"] {
        assert_eq!(sender.ask(&change(odd)).await["ok"], false, "{odd}");
    }
    let twice = r#"{"type":"task-created","team":"red","team":"green"}"#;
    assert_eq!(sender.ask(twice).await["ok"], false);
    let escaped = r#"{"type":"task-created","team":"\u0072ed"}"#;
    assert_eq!(sender.ask(escaped).await["ok"], true);
    assert_eq!(red.heard_until_now().await, [&change("\"red\""), escaped]);
    assert_eq!(blue.heard_until_now().await, NOTHING);
    assert_eq!(green.heard_until_now().await, NOTHING);
}

#[tokio::test]
async fn without_a_team_field_in_the_policy_a_payload_names_nothing() {
    let sidecar = Sidecar::start("").await;
    let mut red = join(&sidecar, "ann", &["red"]).await;
    let mut green = join(&sidecar, "eve", &["green"]).await;
    for payload in [r#"{"team":"green"}"#, r#"{"room":"green","teams":["green"]}"#, "\"green\""] {
        assert_eq!(red.ask(payload).await["ok"], true);
    }
    assert_eq!(green.heard_until_now().await, NOTHING);
    assert_eq!(red.heard_until_now().await.len(), 3);
}

#[tokio::test]
async fn to_all_teams_each_member_hears_once() {
    let sidecar = Sidecar::start("[rooms]\nmulti_team = \"all\"").await;
    let mut sender = join(&sidecar, "ann", &["red", "blue", "green"]).await;
    let mut two = join(&sidecar, "ben", &["green", "red"]).await;
    let mut one = join(&sidecar, "cleo", &["blue"]).await;
    let mut none = join(&sidecar, "dan", &["black"]).await;
    assert_eq!(sender.ask("1").await["ok"], true);
    assert_eq!(two.ask("2").await["ok"], true);
    assert_eq!(sender.heard_until_now().await, ["1", "2"]);
    assert_eq!(two.heard_until_now().await, ["1", "2"]);
    assert_eq!(one.heard_until_now().await, ["1"]);
    assert_eq!(none.heard_until_now().await, NOTHING);
    assert_eq!(sidecar.metric("flowgate_deliveries_total").await, 5.0);
}

#[tokio::test]
async fn the_sender_may_be_left_out() {
    let sidecar = Sidecar::start("[events.database-change]\nsender = \"exclude\"").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    let mut ann_elsewhere = join(&sidecar, "ann", &["red"]).await;
    assert_eq!(ann.ask("1").await["ok"], true);
    assert_eq!(ann.heard_until_now().await, NOTHING);
    assert_eq!(ann_elsewhere.heard_until_now().await, ["1"], "another connection is no sender");
}

#[tokio::test]
async fn the_echo_comes_before_the_answer() {
    let sidecar = Sidecar::start("").await;
    let mut ann = join(&sidecar, "ann", &["red"]).await;
    for at in 0..200 {
        ann.send(&packets::event(EVENT, &at.to_string(), Some(at))).await;
    }
    let (mut echoed, mut answered) = (0, 0);
    while answered < 200 {
        let packet = ann.packet().await.unwrap();
        match packets::heard(&packet) {
            Some(argument) => {
                assert_eq!(argument, echoed.to_string());
                echoed += 1;
            }
            None => {
                assert_eq!(packets::answer(&packet, answered).expect("answers in order")["ok"], true);
                answered += 1;
            }
        }
        assert!(echoed >= answered, "answer {answered} came before its echo");
    }
}

/// While polling, echo and answer wait in one queue, so that they alternate.
#[tokio::test]
async fn the_echo_comes_before_the_answer_while_polling() {
    let sidecar = Sidecar::start("").await;
    let mut ann = Polling::join(sidecar.public, &member("ann", &["red"])).await;
    for at in 0..20 {
        let ask = packets::event(EVENT, &at.to_string(), Some(at));
        assert_eq!(ann.post(&ask).await.status, 200);
    }
    for at in 0..20 {
        assert_eq!(packets::heard(&ann.packet().await.unwrap()), Some(at.to_string().as_str()));
        assert_eq!(packets::answer(&ann.packet().await.unwrap(), at).unwrap()["ok"], true);
    }
}
