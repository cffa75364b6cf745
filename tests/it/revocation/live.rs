//! Who is closed, who is not let in again, and who is left alone.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Operator, knock, revoked, sidecar, token};
use crate::harness::polling::Polling;
use crate::harness::websocket::RawSocket;
use crate::harness::{closes, now, refusals};

/// A second issuer beside the one of the tests, with the same claims.
const OTHER_ISSUER: &str = r#"
[[auth.issuers]]
name = "other"
issuer = "https://other.example"
audience = ["flowgate"]
algorithms = ["HS256"]
secret_env = "TEST_SECRET"
"#;

/// Revokes this, with one client of each transport connected that it means and one that it does not; both speak and hear
/// before, and afterwards only the one that is not meant.
async fn cuts(wanted: Value, meant: Value, spared: Value) {
    let (sidecar, operator) = sidecar(OTHER_ISSUER).await;
    let mut websocket = RawSocket::join(sidecar.public, &token(meant.clone())).await;
    let mut polling = Polling::join(sidecar.public, &token(meant.clone())).await;
    let mut upgraded = Polling::join(sidecar.public, &token(meant.clone())).await.upgrade().await;
    let mut other = RawSocket::join(sidecar.public, &token(spared.clone())).await;
    let mut polling_other = Polling::join(sidecar.public, &token(spared.clone())).await;
    websocket.ask("1").await;
    upgraded.ask("2").await;
    polling.emit("3").await;

    let answer = operator.revoke(wanted.clone()).await;
    assert_eq!(answer["closed"], 3, "{wanted}: {answer}");
    assert_eq!(websocket.close_code().await, Some(1001), "{wanted}");
    upgraded.closed().await;
    polling.closed().await;
    sidecar.until(&closes("token_revoked"), 3.0).await;
    sidecar.until("flowgate_peers", 2.0).await;

    assert_eq!(knock(sidecar.public, meant.clone()).await, revoked(), "{wanted}");
    let mut again = Polling::open(sidecar.public).await;
    assert_eq!(again.connect(&token(meant)).await, revoked(), "{wanted}");
    sidecar.until(&refusals("token_revoked"), 2.0).await;
    assert_eq!(sidecar.metric("flowgate_revocations").await, 1.0);

    assert_eq!(other.ask("4").await["ok"], true, "{wanted}");
    polling_other.emit("5").await;
    assert_eq!(knock(sidecar.public, spared).await, Ok(()), "{wanted}");
}

#[tokio::test]
async fn a_token_id_is_cut_and_the_same_persons_other_token_is_not() {
    cuts(json!({ "tokenId": "t-1" }), json!({ "jti": "t-1" }), json!({ "jti": "t-2" })).await;
}

#[tokio::test]
async fn a_subject_is_cut_and_its_teammates_are_not() {
    cuts(json!({ "subject": "mallory" }), json!({ "sub": "mallory" }), json!({ "sub": "ada" })).await;
}

#[tokio::test]
async fn a_team_is_cut_with_whoever_holds_it_beside_others() {
    let meant = json!({ "sub": "ada", "teams": ["green", "red"] });
    cuts(json!({ "team": "red" }), meant, json!({ "sub": "ada", "teams": ["green"] })).await;
}

#[tokio::test]
async fn everyone_is_cut_whose_token_is_older() {
    let wanted = json!({ "issuedBefore": humantime(now() - 60) });
    cuts(wanted, json!({ "iat": now() - 61 }), json!({ "iat": now() - 60 })).await;
}

#[tokio::test]
async fn whoever_does_not_say_when_it_was_issued_is_taken_for_old() {
    let wanted = json!({ "subject": "ada", "issuedBefore": humantime(now() - 300) });
    cuts(wanted, json!({ "sub": "ada", "iat": null }), json!({ "sub": "ada" })).await;
}

#[tokio::test]
async fn an_issuers_tokens_are_cut_and_anothers_of_the_same_subject_are_not() {
    let wanted = json!({ "subject": "ada", "issuer": "other" });
    let meant = json!({ "sub": "ada", "iss": "https://other.example" });
    cuts(wanted, meant, json!({ "sub": "ada" })).await;
}

