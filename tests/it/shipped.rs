//! The shipped policies, booted as they are.

use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm::ES256;
use serde_json::{Value, json};

use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, claims, now, write_settings};
use crate::keys;

/// Listens where nobody else does, and admits as many at once as a test opens.
const FREE_PORTS: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[internal]\nlisten = \"127.0.0.1:0\"\n";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

#[tokio::test]
async fn strict_wants_everything_said_and_keys_that_only_verify() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.pem"), keys::P256_PUBLIC).unwrap();
    let issuer =
        "[[auth.issuers]]\nname = \"app\"\nalgorithms = [\"ES256\"]\npublic_key_file = \"app.pem\"\n";
    let own = write_settings(folder.path(), &[&format!("{FREE_PORTS}{issuer}")]);
    let sidecar = Sidecar::of([vec![shipped("strict.toml")], own].concat()).await;
    let token = keys::token(&claims(json!({ "sub": "ann", "teams": ["red"] })), keys::P256, ES256);
    let mut ann = RawSocket::join(sidecar.public, &json!({ "token": token })).await;

    let whole = json!({ "type": "task-updated", "taskId": 7, "timestamp": now() * 1000 });
    assert_eq!(ann.ask(&whole.to_string()).await["ok"], true);
    assert_eq!(ann.event().await, whole.to_string());
    for (field, code) in
        [("type", "missing_field"), ("taskId", "missing_field"), ("timestamp", "missing_field")]
    {
        let mut cut = whole.clone();
        cut.as_object_mut().unwrap().remove(field);
        assert_eq!(ann.ask(&cut.to_string()).await["code"], code, "without {field}");
    }
    let more: Value = json!({ "type": "task-updated", "taskId": 7, "timestamp": now() * 1000, "more": 1 });
    assert_eq!(ann.ask(&more.to_string()).await["code"], "unknown_field");
}

#[tokio::test]
async fn photoflow_lets_an_unmodified_client_be() {
    let folder = tempfile::tempdir().unwrap();
    let own = write_settings(folder.path(), &[FREE_PORTS]);
    let sidecar = Sidecar::of([vec![shipped("photoflow.toml")], own].concat()).await;
    let mut ann = RawSocket::join(sidecar.public, &json!({})).await;
    let mut ben = RawSocket::join(sidecar.public, &Value::Null).await;
    // The real PhotoFlow client emits with no payload at all.
    assert_eq!(ann.ask("").await["ok"], true);
    assert_eq!((ann.event().await, ben.event().await), ("null".to_owned(), "null".to_owned()));
}

#[tokio::test]
async fn photoflow_tells_a_client_to_fetch_where_the_lines_that_say_so_are_turned_on() {
    let text = std::fs::read_to_string(shipped("photoflow.toml")).unwrap();
    let lines = text.lines().skip_while(|line| *line != "# [relay]").take(2);
    let turned_on: Vec<&str> = lines.map(|line| line.strip_prefix("# ").unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let own = write_settings(folder.path(), &[FREE_PORTS, &turned_on.join("\n")]);
    let sidecar = Sidecar::of([vec![shipped("photoflow.toml")], own].concat()).await;
    let mut ann = RawSocket::join(sidecar.public, &Value::Null).await;
    assert_eq!(ann.event().await, r#"{"type":"resync"}"#);
}
