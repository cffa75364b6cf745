//! `POST /api/publish`: backends that announce changes, and clients that may only listen.

use serde_json::{Value, json};

use crate::harness::http::{Answer, Http};
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{code_of, member, metric, until, within};

const TOKEN: &str = "a-publishers-token";
const OTHER: &str = "another-publishers-token";
const ADMIN: &str = "an-admin-token-of-the-tests";

const SETTINGS: &str = r#"
[events.database-change]
payload = "typed"
[events.database-change.fields.title]
kind = "string"
[limits.events]
per_team = { rate = "1/h", burst = 6 }
[[publish.publishers]]
name = "api"
token_env = ["API_TOKEN", "API_TOKEN_OLD"]
teams = ["red", "blue"]
[[publish.publishers]]
name = "jobs"
token_env = "JOBS_TOKEN"
teams = ["*"]
types = ["task-deleted"]
"#;

const VARIABLES: [(&str, &str); 4] = [
    ("API_TOKEN", TOKEN),
    ("API_TOKEN_OLD", "the-token-before-this"),
    ("JOBS_TOKEN", OTHER),
    ("FLOWGATE_ADMIN_TOKEN", ADMIN),
];

fn serve(settings: &str) -> Process {
    Process::serve_in(&format!("{SETTINGS}{settings}"), &VARIABLES)
}

/// Publishes with this token, and with these headers beside.
async fn publish_with(process: &Process, token: &str, headers: &str, body: &str) -> Answer {
    let mut http = Http::to(process.internal).await;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    http.send_raw(format!("{head}{body}")).await;
    http.answer().await.unwrap()
}

