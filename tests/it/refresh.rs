//! A newer token on a live socket: what it moves, what it must be, and what it costs.

use std::sync::Arc;

use jsonwebtoken::Algorithm::{ES256, HS256};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::endpoint::{Answer, Endpoint};
use crate::harness::http::Http;
use crate::harness::packets;
use crate::harness::process::Process;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, closes, mint, now, refusals, until};
use crate::keys::*;

const NAME: &str = "refresh-token";
const ON: &str = "[auth]\nrefresh = true\n";
const NOTHING: [&str; 0] = [];

async fn serve(settings: &str) -> Sidecar {
    Sidecar::start(&format!("{ON}{settings}")).await
}

async fn join(sidecar: &Sidecar, change: Value) -> RawSocket {
    RawSocket::join(sidecar.public, &json!({ "token": mint(change) })).await
}

/// Brings a token with these claims, as text.
async fn bring(socket: &mut RawSocket, change: Value) -> Value {
    socket.ask_as(NAME, &json!(mint(change)).to_string()).await
}

fn refused(code: &str) -> Value {
    json!({ "ok": false, "code": code })
}

#[tokio::test]
async fn rooms_audience_roles_and_the_end_follow_the_newer_token() {
    let sidecar = serve(
        r#"leeway = "0s"
[events.database-change]
payload = "typed"
[[rules]]
name = "editors"
on = ["*"]
allow_if = '"editor" in peer.roles'
[[audience]]
name = "grown-ups"
on = ["*"]
hear_if = "peer.claims.age >= 18"
"#,
    )
    .await;
    const CREATED: &str = r#"{"type":"task-created"}"#;
    let mut ann = join(&sidecar, json!({ "sub": "ann", "roles": [], "age": 17, "exp": now() + 3 })).await;
    let mut red = join(&sidecar, json!({ "sub": "red", "age": 18 })).await;
    let mut blue = join(&sidecar, json!({ "sub": "blue", "teams": ["blue"], "age": 18 })).await;
    assert_eq!(ann.ask(CREATED).await["code"], "not_allowed");
    assert_eq!(red.ask(CREATED).await["ok"], true);
    assert_eq!(ann.heard_until_now().await, NOTHING);
    let exp = now() + 500;
    let token = mint(json!({ "sub": "ann", "teams": ["blue"], "age": 18, "exp": exp }));
    let answer = ann.ask_as(NAME, &json!({ "token": token }).to_string()).await;
    assert_eq!(answer, json!({ "ok": true, "expiresAt": exp * 1000 }));
    assert_eq!(red.ask(CREATED).await["ok"], true);
    assert_eq!(ann.ask(CREATED).await["ok"], true);
    assert_eq!(ann.heard_until_now().await, [CREATED]);
    assert_eq!(blue.heard_until_now().await, [CREATED]);
    assert_eq!(red.heard_until_now().await, [CREATED, CREATED]);
    assert_eq!(sidecar.metric("flowgate_refreshes_total").await, 1.0);
    // One that came with the first token's end and brought no other is gone by now or soon; she is not.
    let late = join(&sidecar, json!({ "sub": "late", "exp": now() + 3 })).await;
    late.closed().await;
    assert_eq!(sidecar.metric(&closes("token_expired")).await, 1.0);
    assert_eq!(ann.ask(CREATED).await["ok"], true);
    // And back: a newer token may end sooner.
    assert_eq!(bring(&mut ann, json!({ "sub": "ann", "exp": now() + 1 })).await["ok"], true);
    ann.closed().await;
    sidecar.until(&closes("token_expired"), 2.0).await;
    drop((red, blue));
    sidecar.until_empty().await;
}

