//! What the API takes, and what it says.

use serde_json::{Value, json};

use super::{knock, revoked, sidecar};
use crate::harness::http::Http;
use crate::harness::{Sidecar, code_of};

#[tokio::test]
async fn what_cannot_be_is_said_and_nothing_of_it_counts() {
    let (sidecar, operator) = sidecar("").await;
    let long = "x".repeat(257);
    let far_ahead = "2999-01-01T00:00:00Z";
    for (wanted, words) in [
        (json!({}), "write tokenId, subject or team"),
        (json!([]), "a list of 1 to 1000"),
        (json!("ada"), "invalid type"),
        (json!({ "jti": "t" }), "unknown field `jti`"),
        (json!({ "subject": 7 }), "invalid type"),
        (json!({ "subject": "" }), "subject is empty"),
        (json!({ "subject": long }), "longer than 256 bytes"),
        (json!({ "tokenId": "a\nb" }), "control characters"),
        (json!({ "team": "team:red" }), "may not hold"),
        (json!({ "team": "x".repeat(129) }), "longer than 128 bytes"),
        (json!({ "subject": "a", "team": "b" }), "write one of them"),
        (json!({ "subject": "a", "issuer": "nobody" }), "no issuer in auth.issuers"),
        (json!({ "tokenId": "a", "issuedBefore": "now" }), "leave issuedBefore out"),
        (json!({ "issuedBefore": "yesterday" }), "issuedBefore is no time"),
        (json!({ "issuedBefore": "1969-12-31T23:59:59Z" }), "issuedBefore is no time"),
        (json!({ "issuedBefore": far_ahead }), "further ahead than auth.leeway"),
        (json!({ "for": "1h" }), "write tokenId, subject or team"),
        (json!({ "subject": "a", "for": "long" }), "for is no duration"),
        (json!({ "subject": "a", "for": "0s" }), "ten years"),
        (json!({ "subject": "a", "for": "11years" }), "ten years"),
        (json!({ "subject": "a", "reason": "x".repeat(201) }), "at most 200 bytes"),
        (json!({ "subject": "a", "reason": "two\nlines" }), "one line"),
        (json!([{ "subject": "good" }, { "subject": "" }]), "subject is empty"),
        (Value::Array(vec![json!({ "subject": "a" }); 1001]), "a list of 1 to 1000"),
    ] {
        let (status, answer) = operator.post(&wanted).await;
        let message = answer["message"].as_str().unwrap();
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_revocation")), "{wanted}: {answer}");
        assert!(message.contains(words), "{wanted}: {message}, instead of {words}");
    }
    for (body, status, code) in [
        ("", 400, "malformed"),
        ("{", 400, "malformed"),
        ("{\"subject\":\"a\",\"subject\":\"b\"}", 400, "malformed"),
        (&*" ".repeat((1 << 20) + 1), 413, "body_too_large"),
    ] {
        let (found, answer) = operator.ask("POST", "/api/revocations", body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
    }
    assert_eq!(operator.list().await, Vec::<Value>::new());
    assert_eq!(knock(sidecar.public, json!({ "sub": "good" })).await, Ok(()));
}

#[tokio::test]
async fn nothing_is_done_without_the_admin_token() {
    let sidecar = Sidecar::start("").await;
    let (guarded, _) = sidecar_and_nobody().await;
    for (internal, status, code) in
        [(sidecar.internal, 403, "admin_disabled"), (guarded.internal, 401, "unauthorized")]
    {
        for (method, target) in [
            ("GET", "/api/revocations"),
            ("POST", "/api/revocations"),
            ("DELETE", "/api/revocations/0123456789abcdef"),
        ] {
            let mut http = Http::to(internal).await;
            let answer = http.request(method, target, &[], "{\"subject\":\"user-1\"}").await;
            assert_eq!((answer.status, &*code_of(&answer)), (status, code), "{method} {target}");
        }
    }
    assert_eq!(knock(guarded.public, json!({})).await, Ok(()));
}

async fn sidecar_and_nobody() -> (Sidecar, ()) {
    let (sidecar, _) = sidecar("").await;
    (sidecar, ())
}

#[tokio::test]
async fn the_same_again_is_the_same_one() {
    let (sidecar, operator) = sidecar("").await;
    for wanted in [
        json!({ "tokenId": "t-1" }),
        json!({ "subject": "ada" }),
        json!({ "subject": "ada", "for": "1h" }),
        json!({ "subject": "ada", "issuer": "app" }),
        json!({ "team": "ada", "reason": "left" }),
        json!({ "issuedBefore": "2020-01-01T00:00:00Z" }),
    ] {
        let before = operator.list().await.len();
        let first = operator.revoke(wanted.clone()).await["revocations"][0].clone();
        let (status, again) = operator.post(&wanted).await;
        assert_eq!((status, &again["revocations"][0]["id"]), (200, &first["id"]), "{wanted}");
        assert_eq!(operator.list().await.len(), before + 1, "{wanted}");
        let (status, twice) = operator.post(&json!([wanted, wanted])).await;
        assert_eq!((status, &twice["revocations"][1]["id"]), (200, &first["id"]), "{wanted}");
    }
    // A later one widens it; an earlier one takes nothing back.
    let of = |answer: Value| answer["revocations"][0]["issuedBefore"].as_str().unwrap().to_owned();
    let (_, wider) =
        operator.post(&json!({ "issuedBefore": "2021-01-01T00:00:00Z", "reason": "more" })).await;
    assert_eq!(
        (&wider["revocations"][0]["reason"], of(wider.clone())),
        (&json!("more"), "2021-01-01T00:00:00.000Z".into())
    );
    let (_, narrower) = operator.post(&json!({ "issuedBefore": "2019-01-01T00:00:00Z" })).await;
    assert_eq!(of(narrower), "2021-01-01T00:00:00.000Z");
    assert_eq!(sidecar.metric("flowgate_revocations").await, 6.0);
}

#[tokio::test]
async fn there_are_only_so_many_and_none_makes_room_for_another() {
    let (sidecar, operator) = sidecar("[revocation]\ncapacity = 3").await;
    let ids: Vec<_> = ["a", "b", "c"].map(|name| json!({ "tokenId": name })).into();
    assert_eq!(operator.revoke(json!(ids)).await["revocations"].as_array().unwrap().len(), 3);
    let (status, answer) = operator.post(&json!({ "tokenId": "d" })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("too_many_revocations")));
    assert!(answer["message"].as_str().unwrap().contains("revocation.capacity"), "{answer}");
    assert_eq!(operator.post(&json!({ "tokenId": "a" })).await.0, 200, "that is no more than before");
    let list = operator.list().await;
    let one = list.iter().find(|one| one["tokenId"] == "a").unwrap()["id"].as_str().unwrap();
    assert_eq!(operator.ask("DELETE", &format!("/api/revocations/{one}"), "").await.0, 204);
    operator.revoke(json!({ "tokenId": "d" })).await;
    assert_eq!(knock(sidecar.public, json!({ "jti": "d" })).await, revoked());
    assert_eq!(knock(sidecar.public, json!({ "jti": "b" })).await, revoked());
}

