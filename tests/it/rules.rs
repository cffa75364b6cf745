//! Rules of the policy over real sockets: enforced, watched, switched off; over claims; and without an answer.

use serde_json::{Value, json};

use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, mint, refusals};

/// Typed payloads with comments beside the four types of the defaults, and refusals that say what spoke.
const TYPED: &str = r#"
[refusals]
detail = "full"
[events.database-change]
payload = "typed"
[[events.database-change.types]]
match = "comment-*"
[events.database-change.fields.title]
kind = "string"
"#;

async fn serve(rules: &str) -> Sidecar {
    Sidecar::start(&format!("{TYPED}{rules}")).await
}

/// Joins the team `red` with these claims beside the ordinary ones.
async fn join(sidecar: &Sidecar, claims: Value) -> RawSocket {
    RawSocket::join(sidecar.public, &json!({ "token": mint(claims) })).await
}

fn outcome(rule: &str, outcome: &str) -> String {
    format!("flowgate_rules_total{{rule=\"{rule}\",outcome=\"{outcome}\"}}")
}

const DELETED: &str = r#"{"type":"task-deleted","taskId":1}"#;
const UPDATED: &str = r#"{"type":"task-updated","taskId":2}"#;
const NAME: &str = "only editors delete";

fn only_editors_delete(mode: &str) -> String {
    format!(
        "[[rules]]\nname = \"{NAME}\"\non = [\"task-deleted\"]\nallow_if = '\"editor\" in peer.roles'\nmode = \"{mode}\"\n"
    )
}

#[tokio::test]
async fn an_enforced_rule_refuses_and_says_so() {
    let sidecar = serve(&only_editors_delete("enforce")).await;
    let mut viewer = join(&sidecar, json!({ "sub": "ann", "roles": ["viewer"] })).await;
    let mut editor = join(&sidecar, json!({ "sub": "ben", "roles": ["editor"] })).await;
    let expected = json!({
        "ok": false,
        "code": "not_allowed",
        "message": "a rule of the policy does not allow it",
        "rule": "rules.only editors delete",
    });
    assert_eq!(viewer.ask(DELETED).await, expected);
    assert_eq!(viewer.ask(UPDATED).await["ok"], true);
    assert_eq!(editor.ask(DELETED).await["ok"], true);
    assert_eq!(viewer.heard_until_now().await, [UPDATED, DELETED]);
    assert_eq!(sidecar.metric(&refusals("not_allowed")).await, 1.0);
    for (which, count) in [("allowed", 1.0), ("refused", 1.0), ("observed", 0.0), ("error", 0.0)] {
        assert_eq!(sidecar.metric(&outcome(NAME, which)).await, count, "{which}");
    }
}

/// All that a viewer sees of a day: its answers but for their ids, and what it heard.
async fn day_of_a_viewer(sidecar: &Sidecar) -> (Vec<Value>, Vec<String>) {
    let mut viewer = join(sidecar, json!({ "sub": "ann", "roles": ["viewer"] })).await;
    let mut answers = Vec::new();
    for argument in [DELETED, UPDATED, r#"{"type":"nope"}"#, r#"{"type":"comment-added"}"#, DELETED] {
        let mut answer = viewer.ask(argument).await;
        let had_id = answer.as_object_mut().unwrap().remove("id").is_some();
        answers.push(json!([had_id, answer]));
    }
    (answers, viewer.heard_until_now().await)
}

#[tokio::test]
async fn an_observed_rule_counts_and_changes_nothing_that_a_client_sees() {
    let without = day_of_a_viewer(&serve("").await).await;
    let no_answer = "[[rules]]\nname = \"titled\"\non = [\"comment-*\"]\nallow_if = 'event.payload.title != \"\"'\nmode = \"observe\"\n";
    let observing = serve(&format!("{}{no_answer}", only_editors_delete("observe"))).await;
    assert_eq!(day_of_a_viewer(&observing).await, without);
    for (rule, which, count) in [
        (NAME, "observed", 2.0),
        (NAME, "refused", 0.0),
        ("titled", "error", 1.0),
        ("titled", "observed", 0.0),
    ] {
        assert_eq!(observing.metric(&outcome(rule, which)).await, count, "{rule} {which}");
    }
    assert_eq!(observing.metric(&refusals("not_allowed")).await, 0.0);

    let off = serve(&only_editors_delete("off")).await;
    assert_eq!(day_of_a_viewer(&off).await, without);
    for which in ["allowed", "refused", "observed", "error"] {
        assert_eq!(off.metric(&outcome(NAME, which)).await, 0.0, "{which}");
    }
}

#[tokio::test]
async fn a_rule_without_an_answer_refuses_and_is_counted_apart() {
    let rule =
        "[[rules]]\nname = \"titled\"\non = [\"comment-*\"]\nallow_if = 'event.payload.title != \"\"'\n";
    let sidecar = serve(rule).await;
    let mut ann = join(&sidecar, json!({})).await;
    let answer = ann.ask(r#"{"type":"comment-added"}"#).await;
    assert_eq!((&answer["code"], &answer["rule"]), (&json!("not_allowed"), &json!("rules.titled")));
    assert_eq!(answer["message"], "a rule of the policy has no answer for it");
    assert_eq!(ann.ask(r#"{"type":"comment-added","title":"t"}"#).await["ok"], true);
    assert_eq!(sidecar.metric(&outcome("titled", "error")).await, 1.0);
    assert_eq!(sidecar.metric(&outcome("titled", "refused")).await, 0.0);
}

#[tokio::test]
async fn rules_read_claims_and_ask_for_part_of_a_glob() {
    let rule = r#"
[[rules]]
name = "paid"
on = ["comment-added", "comment-moved"]
allow_if = 'has(peer.claims.plan) && peer.claims.plan in ["pro", "max"] || peer.claims.org.id == 7'
"#;
    let sidecar = serve(rule).await;
    for (claims, passes) in [
        (json!({ "plan": "pro" }), true),
        (json!({ "plan": "free", "org": { "id": 7 } }), true),
        (json!({ "plan": "free", "org": { "id": 8 } }), false),
        (json!({}), false),
        (json!({ "plan": ["pro"], "org": 7 }), false),
    ] {
        let mut peer = join(&sidecar, claims.clone()).await;
        let answer = peer.ask(r#"{"type":"comment-added"}"#).await;
        assert_eq!(answer["ok"], passes, "{claims} {answer}");
        assert_eq!(peer.ask(r#"{"type":"comment-read"}"#).await["ok"], true);
    }
    // Claims that take more than a connection may hold refuse the token; those that no rule names may be of any size.
    let connect = async |claims| {
        let mut socket = RawSocket::open(sidecar.public).await;
        socket.connect(&json!({ "token": mint(claims) })).await
    };
    assert_eq!(connect(json!({ "plan": "x".repeat(5000) })).await, Err("token_invalid".into()));
    assert_eq!(connect(json!({ "other": "x".repeat(5000) })).await, Ok(()));
}
