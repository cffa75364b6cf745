//! `flowgate explain`: what it says is what the sidecar does, with the file and key that decide.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use jsonwebtoken::Algorithm::{ES256, HS256};
use serde_json::{Value, json};

use crate::harness::endpoint::{Answer, Endpoint};
use crate::harness::process::flowgate;
use crate::harness::websocket::RawSocket;
use crate::harness::{SECRET_VARIABLE, Sidecar, claims, mint, secret, within, write_settings};
use crate::keys;

/// Above the harness's base: types, rules of every mode, audience rules and a small rate.
const POLICY: &str = r#"
[limits.events]
per_socket = { rate = "1/h", burst = 50 }

[events.database-change]
payload = "typed"
unknown_fields = "strip"
team_field = "team"

[[events.database-change.types]]
match = "comment-*"

[[rules]]
name = "only editors delete"
on = ["task-deleted"]
allow_if = '"editor" in peer.roles'

[[rules]]
name = "small ids"
on = ["task-*"]
allow_if = 'has(event.taskId) && event.taskId < 100'
mode = "observe"

[[rules]]
name = "asleep"
on = ["task-*"]
allow_if = 'false'
mode = "off"

[[audience]]
name = "comments are internal"
on = ["comment-*"]
teams = ["red"]
hear_if = '!("client" in peer.roles)'
"#;

struct Scene {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Scene {
    fn new() -> Self {
        Self::of(&[crate::harness::BASE, POLICY])
    }

