//! What arrives is checked, and signed where nodes have a secret.

use serde_json::json;

use super::{RESYNC, Scene, heard_before, join, publish, resyncs, resyncs_for, text};
use crate::harness::Sidecar;
use crate::harness::operator::Operator;

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
    // Those of the right version could have been a node's that holds by another policy, whose members have heard something.
    b.until(&resyncs_for("refused"), 1.0).await;
    publish(&a, json!({ "team": "red", "payload": "end" })).await;
    assert_eq!(heard_before(&mut ben, &text("end")).await, [RESYNC]);
    assert_eq!(resyncs(&b).await, 1.0);
}

#[tokio::test]
async fn what_another_policy_allows_is_fetched_however_much_too_large_it_is_here() {
    let scene = Scene::start();
    let b = scene.node("[limits.payload]\nmax_bytes = \"1KiB\"\n").await;
    let mut ben = join(&b, "ben", &["red"]).await;
    let message = format!(
        "fg1 -\nchange {{\"origin\":\"77\",\"sent\":1,\"id\":\"77-1\",\"event\":\"database-change\",\
         \"emit\":\"database-changed\",\"teams\":[[\"red\",1]],\"at\":1}}\n\"{}\"",
        "x".repeat(200 << 10)
    );
    let mut redis = scene.redis.connect();
    let () = redis::cmd("PUBLISH").arg("fg:t:{red}").arg(message).query(&mut redis).unwrap();
    assert_eq!(ben.event().await, RESYNC);
}

#[tokio::test]
async fn a_recorded_disconnection_is_not_done_again() {
    let scene = Scene::start();
    let (a, b) = (scene.node(SIGNED).await, scene.node(SIGNED).await);
    a.until("flowgate_bus_nodes", 1.0).await;
    b.until("flowgate_bus_nodes", 1.0).await;
    let disconnect = async |user: &str| {
        let wanted = json!({ "user": user }).to_string();
        let (status, answer) = Operator(a.internal).ask("POST", "/api/disconnect", &wanted).await;
        assert_eq!(status, 200, "{answer}");
    };
    let ben = join(&b, "ben", &["red"]).await;
    let mut redis = scene.redis.connect();
    let mut recorder = redis.as_pubsub();
    recorder.subscribe("fg:control").unwrap();
    disconnect("ben").await;
    ben.closed().await;
    let word: Vec<u8> = loop {
        let message: Vec<u8> = recorder.get_message().unwrap().get_payload().unwrap();
        if String::from_utf8_lossy(&message).contains("\"disconnect\"") {
            break message;
        }
    };
    let mut again = join(&b, "ben", &["red"]).await;
    let () = redis::cmd("PUBLISH").arg("fg:control").arg(word).query(&mut scene.redis.connect()).unwrap();
    // What is asked for later is done later.
    let other = join(&b, "cleo", &["red"]).await;
    disconnect("cleo").await;
    other.closed().await;
    assert_eq!(again.heard_until_now().await, Vec::<String>::new());
}
