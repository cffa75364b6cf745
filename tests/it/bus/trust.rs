//! What arrives is checked, and signed where nodes have a secret.

use serde_json::json;

use super::{RESYNC, Scene, heard_before, join, publish, resyncs, resyncs_for, text};
use crate::harness::Sidecar;

const SIGNED: &str = "[bus.hmac]\nsecret_env = \"TEST_SECRET\"\n";

async fn refused(node: &Sidecar, reason: &str) -> f64 {
    node.metric(&format!("flowgate_bus_refused_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn who_has_not_the_secret_is_not_listened_to() {
    let scene = Scene::start();
    let (a, b) = (scene.node(SIGNED).await, scene.node(SIGNED).await);
    let other = "[bus.hmac]\nsecret_env = \"OTHER_SECRET\"\n";
    let strangers = [scene.node("").await, scene.node(other).await];
    let mut ben = join(&b, "ben", &["red"]).await;
    for stranger in &strangers {
        let answer = publish(stranger, json!({ "team": "red", "payload": "forged" })).await;
        assert_eq!(answer["bus"], "confirmed");
    }
    publish(&a, json!({ "team": "red", "payload": "end" })).await;
    assert_eq!(heard_before(&mut ben, &text("end")).await, Vec::<String>::new());
    assert!(refused(&b, "signature").await >= 2.0);
    // Nor are they nodes.
    b.until("flowgate_bus_nodes", 1.0).await;
}

#[tokio::test]
async fn what_is_nothing_of_a_nodes_is_ignored_and_counted() {
    let scene = Scene::start();
    let settings = "[limits.payload]\nmax_bytes = \"1KiB\"\n";
    let (a, b) = (scene.node(settings).await, scene.node(settings).await);
    let mut ben = join(&b, "ben", &["red"]).await;
    let change = |teams: &str, emit: &str, payload: &str| {
        format!(
            "fg1 -\nchange {{\"origin\":\"77\",\"sent\":1,\"id\":\"77-1\",\"event\":\"database-change\",\"emit\":\"{emit}\",\
             \"teams\":[{teams}],\"at\":1}}\n{payload}"
        )
    };
    let emit = "database-changed";
    let messages: [(&str, Vec<u8>); 9] = [
        ("version", b"hello".to_vec()),
        ("version", b"\x96\xa6uid123\x83\xa4type\x03\xa4data\x92\xa1x\x01\xa3nsp\xa1/\x80".to_vec()),
        ("version", change("[\"red\",1]", emit, "1").replace("fg1", "fg9").into_bytes()),
        ("malformed", b"fg1 -\nchange {\n".to_vec()),
        ("malformed", change("[\"red\",1]", emit, "{}],42[\"x\"").into_bytes()),
        ("team", change("[\"blue\",1]", emit, "1").into_bytes()),
        (
            "too_deep",
            change("[\"red\",1]", emit, &format!("{}{}", "[".repeat(99), "]".repeat(99))).into_bytes(),
        ),
        ("too_large", change("[\"red\",1]", emit, &format!("\"{}\"", "x".repeat(1024))).into_bytes()),
        ("unknown_event", change("[\"red\",1]", "made-up", "1").into_bytes()),
    ];
    let mut redis = scene.redis.connect();
    for (reason, message) in &messages {
        let before = refused(&b, reason).await;
        let heard: u64 = redis::cmd("PUBLISH").arg("fg:t:{red}").arg(&message[..]).query(&mut redis).unwrap();
        assert_eq!(heard, 1);
        b.until(&format!("flowgate_bus_refused_total{{reason=\"{reason}\"}}"), before + 1.0).await;
    }
    // Three of them could have been a node's that holds by another policy, so that its members have heard something.
    b.until(&resyncs_for("refused"), 1.0).await;
    publish(&a, json!({ "team": "red", "payload": "end" })).await;
    assert_eq!(heard_before(&mut ben, &text("end")).await, [RESYNC]);
    assert_eq!(resyncs(&b).await, 1.0);
}