#[tokio::test]
async fn a_token_of_somebody_else_or_none_at_all_changes_nothing() {
    let sidecar = serve(
        "[[auth.issuers]]\nname = \"other\"\nissuer = \"https://other.example\"\nalgorithms = [\"HS256\"]\nsecret_env = \"OTHER_SECRET\"\n",
    )
    .await;
    let token_of =
        |team: &str| json!({ "token": mint(json!({ "sub": "ann", "teams": ["red", team] })), "team": "red" });
    let mut ann = RawSocket::join(sidecar.public, &token_of("blue")).await;
    let mut ben = join(&sidecar, json!({ "sub": "ben" })).await;
    assert_eq!(bring(&mut ann, json!({ "sub": "ben" })).await, refused("token_invalid"));
    let elsewhere =
        claims(json!({ "iss": "https://other.example", "sub": "ann", "iat": now(), "exp": now() + 60 }));
    let elsewhere = token(&elsewhere, &SECRET.to_ascii_uppercase(), HS256);
    assert_eq!(ann.ask_as(NAME, &json!(elsewhere).to_string()).await, refused("token_invalid"));
    let forged = token(&crate::harness::claims(json!({ "sub": "ann" })), &[b'x'; 64], HS256);
    assert_eq!(ann.ask_as(NAME, &json!(forged).to_string()).await, refused("token_invalid"));
    assert_eq!(bring(&mut ann, json!({ "sub": "ann", "exp": now() - 60 })).await, refused("token_expired"));
    // Without the team that it chose, and without any.
    assert_eq!(bring(&mut ann, json!({ "sub": "ann", "teams": ["blue"] })).await, refused("no_team"));
    assert_eq!(bring(&mut ann, json!({ "sub": "ann", "teams": [] })).await, refused("no_team"));
    for (argument, code) in [
        ("", "invalid_payload"),
        ("7", "invalid_payload"),
        ("{}", "invalid_payload"),
        ("\"x\"", "token_invalid"),
    ] {
        assert_eq!(ann.ask_as(NAME, argument).await, refused(code), "{argument}");
    }
    assert_eq!(ann.ask_as(NAME, &json!("x".repeat(9000)).to_string()).await, refused("too_large"));
    assert_eq!(ann.ask("1").await["ok"], true);
    assert_eq!(ben.heard_until_now().await, ["1"], "and nobody has heard of the rest");
    assert_eq!(sidecar.metric(&refusals("token_invalid")).await, 4.0);
    assert_eq!(sidecar.metric("flowgate_refreshes_total").await, 0.0);
}

#[tokio::test]
async fn it_counts_as_an_event_and_is_one_like_others_where_it_is_off() {
    let sidecar =
        serve("[limits.events]\nper_socket = \"2/h\"\ndisconnect_after = { refusals = 3, per = \"1m\" }")
            .await;
    let mut ann = join(&sidecar, json!({ "sub": "ann" })).await;
    for _ in 0..2 {
        assert_eq!(bring(&mut ann, json!({ "sub": "ann" })).await["ok"], true);
    }
    assert_eq!(bring(&mut ann, json!({ "sub": "ann" })).await["code"], "rate_limited");
    assert_eq!(ann.ask("1").await["code"], "rate_limited");
    // Without an answer too.
    let token = json!(mint(json!({ "sub": "ann" }))).to_string();
    ann.send(&packets::event(NAME, &token, None)).await;
    ann.closed().await;
    sidecar.until(&closes("refusals"), 1.0).await;
    let off = Sidecar::start("").await;
    let mut ben = join(&off, json!({ "sub": "ben" })).await;
    assert_eq!(bring(&mut ben, json!({ "sub": "ben" })).await, refused("unknown_event"));
    let anonymous = serve("mode = \"optional\"\n[rooms]\nanonymous = \"lobby\"").await;
    let mut stranger = RawSocket::join(anonymous.public, &Value::Null).await;
    assert_eq!(bring(&mut stranger, json!({ "sub": "ann" })).await, refused("not_allowed"));
}

