//! JSON Schemas of types over real sockets.

use serde_json::{Value, json};

use crate::harness::websocket::RawSocket;
use crate::harness::{BASE, Sidecar, member, write_settings};

/// A task with a title, tags and who it is assigned to.
const TASK: &str = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["title"],
  "additionalProperties": false,
  "properties": {
    "type": {}, "taskId": {}, "timestamp": {}, "team": {},
    "title": { "type": "string", "minLength": 1, "maxLength": 10, "pattern": "^\\S" },
    "tags": { "type": "array", "items": { "enum": ["red", "blue"] } },
    "assignees": { "type": "array", "items": { "$ref": "#/$defs/person" } },
    "position": { "type": "number", "multipleOf": 0.5 }
  },
  "$defs": { "person": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } } }
}"##;

/// The type `task-updated` has the schema; the others have a title of the declared kind.
const SETTINGS: &str = r#"
[refusals]
detail = "full"
[events.database-change]
payload = "typed"
team_field = "team"
[events.database-change.fields.title]
kind = "string"
presence = "required"
[[events.database-change.types]]
match = "task-updated"
schema = "schemas/task.json"
"#;

async fn serve(schema: &str, settings: &str) -> Sidecar {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("schemas")).unwrap();
    std::fs::write(folder.path().join("schemas/task.json"), schema).unwrap();
    Sidecar::of(write_settings(folder.path(), &[BASE, settings])).await
}

const RULE: &str = r#"events.database-change.types[match="task-updated"].schema"#;

/// `code rule field` of the answer.
fn refusal(answer: &Value) -> [&str; 3] {
    assert_eq!(answer["ok"], false, "{answer}");
    ["code", "rule", "field"].map(|key| answer[key].as_str().unwrap_or_default())
}

