//! Where tokens come from, whose they may be, and what the modes make of clients without one.

use jsonwebtoken::Algorithm::HS256;
use serde_json::{Value, json};

use crate::harness::packets::EVENT;
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{Sidecar, claims, member, mint, secret};
use crate::keys;

const PAGE: (&str, &str) = ("Origin", "https://app.example");

/// What becomes of a handshake with these headers and this CONNECT payload, by both transports alike.
async fn outcome(sidecar: &Sidecar, headers: &[(&str, &str)], auth: &Value) -> Result<(), String> {
    let mut socket = RawSocket::open_with(sidecar.public, headers).await.unwrap();
    let mut polling = Polling::open_with(sidecar.public, headers).await.unwrap();
    let by_websocket = socket.connect(auth).await;
    assert_eq!(by_websocket, polling.connect(auth).await);
    by_websocket
}

#[tokio::test]
async fn the_first_source_that_holds_a_token_counts() {
    let sidecar = Sidecar::start(
        "[server]\nallow_missing_origin = false\n[auth]\ntoken_from = [\"cookie:jwt\", \"auth\", \"header\"]",
    )
    .await;
    let token = mint(json!({}));
    let (good_cookie, bad_cookie) = (format!("theme=dark; jwt={token}"), "jwt=a.b.c");
    let (good_header, bad_header) = (format!("Bearer {token}"), "Bearer a.b.c");
    let (good, bad) = (json!({ "token": token }), json!({ "token": "a.b.c" }));
    let invalid = Err("token_invalid".to_owned());
    assert_eq!(outcome(&sidecar, &[PAGE], &json!({})).await, Err("token_missing".to_owned()));
    assert_eq!(outcome(&sidecar, &[PAGE, ("Cookie", &good_cookie)], &json!({})).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[PAGE], &good).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[PAGE, ("Authorization", &good_header)], &Value::Null).await, Ok(()));
    // A bad one is not passed over for a good one behind it, and a good one hides what stands behind it.
    assert_eq!(outcome(&sidecar, &[PAGE, ("Cookie", bad_cookie)], &good).await, invalid);
    assert_eq!(outcome(&sidecar, &[PAGE, ("Authorization", &good_header)], &bad).await, invalid);
    assert_eq!(outcome(&sidecar, &[PAGE, ("Cookie", &good_cookie)], &bad).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[PAGE, ("Authorization", bad_header)], &good).await, Ok(()));
}

#[tokio::test]
async fn a_source_that_is_not_listed_is_not_looked_at() {
    let sidecar = Sidecar::start("").await;
    let token = mint(json!({}));
    let (header, cookie) = (format!("Bearer {token}"), format!("jwt={token}"));
    let headers = [("Authorization", header.as_str()), ("Cookie", &cookie)];
    assert_eq!(outcome(&sidecar, &headers, &json!({})).await, Err("token_missing".to_owned()));
}

#[tokio::test]
async fn several_issuers_each_with_its_own_key() {
    let sidecar = Sidecar::start(
        "[[auth.issuers]]\nname = \"other\"\nissuer = \"https://other.example\"\naudience = [\"flowgate\"]\n\
         algorithms = [\"HS256\"]\nsecret_env = \"OTHER_SECRET\"",
    )
    .await;
    let other = secret().to_uppercase();
    let of = |issuer: &str, key: &[u8]| json!({ "token": keys::token(&claims(json!({ "iss": issuer })), key, HS256) });
    let (app, theirs) = ("https://app.example", "https://other.example");
    let invalid = Err("token_invalid".to_owned());
    assert_eq!(outcome(&sidecar, &[], &of(app, keys::SECRET)).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[], &of(theirs, other.as_bytes())).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[], &of(theirs, keys::SECRET)).await, invalid);
    assert_eq!(outcome(&sidecar, &[], &of(app, other.as_bytes())).await, invalid);
    assert_eq!(outcome(&sidecar, &[], &of("https://third.example", keys::SECRET)).await, invalid);
}

#[tokio::test]
async fn optional_admits_listeners_to_the_anonymous_room() {
    let sidecar = Sidecar::start("[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"").await;
    let mut guest = RawSocket::join(sidecar.public, &Value::Null).await;
    let mut porter = RawSocket::join(sidecar.public, &member("porter", &["lobby"])).await;
    let mut stranger = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    assert_eq!(porter.ask("\"welcome\"").await["ok"], true);
    assert_eq!(stranger.ask("\"secret\"").await["ok"], true);
    assert_eq!(guest.event().await, "\"welcome\"");
    assert_eq!(guest.ask("\"me too\"").await, json!({ "ok": false, "code": "not_allowed" }));
    assert_eq!(guest.heard_until_now().await, Vec::<String>::new());
    assert_eq!(porter.heard_until_now().await, ["\"welcome\""]);
    // A guest must not have brought a bad token, nor does naming a team help it.
    assert_eq!(outcome(&sidecar, &[], &json!({ "token": "a.b.c" })).await, Err("token_invalid".into()));
    let mut sly = RawSocket::join(sidecar.public, &json!({ "team": "red" })).await;
    stranger.ask("\"secret\"").await;
    assert_eq!(sly.heard_until_now().await, Vec::<String>::new());
}

#[tokio::test]
async fn off_is_one_room_for_everybody() {
    let sidecar = Sidecar::start("[auth]\nmode = \"off\"").await;
    let mut bare = RawSocket::join(sidecar.public, &Value::Null).await;
    let mut with_token = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    let mut with_rubbish = Polling::join(sidecar.public, &json!({ "token": "a.b.c", "team": 5 })).await;
    assert_eq!(bare.ask("1").await["ok"], true);
    assert_eq!(with_token.event().await, "1");
    assert_eq!(with_rubbish.event().await, "1");
    with_rubbish.emit("2").await;
    assert_eq!(bare.event().await, "1");
    assert_eq!(bare.event().await, "2");
    assert_eq!(with_token.event().await, "2");
}

#[tokio::test]
async fn without_a_team_one_may_be_admitted_alone() {
    let sidecar = Sidecar::start("[rooms]\nwithout_team = \"admit\"").await;
    let mut alone = RawSocket::join(sidecar.public, &member("user:ann", &[])).await;
    let mut ann = RawSocket::join(sidecar.public, &member("ann", &["red"])).await;
    assert_eq!(alone.ask_as(EVENT, "1").await, json!({ "ok": false, "code": "no_room" }));
    assert_eq!(ann.ask("2").await["ok"], true);
    assert_eq!(alone.heard_until_now().await, Vec::<String>::new());
    assert_eq!(ann.heard_until_now().await, ["2"]);
}

#[tokio::test]
async fn the_team_at_the_handshake_is_one_that_is_held() {
    let sidecar = Sidecar::start("").await;
    let with_team = |team: Value| {
        let mut auth = member("ann", &["red", "blue"]);
        auth["team"] = team;
        auth
    };
    assert_eq!(outcome(&sidecar, &[], &with_team(json!("blue"))).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[], &with_team(Value::Null)).await, Ok(()));
    assert_eq!(outcome(&sidecar, &[], &with_team(json!("green"))).await, Err("no_team".into()));
}
