//! Which channels a node listens to, and that whoever is let in has not missed the beginning.

use serde_json::json;

use super::{RESYNC, Scene, heard_before, join, publish, resyncs_for, text};
use crate::harness::until;

#[tokio::test]
async fn a_node_listens_to_a_teams_channel_while_it_has_members_of_it() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    assert_eq!(scene.channels(), Vec::<String>::new());
    let ann = join(&a, "ann", &["red", "blue"]).await;
    let ben = join(&b, "ben", &["blue"]).await;
    assert_eq!(scene.channels(), ["blue", "red"]);
    drop(ann);
    until("only b listens", async || scene.channels() == ["blue"]).await;
    let series = |state: &str| format!("flowgate_bus_channels{{state=\"{state}\"}}");
    a.until(&series("wanted"), 0.0).await;
    assert_eq!(b.metric(&series("confirmed")).await, 1.0);
    drop(ben);
    until("nobody listens", async || scene.channels().is_empty()).await;
}

#[tokio::test]
async fn who_is_let_in_hears_everything_from_then_on() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    for round in 0..30 {
        let team = format!("team-{round}");
        let mut ben = join(&b, "ben", &[&team]).await;
        publish(&a, json!({ "team": team, "payload": "first" })).await;
        publish(&a, json!({ "team": team, "payload": "end" })).await;
        assert_eq!(heard_before(&mut ben, &text("end")).await, [text("first")]);
    }
    // Whoever had been let in too early would be told by the time that others are for another reason.
    let _member = join(&b, "ben", &["red"]).await;
    let _: u64 = scene.redis.ask("CLIENT KILL TYPE pubsub");
    until("they are told", async || b.metric(&resyncs_for("interrupted")).await > 0.0).await;
    assert_eq!(b.metric(&resyncs_for("late")).await, 0.0);
}

#[tokio::test]
async fn a_team_that_was_left_and_is_joined_again_is_heard_again() {
    let scene = Scene::start();
    let (a, b) = (scene.node("").await, scene.node("").await);
    for round in 0..10 {
        let mut ben = join(&b, "ben", &["red"]).await;
        publish(&a, json!({ "team": "red", "payload": round })).await;
        // What was sent before it came may still be on its way then.
        let before = heard_before(&mut ben, &round.to_string()).await;
        assert!(before.iter().all(|event| *event == text("lost")), "{before:?}");
        drop(ben);
        b.until("flowgate_rooms", 0.0).await;
        // Nobody is there to hear it.
        publish(&a, json!({ "team": "red", "payload": "lost" })).await;
    }
    let mut ben = join(&b, "ben", &["red"]).await;
    publish(&a, json!({ "team": "red", "payload": "end" })).await;
    assert!(!heard_before(&mut ben, &text("end")).await.contains(&RESYNC.to_owned()));
}
