//! The decision log of the real binary: every kind of line, and nothing in any of them that should not be there.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::http::{Http, POLLING, get};
use crate::harness::process::{Process, flowgate};
use crate::harness::websocket::RawSocket;
use crate::harness::{BASE, SECRET_VARIABLE, member, metric, mint, secret, until, write_settings};

/// Typed events, two rules, all accepted events written, and a client that errs six times is closed.
fn settings(path: &Path) -> String {
    format!(
        r#"
[decision_log]
path = "{}"
sample = 1
[limits.events]
disconnect_after = {{ refusals = 6, per = "1m" }}
[events.database-change]
payload = "typed"
[[rules]]
name = "watched"
on = ["task-moved"]
allow_if = "false"
mode = "observe"
[[rules]]
name = "nobody deletes"
on = ["task-deleted"]
allow_if = "false"
"#,
        path.display()
    )
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Checks a line against the schema that is shipped: its fields, those that its kind must have, and words of fixed sets.
pub fn assert_described(line: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/decision-log.schema.json")).unwrap();
    let page = include_str!("../../docs/decision-log.md");
    for (name, value) in line.as_object().unwrap() {
        let property = &schema["properties"][name];
        assert!(
            property.is_object() && page.contains(&format!("`{name}`")),
            "{name} is not described: {line}"
        );
        if let Some(words) = property["enum"].as_array() {
            assert!(words.contains(value), "{name}: {line}");
        }
        let kind = property["type"].as_str().unwrap_or("string");
        let fits = match kind {
            "integer" => value.is_u64(),
            "array" => value.is_array(),
            _ => value.is_string(),
        };
        assert!(fits, "{name}: {line}");
    }
    let kinds = schema["oneOf"].as_array().unwrap();
    let kind = kinds.iter().find(|kind| kind["properties"]["kind"]["const"] == line["kind"]).unwrap();
    for required in kind["required"].as_array().unwrap() {
        assert!(line.get(required.as_str().unwrap()).is_some(), "no {required}: {line}");
    }
}

/// These fields of a line.
fn fields(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| line[*name].clone()).collect()
}

