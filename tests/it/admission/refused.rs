//! Refusals at CONNECT: what is final is said by its code, what may pass closes the transport.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::Algorithm::HS256;
use serde_json::{Value, json};

use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, claims, closes, member, mint, now, refusals, within};
use crate::keys;

/// What becomes of a CONNECT with this payload, on a WebSocket and by polling alike.
async fn refusal(sidecar: &Sidecar, auth: Value) -> String {
    let by_websocket = RawSocket::open(sidecar.public).await.connect(&auth).await.expect_err("a refusal");
    let by_polling = Polling::open(sidecar.public).await.connect(&auth).await.expect_err("a refusal");
    assert_eq!(by_websocket, by_polling);
    by_websocket
}

#[tokio::test]
async fn each_final_refusal_has_its_code() {
    let sidecar = Sidecar::start("").await;
    let forged = keys::token(&claims(json!({})), b"another secret, which is long enough for HS256", HS256);
    let cases = [
        ("token_missing", Value::Null),
        ("token_missing", json!({})),
        ("token_missing", json!({ "token": null })),
        ("token_invalid", json!({ "token": "" })),
        ("token_invalid", json!({ "token": "a.b.c" })),
        ("token_invalid", json!({ "token": ["a"] })),
        ("token_invalid", json!({ "token": forged })),
        ("token_invalid", json!({ "token": mint(json!({ "iss": "https://evil.test" })) })),
        ("token_invalid", json!({ "token": mint(json!({ "aud": "others" })) })),
        ("token_invalid", json!({ "token": mint(json!({ "exp": null })) })),
        ("token_invalid", json!({ "token": mint(json!({ "nbf": now() + 600 })) })),
        ("token_invalid", json!({ "token": mint(json!({ "exp": now() + 400 * 24 * 3600 })) })),
        ("token_expired", json!({ "token": mint(json!({ "iat": now() - 600, "exp": now() - 60 })) })),
        ("no_team", json!({ "token": mint(json!({ "teams": [] })) })),
        ("no_team", json!({ "token": mint(json!({ "teams": null })) })),
        ("no_team", json!({ "token": mint(json!({ "teams": ["red"] })), "team": "blue" })),
        ("no_team", json!({ "token": mint(json!({ "teams": ["red"] })), "team": "" })),
        ("no_team", json!({ "token": mint(json!({ "teams": ["red"] })), "team": ["red"] })),
        ("no_team", json!({ "token": mint(json!({ "teams": ["red"] })), "team": 1 })),
    ];
    for (code, auth) in &cases {
        assert_eq!(refusal(&sidecar, auth.clone()).await, *code, "{auth}");
    }
    for code in ["token_missing", "token_invalid", "token_expired", "no_team"] {
        let expected = 2 * cases.iter().filter(|(of, _)| *of == code).count();
        assert_eq!(sidecar.metric(&refusals(code)).await, expected as f64, "{code}");
    }
    assert_eq!(sidecar.metric("flowgate_admissions_total").await, 0.0);
}

#[tokio::test]
async fn a_refused_socket_hears_nothing_and_reaches_nobody() {
    let sidecar = Sidecar::start("").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut refused = RawSocket::open(sidecar.public).await;
    assert_eq!(refused.connect(&json!({ "token": "a.b.c" })).await.unwrap_err(), "token_invalid");
    honest.ask("1").await;
    // The library closes who sends to a namespace that it has not joined.
    refused.emit("\"from outside\"").await;
    assert_eq!(within("the end", refused.closed()).await, Vec::<String>::new());
    assert_eq!(honest.heard_until_now().await, ["1"]);
}