#[tokio::test]
async fn they_are_listed_in_pages_oldest_first() {
    let (_sidecar, operator) = sidecar("").await;
    let mut made = Vec::new();
    for number in 0..7 {
        let answer = operator.revoke(json!({ "tokenId": format!("t-{number}"), "reason": "a test" })).await;
        made.push(answer["revocations"][0].clone());
    }
    let (mut pages, mut next) = (Vec::new(), String::new());
    loop {
        let (status, page) = operator.ask("GET", &format!("/api/revocations?limit=3{next}"), "").await;
        assert_eq!((status, &page["total"]), (200, &json!(7)), "{page}");
        pages.push(page["revocations"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(after) => next = format!("&after={after}"),
            None => break,
        }
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
    let listed: Vec<Value> = pages.concat();
    // Those of one millisecond are in the order of their ids.
    made.sort_by_key(|one| one["id"].as_str().unwrap().to_owned());
    assert_eq!(listed, made);
    let one = &listed[4];
    let target = format!("/api/revocations/{}", one["id"].as_str().unwrap());
    assert_eq!(operator.ask("GET", &target, "").await, (200, one.clone()));
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "offset=1"] {
        let (status, answer) = operator.ask("GET", &format!("/api/revocations?{query}"), "").await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_revocation")), "{query}");
    }
    for id in ["0123456789abcdef", "x", "0123456789ABCDE"] {
        for method in ["GET", "DELETE"] {
            let (status, answer) = operator.ask(method, &format!("/api/revocations/{id}"), "").await;
            assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{method} {id}");
        }
    }
}

/// Until every such token has expired: `max_lifetime` of the issuer, and the leeway of two clocks.
#[tokio::test]
async fn it_says_how_long_it_will_hold() {
    let (_sidecar, operator) =
        sidecar("[auth]\nmax_lifetime = \"2h\"\nleeway = \"10s\"\n[[auth.issuers]]\nname = \"app\"\nmax_lifetime = \"1h\"").await;
    let seconds = |one: &Value, from: &str| {
        let at = |key: &str| humantime::parse_rfc3339(one[key].as_str().unwrap()).unwrap();
        at("until").duration_since(at(from)).unwrap().as_secs()
    };
    let one = operator.revoke(json!({ "tokenId": "t" })).await["revocations"][0].clone();
    assert_eq!(seconds(&one, "revokedAt"), 3620);
    let one = operator.revoke(json!({ "subject": "ada", "issuedBefore": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(seconds(&one["revocations"][0], "revokedAt"), 3620, "one without iat may be younger");
    let one = operator.revoke(json!({ "team": "red", "for": "30d" })).await;
    assert_eq!(seconds(&one["revocations"][0], "revokedAt"), 30 * 24 * 3600);
}
