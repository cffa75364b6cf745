//! Across restarts: the real process and its real file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use super::{Operator, TOKEN, VARIABLE, knock, revoked, sidecar};
use crate::harness::process::{Process, flowgate};
use crate::harness::{BASE, SECRET_VARIABLE, mint, secret, write_settings};

fn settings(store: &Path) -> String {
    format!("[revocation]\nstore = {:?}", store.to_str().unwrap())
}

fn serve(store: &Path) -> (Process, Operator) {
    let process = Process::serve_in(&settings(store), &[(VARIABLE, TOKEN)]);
    let operator = Operator(process.internal);
    (process, operator)
}

/// A start that fails.
fn fails(store: &Path) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = flowgate(&["serve"]);
    for path in write_settings(folder.path(), &[BASE, &settings(store)]) {
        command.arg("--config").arg(path);
    }
    let Output { status, stderr, .. } = command.env(SECRET_VARIABLE, secret()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn what_was_revoked_stays_revoked_however_the_process_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("revocations.redb");
    let mut known: Vec<Value> = Vec::new();
    for (round, signal) in ["KILL", "TERM", "KILL"].into_iter().enumerate() {
        let (mut process, operator) = serve(&store);
        assert_eq!(operator.list().await, known, "after a restart");
        for before in 0..round {
            assert_eq!(knock(process.public, json!({ "jti": format!("t-{before}") })).await, revoked());
        }
        let id = json!({ "jti": format!("t-{round}") });
        assert_eq!(knock(process.public, id.clone()).await, Ok(()));
        let answer = operator.revoke(json!({ "tokenId": format!("t-{round}"), "reason": "lost" })).await;
        assert_eq!(answer.get("warning"), None);
        // At once: what was answered is on disk.
        process.signal(signal);
        process.exit_code();
        known.push(answer["revocations"][0].clone());
    }
    let (process, operator) = serve(&store);
    assert_eq!(operator.list().await, known);
    let target = format!("/api/revocations/{}", known[0]["id"].as_str().unwrap());
    assert_eq!(operator.ask("DELETE", &target, "").await.0, 204);
    process.signal("KILL");
    drop(process);
    let (process, operator) = serve(&store);
    assert_eq!(operator.list().await, known[1..]);
    assert_eq!(knock(process.public, json!({ "jti": "t-0" })).await, Ok(()));
    assert_eq!(knock(process.public, json!({ "jti": "t-1" })).await, revoked());
    assert_eq!(std::fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o600, "it names users");
    assert!(!process.log().contains(&mint(json!({ "jti": "t-1" }))));
}

/// What would be lost with the process is not answered as done.
#[tokio::test]
async fn a_file_that_is_gone_refuses_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, aside) = (folder.path().join("revocations.redb"), folder.path().join("aside"));
    let (process, operator) = serve(&store);
    assert!(process.log().contains("a new one is made"), "{}", process.log());
    std::fs::rename(&store, &aside).unwrap();
    let (status, answer) = operator.post(&json!({ "tokenId": "t" })).await;
    assert_eq!((status, &answer["code"]), (500, &json!("store_failed")), "{answer}");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("no longer the one that flowgate opened; put it back or restart"), "{message}");
    assert!(message.contains(store.to_str().unwrap()), "{message}");
    assert_eq!(knock(process.public, json!({ "jti": "t" })).await, Ok(()));
    std::fs::rename(&aside, &store).unwrap();
    operator.revoke(json!({ "tokenId": "t" })).await;
    drop(process);
    let (process, _operator) = serve(&store);
    assert_eq!(knock(process.public, json!({ "jti": "t" })).await, revoked());
    assert!(!process.log().contains("a new one is made"), "{}", process.log());
}

#[tokio::test]
async fn without_a_store_the_answer_warns() {
    let (_sidecar, operator) = sidecar("").await;
    let answer = operator.revoke(json!({ "tokenId": "t" })).await;
    let (_, page) = operator.ask("GET", "/api/revocations", "").await;
    for warning in [&answer["warning"], &page["warning"]] {
        assert!(warning.as_str().unwrap().contains("revocation.store"), "{warning}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let good = path("good.redb");
    drop(serve(&good));
    let bytes = std::fs::read(&good).unwrap();
    let written = |name: &str, bytes: &[u8]| -> PathBuf {
        std::fs::write(path(name), bytes).unwrap();
        path(name)
    };
    let zeroed: Vec<u8> =
        bytes.iter().enumerate().map(|(at, byte)| if at < 512 { 0 } else { *byte }).collect();
    let (in_use, _operator) = serve(&good);
    std::os::unix::fs::symlink(path("nowhere.redb"), path("dangling.redb")).unwrap();
    for (store, words) in [
        (path("dangling.redb"), "a symbolic link to a file that is not there"),
        (good.clone(), "another process uses it"),
        (written("empty.redb", b""), "it is damaged"),
        (written("text.redb", &b"not a database, ".repeat(1000)), "it is damaged"),
        (written("short.redb", &bytes[..bytes.len() / 2]), "it is damaged"),
        (written("zeroed.redb", &zeroed), "it is damaged"),
        (path("no-folder/x.redb"), "there is no folder"),
        (folder.path().to_owned(), "is not a regular file"),
    ] {
        let (code, said) = fails(&store);
        assert_eq!(code, Some(78), "{store:?}: {said}");
        let names = said.contains("revocation.store") && said.contains(folder.path().to_str().unwrap());
        assert!(names && said.contains(words), "{store:?}: {said}");
        assert!(said.contains("1.toml"), "it names the file of the setting: {said}");
    }
    assert!(!in_use.log().contains("damaged"));
}

/// Nothing counts that is not on disk, and what counted before still does.
#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("revocations.redb");
    let process = {
        // Room for the file as it is made, and a little more.
        drop(serve(&store));
        let blocks = std::fs::metadata(&store).unwrap().len() / 512;
        Process::serve_with_little_disk_in(&settings(&store), blocks as u32, &[(VARIABLE, TOKEN)])
    };
    let operator = Operator(process.internal);
    let mut made = 0;
    let refused = loop {
        let wanted: Vec<Value> = (0..500)
            .map(|number| json!({ "tokenId": format!("{made}-{number}"), "reason": "x".repeat(200) }))
            .collect();
        match operator.post(&json!(wanted)).await {
            (201, _) => made += 500,
            refused => break refused,
        }
        assert!(made < 100_000, "the disk is full by now");
    };
    assert_eq!((refused.0, &refused.1["code"]), (507, &json!("store_full")), "{}", refused.1);
    assert_eq!(knock(process.public, json!({ "jti": format!("{made}-0") })).await, Ok(()));
    drop(process);
    let (process, operator) = serve(&store);
    let (_, page) = operator.ask("GET", "/api/revocations", "").await;
    assert_eq!(page["total"], made);
    assert_eq!(knock(process.public, json!({ "jti": format!("{made}-0") })).await, Ok(()));
    operator.revoke(json!({ "tokenId": format!("{made}-0") })).await;
    assert_eq!(knock(process.public, json!({ "jti": format!("{made}-0") })).await, revoked());
}
