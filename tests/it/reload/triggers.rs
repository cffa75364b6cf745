//! Who asks for a reload, with the real binary: a signal, a file, the API.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::reloads;
use crate::harness::http::{Http, get};
use crate::harness::process::{Process, flowgate};
use crate::harness::websocket::RawSocket;
use crate::harness::{BASE, SECRET_VARIABLE, member, metric, secret, until, write_settings};

const FULL: &str = "[refusals]\ndetail = \"full\"\n";
const UNWATCHED: &str = "[reload]\nwatch = false\n";

async fn counted(process: &Process, outcome: &str) -> f64 {
    metric(process.internal, &reloads(outcome)).await
}

async fn hash(process: &Process) -> String {
    let ready: Value = serde_json::from_str(&get(process.internal, "/ready", &[]).await.body).unwrap();
    ready["policy"].as_str().unwrap().to_owned()
}

/// What `flowgate check` says is the policy's hash.
fn checked(paths: &[PathBuf]) -> String {
    let mut check = flowgate(&["check"]);
    for path in paths {
        check.arg("--config").arg(path);
    }
    let output = check.env(SECRET_VARIABLE, secret()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().find_map(|line| line.strip_prefix("policy ")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// Replaces a file as editors do: another is written and takes its name.
fn replace(path: &Path, content: &str) {
    let other = path.with_extension("swap");
    std::fs::write(&other, content).unwrap();
    std::fs::rename(other, path).unwrap();
}

#[tokio::test]
async fn a_hangup_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write_settings(folder.path(), &[BASE, UNWATCHED]);
    let mut process = Process::serve_files(&paths, &[]);
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    assert_eq!(hash(&process).await, checked(&paths));
    process.signal("HUP");
    until("it says that nothing has changed", async || counted(&process, "unchanged").await == 1.0).await;
    replace(&paths[1], &format!("{UNWATCHED}{FULL}"));
    process.signal("HUP");
    until("it is applied", async || counted(&process, "applied").await == 1.0).await;
    assert_eq!(hash(&process).await, checked(&paths));
    assert!(ann.ask_as("x", "1").await["message"].is_string());
    replace(&paths[1], "[refusals]\ndetail = \"loud\"\n");
    process.signal("HUP");
    until("it is refused", async || counted(&process, "refused").await == 1.0).await;
    assert!(ann.ask_as("x", "1").await["message"].is_string());
    until("the log says all", async || {
        let log = process.log();
        ["changed refusals.detail", "refusals.detail: found \"loud\"", "the policy is the same"]
            .iter()
            .all(|words| log.contains(words))
    })
    .await;
    assert!(process.is_running());
}

#[tokio::test]
async fn changed_files_are_taken_in_however_they_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    // As a mounted ConfigMap is: a link to a link to a folder that is moved.
    let at = |name: &str| folder.path().join(name);
    for (version, content) in [("v1", ""), ("v2", FULL)] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("mounted.toml"), content).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/mounted.toml", at("mounted.toml")).unwrap();
    std::fs::write(at("secret"), secret()).unwrap();
    let issuer = "[[auth.issuers]]\nname = \"app\"\nsecret_env = []\nsecret_file = \"secret\"\n";
    let settings = write_settings(folder.path(), &[BASE, issuer]);
    std::fs::create_dir(at("conf.d")).unwrap();
    std::fs::write(at("conf.d").join("a.toml"), "").unwrap();
    let paths = [settings, vec![at("mounted.toml"), at("conf.d")]].concat();
    let process = Process::serve_files(&paths, &[]);
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let applied = async |count: f64| {
        until("it is applied", async || counted(&process, "applied").await == count).await;
    };
    // The link is moved.
    std::os::unix::fs::symlink("v2", at("..next")).unwrap();
    std::fs::rename(at("..next"), at("..data")).unwrap();
    applied(1.0).await;
    assert!(ann.ask_as("x", "1").await["message"].is_string());
    // A file comes into a folder.
    std::fs::write(at("conf.d").join("b.toml"), "[refusals]\ndetail = \"code\"\n").unwrap();
    applied(2.0).await;
    assert!(ann.ask_as("x", "1").await["message"].is_null());
    // One that is written in place, wrong and then right.
    std::fs::write(at("conf.d").join("b.toml"), "[refusals]\ndetail = \"loud\"\n").unwrap();
    until("it is refused", async || counted(&process, "refused").await == 1.0).await;
    replace(&at("conf.d").join("b.toml"), FULL);
    applied(3.0).await;
    // A secret is rotated; whoever came by the old one goes.
    replace(&at("secret"), &"x".repeat(64));
    applied(4.0).await;
    ann.closed().await;
    // And one that is not there for a while.
    std::fs::remove_file(at("secret")).unwrap();
    until("it is refused", async || counted(&process, "refused").await == 2.0).await;
    std::fs::write(at("secret"), secret()).unwrap();
    applied(5.0).await;
    RawSocket::join(process.public, &member("ann", &["red"])).await;
    assert!(!process.log().contains(&"x".repeat(64)) && !process.log().contains(&secret()));
}

#[tokio::test]
async fn the_api_reloads_and_answers_what_came_of_it() {
    const TOKEN: &str = "an-admin-token-of-the-tests";
    let folder = tempfile::tempdir().unwrap();
    let paths = write_settings(folder.path(), &[BASE, UNWATCHED]);
    let process = Process::serve_files(&paths, &[("FLOWGATE_ADMIN_TOKEN", TOKEN)]);
    let bearer = format!("Bearer {TOKEN}");
    let post = async |headers: &[(&str, &str)]| {
        let mut http = Http::to(process.internal).await;
        let answer = http.request("POST", "/api/reload", headers, "").await;
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap())
    };
    let admin = [("Authorization", bearer.as_str())];
    assert_eq!(post(&[]).await.0, 401);
    let first = hash(&process).await;
    assert_eq!(post(&admin).await, (200, json!({ "outcome": "unchanged", "policy": first })));
    let ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    std::fs::write(&paths[1], format!("{UNWATCHED}{FULL}[auth]\nmax_lifetime = \"1m\"\n")).unwrap();
    let (status, body) = post(&admin).await;
    let changes = json!([
        { "key": "auth.max_lifetime", "change": "changed" },
        { "key": "refusals.detail", "change": "changed" },
    ]);
    let expected = json!({
        "outcome": "applied", "before": first, "policy": checked(&paths), "changes": changes, "warnings": [],
        "sockets": 1, "closed": 1,
    });
    assert_eq!((status, body), (200, expected));
    ann.closed().await;
    std::fs::write(&paths[1], "[refusals]\ndetail = 7\n").unwrap();
    let (status, body) = post(&admin).await;
    assert_eq!(
        (status, &body["outcome"], &body["policy"]),
        (422, &json!("refused"), &json!(hash(&process).await))
    );
    assert_eq!(body["problems"][0]["key"], "refusals.detail");
    let mut http = Http::to(process.internal).await;
    assert_eq!(http.request("GET", "/api/reload", &admin, "").await.status, 405);
}
