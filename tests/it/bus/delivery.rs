//! Who hears on another node what is sent on one, and how.

use serde_json::json;

use super::{Scene, heard_before, join, publish, text};
use crate::harness::websocket::RawSocket;
use crate::harness::{member, mint, within};

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn a_team_is_one_on_all_nodes_and_hears_byte_for_byte() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    let mut cleo = join(&b, "cleo", &["blue"]).await;
    let mut both = join(&b, "dan", &["red", "blue"]).await;
    let payload = "{ \"type\" : \"t\",\t\"n\":1.0, \"s\":\"\\u00e4\\/ä\" }";
    assert_eq!(ann.ask(payload).await["ok"], true);
    assert_eq!(ben.event().await, payload);
    assert_eq!(both.event().await, payload);
    assert_eq!(cleo.ask(&text("end")).await["ok"], true);
    assert_eq!(heard_before(&mut cleo, &text("end")).await, NOTHING);
    // Who sent it hears itself on its own node, once.
    assert_eq!(ann.heard_until_now().await, [payload]);
}

#[tokio::test]
async fn the_sender_is_left_out_where_it_is_and_all_others_hear() {
    let scene = Scene::start();
    let settings = "[events.database-change]\nsender = \"exclude\"\n";
    let (a, b) = (scene.node(settings).await, scene.node(settings).await);
    let mut ann = join(&a, "ann", &["red"]).await;
    // The same user elsewhere is another socket.
    let mut again = join(&b, "ann", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    ann.ask("1").await;
    assert_eq!([again.event().await, ben.event().await], ["1", "1"]);
    ben.ask("2").await;
    assert_eq!(ann.event().await, "2");
    assert_eq!(ann.heard_until_now().await, NOTHING);
}

#[tokio::test]
async fn whoever_is_in_as_many_teams_as_can_be_is_heard_in_all_of_them() {
    let scene = Scene::start();
    let settings = "[rooms]\nmulti_team = \"all\"\n";
    let (a, b) = (scene.node(settings).await, scene.node("").await);
    let teams: Vec<String> = (0..256).map(|number| format!("team {number}")).collect();
    let teams: Vec<&str> = teams.iter().map(String::as_str).collect();
    let mut boss = join(&a, "boss", &teams).await;
    let (mut first, mut last) = (join(&b, "ann", &teams[..1]).await, join(&b, "ben", &teams[255..]).await);
    assert_eq!(boss.ask("1").await["ok"], true);
    assert_eq!([first.event().await, last.event().await], ["1", "1"]);
}

#[tokio::test]
async fn one_senders_events_come_in_order_and_nothing_is_missing() {
    const EVENTS: usize = 3_000;
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut other = join(&a, "cleo", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    let sent = tokio::spawn(async move {
        for number in 0..EVENTS {
            ann.emit(&text(format!("a{number}"))).await;
            other.emit(&text(format!("c{number}"))).await;
        }
        (ann, other)
    });
    let mut next = [0, 0];
    for _ in 0..2 * EVENTS {
        let heard: String = serde_json::from_str(&ben.event().await).unwrap();
        let (who, number) = heard.split_at(1);
        let next = &mut next[usize::from(who == "c")];
        assert_eq!(number, next.to_string(), "of {who}");
        *next += 1;
    }
    assert_eq!(next, [EVENTS; 2]);
    within("all is sent", sent).await.unwrap();
    assert_eq!(b.metric("flowgate_bus_received_total{outcome=\"delivered\"}").await, 2.0 * EVENTS as f64);
    assert_eq!(b.metric("flowgate_bus_gaps_total").await, 0.0);
}

#[tokio::test]
async fn who_is_in_several_of_an_events_teams_hears_it_once() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    let mut both = join(&b, "ann", &["red", "blue"]).await;
    let mut red = join(&b, "ben", &["red"]).await;
    let mut blue = join(&b, "cleo", &["blue"]).await;
    let mut green = join(&b, "dan", &["green"]).await;
    for number in 0..20 {
        let answer = publish(&a, json!({ "teams": ["red", "blue", "elsewhere"], "payload": number })).await;
        assert_eq!(answer["bus"], "confirmed", "{answer}");
        publish(&a, json!({ "team": "blue", "payload": "between" })).await;
    }
    publish(&a, json!({ "teams": ["blue", "red"], "payload": "end" })).await;
    publish(&a, json!({ "team": "green", "payload": "end" })).await;
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let with_others: Vec<String> =
        numbers.iter().flat_map(|number| [number.clone(), text("between")]).collect();
    assert_eq!(heard_before(&mut both, &text("end")).await, with_others);
    assert_eq!(heard_before(&mut blue, &text("end")).await, with_others);
    assert_eq!(heard_before(&mut red, &text("end")).await, numbers);
    assert_eq!(heard_before(&mut green, &text("end")).await, NOTHING);
}

#[tokio::test]
async fn another_nodes_events_are_withheld_as_this_ones_are() {
    let scene = Scene::start();
    let settings = "[events.database-change]\npayload = \"typed\"\n\
        [[events.database-change.types]]\nmatch = \"salary-*\"\n\
        [[audience]]\nname = \"salaries\"\non = [\"salary-*\"]\nteams = [\"*\"]\nhear_if = '\"boss\" in peer.roles'\n";
    let (a, b) = (scene.node(settings).await, scene.node(settings).await);
    let mut ann = join(&a, "ann", &["red"]).await;
    let mut ben = join(&b, "ben", &["red"]).await;
    let boss = json!({ "token": mint(json!({ "sub": "eve", "teams": ["red"], "roles": ["boss"] })) });
    let mut boss = RawSocket::join(b.public, &boss).await;
    let mut picky = member("dan", &["red"]);
    picky["filter"] = json!({ "taskIds": [7] });
    let mut picky = RawSocket::join(b.public, &picky).await;
    let [salary, task, seven] = [
        r#"{"type":"salary-raised"}"#,
        r#"{"type":"task-updated","taskId":8}"#,
        r#"{"type":"task-updated","taskId":7}"#,
    ];
    for payload in [salary, task, seven] {
        let answer = ann.ask(payload).await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
    assert_eq!(heard_before(&mut ben, seven).await, [task]);
    assert_eq!(heard_before(&mut boss, seven).await, [salary, task]);
    assert_eq!(heard_before(&mut picky, seven).await, NOTHING);
    assert_eq!(b.metric("flowgate_withheld_total{reason=\"audience\"}").await, 2.0);
}