#[tokio::test]
async fn every_kind_of_decision_is_a_line_without_token_or_payload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut process = Process::serve(&settings(&path));
    let token = mint(json!({ "sub": "ann\u{202e}\"", "teams": ["red"] }));
    let mut ann = RawSocket::join(process.public, &json!({ "token": token.clone() })).await;
    let mut ben = RawSocket::join(process.public, &member("ben", &["red", "blue"])).await;
    let accepted = ann.ask(r#"{"type":"task-updated","taskId":"needle-1"}"#).await["id"].clone();
    let observed = ann.ask(r#"{"type":"task-moved","taskId":"needle-2"}"#).await["id"].clone();
    assert!(accepted.is_string() && observed.is_string());
    assert_eq!(ann.ask(r#"{"type":"task-deleted","taskId":"needle-3"}"#).await["code"], "not_allowed");
    assert_eq!(ann.ask(r#"{"type":"needle-4"}"#).await["code"], "unknown_type");
    assert_eq!(ann.ask_as("needle-5", "1").await["code"], "unknown_event");
    assert_eq!(ben.ask(r#"{"type":"task-updated","taskId":"needle-6"}"#).await["code"], "no_room");
    let forged = format!("{}needle", member("eve", &["red"])["token"].as_str().unwrap());
    let mut eve = RawSocket::open(process.public).await;
    assert_eq!(eve.connect(&json!({ "token": forged.clone() })).await, Err("token_invalid".into()));
    for _ in 0..3 {
        ann.emit(r#"{"type":"needle-7"}"#).await;
    }
    ann.closed().await;
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));

    let text = fs::read_to_string(&path).unwrap();
    for part in token.split('.').chain(forged.split('.')).skip(1).chain(["needle"]) {
        assert!(!text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains('\u{202e}'));
    let all = lines(&path);
    all.iter().for_each(assert_described);
    let of = |kind: &str| all.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let admissions: Vec<_> =
        of("admission").iter().map(|line| fields(line, &["outcome", "subject", "code"])).collect();
    assert_eq!(
        admissions,
        [
            json!(["accepted", "ann\u{202e}\"", null]),
            json!(["accepted", "ben", null]),
            json!(["refused", null, "token_invalid"]),
        ]
    );
    let names = ["outcome", "event", "type", "teams", "stage", "rule", "code", "recipients"];
    let events: Vec<_> = of("event").iter().map(|line| fields(line, &names)).collect();
    let (event, types) = ("database-change", "events.database-change.types");
    assert_eq!(
        events[..6],
        [
            json!(["accepted", event, "task-updated", ["red"], null, null, null, 2]),
            json!(["observed", event, "task-moved", ["red"], "rules", "rules.watched", "not_allowed", 2]),
            json!([
                "refused",
                event,
                "task-deleted",
                ["red"],
                "rules",
                "rules.nobody deletes",
                "not_allowed",
                null
            ]),
            json!(["refused", event, null, ["red"], "validate", types, "unknown_type", null]),
            json!(["refused", "unknown", null, ["red"], "validate", "events", "unknown_event", null]),
            json!([
                "refused",
                event,
                "task-updated",
                ["red", "blue"],
                "route",
                "rooms.multi_team",
                "no_room",
                null
            ]),
        ]
    );
    assert_eq!((&of("event")[0]["id"], &of("event")[1]["id"]), (&accepted, &observed));
    let closes: Vec<_> = of("close").iter().map(|line| fields(line, &["subject", "code", "rule"])).collect();
    assert!(
        closes.contains(&json!(["ann\u{202e}\"", "refusals", "limits.events.disconnect_after"])),
        "{closes:?}"
    );
    assert!(closes.contains(&json!(["ben", "draining", "drain"])), "{closes:?}");
}

#[tokio::test]
async fn what_waits_for_its_senders_rate_is_a_folded_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let limits = "[limits.events]\nper_socket = { rate = \"12/m\", burst = 1 }\non_limit = \"coalesce\"\n";
    let mut process = Process::serve(&settings(&path).replace("[limits.events]\n", limits));
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    ann.ask(r#"{"type":"task-updated","taskId":1}"#).await;
    let folded = ann.ask(r#"{"type":"task-updated","taskId":2}"#).await;
    assert_eq!(folded["folded"], true);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    let all = lines(&path);
    all.iter().for_each(assert_described);
    let events: Vec<_> = all.iter().filter(|line| line["kind"] == "event").collect();
    assert_eq!(events.len(), 2);
    let names = ["outcome", "id", "event", "type", "teams", "rule", "code", "recipients"];
    let (rule, code) = ("limits.events.per_socket", "rate_limited");
    let expected = ["folded", folded["id"].as_str().unwrap(), "database-change", "task-updated"];
    assert_eq!(fields(events[1], &names[..4]), json!(expected));
    assert_eq!(fields(events[1], &names[4..]), json!([["red"], rule, code, null]));
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_line_with_its_number_and_hides_nobody() {
    const FLOOD: u64 = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let process = Process::serve(&settings(&path).replace("refusals = 6", "refusals = 1000000"));
    let mut eve = RawSocket::join(process.public, &member("eve", &["red"])).await;
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    for _ in 0..FLOOD {
        eve.emit(r#"{"type":"nope"}"#).await;
    }
    assert_eq!(ann.ask(r#"{"type":"also-nope"}"#).await["code"], "unknown_type");
    let series = "flowgate_refusals_total{code=\"unknown_type\"}";
    until("all are refused", async || metric(process.internal, series).await == (FLOOD + 1) as f64).await;
    // The lines and the numbers of those left out come to all of them.
    let told = || {
        let all = lines(&path);
        let of_eve: Vec<_> = all.iter().filter(|line| line["connection"] == "c1").collect();
        let refused = of_eve.iter().filter(|line| line["outcome"] == "refused").count() as u64;
        let suppressed: u64 = of_eve
            .iter()
            .filter(|line| line["kind"] == "suppressed")
            .map(|line| line["count"].as_u64().unwrap())
            .sum();
        (refused, suppressed)
    };
    until("the rest is told", async || told().0 + told().1 == FLOOD).await;
    assert!(told().1 > FLOOD / 2, "{:?}", told());
    let of_ann =
        lines(&path).into_iter().find(|line| line["connection"] == "c2" && line["outcome"] == "refused");
    assert_eq!(of_ann.unwrap()["code"], "unknown_type");
}

#[tokio::test]
async fn handshakes_that_are_turned_away_are_lines_without_what_they_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let limits =
        "[limits.connections]\ntotal = 1\nper_ip = 1\n[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
    let process = Process::serve(&format!("{limits}{}", settings(&path)));
    let ask = async |target: &str, headers: &[(&str, &str)]| {
        get(process.public, target, &[headers, &[("Authorization", "Bearer needle-1")]].concat()).await
    };
    let client = ("X-Forwarded-For", "192.0.2.7");
    let held = ask(POLLING, &[client]).await;
    assert_eq!(held.status, 200);
    let evil = ("Origin", "https://needle-2.example");
    assert_eq!(ask(POLLING, &[client, evil]).await.status, 403);
    assert_eq!(ask("/needle-3", &[client]).await.status, 404);
    assert_eq!(ask("/socket.io/?EIO=4&transport=needle-4", &[client]).await.status, 400);
    assert_eq!(ask(POLLING, &[client]).await.status, 429);
    assert_eq!(ask(POLLING, &[("X-Forwarded-For", "192.0.2.8")]).await.status, 503);
    // Of a session, though of none that there is: no handshake.
    assert_eq!(ask(&format!("{POLLING}&sid=needle-5"), &[client]).await.status, 400);
    let expected = [
        json!(["refused", "192.0.2.7", "origin"]),
        json!(["refused", "192.0.2.7", "not_found"]),
        json!(["refused", "192.0.2.7", "malformed"]),
        json!(["refused", "192.0.2.7", "too_many_requests"]),
        json!(["refused", "192.0.2.8", "full"]),
    ];
    let found = || lines(&path).into_iter().filter(|line| line["kind"] == "handshake").collect::<Vec<_>>();
    until("all are told", async || found().len() >= expected.len()).await;
    let shown: Vec<_> = found().iter().map(|line| fields(line, &["outcome", "address", "code"])).collect();
    assert_eq!(shown, expected);
    found().iter().for_each(assert_described);
    assert!(found()[2]["why"].is_string(), "{:?}", found()[2]);
    assert!(!fs::read_to_string(&path).unwrap().contains("needle"));
}

#[tokio::test]
async fn a_flood_of_handshakes_is_few_lines_and_a_number_and_takes_none_of_others() {
    const FLOOD: u64 = 3_000;
    const ASKED: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let process = Process::serve(&settings(&path).replace("refusals = 6", "refusals = 1000000"));
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let mut http = Http::to(process.public).await;
    for number in 1..=FLOOD {
        assert_eq!(http.request("GET", "/socket.io/?EIO=3", &[], "").await.status, 400);
        // At the same address, all along.
        if number % (FLOOD / ASKED) == 0 {
            assert_eq!(ann.ask(r#"{"type":"nope"}"#).await["code"], "unknown_type");
        }
    }
    let told = || {
        let all = lines(&path);
        let handshakes = all.iter().filter(|line| line["kind"] == "handshake").count() as u64;
        let suppressed = all.iter().filter(|line| line["kind"] == "suppressed");
        (handshakes, suppressed.map(|line| line["count"].as_u64().unwrap()).sum::<u64>())
    };
    until("the rest is told", async || told().0 + told().1 == FLOOD).await;
    assert!(told().1 > FLOOD / 2, "{:?}", told());
    let is_refused = |line: &&Value| line["kind"] == "event" && line["code"] == "unknown_type";
    assert_eq!(lines(&path).iter().filter(is_refused).count() as u64, ASKED);
    assert_eq!(metric(process.internal, "flowgate_refusals_total{code=\"malformed\"}").await, FLOOD as f64);
}

#[test]
fn a_path_that_cannot_be_written_is_a_bad_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (path, words) in [
        (at("no/such/log"), "there is no folder"),
        (at(""), "is not a regular file"),
        ("/dev/full".into(), "/dev/full is not a regular file"),
    ] {
        let files = write_settings(folder.path(), &[BASE, &format!("[decision_log]\npath = \"{path}\"\n")]);
        for command in ["check", "serve"] {
            let mut flowgate = flowgate(&[command]);
            for file in &files {
                flowgate.arg("--config").arg(file);
            }
            let output = flowgate.env(SECRET_VARIABLE, secret()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("1.toml: decision_log.path: ") && said.contains(words), "{said}");
        }
    }
}

/// The file is full and cannot be put aside: a short line, such as that which says how many are missing, has room for long,
/// and what comes after it has none.
#[tokio::test]
async fn a_log_that_is_nearly_full_is_said_to_fail_once_and_not_again_with_each_short_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::create_dir_all(folder.path().join("log.1/in-the-way")).unwrap();
    let settings = format!(
        "[decision_log]\npath = \"{}\"\nsample = 1\nmax_bytes = \"64KiB\"\nkeep = 1\n",
        path.display()
    );
    let process = Process::serve(&settings);
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let lost = "flowgate_decision_log_dropped_total{reason=\"unwritable\"}";
    while metric(process.internal, lost).await < 1_000.0 {
        for _ in 0..50 {
            ann.emit("1").await;
        }
        assert_eq!(ann.ask("1").await["ok"], true);
    }
    let said = |what: &str| process.log().matches(what).count();
    let (fails, again) =
        (said("the decision log cannot be written"), said("the decision log is written again"));
    assert!((1..=2).contains(&fails) && again <= fails, "{fails} {again}\n{}", process.log());
    assert!(fs::read_to_string(&path).unwrap().contains("\"unwritable\""));
}
