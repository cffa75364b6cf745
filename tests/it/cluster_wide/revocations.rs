//! What is revoked on one node is on all, whenever they come.

use serde_json::{Value, json};

use super::{Node, SIGNED, Scene};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{member, until};

const NOBODY: [&str; 0] = [];

async fn revoke(node: &Node, subject: &str) -> Value {
    node.post("/api/revocations", json!({ "subject": subject })).await
}

/// Its id.
fn id(revoked: &Value) -> String {
    revoked["revocations"][0]["id"].as_str().unwrap().to_owned()
}

async fn undo(node: &Node, id: &str) {
    let (status, answer) = node.operator.ask("DELETE", &format!("/api/revocations/{id}"), "").await;
    assert_eq!(status, 204, "{answer}");
}

/// What becomes of somebody who comes with a token that was issued before all of this.
async fn knock(node: &Node, user: &str) -> Result<(), String> {
    RawSocket::open(node.sidecar.public).await.connect(&member(user, &["red"])).await
}

#[tokio::test]
async fn a_revocation_closes_sockets_of_all_nodes_and_undoing_it_lets_all_in_again() {
    let scene = Scene::start();
    let [a, b] = scene.two("").await;
    let (here, there) = (a.join("ann", &["red"]).await, b.join("ann", &["red"]).await);
    let polling = Polling::join(b.sidecar.public, &member("ann", &["red"])).await;
    let mut ben = b.join("ben", &["red"]).await;
    let revoked = revoke(&a, "ann").await;
    assert_eq!((&revoked["closed"], revoked.get("warning")), (&json!(1), None));
    here.closed().await;
    there.closed().await;
    polling.closed().await;
    b.until_revoked(&["ann"]).await;
    assert_eq!(knock(&b, "ann").await, Err("token_revoked".into()));
    assert_eq!(ben.ask("1").await["ok"], true);
    // On whichever node it is undone.
    undo(&b, &id(&revoked)).await;
    a.until_revoked(&NOBODY).await;
    assert_eq!((knock(&a, "ann").await, knock(&b, "ann").await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn who_starts_later_learns_all_and_does_not_bring_back_what_was_undone() {
    let folder = tempfile::tempdir().unwrap();
    let kept = format!("[revocation]\nstore = \"{}\"", folder.path().join("r.redb").display());
    let scene = Scene::start();
    let a = scene.node("a", "").await;
    let ann = revoke(&a, "ann").await;
    revoke(&a, "ben").await;
    let mut b = scene.node("b", &kept).await;
    b.until_revoked(&["ann", "ben"]).await;
    b.sidecar.stop();
    b.sidecar.stopped().await;
    undo(&a, &id(&ann)).await;
    revoke(&a, "cid").await;
    // Its store still has the one that was undone.
    let b = scene.node("b", &kept).await;
    b.until_revoked(&["ben", "cid"]).await;
    // That is what the others have, also when all have looked again.
    let c = scene.node("c", "").await;
    c.until_revoked(&["ben", "cid"]).await;
    assert_eq!(a.revoked().await, ["ben", "cid"]);
    // And where nobody has a store, Redis keeps them.
    drop((a, b, c));
    scene.node("d", "").await.until_revoked(&["ben", "cid"]).await;
}

#[tokio::test]
async fn while_redis_is_away_a_node_revokes_for_itself_and_all_come_together_when_it_is_back() {
    let mut scene = Scene::start();
    let [a, b] = scene.two("").await;
    let known = revoke(&a, "ann").await;
    b.until_revoked(&["ann"]).await;
    scene.redis.kill();
    a.sidecar.until("flowgate_bus_up", 0.0).await;
    b.sidecar.until("flowgate_bus_up", 0.0).await;
    let (here, there) = (a.join("ben", &["red"]).await, b.join("ben", &["red"]).await);
    let revoked = revoke(&a, "ben").await;
    assert!(revoked["warning"].as_str().unwrap().contains("once Redis is back"), "{revoked}");
    here.closed().await;
    revoke(&b, "cid").await;
    undo(&a, &id(&known)).await;
    assert_eq!(
        (a.revoked().await, b.revoked().await),
        (vec!["ben".into()], vec!["ann".into(), "cid".into()])
    );
    // It has forgotten everything.
    scene.redis.start_again();
    b.until_revoked(&["ben", "cid"]).await;
    a.until_revoked(&["ben", "cid"]).await;
    there.closed().await;
    let c = scene.node("c", "").await;
    c.until_revoked(&["ben", "cid"]).await;
}

/// The field and the value of an entry about another subject, made of the only one that there is.
fn another(scene: &Scene, subject: &str, last: &str) -> (String, String) {
    let entry: Vec<String> = scene.redis.ask("HGETALL fg:{revocations}");
    let field = format!("{}{last}", &entry[0][..12]);
    let json = entry[1].split_once(' ').unwrap().1.replace(&entry[0], &field).replace("ann", subject);
    (field, json)
}

#[tokio::test]
async fn what_is_said_is_looked_at_and_what_was_not_heard_is_found_out() {
    let scene = Scene::start();
    let [a, b] = scene.two("").await;
    revoke(&a, "ann").await;
    b.until_revoked(&["ann"]).await;
    let mut redis = scene.redis.connect();
    let mut put = |(field, json): &(String, String)| {
        let value = format!("- {json}");
        redis::cmd("HSET").arg("fg:{revocations}").arg(field).arg(value).exec(&mut redis).unwrap();
    };
    let (bob, cid) = (another(&scene, "bob", "0123"), another(&scene, "cid", "0124"));
    // Nothing is counted, so that only who hears of it looks.
    put(&bob);
    let word = json!({ "word": "revocations", "ids": [bob.0], "count": 99 });
    let said = format!("fg1 -\nword {{\"origin\":\"abc\",\"sent\":1}}\n{word}");
    let heard: i64 =
        redis::cmd("PUBLISH").arg("fg:control").arg(said).query(&mut scene.redis.connect()).unwrap();
    assert_eq!(heard, 2);
    a.until_revoked(&["ann", "bob"]).await;
    b.until_revoked(&["ann", "bob"]).await;
    // As if it had been said while nobody could hear it.
    put(&cid);
    let _: i64 = scene.redis.ask("INCR fg:{revocations}:changes");
    a.until_revoked(&["ann", "bob", "cid"]).await;
    b.until_revoked(&["ann", "bob", "cid"]).await;
}

#[tokio::test]
async fn who_has_no_secret_revokes_and_undoes_nothing() {
    let scene = Scene::start();
    let [a, b] = scene.two(SIGNED).await;
    let ann = revoke(&a, "ann").await;
    b.until_revoked(&["ann"]).await;
    // Whoever can write to Redis, and says it to all.
    let entry: Vec<String> = scene.redis.ask("HGETALL fg:{revocations}");
    let signature = entry[1].split_once(' ').unwrap().0;
    assert!(signature.len() > 40, "{entry:?}");
    let (other, bob) = another(&scene, "bob", "0123");
    let undone = format!(
        "{{\"id\":\"{}\",\"undoneAt\":\"2096-03-01T12:00:00Z\",\"end\":\"2096-03-01T12:00:00Z\"}}",
        id(&ann)
    );
    let mut redis = scene.redis.connect();
    for signature in ["-", signature] {
        for (field, json) in [(&other, &bob), (&id(&ann), &undone)] {
            let value = format!("{signature} {json}");
            redis::cmd("HSET").arg("fg:{revocations}").arg(field).arg(value).exec(&mut redis).unwrap();
        }
        // That of another entry is none.
        redis::cmd("HSET")
            .arg("fg:{revocations}")
            .arg("0000000000000001")
            .arg(&entry[1])
            .exec(&mut redis)
            .unwrap();
        redis::cmd("INCR").arg("fg:{revocations}:changes").exec(&mut redis).unwrap();
        // A change of a node's own has both look at all.
        revoke(&a, "dan").await;
        // Both write what they know in the place of what is not theirs.
        until("it is mended", async || {
            let value: String = scene.redis.ask(&format!("HGET fg:{{revocations}} {}", id(&ann)));
            value == entry[1]
        })
        .await;
    }
    assert_eq!(
        (a.revoked().await, b.revoked().await),
        (vec!["ann".to_owned(), "dan".into()], vec!["ann".into(), "dan".into()])
    );
    assert!(knock(&b, "bob").await.is_ok());
    // A node with the secret that comes now believes nothing else.
    scene.node("c", SIGNED).await.until_revoked(&["ann", "dan"]).await;
}