async fn publish(process: &Process, token: &str, body: &str) -> (u16, Value) {
    let answer = publish_with(process, token, "", body).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

#[tokio::test]
async fn members_hear_what_a_backend_publishes_byte_for_byte() {
    let process = serve("");
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let mut ben = RawSocket::join(process.public, &member("ben", &["blue"])).await;
    let payload = r#"{"taskId":   1,"type":"task-updated", "title":"a\u0062"}"#;
    let (status, answer) =
        publish(&process, TOKEN, &format!(r#"{{"team":"red","payload":{payload}}}"#)).await;
    assert_eq!((status, &answer["ok"], &answer["teams"]), (200, &json!(true), &json!(["red"])), "{answer}");
    assert_eq!(answer["recipients"], 1);
    assert!(answer["id"].as_str().is_some_and(|id| id.contains('-')));
    assert_eq!(ann.event().await, payload);

    let both = r#"{"teams":["red","blue","red"],"payload":{"type":"task-created"}}"#;
    let (_, answer) = publish(&process, "the-token-before-this", both).await;
    assert_eq!((&answer["teams"], &answer["recipients"]), (&json!(["red", "blue"]), &json!(2)));
    assert_eq!(ann.event().await, r#"{"type":"task-created"}"#);
    assert_eq!(ben.event().await, r#"{"type":"task-created"}"#);
    let published = "flowgate_published_total{publisher=\"api\",outcome=\"accepted\"}";
    assert_eq!(metric(process.internal, published).await, 2.0);
}

#[tokio::test]
async fn with_meta_it_has_the_answer_s_id_and_no_actor_and_is_replayed() {
    let process = serve("[relay]\nmeta = true\n[relay.history]\ncount = 9\n");
    let body = r#"{"team":"red","payload":{"type":"task-created"}}"#;
    let (_, first) = publish(&process, TOKEN, body).await;
    let (_, second) = publish(&process, TOKEN, body).await;
    let mut auth = member("ann", &["red"]);
    auth["since"] = first["id"].clone();
    let mut ann = RawSocket::join(process.public, &auth).await;
    let arguments: Vec<Value> = serde_json::from_str(&format!("[{}]", ann.event().await)).unwrap();
    assert_eq!(arguments[0], json!({ "type": "task-created" }));
    assert_eq!((&arguments[1]["id"], &arguments[1]["seq"]), (&second["id"], &json!(2)));
    assert_eq!((&arguments[1]["team"], &arguments[1]["actor"]), (&json!("red"), &Value::Null));
}

#[tokio::test]
async fn what_is_wrong_is_refused_as_a_clients_would_be_and_says_everything() {
    let process = serve("");
    for (body, status, code, rule) in [
        (r#"{"team":"red","payload":{"type":"no-such"}}"#, 422, "unknown_type", None),
        (r#"{"team":"red","payload":{"type":"task-created","x":1}}"#, 422, "unknown_field", None),
        (r#"{"team":"red","event":"no-such"}"#, 422, "unknown_event", None),
        (r#"{"team":"a:b","payload":{"type":"task-created"}}"#, 422, "no_room", None),
        (r#"{"teams":[],"payload":{"type":"task-created"}}"#, 422, "no_room", None),
        (
            r#"{"team":"green","payload":{"type":"task-created"}}"#,
            403,
            "not_allowed",
            Some("publish.publishers.api.teams"),
        ),
    ] {
        let (answered, answer) = publish(&process, TOKEN, body).await;
        assert_eq!((answered, &answer["code"]), (status, &json!(code)), "{body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
        if let Some(rule) = rule {
            assert_eq!(answer["rule"], rule);
        }
    }
    let large =
        format!(r#"{{"team":"red","payload":{{"type":"task-created","title":"{}"}}}}"#, "x".repeat(20_000));
    assert_eq!(publish(&process, TOKEN, &large).await.1["code"], "too_large");
    let (status, answer) =
        publish(&process, OTHER, r#"{"team":"red","payload":{"type":"task-created"}}"#).await;
    assert_eq!((status, &answer["rule"]), (403, &json!("publish.publishers.jobs.types")));
}

#[tokio::test]
async fn many_are_published_at_once_and_each_is_judged_by_itself() {
    let process = serve("");
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let body = r#"{"events":[
        {"team":"red","payload":{"type":"task-created"}},
        {"team":"red","payload":{"type":"no-such"}},
        {"team":"red","payload":{"type":"task-deleted","taskId":1}}
    ]}"#;
    let (status, answer) = publish(&process, TOKEN, body).await;
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (200, &json!(2), &json!(1)), "{answer}");
    assert_eq!(answer["results"][1]["code"], "unknown_type");
    assert_eq!(ann.event().await, r#"{"type":"task-created"}"#);
    assert_eq!(ann.event().await, r#"{"type":"task-deleted","taskId":1}"#);
}

#[tokio::test]
async fn a_team_is_not_told_more_than_its_own_rate() {
    let process = serve("");
    for _ in 0..6 {
        assert_eq!(
            publish(&process, TOKEN, r#"{"team":"red","payload":{"type":"task-created"}}"#).await.0,
            200
        );
    }
    let answer =
        publish_with(&process, TOKEN, "", r#"{"team":"red","payload":{"type":"task-created"}}"#).await;
    assert_eq!((answer.status, &*code_of(&answer)), (429, "rate_limited"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 1);
}

#[tokio::test]
async fn a_request_that_comes_twice_is_carried_out_once() {
    let process = serve("");
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let body = r#"{"team":"red","payload":{"type":"task-created"}}"#;
    let key = "Idempotency-Key: \"8e03978e\"\r\n";
    let first = publish_with(&process, TOKEN, key, body).await;
    let again = publish_with(&process, TOKEN, key, body).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    let other = publish_with(&process, TOKEN, key, &body.replace("created", "deleted")).await;
    assert_eq!((other.status, &*code_of(&other)), (422, "idempotency_mismatch"));
    // Keys are each publisher's own.
    assert_eq!(publish_with(&process, OTHER, key, body).await.status, 403);
    assert_eq!(ann.event().await, r#"{"type":"task-created"}"#);
    assert!(ann.heard_until_now().await.is_empty());
}

#[tokio::test]
async fn a_publishers_token_opens_nothing_else_and_nothing_else_opens_this() {
    let process = serve("");
    let body = r#"{"team":"green","payload":{"type":"task-created"}}"#;
    let wrong = publish_with(&process, "not-the-token-of-anybody", "", body).await;
    assert_eq!((wrong.status, &*code_of(&wrong)), (401, "unauthorized"));
    assert_eq!(publish_with(&process, ADMIN, "", body).await.status, 200);
    let mut http = Http::to(process.internal).await;
    let request =
        format!("GET /api/revocations HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    http.send_raw(request).await;
    assert_eq!(http.answer().await.unwrap().status, 401);
    for malformed in [
        "",
        "[]",
        "{}",
        r#"{"events":[],"team":"red"}"#,
        r#"{"team":"red","teams":["red"]}"#,
        r#"{"events":[]}"#,
    ] {
        let answer = publish_with(&process, TOKEN, "", malformed).await;
        assert_eq!((answer.status, &*code_of(&answer)), (400, "malformed"), "{malformed}");
    }
    until("the log tells of it", async || process.log().contains("without a publisher's token")).await;
    assert!(!process.log().contains(TOKEN));
}

#[tokio::test]
async fn clients_only_listen_where_the_policy_says_so() {
    let process = serve("[publish]\nclients = false\n[refusals]\ndetail = \"full\"");
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let refused = ann.ask(r#"{"type":"task-created"}"#).await;
    assert_eq!((&refused["code"], &refused["rule"]), (&json!("not_allowed"), &json!("publish.clients")));
    publish(&process, TOKEN, r#"{"team":"red","payload":{"type":"task-deleted","taskId":2}}"#).await;
    assert_eq!(ann.event().await, r#"{"type":"task-deleted","taskId":2}"#);
}

#[test]
fn a_publisher_that_cannot_be_is_refused_at_the_start() {
    use crate::harness::{SECRET_VARIABLE, secret, write_settings};
    for (settings, expected) in [
        ("", "this is how logs and metrics call"),
        ("token_env = \"API_TOKEN\"", "publish.publishers[name=\"x\"].teams: no team to publish to"),
        ("teams = [\"*\"]", "publish.publishers[name=\"x\"].token_env: nothing to prove itself with"),
        ("teams = [\"*\"]\ntoken_env = \"NOT_SET\"", "the environment variable NOT_SET is not set"),
        ("teams = [\"*\"]\ntoken_env = \"SHORT\"", "the token is 5 bytes long and 16 are the least"),
        ("teams = [\"a:b\"]\ntoken_env = \"API_TOKEN\"", "has a name with a character that it may not hold"),
        (
            "teams = [\"*\"]\ntypes = [\"tsk-*\"]\ntoken_env = \"API_TOKEN\"",
            "\"tsk-*\" matches no type of any event",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let name = if settings.is_empty() { "admin" } else { "x" };
        let settings = format!(
            "[events.database-change]\npayload = \"typed\"\n[[publish.publishers]]\nname = \"{name}\"\n{settings}"
        );
        let mut command = crate::harness::process::flowgate(&["check"]);
        for path in write_settings(folder.path(), &[crate::harness::BASE, &settings]) {
            command.arg("--config").arg(path);
        }
        command.env(SECRET_VARIABLE, secret()).env("API_TOKEN", TOKEN).env("SHORT", "short");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{settings}: {said}");
        assert!(said.contains(expected), "{settings}: {said}");
    }
}

#[test]
fn a_token_that_two_have_deserves_a_second_look() {
    use crate::harness::{SECRET_VARIABLE, secret, write_settings};
    let said = |variables: [(&str, &str); 4]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = crate::harness::process::flowgate(&["check"]);
        for path in write_settings(folder.path(), &[crate::harness::BASE, SETTINGS]) {
            command.arg("--config").arg(path);
        }
        let output = command.env(SECRET_VARIABLE, secret()).envs(variables).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(variables.iter().all(|(_, token)| !said.contains(token)), "{said}");
        said
    };
    let (api, old) = (("API_TOKEN", TOKEN), "API_TOKEN_OLD");
    let fine =
        said([api, (old, "the-token-before-this"), ("JOBS_TOKEN", OTHER), ("FLOWGATE_ADMIN_TOKEN", ADMIN)]);
    assert!(!fine.contains("the same token"), "{fine}");
    let shared = said([api, (old, OTHER), ("JOBS_TOKEN", OTHER), ("FLOWGATE_ADMIN_TOKEN", ADMIN)]);
    let jobs = "publish.publishers[name=\"jobs\"].token_env: it has the same token as the publisher \"api\"";
    assert!(shared.contains(jobs) && !shared.contains("as the admin"), "{shared}");
    let admins = said([api, (old, ADMIN), ("JOBS_TOKEN", OTHER), ("FLOWGATE_ADMIN_TOKEN", ADMIN)]);
    let api = "publish.publishers[name=\"api\"].token_env: it has the same token as the admin";
    assert!(admins.contains(api) && !admins.contains("as the publisher"), "{admins}");
}

#[tokio::test]
async fn what_is_published_is_written_down_as_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let process = serve(&format!("[decision_log]\npath = \"{}\"\nsample = 1\n", path.display()));
    for (token, kind) in [(TOKEN, "task-created"), (ADMIN, "task-created"), (TOKEN, "needle")] {
        publish(&process, token, &format!(r#"{{"team":"red","payload":{{"type":"{kind}"}}}}"#)).await;
    }
    let events = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == "event").collect::<Vec<_>>()
    };
    until("three lines", async || events().len() == 3).await;
    let schema: Value = serde_json::from_str(include_str!("../../docs/decision-log.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for line in events() {
        assert!(schema.is_valid(&line), "{line}: {}", schema.iter_errors(&line).next().unwrap());
        assert!(!line.to_string().contains("needle"), "{line}");
    }
    let said: Vec<Value> = events().iter().map(|line| json!([line["by"], line["outcome"]])).collect();
    assert_eq!(said, [json!(["api", "accepted"]), json!(["admin", "accepted"]), json!(["api", "refused"])]);
}

#[tokio::test]
async fn a_burst_of_publications_closes_nobody_who_reads() {
    let settings = SETTINGS.replace(r#"{ rate = "1/h", burst = 6 }"#, r#""100000/s""#);
    let settings = format!("{settings}[limits.slow_reader]\nmax_queued = \"64KiB\"");
    let process = Process::serve_in(&settings, &VARIABLES);
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let mut ben = RawSocket::join(process.public, &member("ben", &["red", "blue"])).await;
    let title = "x".repeat(900);
    let one = |number: usize| json!({ "team": "red", "payload": { "type": "task-updated", "taskId": number, "title": title } });
    let events: Vec<Value> = (0..900).map(one).collect();
    let body = json!({ "events": events }).to_string();
    let reads = async {
        for number in 0..900 {
            for member in [&mut ann, &mut ben] {
                let heard: Value = serde_json::from_str(&member.event().await).unwrap();
                assert_eq!(heard["taskId"], number);
            }
        }
    };
    let ((status, answer), ()) =
        within("all is heard", async { tokio::join!(publish(&process, TOKEN, &body), reads) }).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(900)));
    assert!(answer["results"].as_array().unwrap().iter().all(|result| result["recipients"] == 2), "{answer}");
}

#[tokio::test]
async fn no_client_takes_the_place_of_what_a_backend_publishes() {
    let process = serve("[relay]\ncoalesce = { window = \"1s\" }");
    let mut ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let published = r#"{"type":"task-updated","taskId":7,"title":"paid"}"#;
    let sent = r#"{"type":"task-updated","taskId":7,"title":"unpaid"}"#;
    let (_, answer) = publish(&process, TOKEN, &format!(r#"{{"team":"red","payload":{published}}}"#)).await;
    assert_eq!(answer["recipients"], Value::Null);
    ann.emit(sent).await;
    let heard = within("both are heard", async { [ann.event().await, ann.event().await] }).await;
    assert_eq!(heard, [published, sent]);
}

#[tokio::test]
async fn idempotency_keys_of_two_publishers_never_meet() {
    let settings = "[[publish.publishers]]\nname = \"api x\"\ntoken_env = \"X_TOKEN\"\nteams = [\"*\"]";
    let process = Process::serve_in(
        &format!("{SETTINGS}{settings}"),
        &[
            ("API_TOKEN", TOKEN),
            ("API_TOKEN_OLD", "the-token-before-this"),
            ("JOBS_TOKEN", OTHER),
            ("X_TOKEN", "the-token-of-api-x"),
        ],
    );
    let body = r#"{"team":"red","payload":{"type":"task-created"}}"#;
    let first = publish_with(&process, TOKEN, "Idempotency-Key: x 1\r\n", body).await;
    let other = publish_with(&process, "the-token-of-api-x", "Idempotency-Key: 1\r\n", body).await;
    assert_eq!((first.status, other.status, other.header("idempotent-replayed")), (200, 200, None));
}

#[tokio::test]
async fn what_observed_checks_would_refuse_is_published_and_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let settings = SETTINGS.replace("payload = \"typed\"", "payload = \"typed\"\nvalidation = \"observe\"");
    let settings = format!("{settings}[decision_log]\npath = \"{}\"\n", path.display());
    let process = Process::serve_in(&settings, &VARIABLES);
    let (status, _) = publish(&process, TOKEN, r#"{"team":"red","payload":{"type":"no-such"}}"#).await;
    assert_eq!(status, 200);
    let line = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().find(|line| line["kind"] == "event")
    };
    until("a line", async || line().is_some()).await;
    let line = line().unwrap();
    assert_eq!(
        (&line["by"], &line["outcome"], &line["code"], &line["recipients"]),
        (&json!("api"), &json!("observed"), &json!("unknown_type"), &json!(0))
    );
}
