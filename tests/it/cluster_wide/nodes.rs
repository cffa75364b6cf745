//! Disconnections on all nodes, who is there, and members of teams everywhere.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{SIGNED, Scene, know_each_other};
use crate::harness::{closes, until};

/// How many each node has closed, by its name.
fn by_node(answer: &Value) -> Vec<(&str, Option<u64>)> {
    let nodes = answer["nodes"].as_array().unwrap().iter();
    let mut nodes: Vec<_> =
        nodes.map(|node| (node["node"].as_str().unwrap(), node["closed"].as_u64())).collect();
    // The one that was asked is first, and the others are in the order of their runs.
    assert_eq!(nodes[0].0, "a");
    nodes.sort();
    nodes
}

/// Members of the teams by name: on all nodes, and on the one that is asked.
fn members(answer: &Value) -> Vec<(&str, u64, u64)> {
    let team = |team: &'_ Value| (team["members"].as_u64().unwrap(), team["here"].as_u64().unwrap());
    let teams = answer["teams"].as_array().unwrap();
    teams.iter().map(|one| (one["name"].as_str().unwrap(), team(one).0, team(one).1)).collect()
}

#[tokio::test]
async fn a_disconnection_reaches_all_nodes_and_each_says_what_it_has_closed() {
    let scene = Scene::start();
    let [a, b] = scene.two(SIGNED).await;
    let c = scene.node("c", SIGNED).await;
    let nodes = [a, b, c];
    know_each_other(&nodes).await;
    let [a, b, _] = &nodes;
    let mut closed =
        vec![a.join("ann", &["red"]).await, b.join("ann", &["red"]).await, b.join("ann", &["blue"]).await];
    let mut ben = b.join("ben", &["blue"]).await;
    let answer = a.post("/api/disconnect", json!({ "user": "ann", "reason": "a test" })).await;
    assert_eq!((&answer["closed"], answer.get("warning")), (&json!(3), None), "{answer}");
    assert_eq!(by_node(&answer), [("a", Some(1)), ("b", Some(2)), ("c", Some(0))]);
    for socket in closed.drain(..) {
        assert_eq!(socket.close_code().await, Some(1001));
    }
    assert_eq!(b.sidecar.metric(&closes("admin")).await, 2.0);
    // Only here.
    let answer = a.post("/api/disconnect", json!({ "team": "blue", "here": true })).await;
    assert_eq!(answer, json!({ "closed": 0 }));
    assert_eq!(ben.ask("1").await["ok"], true);
    let answer = a.post("/api/disconnect", json!({ "address": "127.0.0.1" })).await;
    assert_eq!(answer["closed"], 1);
    ben.closed().await;
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_and_one_that_is_away_is_said_to_be() {
    let mut scene = Scene::start();
    let [a, b] = scene.two("").await;
    let sent = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let about = r#"{"version":"9.9.9","policy":"0123456789ab","connections":7,"since":1}"#;
    let alive =
        format!("fg1 -\nalive {{\"origin\":\"abc\",\"sent\":{sent},\"node\":\"mute\",\"about\":{about}}}\n");
    let said: i64 =
        redis::cmd("PUBLISH").arg("fg:control").arg(alive).query(&mut scene.redis.connect()).unwrap();
    assert_eq!(said, 2, "both nodes hear it");
    until("it is known", async || a.knows().await == ["a", "b", "mute"]).await;
    let ann = b.join("ann", &["red"]).await;
    let answer = a.post("/api/disconnect", json!({ "user": "ann" })).await;
    assert_eq!(by_node(&answer), [("a", Some(0)), ("b", Some(1)), ("mute", None)]);
    assert!(answer["warning"].as_str().unwrap().contains("not every node has answered"), "{answer}");
    ann.closed().await;
    let listed = a.operator.get("/api/nodes").await;
    let mute = listed["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "mute").unwrap();
    assert_eq!(
        (&mute["run"], &mute["version"], &mute["connections"]),
        (&json!("abc"), &json!("9.9.9"), &json!(7))
    );
    // It falls silent.
    until("it is gone", async || a.knows().await == ["a", "b"]).await;
    scene.redis.kill();
    a.sidecar.until("flowgate_bus_up", 0.0).await;
    let ann = a.join("ann", &["red"]).await;
    let answer = a.post("/api/disconnect", json!({ "user": "ann" })).await;
    assert_eq!((&answer["closed"], by_node(&answer)), (&json!(1), vec![("a", Some(1))]));
    assert!(answer["warning"].as_str().unwrap().contains("Redis is away"), "{answer}");
    ann.closed().await;
    assert_eq!(a.operator.get("/api/nodes").await["bus"], "away");
}

#[tokio::test]
async fn nodes_say_by_which_policy_they_act() {
    let scene = Scene::start();
    let [a, b] = scene.two("").await;
    let listed = a.operator.get("/api/nodes").await;
    assert_eq!((&listed["bus"], &listed["policiesAgree"]), (&json!("up"), &json!(true)));
    let [own, other] = &listed["nodes"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&own["node"], &own["self"], &other["self"]), (&json!("a"), &json!(true), &json!(false)));
    assert_eq!((&own["policy"], &own["version"]), (&other["policy"], &other["version"]));
    let _ann = b.join("ann", &["red"]).await;
    until("its connections are known", async || {
        a.operator.get("/api/nodes").await["nodes"][1]["connections"] == 1
    })
    .await;
    assert_eq!(a.sidecar.metric("flowgate_bus_policies_agree").await, 1.0);
    let mut c = scene.node("c", "[refusals]\ndetail = \"full\"").await;
    a.sidecar.until("flowgate_bus_policies_agree", 0.0).await;
    c.sidecar.until("flowgate_bus_policies_agree", 0.0).await;
    assert_eq!(a.operator.get("/api/nodes").await["policiesAgree"], false);
    // Who takes leave is gone at once.
    c.sidecar.stop();
    c.sidecar.stopped().await;
    a.sidecar.until("flowgate_bus_policies_agree", 1.0).await;
    assert_eq!(a.knows().await, ["a", "b"]);
}

#[tokio::test]
async fn a_node_that_is_alone_says_so() {
    let (_sidecar, operator) = crate::harness::operator::operated("[bus]\nnode = \"alone\"").await;
    let listed = operator.get("/api/nodes").await;
    assert_eq!((&listed["bus"], &listed["policiesAgree"]), (&json!("none"), &json!(true)));
    assert_eq!((&listed["nodes"][0]["node"], &listed["nodes"][0]["run"]), (&json!("alone"), &Value::Null));
    let (status, answer) = operator.ask("POST", "/api/disconnect", r#"{"user":"ann"}"#).await;
    assert_eq!((status, answer), (200, json!({ "closed": 0 })));
}

#[tokio::test]
async fn teams_have_the_members_of_all_nodes() {
    let mut scene = Scene::start();
    let [a, b] = scene.two("").await;
    let mut here = Vec::new();
    for (user, teams) in [("ann", &["red"][..]), ("ben", &["red", "blue"])] {
        here.push(a.join(user, teams).await);
    }
    let mut there = Vec::new();
    for (user, teams) in [("cid", &["red"][..]), ("dan", &["green"]), ("eve", &["green"])] {
        there.push(b.join(user, teams).await);
    }
    // Of a node that nobody hears, and of somebody who writes nonsense.
    for wrong in ["HSET fg:members:beef red 1000", "HSET fg:members:beef grey 1"] {
        let _: i64 = scene.redis.ask(wrong);
    }
    let teams = async |query: &str| a.operator.get(&format!("/api/teams{query}")).await;
    let all = [("blue", 1, 1), ("green", 2, 0), ("red", 3, 2)];
    until("all are counted", async || members(&teams("").await) == all).await;
    let listed = teams("?sort=members").await;
    assert_eq!(members(&listed), [all[2], all[1], all[0]]);
    assert_eq!((&listed["total"], &listed["matching"], listed.get("warning")), (&json!(3), &json!(3), None));
    let green = teams("?prefix=g").await;
    assert_eq!((members(&green), &green["total"], &green["matching"]), (vec![all[1]], &json!(3), &json!(1)));
    // A page after the other, also of teams that are elsewhere.
    let first = teams("?limit=1").await;
    let next = teams(&format!("?limit=1&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((members(&first), members(&next)), (vec![all[0]], vec![all[1]]));
    drop(there.pop());
    until("who leaves is not counted", async || members(&teams("").await)[1] == ("green", 1, 0)).await;
    // Redis forgets, and is told again.
    let _: String = scene.redis.ask("FLUSHALL");
    until("they are written again", async || scene.redis.ask::<Vec<String>>("KEYS fg:members:*").len() == 2)
        .await;
    assert_eq!(scene.redis.ask::<i64>("EXISTS fg:members:beef"), 0);
    until("they are counted", async || members(&teams("").await)[1] == ("green", 1, 0)).await;
    // It dies without taking leave.
    drop(b);
    until("its members are gone", async || members(&teams("").await) == [all[0], ("red", 2, 2)]).await;
    scene.redis.kill();
    a.sidecar.until("flowgate_bus_up", 0.0).await;
    let listed = teams("").await;
    assert_eq!(members(&listed), [all[0], ("red", 2, 2)]);
    assert!(listed["warning"].as_str().unwrap().contains("Redis is away"), "{listed}");
}