#[tokio::test]
async fn a_key_that_has_to_be_fetched_is_waited_for_and_order_is_kept() {
    let keys = |keys: &[Value]| jwks(keys);
    let (old, new) = (jwk(P256, "old", ES256), jwk(P256_OTHER, "new", ES256));
    let endpoint = Endpoint::start(Answer::Body(keys(std::slice::from_ref(&old)))).await;
    let sidecar = serve(&format!(
        "[[auth.issuers]]\nname = \"es\"\nissuer = \"https://es.example\"\nalgorithms = [\"ES256\"]\njwks_url = \"{}\"\ninsecure_http = true\n",
        endpoint.url
    ))
    .await;
    let by = |kid: &str, key: &[u8], team: &str| {
        let claims = claims(
            json!({ "iss": "https://es.example", "aud": null, "teams": [team], "iat": now(), "exp": now() + 60 }),
        );
        token_with_kid(&claims, kid, key, ES256)
    };
    let mut ann = RawSocket::join(sidecar.public, &json!({ "token": by("old", P256, "red") })).await;
    let mut blue = join(&sidecar, json!({ "sub": "b", "teams": ["blue"] })).await;
    let permits = Arc::new(Semaphore::new(0));
    endpoint.answers(Answer::Held(keys(&[old, new]), permits.clone()));
    let ack = ann.next_ack();
    let token = by("new", P256_OTHER, "blue");
    ann.send(&packets::event(NAME, &json!(token).to_string(), Some(ack))).await;
    // What comes meanwhile is judged by the old token, and a second one has to wait.
    assert_eq!(ann.ask("1").await["ok"], true);
    assert_eq!(ann.ask_as(NAME, &json!(token).to_string()).await["code"], "rate_limited");
    assert_eq!(blue.heard_until_now().await, NOTHING);
    permits.add_permits(10);
    let answer = loop {
        let packet = ann.packet().await.expect("it stays");
        if let Some(answer) = packets::answer(&packet, ack) {
            break answer;
        }
    };
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(ann.ask("2").await["ok"], true);
    assert_eq!(blue.heard_until_now().await, ["2"]);
}

#[tokio::test]
async fn revocations_hold_for_it_and_no_log_has_it() {
    const ADMIN: &str = "an-admin-token-of-the-tests";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let settings = format!("{ON}[decision_log]\npath = {:?}\n", log.display().to_string());
    let process = Process::serve_in(&settings, &[("FLOWGATE_ADMIN_TOKEN", ADMIN)]);
    let fresh = |id: &str| mint(json!({ "sub": "ann", "jti": id }));
    let mut ann = RawSocket::join(process.public, &json!({ "token": fresh("one") })).await;
    let revoke = async |id: &str| {
        let mut http = Http::to(process.internal).await;
        let bearer = format!("Bearer {ADMIN}");
        let headers = [("Authorization", bearer.as_str())];
        let body = json!({ "tokenId": id }).to_string();
        let answer = http.request("POST", "/api/revocations", &headers, &body).await;
        (answer.status, answer.body)
    };
    let (status, body) = revoke("two").await;
    assert!((200..300).contains(&status), "{body}");
    let (two, three) = (fresh("two"), fresh("three"));
    assert_eq!(ann.ask_as(NAME, &json!(two).to_string()).await["code"], "token_revoked");
    assert_eq!(ann.ask_as(NAME, &json!(three).to_string()).await["ok"], true);
    // The token that it came with is not what it stays on any more.
    assert!((200..300).contains(&revoke("one").await.0));
    assert_eq!(ann.ask("1").await["ok"], true);
    assert!((200..300).contains(&revoke("three").await.0));
    ann.closed().await;
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    until("both are written down", async || lines().matches("\"kind\":\"refresh\"").count() == 2).await;
    for text in [lines(), process.log()] {
        for token in [&two, &three] {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!text.contains(signature) && !text.contains(token.split('.').nth(1).unwrap()));
        }
    }
}

#[tokio::test]
async fn what_is_not_taken_does_not_fill_the_log() {
    let process = Process::serve_in(ON, &[]);
    let mut ann = RawSocket::join(process.public, &json!({ "token": mint(json!({ "sub": "ann" })) })).await;
    for _ in 0..20 {
        assert_eq!(ann.ask_as(NAME, "7").await, refused("invalid_payload"));
        assert_eq!(bring(&mut ann, json!({ "sub": "ben" })).await["ok"], false);
    }
    let lines = || process.log().matches("token not refreshed").count();
    until("the first is said", async || lines() > 0).await;
    // One a second, and none about a shape.
    assert!(lines() < 20, "{}", process.log());
    assert!(!process.log().contains("invalid_payload"), "{}", process.log());
}