#[tokio::test]
async fn payloads_fit_their_types_schema_or_are_refused() {
    let sidecar = serve(TASK, SETTINGS).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let right = [
        r#"{"type":"task-updated","taskId":1,"title":"größe"}"#,
        r#"{ "title" : "t", "position":1.50, "tags":["red"], "taskId":1,"type":"task-updated","team":"red" }"#,
        r#"{"type":"task-updated","taskId":1,"title":"t","assignees":[{"id":7,"name":"ben"}]}"#,
    ];
    for argument in right {
        assert_eq!(ann.ask(argument).await["ok"], true, "{argument}");
    }
    for (fields, field) in [
        (r#""title":"""#, "title"),
        (r#""title":" t""#, "title"),
        (r#""title":"far too long""#, "title"),
        (r#""tags":[]"#, "title"),
        (r#""title":"t","tags":["red","green"]"#, "tags/1"),
        (r#""title":"t","assignees":[{"id":7},{"id":"7"}]"#, "assignees/1/id"),
        (r#""title":"t","assignees":[{}]"#, "assignees/0/id"),
        (r#""title":"t","position":1.2"#, "position"),
        (r#""title":"t","titel":"t""#, "titel"),
        (r#""title":"t","a name that is far too long for an answer":1"#, ""),
    ] {
        let answer = ann.ask(&format!(r#"{{"type":"task-updated","taskId":1,{fields}}}"#)).await;
        assert_eq!(refusal(&answer), ["invalid_payload", RULE, field], "{fields}");
        assert!(answer["message"].as_str().unwrap().len() > 10);
    }
    assert_eq!(ann.heard_until_now().await, right);
}

/// What the policy says of `type`, `taskId`, `timestamp` and the team field holds beside the schema, and so does what holds
/// for every typed payload.
#[tokio::test]
async fn a_schema_comes_beside_the_declared_checks() {
    let sidecar = serve(TASK, SETTINGS).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for (argument, expected) in [
        (
            r#"{"type":"task-updated","title":"t"}"#,
            ["missing_field", "events.database-change.types", "taskId"],
        ),
        (
            r#"{"type":"task-updated","taskId":1.5,"title":"t"}"#,
            ["invalid_payload", "events.database-change.task_id", "taskId"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","timestamp":1}"#,
            ["stale_timestamp", "events.database-change.timestamp", "timestamp"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","team":"blue"}"#,
            ["no_room", "events.database-change.team_field", "team"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","team":1}"#,
            ["invalid_payload", "events.database-change.team_field", "team"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","title":"u"}"#,
            ["invalid_payload", "events.database-change", "title"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","assignees":[{"id":1,"id":2}]}"#,
            ["invalid_payload", "events.database-change", "assignees"],
        ),
        (
            r#"{"type":"task-updated","taskId":1,"title":"t","position":1e400}"#,
            ["invalid_payload", "events.database-change", "position"],
        ),
        (r#"{"type":"task-updated","taskId":1,"title":"\ud800"}"#, ["invalid_payload", RULE, ""]),
        // The other types are as they were: `fields` and `unknown_fields` hold for them, and the schema does not.
        (
            r#"{"type":"task-moved","taskId":1}"#,
            ["missing_field", "events.database-change.fields.title", "title"],
        ),
        (
            r#"{"type":"task-moved","taskId":1,"title":"t","position":1.5}"#,
            ["unknown_field", "events.database-change.unknown_fields", "position"],
        ),
        (r#"{"type":"task-lost","position":1.5}"#, ["unknown_type", "events.database-change.types", "type"]),
    ] {
        assert_eq!(refusal(&ann.ask(argument).await), expected, "{argument}");
    }
    assert_eq!(
        ann.ask(r#"{"type":"task-moved","taskId":1,"title":"far too long for the schema"}"#).await["ok"],
        true
    );
}

#[tokio::test]
async fn what_is_stripped_of_other_types_stays_in_those_with_a_schema() {
    let settings = format!("{SETTINGS}[events.database-change.timestamp]\npresence = \"optional\"\n")
        .replace("team_field", "unknown_fields = \"strip\"\nteam_field");
    let sidecar = serve(TASK, &settings).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for (argument, heard) in [
        (
            r#"{"x":1, "type":"task-moved", "taskId":1 ,"y":[2],"title":"t"}"#,
            r#"{"type":"task-moved","taskId":1,"title":"t"}"#,
        ),
        (
            r#"{"position":1, "type":"task-updated", "taskId":1,"title":"t"}"#,
            r#"{"position":1, "type":"task-updated", "taskId":1,"title":"t"}"#,
        ),
    ] {
        assert_eq!(ann.ask(argument).await["ok"], true, "{argument}");
        assert_eq!(ann.heard_until_now().await, [heard]);
    }
}

#[tokio::test]
async fn a_schema_can_be_tried() {
    let sidecar = serve(TASK, &SETTINGS.replace("team_field", "validation = \"observe\"\nteam_field")).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let wrong = r#"{"type":"task-updated","taskId":1,"title":"far too long"}"#;
    assert_eq!(ann.ask(wrong).await["ok"], true);
    assert_eq!(ann.heard_until_now().await, [wrong]);
    let series = "flowgate_observed_events_total{event=\"database-change\",type=\"task-updated\",code=\"invalid_payload\"}";
    assert_eq!(sidecar.metric(series).await, 1.0);
}

/// Rules may look at what a schema describes.
#[tokio::test]
async fn rules_see_what_a_schema_describes() {
    let rule = "[[rules]]\nname = \"few\"\non = [\"task-updated\"]\nallow_if = '!has(event.payload.tags) || size(event.payload.tags) < 2'\n";
    let sidecar = serve(TASK, &format!("{SETTINGS}{rule}")).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    for (tags, code) in [(r#"["red"]"#, Value::Null), (r#"["red","blue"]"#, json!("not_allowed"))] {
        let answer =
            ann.ask(&format!(r#"{{"type":"task-updated","taskId":1,"title":"t","tags":{tags}}}"#)).await;
        assert_eq!(answer["code"], code);
    }
}