fn humantime(seconds: u64) -> String {
    humantime::format_rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// What is issued after the moment that a revocation names counts again: its subject has signed in anew.
#[tokio::test]
async fn who_signs_in_anew_comes_in_again() {
    let (sidecar, operator) = sidecar("").await;
    let moment = now();
    operator.revoke(json!({ "subject": "ada", "issuedBefore": humantime(moment) })).await;
    assert_eq!(knock(sidecar.public, json!({ "sub": "ada", "iat": moment - 1 })).await, revoked());
    // Ahead of the sidecar's clock, within auth.leeway.
    assert_eq!(knock(sidecar.public, json!({ "sub": "ada", "iat": moment + 2 })).await, Ok(()));
}

/// Who is in with a token of a clock that is ahead is not spared for that.
#[tokio::test]
async fn a_token_that_says_it_is_issued_ahead_is_cut_as_well() {
    let (sidecar, operator) = sidecar("").await;
    let ahead = json!({ "sub": "ada", "iat": now() + 4 });
    let socket = RawSocket::join(sidecar.public, &token(ahead.clone())).await;
    assert_eq!(operator.revoke(json!({ "subject": "ada" })).await["closed"], 1);
    socket.closed().await;
    assert_eq!(knock(sidecar.public, ahead).await, revoked());
}

#[tokio::test]
async fn who_is_shut_out_for_a_while_comes_in_with_no_token_until_it_is_over() {
    let (sidecar, operator) = sidecar("").await;
    let fresh = || json!({ "sub": "ada", "iat": now() + 2 });
    let answer = operator.revoke(json!({ "subject": "ada", "for": "1h" })).await;
    assert_eq!(knock(sidecar.public, fresh()).await, revoked());
    let id = answer["revocations"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(operator.ask("DELETE", &format!("/api/revocations/{id}"), "").await.0, 204);
    operator.revoke(json!({ "subject": "ada", "for": "1s" })).await;
    crate::harness::until("the second is over", async || knock(sidecar.public, fresh()).await == Ok(()))
        .await;
    sidecar.until("flowgate_revocations", 0.0).await;
}

#[tokio::test]
async fn what_is_undone_counts_again() {
    let (sidecar, operator) = sidecar("").await;
    let answer = operator.revoke(json!({ "tokenId": "t-1" })).await;
    assert_eq!(knock(sidecar.public, json!({ "jti": "t-1" })).await, revoked());
    let target = format!("/api/revocations/{}", answer["revocations"][0]["id"].as_str().unwrap());
    assert_eq!(operator.ask("DELETE", &target, "").await, (204, Value::Null));
    assert_eq!(knock(sidecar.public, json!({ "jti": "t-1" })).await, Ok(()));
    assert_eq!(operator.ask("DELETE", &target, "").await.0, 404);
}

/// Half of many sockets, of one team, by one call, while they talk.
#[tokio::test]
async fn many_are_closed_at_once_and_their_neighbours_miss_nothing() {
    const PAIRS: usize = 150;
    let (sidecar, operator) = sidecar("").await;
    let of = |user: &str, at: usize, teams: &[&str]| json!({ "sub": format!("{user}-{at}"), "teams": teams });
    let mut speaker = RawSocket::join(sidecar.public, &token(json!({ "sub": "speaker" }))).await;
    let (mut cut, mut kept) = (Vec::new(), Vec::new());
    for at in 0..PAIRS {
        cut.push(RawSocket::join(sidecar.public, &token(of("cut", at, &["red", "leavers"]))).await);
        kept.push(RawSocket::join(sidecar.public, &token(of("kept", at, &["red"]))).await);
    }
    assert_eq!(speaker.ask("\"before\"").await["ok"], true);
    let answer = operator.revoke(json!({ "team": "leavers" })).await;
    assert_eq!(answer["closed"], PAIRS);
    assert_eq!(speaker.ask("\"after\"").await["ok"], true);
    for socket in cut {
        assert!(socket.closed().await.iter().all(|packet| !packet.contains("after")), "cut");
    }
    sidecar.until("flowgate_peers", (PAIRS + 1) as f64).await;
    sidecar.until(&closes("token_revoked"), PAIRS as f64).await;
    for mut socket in kept {
        assert_eq!((socket.event().await, socket.event().await), ("\"before\"".into(), "\"after\"".into()));
    }
}

/// Whoever is being admitted while the revocation is made is cut as well as who is in, or not let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn none_slips_through_who_is_about_to_come_in() {
    const ROUNDS: usize = 40;
    const EACH: usize = 12;
    let (sidecar, operator) = sidecar("").await;
    let public = sidecar.public;
    for round in 0..ROUNDS {
        let auth = token(json!({ "sub": format!("user-{round}") }));
        let mut coming = tokio::task::JoinSet::new();
        for _ in 0..EACH {
            let auth = auth.clone();
            let mut socket = RawSocket::open(public).await;
            coming.spawn(async move { (socket.connect(&auth).await, socket) });
        }
        operator.revoke(json!({ "subject": format!("user-{round}") })).await;
        for (outcome, socket) in coming.join_all().await {
            match outcome {
                Ok(()) => drop(socket.closed().await),
                Err(code) => assert!(["token_revoked", "closed"].contains(&&*code), "{code}"),
            }
        }
    }
    sidecar.until("flowgate_peers", 0.0).await;
}

/// Who brings no token has none that could be revoked.
#[tokio::test]
async fn who_needs_no_token_is_left_alone() {
    let (sidecar, operator) = sidecar("[auth]\nmode = \"optional\"\n[rooms]\nanonymous = \"lobby\"").await;
    let mut anonymous = RawSocket::join(sidecar.public, &json!({})).await;
    let answer = revoke_everyone(operator).await;
    assert_eq!(answer["closed"], 0);
    anonymous.heard_until_now().await;
    assert_eq!(RawSocket::open(sidecar.public).await.connect(&json!({})).await, Ok(()));
}

async fn revoke_everyone(operator: Operator) -> Value {
    operator.revoke(json!({ "issuedBefore": "now" })).await
}
