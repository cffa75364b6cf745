//! Rows 21, 27 and 28: events that reach for another team, JSON that would break a parser, and times out of time.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::scene::Scene;
use crate::harness::member;
use crate::harness::packets::{self, EVENT};
use crate::harness::websocket::RawSocket;

const NOTHING: [&str; 0] = [];

fn refusal(code: &str) -> Value {
    json!({ "ok": false, "code": code })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_an_event_never_reaches_another_teams_room() {
    let settings = r#"
        [events.named]
        emit = "database-changed"
        payload = "typed"
        unknown_fields = "pass"
        team_field = "team"
        types = [{ match = "*" }]
        "#;
    let scene = Scene::new(settings).await;
    let mut eve = scene.websocket("eve", &["blue", "green"]).await;
    let mut blue = scene.websocket("dan", &["blue"]).await;
    let mut green = scene.websocket("fay", &["green"]).await;
    let named = |team: &str| format!(r#"{{"type":"task-created","team":{team}}}"#);
    let attack = async {
        // It holds two teams and may name either, in the event and in no other way.
        assert_eq!(eve.ask_as("named", &named("\"blue\"")).await["ok"], true);
        let mut refused = 0;
        for team in ["red", "RED", "red ", "blue,red", "*", "", "user:ann", "..", "blu\u{0}", "r\u{e9}d"] {
            let answer = eve.ask_as("named", &named(&json!(team).to_string())).await;
            assert_eq!(answer["ok"], false, "{team:?}");
            assert!(
                ["no_room", "invalid_payload"].contains(&answer["code"].as_str().unwrap()),
                "{team:?}: {answer}"
            );
            refused += 1;
        }
        for odd in [r#"["red"]"#, r#"["blue","red"]"#, r#"{"red":1}"#, "7", "true", "null", r#""\ud800""#] {
            assert_eq!(eve.ask_as("named", &named(odd)).await["ok"], false, "{odd}");
            refused += 1;
        }
        for twice in [
            r#"{"type":"task-created","team":"blue","team":"red"}"#,
            r#"{"type":"task-created","team":"blue","te\u0061m":"red"}"#,
        ] {
            assert_eq!(eve.ask_as("named", twice).await, refusal("invalid_payload"), "{twice}");
            refused += 1;
        }
        // Without a name it would be a guess; where the policy has no team field, none is read.
        assert_eq!(eve.ask_as("named", r#"{"type":"task-created"}"#).await, refusal("no_room"));
        for payload in
            [named("\"red\""), r#"{"room":"red","rooms":["red"],"to":"red"}"#.into(), "\"red\"".into()]
        {
            assert_eq!(eve.ask(&payload).await, refusal("no_room"), "{payload}");
            refused += 1;
        }
        let counted = scene.refused("no_room").await + scene.refused("invalid_payload").await;
        assert_eq!(counted, f64::from(refused + 1));
        // Nor at the handshake.
        for team in [json!("red"), json!(["blue"]), json!(""), json!(7), json!("blue:red")] {
            let mut auth = member("eve", &["blue"]);
            auth["team"] = team.clone();
            let outcome = RawSocket::open(scene.public).await.connect(&auth).await;
            assert_eq!(outcome, Err("no_team".into()), "{team}");
        }
        assert_eq!(scene.refused("no_team").await, 5.0);
        // One team, and what its payload says of another changes nothing.
        let mut one = scene.websocket("mallory", &["green"]).await;
        assert_eq!(one.ask(&named("\"red\"")).await["ok"], true);
        assert_eq!(one.ask_as("named", &named("\"red\"")).await, refusal("no_room"));
        assert_eq!(blue.heard_until_now().await, [named("\"blue\"")]);
        assert_eq!(green.heard_until_now().await, [named("\"red\"")]);
    };
    // The honest hear nothing but their own throughout.
    scene.during(attack).await;
    drop((eve, blue, green));
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_json_that_would_break_a_parser_is_refused_in_typed_mode() {
    let settings = r#"
        [limits.payload]
        max_bytes = "1MiB"
        hard_max_bytes = "2MiB"
        [events.typed]
        emit = "database-changed"
        payload = "typed"
        types = [{ match = "task-updated", task_id = "required" }]
        [events.typed.fields]
        more = { kind = "object" }
        "#;
    let scene = Scene::new(settings).await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    let mut dan = scene.websocket("dan", &["blue"]).await;
    let with = |more: &str| format!(r#"{{"type":"task-updated","taskId":1{more}}}"#);
    let unknown: String = (0..10_000).map(|at| format!(",\"k{at}\":1")).collect();
    let attack = async {
        assert_eq!(eve.ask_as("typed", &with("")).await["ok"], true);
        for (payload, code) in [
            (with(r#","type":"task-deleted""#), "invalid_payload"),
            (with(r#","taskId":2"#), "invalid_payload"),
            (with(r#","task\u0049d":2"#), "invalid_payload"),
            (with(r#","more":{"a":1,"a":2}"#), "invalid_payload"),
            (with(r#","more":{"a":{"b":1,"\u0062":2}}"#), "invalid_payload"),
            (with(r#","__proto__":{"admin":true}"#), "unknown_field"),
            (with(r#","constructor":1"#), "unknown_field"),
            (with(r#","toString":1"#), "unknown_field"),
            (with(&unknown), "unknown_field"),
            (with(&format!(r#","more":{{"a":{}}}"#, "9".repeat(10_000))), "invalid_payload"),
            (with(r#","more":{"a":1e400}"#), "invalid_payload"),
            (format!(r#"{{"type":"task-updated","taskId":{}}}"#, "9".repeat(10_000)), "invalid_payload"),
            (r#"{"type":"task-updated","taskId":1e400}"#.to_owned(), "invalid_payload"),
            (r#"{"type":"task-updated","taskId":-1e400}"#.to_owned(), "invalid_payload"),
            (r#"{"type":"task-updated","taskId":1.5}"#.to_owned(), "invalid_payload"),
            (r#"{"type":"task-updated","taskId":[[[[[[[[[1]]]]]]]]]}"#.to_owned(), "too_deep"),
            (with(&format!(r#","more":{}1{}"#, "{\"a\":".repeat(9), "}".repeat(9))), "too_deep"),
        ] {
            let shown: String = payload.chars().take(80).collect();
            let counted = scene.refused(code).await;
            assert_eq!(eve.ask_as("typed", &payload).await, refusal(code), "{shown}");
            assert_eq!(scene.refused(code).await, counted + 1.0, "{shown}");
        }
        assert_eq!(dan.heard_until_now().await, [with("")]);
    };
    scene.during(attack).await;
    drop((eve, dan));
    scene.at_rest().await;
}

/// Depth and size hold for any payload, not only for typed ones, and before any parser sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_27_depth_and_size_hold_always() {
    let settings = "[limits.payload]\nmax_bytes = \"1MiB\"\nhard_max_bytes = \"2MiB\"";
    let scene = Scene::new(settings).await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    let mut dan = scene.websocket("dan", &["blue"]).await;
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let attack = async {
        assert_eq!(eve.ask(&arrays(8)).await["ok"], true);
        assert_eq!(eve.ask(&objects(8)).await["ok"], true);
        let mut deep = 0.0;
        for depth in [9, 129, 1_000, 100_000] {
            assert_eq!(eve.ask(&arrays(depth)).await, refusal("too_deep"), "{depth}");
            assert_eq!(eve.ask(&objects(depth)).await, refusal("too_deep"), "{depth}");
            deep += 2.0;
        }
        assert_eq!(scene.refused("too_deep").await, deep);
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        assert_eq!(eve.ask(&text((1 << 20) + 1)).await, refusal("too_large"));
        assert_eq!(scene.refused("too_large").await, 1.0);
        assert_eq!(dan.heard_until_now().await, [arrays(8), objects(8)]);
        // Open brackets that nobody closes, and a packet over the hard limit, are no packets at all.
        for packet in [
            packets::event(EVENT, &"[".repeat(100_000), None),
            packets::event(EVENT, &"{\"a\":".repeat(100_000), None),
            packets::event(EVENT, &text(2 << 20), None),
        ] {
            let mut mallory = scene.websocket("mallory", &["blue"]).await;
            mallory.send(&packet).await;
            assert_eq!(mallory.closed().await, Vec::<String>::new(), "{packet:.80}");
        }
        assert_eq!(dan.heard_until_now().await, NOTHING);
    };
    scene.during(attack).await;
    drop((eve, dan));
    scene.at_rest().await;
}

/// Milliseconds since 1970, so much later than now.
fn epoch(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as i64 + 1_000 * seconds
}

/// The same as text, in a zone so many minutes east of UTC.
fn text(seconds: i64, minutes_east: i32) -> String {
    let zone = time::UtcOffset::from_whole_seconds(60 * minutes_east).unwrap();
    let at = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    at.to_offset(zone).format(&Rfc3339).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_timestamps_are_as_the_policy_says() {
    let settings = r#"
        [events.timed]
        emit = "database-changed"
        payload = "typed"
        timestamp = { presence = "required", max_age = "5m", max_ahead = "1m" }
        types = [{ match = "task-created" }]
        "#;
    let scene = Scene::new(settings).await;
    let mut eve = scene.websocket("eve", &["blue"]).await;
    let mut dan = scene.websocket("dan", &["blue"]).await;
    let at = |timestamp: Value| format!(r#"{{"type":"task-created","timestamp":{timestamp}}}"#);
    // A margin for a busy machine stands between each of them and its bound.
    let good = [
        json!(epoch(0)),
        json!(epoch(-200)),
        json!(epoch(30)),
        json!(text(0, 0)),
        json!(text(-200, 0)),
        json!(text(0, 330)),
        json!(text(0, -23 * 60)),
        json!(text(0, 14 * 60)),
        json!(text(0, 0).to_lowercase()),
        json!(text(0, 0).replace('Z', "-00:00")),
    ];
    let bad = [
        ("stale_timestamp", json!(epoch(-301))),
        ("stale_timestamp", json!(text(-301, 0))),
        ("stale_timestamp", json!(text(-301, 120))),
        ("stale_timestamp", json!(0)),
        ("stale_timestamp", json!(-1)),
        ("stale_timestamp", json!(i64::MIN)),
        ("stale_timestamp", json!("0000-01-01T00:00:00Z")),
        // Leap seconds, of which the first was one.
        ("stale_timestamp", json!("2016-12-31T23:59:60Z")),
        ("stale_timestamp", json!("2017-06-30T23:59:60Z")),
        // Seconds where milliseconds belong.
        ("stale_timestamp", json!(epoch(0) / 1_000)),
        ("future_timestamp", json!(epoch(120))),
        ("future_timestamp", json!(text(120, 0))),
        ("future_timestamp", json!(text(120, -120))),
        ("future_timestamp", json!(i64::MAX)),
        ("future_timestamp", json!("9999-12-31T23:59:60Z")),
        ("invalid_payload", json!("10000-01-01T00:00:00Z")),
        ("invalid_payload", json!("+10000-01-01T00:00:00Z")),
        ("invalid_payload", json!("2026-02-29T12:00:00Z")),
        ("invalid_payload", json!("2026-03-01T12:00:61Z")),
        ("invalid_payload", json!("2026-03-01T24:00:00Z")),
        ("invalid_payload", json!("2026-03-01T12:00:00+24:00")),
        // Local time without a zone.
        ("invalid_payload", json!(text(0, 0).replace('Z', ""))),
        ("invalid_payload", json!(text(0, 0).replace('T', " "))),
        ("invalid_payload", json!(text(0, 0)[..10])),
        ("invalid_payload", json!(epoch(0) as f64 + 0.5)),
        ("invalid_payload", json!(epoch(0).to_string())),
        ("invalid_payload", json!(null)),
        ("invalid_payload", json!({})),
        ("invalid_payload", json!([epoch(0)])),
        ("invalid_payload", json!("now")),
        ("invalid_payload", json!("")),
    ];
    let attack = async {
        for timestamp in &good {
            assert_eq!(eve.ask_as("timed", &at(timestamp.clone())).await["ok"], true, "{timestamp}");
        }
        for (code, timestamp) in &bad {
            let counted = scene.refused(code).await;
            assert_eq!(eve.ask_as("timed", &at(timestamp.clone())).await, refusal(code), "{timestamp}");
            assert_eq!(scene.refused(code).await, counted + 1.0, "{timestamp}");
        }
        // Numbers that no JSON writer of ours makes.
        for raw in ["9223372036854775808", "1e400", "-0.0", "1e13"] {
            let payload = format!(r#"{{"type":"task-created","timestamp":{raw}}}"#);
            assert_eq!(eve.ask_as("timed", &payload).await, refusal("invalid_payload"), "{raw}");
        }
        assert_eq!(eve.ask_as("timed", r#"{"type":"task-created"}"#).await, refusal("missing_field"));
        assert_eq!(dan.heard_until_now().await, good.clone().map(at));
    };
    scene.during(attack).await;
    drop((eve, dan));
    scene.at_rest().await;
}
