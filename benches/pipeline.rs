//! What one event costs in the pipeline, without network and relay.
//!
//! `cargo bench --bench pipeline --features fixtures`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowgate::config::policy::{Policy, UnknownFields};
use flowgate::config::{Sources, load};
use flowgate::event::fixtures::{NOON, event, noon, peer, per_second, policy, typed};
use flowgate::event::{EventId, Now, Pipeline, Sender, size};

const TYPED: &str =
    r#"["database-change",{"type":"task-updated","taskId":42,"timestamp":"2026-03-01T12:00:00.000Z"}]"#;

/// A pipeline and a sender of one team.
fn world(edit: impl FnOnce(&mut Policy)) -> (Pipeline, Sender, Now) {
    let now = noon();
    let pipeline = Pipeline::new(Arc::new(policy(edit)), Vec::new(), now);
    let sender = pipeline.sender(Arc::new(peer(&["red"])), now);
    (pipeline, sender, now)
}

/// Noon of the fixtures on the wall, and a steady clock that runs, so that buckets refill.
fn today() -> Now {
    let now = Now::read();
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(NOON), ..black_box(now) }
}

fn decide(c: &mut Criterion) {
    // The rates are those of the fixture: out of the way. Reading the clocks is counted, as every event needs it.
    let mut group = c.benchmark_group("decide");
    let accepted = [
        ("typed", TYPED.to_owned()),
        (
            "typed, epoch milliseconds",
            r#"["database-change",{"type":"comment-added","taskId":"c-1","timestamp":1772366400000}]"#
                .to_owned(),
        ),
        ("any, no argument", r#"["any"]"#.to_owned()),
        (
            "any, small",
            format!(
                r#"["any",{}]"#,
                r#"{"type":"task-updated","taskId":42,"timestamp":"2026-03-01T12:00:00.000Z"}"#
            ),
        ),
        ("any, 16 KiB", format!(r#"["any",{}]"#, sixteen_kib())),
    ];
    let (pipeline, sender, _) = world(|_| {});
    for (name, text) in &accepted {
        assert!(pipeline.decide(&sender, text, EventId::next(), today()).is_ok(), "{name}");
        group.bench_function(format!("accepted: {name}"), |b| {
            b.iter(|| black_box(pipeline.decide(&sender, black_box(text), EventId::next(), today())).is_ok());
        });
    }

    let (pipeline, sender, _) = world(|policy| {
        let mut payload = typed();
        payload.unknown_fields = UnknownFields::Strip;
        policy.events.insert("database-change".into(), Arc::new(event("database-change", Some(payload))));
    });
    let text =
        r#"["database-change",{"type":"task-updated","x":[1,2],"taskId":42,"timestamp":1772366400000}]"#;
    group.bench_function("accepted: typed, one field stripped", |b| {
        b.iter(|| black_box(pipeline.decide(&sender, black_box(text), EventId::next(), today())).is_ok());
    });

    let (pipeline, sender, _) = world(|_| {});
    for (name, text) in [
        ("unknown event", r#"["nope",1]"#),
        ("unknown type", r#"["database-change",{"type":"task-lost","taskId":42}]"#),
        ("unknown field", r#"["database-change",{"type":"task-updated","taskId":42,"x":1}]"#),
        ("not JSON", r#"["database-change",{"type":"task-updated",]"#),
        ("too deep", r#"["database-change",[[[[[[[[[[[[]]]]]]]]]]]]]"#),
    ] {
        assert!(pipeline.decide(&sender, text, EventId::next(), today()).is_err(), "{name}");
        group.bench_function(format!("refused: {name}"), |b| {
            b.iter(|| black_box(pipeline.decide(&sender, black_box(text), EventId::next(), today())).is_ok());
        });
    }

    let (pipeline, sender, now) = world(|policy| policy.limits.events.per_socket = per_second(1));
    let _ = pipeline.decide(&sender, TYPED, EventId::next(), now);
    assert!(pipeline.decide(&sender, TYPED, EventId::next(), now).is_err());
    group.bench_function("refused: rate", |b| {
        b.iter(|| black_box(pipeline.decide(&sender, black_box(TYPED), EventId::next(), now)).is_ok());
    });
    group.finish();

    c.bench_function("both clocks", |b| b.iter(|| black_box(Now::read())));
}

/// Three rules as teams write them, of which the last looks at the payload.
const RULES: &str = r#"
[[rules]]
name = "members"
on = ["task-*"]
allow_if = '"red" in peer.teams && !("guest" in peer.roles)'
[[rules]]
name = "fresh"
on = ["*"]
allow_if = '!has(event.timestamp) || now - event.timestamp < duration("1m")'
[[rules]]
name = "titles"
on = ["task-updated"]
allow_if = 'has(event.payload.title) && size(event.payload.title) <= 200 && !event.payload.title.startsWith("x")'
"#;

/// The defaults with a title and rates that are out of the way.
const SETTINGS: &str = r#"
auth.issuers = [{ name = "app", algorithms = ["HS256"], secret_env = "SECRET" }]
[limits.events]
per_socket = "1000000/s"
per_user = "1000000/s"
per_address = "1000000/s"
per_team = "1000000/s"
[events.database-change.fields.title]
kind = "string"
"#;

/// What teams with rules as those write of such a payload.
const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["title"],
    "additionalProperties": false,
    "properties": {
        "type": { "type": "string" },
        "taskId": { "type": "integer" },
        "timestamp": { "type": "string", "format": "date-time" },
        "title": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^\\S" },
        "tags": { "type": "array", "maxItems": 10, "items": { "type": "string", "maxLength": 20 } }
    }
}"#;

/// Over [`SETTINGS`], with the schema in the folder.
const WITH_SCHEMA: &str =
    "[[events.database-change.types]]\nmatch = \"task-updated\"\nschema = \"task.json\"\n";

/// Each line less `nothing` is what it adds to an event.
fn filters(c: &mut Criterion) {
    let text = r#"["database-change",{"type":"task-updated","taskId":42,"timestamp":"2026-03-01T12:00:00.000Z","title":"a task of ordinary length"}]"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("task.json"), SCHEMA).expect("a file");
    let mut group = c.benchmark_group("filters");
    for (name, filters) in [
        ("nothing", String::new()),
        ("three rules", RULES.into()),
        ("a schema", WITH_SCHEMA.into()),
        ("three rules and a schema", format!("{WITH_SCHEMA}{RULES}")),
    ] {
        std::fs::write(file("bench.toml"), format!("{SETTINGS}{filters}")).expect("a file");
        let sources = Sources {
            paths: vec![file("bench.toml")],
            environment: vec![("SECRET".into(), "s".repeat(64))],
            ..Sources::default()
        };
        let policy = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).policy;
        let pipeline = Pipeline::new(Arc::new(policy), Vec::new(), noon());
        let sender = pipeline.sender(Arc::new(peer(&["red"])), noon());
        assert!(pipeline.decide(&sender, text, EventId::next(), today()).is_ok(), "{name}");
        group.bench_function(name, |b| {
            b.iter(|| black_box(pipeline.decide(&sender, black_box(text), EventId::next(), today())).is_ok());
        });
    }
    group.finish();
}

fn scan(c: &mut Criterion) {
    let members = sixteen_kib();
    let text = format!(r#""{}""#, "x".repeat(16 << 10));
    let brackets = "[],".repeat((16 << 10) / 3);
    let mut group = c.benchmark_group("depth of 16 KiB");
    for (name, json) in [("members", members), ("one string", text), ("brackets", brackets)] {
        group.throughput(Throughput::Bytes(json.len() as u64));
        group.bench_function(name, |b| b.iter(|| size::is_deeper_than(black_box(&json), 8)));
    }
    group.finish();
}

/// An array of small objects, just under 16 KiB.
fn sixteen_kib() -> String {
    let item = r#"{"id":12345,"title":"a task of ordinary length","done":false}"#;
    let items = vec![item; (16 << 10) / (item.len() + 1) - 1];
    format!("[{}]", items.join(","))
}

criterion_group!(benches, decide, filters, scan);
criterion_main!(benches);
