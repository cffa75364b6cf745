//! Closing connections.

use serde_json::{Value, json};

use crate::harness::operator::{TOKEN, operated};
use crate::harness::polling::Polling;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{closes, member, until};

#[tokio::test]
async fn one_connection_is_closed_and_its_client_comes_back() {
    let (sidecar, operator) = operated("").await;
    let ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut ben = RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    let id =
        operator.get("/api/connections?user=ann").await["connections"][0]["id"].as_str().unwrap().to_owned();
    let target = format!("/api/connections/{id}");
    assert_eq!(
        operator.ask("DELETE", &target, r#"{"reason":"a test"}"#).await,
        (200, json!({ "closed": 1 }))
    );
    assert_eq!(ann.close_code().await, Some(1001));
    assert_eq!(sidecar.metric(&closes("admin")).await, 1.0);
    let (status, answer) = operator.ask("DELETE", &target, "").await;
    assert_eq!((status, &answer["code"]), (404, &json!("not_found")));
    assert_eq!(ben.ask("{}").await["ok"], true);
    let _again = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let polling = Polling::join(sidecar.public, &member("cid", &["red"])).await;
    let id =
        operator.get("/api/connections?user=cid").await["connections"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(operator.ask("DELETE", &format!("/api/connections/{id}"), "").await.0, 200);
    until("the polling session is gone", async || {
        operator.get("/api/connections?user=cid").await["matching"] == 0
    })
    .await;
    drop(polling);
}

#[tokio::test]
async fn all_of_a_user_a_team_or_an_address_are_closed_and_nobody_else() {
    let (sidecar, operator) = operated("").await;
    let mut all = Vec::new();
    for (user, teams) in
        [("ann", &["red"][..]), ("ann", &["blue"]), ("ben", &["red", "blue"]), ("cid", &["green"])]
    {
        all.push(RawSocket::join(sidecar.public, &member(user, teams)).await);
    }
    let mut far = RawSocket::open_from([127, 0, 0, 7].into(), sidecar.public).await.unwrap();
    far.connect(&member("dan", &["green"])).await.unwrap();
    let disconnect = async |wanted: Value| operator.ask("POST", "/api/disconnect", &wanted.to_string()).await;
    assert_eq!(disconnect(json!({ "user": "an" })).await, (200, json!({ "closed": 0 })));
    assert_eq!(disconnect(json!({ "team": "gree" })).await, (200, json!({ "closed": 0 })));
    assert_eq!(disconnect(json!({ "user": "ann" })).await, (200, json!({ "closed": 2 })));
    assert_eq!(disconnect(json!({ "team": "blue", "reason": "moved" })).await, (200, json!({ "closed": 1 })));
    assert_eq!(disconnect(json!({ "address": "127.0.0.7/32" })).await, (200, json!({ "closed": 1 })));
    assert_eq!(sidecar.metric(&closes("admin")).await, 4.0);
    let mut cid = all.pop().unwrap();
    assert_eq!(cid.ask("{}").await["ok"], true);
    for closed in all {
        closed.closed().await;
    }
    far.closed().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_and_closes_nobody() {
    let (sidecar, operator) = operated("").await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let long = "x".repeat(257);
    for (wanted, words) in [
        (json!({}), "exactly one of user, team and address"),
        (json!({ "user": "ann", "team": "red" }), "exactly one"),
        (json!({ "user": "" }), "1 to 256 bytes"),
        (json!({ "user": long }), "1 to 256 bytes"),
        (json!({ "address": "here" }), "an IP address"),
        (json!({ "user": 7 }), "invalid type"),
        (json!({ "subject": "ann" }), "unknown field"),
        (json!(["ann", null, null, null]), "write an object"),
        (json!({ "user": "ann", "team": null }), "without null"),
        (json!({ "user": "ann", "reason": "two\nlines" }), "one line of at most 200 bytes"),
        (json!({ "user": "ann", "reason": "x".repeat(201) }), "one line of at most 200 bytes"),
    ] {
        let (status, answer) = operator.ask("POST", "/api/disconnect", &wanted.to_string()).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_request")), "{wanted}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{wanted}: {answer}");
    }
    for (body, code) in
        [("{", "malformed"), (r#"{"reason":1}"#, "invalid_request"), (r#"{"user":"x"}"#, "invalid_request")]
    {
        let (status, answer) = operator.ask("DELETE", "/api/connections/c1", body).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{body}");
    }
    let (status, answer) = operator.ask("DELETE", "/api/connections/c1", &" ".repeat(5000)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")));
    assert_eq!(ann.ask("{}").await["ok"], true);
}

#[tokio::test]
async fn what_an_operator_did_stands_in_the_decision_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let settings = format!("[decision_log]\npath = \"{}\"", path.display());
    let process = Process::serve_in(&settings, &[("FLOWGATE_ADMIN_TOKEN", TOKEN)]);
    let operator = crate::harness::operator::Operator(process.internal);
    let ann = RawSocket::join(process.public, &member("ann", &["red"])).await;
    let wanted = r#"{"user":"ann","reason":"left \u202eus"}"#;
    assert_eq!(operator.ask("POST", "/api/disconnect", wanted).await, (200, json!({ "closed": 1 })));
    ann.closed().await;
    let login = json!({ "token": TOKEN }).to_string();
    assert_eq!(operator.ask("POST", "/api/session", &login).await.0, 200);
    let text = || std::fs::read_to_string(&path).unwrap();
    until("it is written", async || text().contains("\"login\"")).await;
    assert!(!text().contains(TOKEN));
    let lines: Vec<Value> = text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(crate::decision_log::assert_described);
    let by_admin: Vec<Value> = lines
        .iter()
        .filter(|line| line["kind"] == "admin")
        .map(|line| json!([line["outcome"], line["by"], line["code"], line["why"], line["closed"]]))
        .collect();
    assert_eq!(
        by_admin,
        [
            json!(["accepted", "admin", "disconnect", "user ann: left \u{202e}us", 1]),
            json!(["accepted", "admin", "login", null, null])
        ]
    );
    let close = lines.iter().find(|line| line["kind"] == "close").unwrap();
    assert_eq!((&close["subject"], &close["code"]), (&json!("ann"), &json!("admin")));
}
