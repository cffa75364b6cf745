//! The same where Redis is a cluster, or knows its nodes as a user with few permissions.

use serde_json::json;

use super::{Node, know_each_other, node};
use crate::harness::until;
use crate::redis::{Cluster, Redis};

/// Everything that goes through Redis for all nodes.
async fn is_shared(nodes: [Node; 2]) {
    know_each_other(&nodes).await;
    let [a, b] = &nodes;
    let (ann, ben) = (b.join("ann", &["red"]).await, b.join("ben", &["red"]).await);
    until("members are counted", async || {
        let team = a.operator.get("/api/teams").await["teams"][0].clone();
        (&team["name"], &team["members"], &team["here"]) == (&json!("red"), &json!(2), &json!(0))
    })
    .await;
    let revoked = a.post("/api/revocations", json!({ "subject": "ann" })).await;
    assert_eq!(revoked.get("warning"), None);
    ann.closed().await;
    b.until_revoked(&["ann"]).await;
    let id = revoked["revocations"][0]["id"].as_str().unwrap();
    assert_eq!(b.operator.ask("DELETE", &format!("/api/revocations/{id}"), "").await.0, 204);
    a.until_revoked(&[]).await;
    let answer = a.post("/api/disconnect", json!({ "user": "ben" })).await;
    assert_eq!((&answer["closed"], answer.get("warning")), (&json!(1), None), "{answer}");
    ben.closed().await;
}

#[tokio::test]
async fn a_cluster_of_redis_serves_as_well() {
    let cluster = Cluster::start(&[]);
    let urls: Vec<String> =
        cluster.nodes.iter().map(|one| format!("redis://127.0.0.1:{}", one.port)).collect();
    let nodes = async |name| node(name, &format!("{urls:?}"), "cluster = true\nprefix = \"fg\"").await;
    is_shared([nodes("a").await, nodes("b").await]).await;
}

/// Those that docs/bus.md names, and no others.
#[tokio::test]
async fn a_user_with_the_documented_permissions_is_enough() {
    let redis = Redis::start(&[]);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bus.md")).unwrap();
    let rules: Vec<&str> = page.lines().filter(|line| line.starts_with("ACL SETUSER")).collect();
    assert_eq!(rules.len(), 2);
    for rule in &rules {
        let () = redis.ask(&rule.replace("PASSWORD", "hunter2"));
    }
    let url = format!("\"redis://127.0.0.1:{}\"", redis.port);
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let user = format!("username = \"flowgate\"\npassword_file = {password:?}");
    is_shared([node("a", &url, &user).await, node("b", &url, &user).await]).await;
    let denied: Vec<Vec<redis::Value>> = redis.ask("ACL LOG");
    assert!(denied.is_empty(), "{denied:?}");
}