    fn of(texts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = write_settings(folder.path(), texts);
        Scene { folder, paths }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs it without the secret in its environment, with this on standard input.
    fn explain_in(&self, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        let mut command = flowgate(&["explain"]);
        for path in &self.paths {
            command.arg("--config").arg(path);
        }
        command.args(arguments).envs(environment.iter().copied());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may not read it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn explain(&self, arguments: &[&str]) -> Output {
        self.explain_in(arguments, "", &[])
    }

    /// What `--json` says, and the exit code.
    fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.explain(&[arguments, &["--json"]].concat());
        let text = text(&output);
        let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
        (json, code(&output))
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const ANN: &str = r#"{"sub":"ann","teams":["red","blue"],"roles":["client"]}"#;

#[test]
fn a_denied_event_is_explained_with_the_file_and_the_key_that_spoke() {
    let scene = Scene::new();
    let event = r#"{"type":"task-deleted","taskId":7}"#;
    let output = scene.explain(&["--claims", ANN, "--auth", r#"{"team":"red"}"#, "--event", event]);
    let text = text(&output);
    assert_eq!(code(&output), 1, "{text}");
    assert!(!text.contains('\u{1b}'), "colours go to terminals only: {text}");
    let (base, own) = (scene.file("0.toml"), scene.file("1.toml"));
    for expected in [
        &format!(
            "claims judged as if issuer \"app\" had signed them; no signature was verified  [auth.issuers[name=\"app\"], from {base}]"
        ),
        "ann, teams red, blue, role client, sends to red",
        "listens in red, blue",
        &format!(
            "  refuses       rules       not_allowed: a rule of the policy does not allow it  [rules.only editors delete, from {own}]"
        ),
        &format!(
            "not asked     \"small ids\", allow_if has(event.taskId) && event.taskId < 100  [rules.small ids, from {own}]"
        ),
        "off           \"asleep\"",
        &format!(
            "withheld by \"comments are internal\", hear_if !(\"client\" in peer.roles)  [audience.comments are internal, from {own}]"
        ),
        "in blue: everything\n",
        "the client is answered {\"code\":\"not_allowed\",\"ok\":false}, if it asks",
        "      49 of 50     limits.events.per_socket",
        "\ndenied: not_allowed\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn an_allowed_event_is_explained_for_tools() {
    let scene = Scene::new();
    let claims = r#"{"sub":"ann","teams":["red"],"roles":["editor"]}"#;
    let event = r#"{"type":"task-deleted","taskId":700,"more":1}"#;
    let (said, code) = scene.json(&[
        "--claims",
        claims,
        "--address",
        "192.0.2.7",
        "--at",
        "2026-03-01T12:00:00Z",
        "--event",
        event,
    ]);
    assert_eq!((code, &said["decision"], &said["code"]), (0, &json!("allowed"), &Value::Null), "{said:#}");
    assert_eq!(said["at"], "2026-03-01T12:00:00.000Z");
    let handshake = &said["handshake"];
    assert_eq!(
        (&handshake["signature"], &handshake["answer"]),
        (&json!("claims"), &json!({ "connect": true }))
    );
    assert_eq!(handshake["peer"]["address"], "192.0.2.7");
    assert_eq!(handshake["peer"]["expires_at"], "2026-03-02T12:00:00.000Z");
    let stages = |of: &Value| -> Vec<(String, String)> {
        let steps = of["steps"].as_array().unwrap().iter();
        steps
            .map(|step| (step["stage"].as_str().unwrap().into(), step["verdict"].as_str().unwrap().into()))
            .collect()
    };
    let passed = |stage: &str| (stage.to_owned(), "passed".to_owned());
    assert_eq!(stages(handshake), ["token", "admission", "rooms"].map(passed));
    let event = &said["event"];
    let mut expected =
        ["size", "rate_limit", "rate_limit", "rate_limit", "validate", "validate", "authorize", "rules"]
            .map(passed)
            .to_vec();
    expected.push(("rules".into(), "observed".into()));
    expected.extend(["route", "team_limit"].map(passed));
    assert_eq!(stages(event), expected);
    let own = scene.file("1.toml");
    let rules: Vec<_> =
        event["rules"].as_array().unwrap().iter().map(|rule| (&rule["name"], &rule["says"])).collect();
    let says = json!(["allows", "would_refuse", "off"]);
    let names = json!(["only editors delete", "small ids", "asleep"]);
    assert_eq!(rules, [0, 1, 2].map(|at| (&names[at], &says[at])));
    assert!(event["rules"].as_array().unwrap().iter().all(|rule| rule["origin"] == own));
    assert_eq!(event["observed"], json!([{ "code": "not_allowed", "rule": "rules.small ids" }]));
    let relayed = &event["relayed"];
    assert_eq!(relayed["payload"], r#"{"type":"task-deleted","taskId":700}"#);
    assert_eq!(relayed["rooms"], json!([{ "room": "red", "audience": [] }]));
    assert_eq!((&relayed["sender_hears"], &event["answer"]["ok"]), (&json!(true), &json!(true)));
    // A key's own settings, each with its file, also where two files set parts of it.
    let limit = event["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["rule"] == "limits.events.per_socket")
        .unwrap();
    assert_eq!(limit["settings"][0]["key"], "limits.events.per_socket");
    let budget = said["budget"].as_array().unwrap();
    let left: Vec<_> = budget.iter().map(|rate| (&rate["rule"], &rate["left"])).collect();
    assert_eq!(left[0], (&json!("limits.events.per_socket"), &json!(49)));
    assert_eq!(budget.last().unwrap()["team"], "red");
}

#[test]
fn the_audience_of_an_event_is_told_by_room() {
    let scene = Scene::new();
    let event = r#"{"name":"database-change","payload":{"type":"comment-added","team":"red"}}"#;
    let (said, code) = scene.json(&["--claims", ANN, "--event", event]);
    assert_eq!(code, 0, "{said:#}");
    assert_eq!(said["event"]["payload"], r#"{"type":"comment-added","team":"red"}"#);
    let expected = json!([{ "room": "red", "audience": [{
        "rule": "audience.comments are internal",
        "name": "comments are internal",
        "mode": "enforce",
        "hear_if": "!(\"client\" in peer.roles)",
        "origin": scene.file("1.toml"),
    }] }]);
    assert_eq!(said["event"]["relayed"]["rooms"], expected);
    // She is of those who do not hear it.
    assert_eq!(said["event"]["relayed"]["sender_hears"], false);
    let rooms = said["handshake"]["rooms"].as_array().unwrap();
    let comments = |room: usize| {
        let hears = rooms[room]["hears"].as_array().unwrap();
        hears.iter().find(|heard| heard["type"] == "comment-*").unwrap()
    };
    assert_eq!((&rooms[0]["room"], &comments(0)["heard"]), (&json!("red"), &json!("nothing")));
    assert_eq!(comments(0)["rules"][0]["says"], "does_not_hear");
    assert_eq!((&rooms[1]["room"], &comments(1)["heard"]), (&json!("blue"), &json!("all")));
    let filter = ["--claims", ANN, "--auth", r#"{"filter":{"types":["task-moved"]}}"#];
    let (said, _) = scene.json(&filter);
    let hears = said["handshake"]["rooms"][1]["hears"].as_array().unwrap().clone();
    let wanted: Vec<_> =
        hears.iter().filter(|heard| heard["wanted"] == true).map(|heard| &heard["type"]).collect();
    assert_eq!(wanted, ["comment-*", "task-moved"]);
    assert!(said["event"].is_null());
}

/// The same policy as a sidecar and explained: the same answers, codes and copies.
#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let scene = Scene::new();
    let sidecar = Sidecar::of(scene.paths.clone()).await;
    let mut ann = RawSocket::join(
        sidecar.public,
        &json!({ "token": mint(json!({ "sub": "ann", "teams": ["red", "blue"], "roles": ["client"] })) }),
    )
    .await;
    for payload in [
        r#"{"type":"task-updated","taskId":1,"team":"red"}"#,
        r#"{"type":"task-updated","taskId":1}"#,
        r#"{"type":"task-updated","team":"red"}"#,
        r#"{"type":"task-updated","taskId":1,"team":"green"}"#,
        r#"{"type":"task-deleted","taskId":1,"team":"red"}"#,
        r#"{"type":"task-undone","taskId":1,"team":"red"}"#,
        r#"{"type":"comment-added","team":"red"}"#,
        r#"{"type":"comment-added","team":"blue","more":[1]}"#,
        r#"{"type":"task-updated","taskId":1,"team":"red","timestamp":5}"#,
        r#"{"type":"task-updated","type":"task-moved","taskId":1,"team":"red"}"#,
        "7",
    ] {
        let (said, exit) = scene.json(&["--claims", ANN, "--event", payload]);
        let answer = ann.ask(payload).await;
        assert_eq!(said["event"]["answer"]["ok"], answer["ok"], "{payload} {said:#}");
        assert_eq!(said["event"]["answer"].get("code"), answer.get("code"), "{payload}");
        assert_eq!(exit == 0, answer["ok"] == true, "{payload}");
        if said["event"]["relayed"]["sender_hears"] == true {
            assert_eq!(
                within("the echo", ann.event()).await,
                said["event"]["relayed"]["payload"].as_str().unwrap(),
                "{payload}"
            );
        }
    }
    // Nothing else came, which the echo of this one would follow.
    let last = r#"{"type":"task-moved","taskId":9,"team":"blue"}"#;
    assert_eq!(ann.ask(last).await["ok"], true);
    assert_eq!(within("the echo", ann.event()).await, last);
}

#[test]
fn a_token_is_verified_and_never_repeated() {
    let scene = Scene::new();
    let (good, environment) = (mint(json!({ "sub": "ann" })), [(SECRET_VARIABLE, secret())]);
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let forged = keys::token(&claims(json!({})), &[7; 64], HS256);
    let file = scene.file("ann.jwt");
    std::fs::write(&file, &good).unwrap();
    let with_token = [&environment[..], &[("TOKEN", &good)]].concat();
    for (arguments, input, environment) in [
        (&["--json"][..], &*good, &environment[..]),
        (&["--json", "--token-file", &file], "", &environment),
        (&["--json", "--token-file", "-"], &good, &environment),
        (&["--json", "--token-env", "TOKEN"], "", &with_token),
    ] {
        let output = scene.explain_in(arguments, input, environment);
        assert_eq!(code(&output), 0, "{arguments:?} {}", stderr(&output));
        let said: Value = serde_json::from_str(&text(&output)).unwrap();
        assert_eq!(said["handshake"]["signature"], "verified");
        assert_eq!(said["handshake"]["peer"]["subject"], "ann");
        assert!(!text(&output).contains("eyJ"));
    }
    let output = scene.explain_in(&[], &forged, &environment);
    assert_eq!(code(&output), 1);
    assert!(
        text(&output).contains("token_invalid: its signature is of no key of issuer \"app\""),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("the client sees connect_error \"token_invalid\""));
    assert!(!text(&output).contains("eyJ"));
    // A day later it is over.
    let output = scene.explain_in(&["--at", "2099-01-01T00:00:00Z"], &good, &environment);
    assert!(text(&output).contains("denied: token_expired"), "{}", text(&output));
    // Its key is needed, and nothing but a token needs one.
    let output = scene.explain_in(&[], &good, &[]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains(SECRET_VARIABLE), "{}", stderr(&output));
    let output = scene.explain(&["--no-token"]);
    assert_eq!((code(&output), text(&output).contains("denied: token_missing")), (1, true));
    // An argument is no place for one.
    let output = scene.explain(&["--claims", &good]);
    assert_eq!((code(&output), stderr(&output).contains("eyJ")), (2, false));
}

#[test]
fn refused_handshakes_say_why() {
    let scene = Scene::new();
    for (arguments, answer, rule, words) in [
        (
            &["--claims", r#"{"sub":"ann"}"#][..],
            json!({ "connect_error": "no_team" }),
            "rooms.without_team",
            "reject",
        ),
        (
            &["--claims", ANN, "--auth", r#"{"team":"green"}"#],
            json!({ "connect_error": "no_team" }),
            "auth.team",
            "do not hold",
        ),
        (
            &["--claims", ANN, "--auth", r#"{"filter":7}"#],
            json!({ "connect_error": "invalid_payload" }),
            "auth.filter",
            "object",
        ),
        (
            &["--claims", r#"{"sub":"ann","teams":["red"],"aud":"x"}"#],
            json!({ "connect_error": "token_invalid" }),
            "auth.issuers[name=\"app\"]",
            "aud",
        ),
        (
            &["--claims", r#"{"sub":"ann","teams":["red"],"iss":"x"}"#],
            json!({ "connect_error": "token_invalid" }),
            "auth.issuers",
            "iss",
        ),
    ] {
        let (said, exit) = scene.json(arguments);
        let handshake = &said["handshake"];
        assert_eq!((exit, &handshake["answer"]), (1, &answer), "{arguments:?} {said:#}");
        let last = handshake["steps"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["verdict"], &last["rule"]), (&json!("refused"), &json!(rule)), "{arguments:?}");
        assert!(last["message"].as_str().unwrap().contains(words), "{last}");
        assert!(handshake["rooms"].is_null() && said["event"].is_null());
    }
}

#[tokio::test]
async fn keys_behind_an_address_are_fetched_only_when_asked() {
    let jwks = json!({ "keys": [keys::jwk(keys::P256, "one", ES256)] }).to_string();
    let endpoint = Endpoint::start(Answer::Body(jwks)).await;
    let issuer = format!(
        "[[auth.issuers]]\nname = \"app\"\nalgorithms = [\"ES256\"]\njwks_url = \"{}\"\ninsecure_http = true\n",
        endpoint.url
    );
    let scene = Scene::of(&[&issuer]);
    let good = keys::token_with_kid(&claims(json!({})), "one", keys::P256, ES256);
    let forged = keys::token_with_kid(&claims(json!({})), "one", keys::P256_OTHER, ES256);
    let run = async |arguments: &'static [&'static str], token: &str| {
        let (paths, token) = (scene.paths.clone(), token.to_owned());
        let explain = move || {
            let scene = Scene { folder: tempfile::tempdir().unwrap(), paths };
            scene.explain_in(arguments, &token, &[])
        };
        let output = tokio::task::spawn_blocking(explain).await.unwrap();
        (text(&output), code(&output))
    };
    // Whoever made it: what it says is judged, and that nobody looked at the signature is said.
    let (said, exit) = run(&["--json"], &forged).await;
    assert_eq!(
        (serde_json::from_str::<Value>(&said).unwrap()["handshake"]["signature"].clone(), exit),
        (json!("not_checked"), 0)
    );
    let (said, _) = run(&[], &forged).await;
    assert!(
        said.contains("the signature was NOT checked") && said.contains("Add --online to fetch them"),
        "{said}"
    );
    assert_eq!(endpoint.requests(), 0);
    let (said, exit) = run(&["--online", "--json"], &good).await;
    assert_eq!(
        (serde_json::from_str::<Value>(&said).unwrap()["handshake"]["signature"].clone(), exit),
        (json!("verified"), 0)
    );
    let (said, exit) = run(&["--online"], &forged).await;
    assert_eq!((said.contains("denied: token_invalid"), exit), (true, 1), "{said}");
    assert_eq!(endpoint.requests(), 2);
}

#[test]
fn an_open_policy_and_a_folder_with_tests_beside_it() {
    let photoflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/photoflow.toml");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(photoflow, folder.path().join("photoflow.toml")).unwrap();
    // What ends so stands beside a policy and is none.
    std::fs::write(folder.path().join("photoflow.test.toml"), "no = \"policy\"\n").unwrap();
    let scene = Scene { paths: vec![folder.path().to_owned()], folder };
    let (said, exit) = scene.json(&["--event-name", "database-change"]);
    assert_eq!((exit, &said["handshake"]["signature"]), (0, &json!("none")), "{said:#}");
    assert_eq!(said["event"]["relayed"]["payload"], "null");
    let (said, exit) = scene.json(&["--event-name", "nope", "--event", "1"]);
    assert_eq!((exit, &said["code"], &said["event"]["rule"]), (1, &json!("unknown_event"), &json!("events")));
}

#[test]
fn a_terminal_obeys_nothing_in_an_event() {
    let scene = Scene::new();
    let claims = "{\"sub\":\"ann\",\"teams\":[\"re\u{202e}d\"]}";
    let payload = "{\n  \"type\": \"task-created\",\n  \"title\": \"\u{9b}2J\u{2028}\u{202e}\"\n}";
    for name in ["database-change", "x\u{1b}[2J\u{9b}"] {
        let output = scene.explain(&["--claims", claims, "--event-name", name, "--event", payload]);
        let text = text(&output);
        let obeyed = |c: char| c != '\n' && (c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c));
        assert!(!text.is_empty() && !text.chars().any(obeyed), "{text:?} {}", stderr(&output));
        let shown = "{\n  \"type\": \"task-created\",\n  \"title\": \"\\u{9b}2J\\u{2028}\\u{202e}\"\n}\n";
        assert!(text.contains(shown), "{text}");
    }
}

#[test]
fn what_cannot_be_understood_is_wrong_usage_and_is_not_repeated() {
    let scene = Scene::new();
    for arguments in [
        &["--claims", "secret"][..],
        &["--claims", "[\"secret\"]"],
        &["--claims", ANN, "--event", "{secret"],
        &["--claims", ANN, "--no-token"],
        &["--claims", ANN, "--at", "yesterday"],
        &["--claims", ANN, "--address", "nowhere"],
        &["--token-file", "/no/such/file"],
        &["--token-env", "NO_SUCH_VARIABLE"],
    ] {
        let output = scene.explain(arguments);
        assert_eq!(code(&output), 2, "{arguments:?} {}", stderr(&output));
        assert!(text(&output).is_empty() && !stderr(&output).is_empty());
    }
    let output = Scene::of(&["[sever]\n"]).explain(&["--no-token"]);
    assert_eq!((code(&output), stderr(&output).contains("did you mean `server`?")), (78, true));
    // What is wrong beside a missing key is said all the same.
    let output =
        Scene::of(&[crate::harness::BASE, "[limits.payload]\nmax_depth = 0\n"]).explain(&["--no-token"]);
    assert_eq!(code(&output), 78, "{}", stderr(&output));
}