#[tokio::test]
async fn another_namespace_is_none() {
    let sidecar = Sidecar::start("").await;
    let auth = member("ann", &["red"]);
    for namespace in ["/admin", "/socket.io", "/%2e%2e", "//"] {
        let mut socket = RawSocket::open(sidecar.public).await;
        socket.send(&format!("40{namespace},{auth}")).await;
        assert_eq!(within("the end", socket.closed()).await, Vec::<String>::new(), "{namespace}");
        let mut polling = Polling::open(sidecar.public).await;
        assert_eq!(polling.post(&format!("40{namespace},{auth}")).await.status, 400, "{namespace}");
    }
    assert_eq!(sidecar.metric(&closes("bad_packet")).await, 8.0);
    assert_eq!(sidecar.metric("flowgate_admissions_total").await, 0.0);
}

#[tokio::test]
async fn connect_may_be_tried_three_times() {
    let sidecar = Sidecar::start("").await;
    let mut third_time_lucky = RawSocket::open(sidecar.public).await;
    let mut stubborn = RawSocket::open(sidecar.public).await;
    let mut polling = Polling::open(sidecar.public).await;
    let bad = json!({ "token": "a.b.c" });
    for _ in 0..2 {
        assert_eq!(third_time_lucky.connect(&bad).await.unwrap_err(), "token_invalid");
    }
    third_time_lucky.connect(&member("ann", &["red"])).await.unwrap();
    for _ in 0..3 {
        assert_eq!(stubborn.connect(&bad).await.unwrap_err(), "token_invalid");
        assert_eq!(polling.connect(&bad).await.unwrap_err(), "token_invalid");
    }
    assert_eq!(stubborn.connect(&member("ann", &["red"])).await.unwrap_err(), "closed");
    assert_eq!(polling.connect(&member("ann", &["red"])).await.unwrap_err(), "closed");
    sidecar.until(&closes("connect_flood"), 2.0).await;
    sidecar.until("flowgate_sessions", 1.0).await;
}

#[tokio::test]
async fn one_socket_too_many_of_a_user_loses_its_transport() {
    let sidecar = Sidecar::start("[limits.connections]\nper_user = 2").await;
    let ann = member("ann", &["red"]);
    let first = RawSocket::join(sidecar.public, &ann).await;
    let _second = Polling::join(sidecar.public, &ann).await;
    // No connect_error, after which a stock client would never come back.
    assert_eq!(refusal(&sidecar, ann.clone()).await, "closed");
    assert_eq!(sidecar.metric(&closes("user_cap")).await, 2.0);
    RawSocket::join(sidecar.public, &member("ben", &["red"])).await;
    drop(first);
    sidecar.until("flowgate_peers", 1.0).await;
    RawSocket::join(sidecar.public, &ann).await;
}

/// The end of a token whose life is over at `exp` and a leeway of one second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_closes_the_transport() {
    /// What the promise leaves after `exp` and the leeway, and what a busy machine may add.
    const WITHIN: Duration = Duration::from_secs(1 + 4);
    let sidecar = Sidecar::start("[auth]\nleeway = \"1s\"").await;
    let exp = now() + 4;
    let auth = json!({ "token": mint(json!({ "exp": exp })) });
    let websocket = RawSocket::join(sidecar.public, &auth).await;
    let polling = Polling::join(sidecar.public, &auth).await;
    let upgraded = Polling::join(sidecar.public, &auth).await.upgrade().await;
    let mut busy = RawSocket::join(sidecar.public, &auth).await;
    busy.ask("1").await;
    let mut honest = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let ended = UNIX_EPOCH + Duration::from_secs(exp + 1);
    let ends = [
        tokio::spawn(async { drop(websocket.closed().await) }),
        tokio::spawn(polling.closed()),
        tokio::spawn(async { drop(upgraded.closed().await) }),
        tokio::spawn(async { drop(busy.closed().await) }),
    ];
    for end in ends {
        within("the end of an expired token", end).await.unwrap();
        let late = SystemTime::now().duration_since(ended).expect("not before its time");
        assert!(late < WITHIN, "{late:?}");
    }
    sidecar.until(&closes("token_expired"), 4.0).await;
    sidecar.until("flowgate_sessions", 1.0).await;
    assert_eq!(honest.ask("1").await["ok"], true);
}
