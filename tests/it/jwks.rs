//! Keys fetched from an endpoint, by a real HTTP client from a local server that behaves as it is told: rows 17 and 18
//! of the list of attacks, and rotation.

use std::sync::Arc;
use std::time::Duration;

use flowgate::config::key_material::KeyMaterial;
use flowgate::connect::jwks::Timing;
use flowgate::connect::token::{Refreshers, TokenError, Verified, Verifier};
use flowgate::reject::Code;
use futures_util::FutureExt;
use futures_util::future::join_all;
use jsonwebtoken::Algorithm::{self, *};
use serde_json::json;
use tokio::sync::Semaphore;
use url::Url;

use crate::harness::endpoint::{Answer, Endpoint};
use crate::keys::*;

/// Never on its own; a test says what it wants sooner.
fn patient() -> Timing {
    let long = Duration::from_secs(3600);
    Timing {
        period: long,
        min_interval: long,
        negative_ttl: long,
        connect_timeout: Duration::from_secs(20),
        fetch_timeout: Duration::from_secs(20),
        max_wait: Duration::from_secs(20),
        retry_floor: long,
        retry_ceiling: long,
    }
}

fn verifier(url: &Url, algorithms: &[Algorithm], timing: Timing) -> (Verifier, Refreshers) {
    let issuer = issuer(algorithms, KeyMaterial::from_jwks_url(url.clone()));
    let verifier = Verifier::with_timing(&auth(vec![issuer]), timing).unwrap();
    let refreshers = verifier.start();
    (verifier, refreshers)
}

/// A token of the key that was there first.
fn old() -> String {
    token_with_kid(&claims(json!({})), "old", P256, ES256)
}

/// A token of the key that comes later.
fn new() -> String {
    token_with_kid(&claims(json!({})), "new", P256_OTHER, ES256)
}

fn old_jwk() -> serde_json::Value {
    jwk(P256, "old", ES256)
}

fn new_jwk() -> serde_json::Value {
    jwk(P256_OTHER, "new", ES256)
}

fn unknown(kid: &str) -> String {
    token_with_kid(&claims(json!({})), kid, P256_OTHER, ES256)
}

async fn verify(verifier: &Verifier, token: &str) -> Result<Verified, TokenError> {
    verifier.verify(token, now()).await
}

fn is_unavailable(outcome: &Result<Verified, TokenError>) -> bool {
    matches!(outcome, Err(error @ TokenError::KeysUnavailable(_)) if error.code().is_none())
}

fn is_unknown(outcome: &Result<Verified, TokenError>) -> bool {
    matches!(outcome, Err(error @ TokenError::UnknownKey { .. }) if error.code() == Some(Code::TokenInvalid))
}

/// Waits until something is so; a test that waits in vain fails.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it never came to be so");
}

#[tokio::test]
async fn fetched_keys_verify_with_every_algorithm() {
    let keys = [
        jwk(RSA, "rsa", RS256),
        jwk(P256, "p256", ES256),
        jwk(P384, "p384", ES384),
        jwk(ED25519, "ed", EdDSA),
        json!({"kty": "oct", "kid": "oct", "k": part(std::str::from_utf8(SECRET).unwrap())}),
    ];
    let endpoint = Endpoint::start(Answer::Body(jwks(&keys))).await;
    let (verifier, _refreshers) = verifier(&endpoint.url, &[RS256, PS256, ES256, ES384, EdDSA], patient());
    for (kid, key, algorithm) in
        [("rsa", RSA, RS256), ("p256", P256, ES256), ("p384", P384, ES384), ("ed", ED25519, EdDSA)]
    {
        let token = token_with_kid(&claims(json!({})), kid, key, algorithm);
        assert!(verify(&verifier, &token).await.is_ok(), "{algorithm:?}");
    }
    // The JWK says RS256, so its key does not serve PS256; and no token has a secret taken from the set.
    let narrowed = token_with_kid(&claims(json!({})), "rsa", RSA, PS256);
    assert!(matches!(verify(&verifier, &narrowed).await, Err(TokenError::Algorithm { .. })));
    let oct = token_with_kid(&claims(json!({})), "oct", SECRET, HS256);
    assert!(matches!(verify(&verifier, &oct).await, Err(TokenError::Algorithm { .. })));
    assert_eq!(endpoint.requests(), 1, "none of it has anything fetched");
    assert!(verifier.has_keys());
    let health = verifier.key_health();
    assert!(health[0].has_keys && health[0].age.is_some());
}

#[tokio::test]
async fn a_thousand_unknown_kids_make_one_fetch() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk()]))).await;
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], patient());
    assert!(verify(&verifier, &old()).await.is_ok());
    let gate = Arc::new(Semaphore::new(0));
    endpoint.answers(Answer::Held(jwks(&[old_jwk()]), gate.clone()));

    // Half of them invent a kid each, half share one; all of them are in before the endpoint answers.
    let tokens: Vec<_> =
        (0..1000).map(|n| unknown(&format!("kid-{}", if n % 2 == 0 { 0 } else { n }))).collect();
    let mut all = Box::pin(join_all(tokens.iter().map(|token| verify(&verifier, token))));
    assert!((&mut all).now_or_never().is_none());
    gate.add_permits(1000);
    let outcomes = all.await;
    assert!(outcomes.iter().all(is_unknown));
    assert_eq!(endpoint.requests(), 2);

    // They are remembered, and good tokens are not bothered.
    let outcomes = join_all(tokens.iter().map(|token| verify(&verifier, token))).await;
    assert!(outcomes.iter().all(is_unknown));
    assert!(verify(&verifier, &old()).await.is_ok());
    // Another kid comes too soon for a fetch. Nobody knows whether it is good, so its client may come back.
    assert!(is_unavailable(&verify(&verifier, &unknown("kid-2000")).await));
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test]
async fn after_the_interval_an_unknown_kid_is_looked_for_again() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk()]))).await;
    let timing = Timing { min_interval: Duration::ZERO, ..patient() };
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], timing);
    assert!(verify(&verifier, &old()).await.is_ok());
    for (kid, requests) in [("a", 2), ("b", 3), ("a", 3), ("c", 4), ("b", 4)] {
        assert!(is_unknown(&verify(&verifier, &unknown(kid)).await));
        assert_eq!(endpoint.requests(), requests, "{kid}");
    }
}

#[tokio::test]
async fn keys_rotate_with_an_overlap() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk()]))).await;
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], patient());
    assert!(verify(&verifier, &old()).await.is_ok());
    // The new key is published beside the old one, and its first token has the set fetched.
    endpoint.answers(Answer::Body(jwks(&[old_jwk(), new_jwk()])));
    assert!(verify(&verifier, &new()).await.is_ok());
    assert!(verify(&verifier, &old()).await.is_ok());
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_goes_with_the_next_refresh() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk(), new_jwk()]))).await;
    let timing = Timing { period: Duration::from_millis(10), ..patient() };
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], timing);
    assert!(verify(&verifier, &old()).await.is_ok());
    endpoint.answers(Answer::Body(jwks(&[new_jwk()])));
    until(async || verify(&verifier, &old()).await.is_err()).await;
    assert!(verify(&verifier, &new()).await.is_ok());
}

#[tokio::test]
async fn an_endpoint_that_fails_leaves_the_last_good_keys() {
    let elsewhere = Endpoint::start(Answer::Body(jwks(&[new_jwk()]))).await;
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk()]))).await;
    let timing =
        Timing { min_interval: Duration::ZERO, fetch_timeout: Duration::from_millis(500), ..patient() };
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], timing);
    assert!(verify(&verifier, &old()).await.is_ok());
    let far_too_many: Vec<_> = (0..101).map(|_| new_jwk()).collect();
    for (at, (what, answer)) in [
        ("down", Answer::Status("503 Service Unavailable")),
        ("not there", Answer::Status("404 Not Found")),
        ("empty", Answer::Status("204 No Content")),
        ("redirecting", Answer::Redirect(elsewhere.url.clone())),
        ("rubbish", Answer::Body("<html>maintenance</html>".into())),
        ("another object", Answer::Body("{}".into())),
        ("no keys", Answer::Body(jwks(&[]))),
        ("no usable keys", Answer::Body(jwks(&[jwk(RSA, "new", RS256)]))),
        ("too many keys", Answer::Body(jwks(&far_too_many))),
        ("huge", Answer::Body(format!("{}{}", " ".repeat(300_000), jwks(&[new_jwk()])))),
        ("endless", Answer::Endless),
        ("silent", Answer::Silent),
        ("closing", Answer::Closed),
    ]
    .into_iter()
    .enumerate()
    {
        endpoint.answers(answer);
        let before = endpoint.requests();
        assert!(is_unavailable(&verify(&verifier, &unknown(&format!("kid-{at}"))).await), "{what}");
        assert!(endpoint.requests() > before, "{what} was asked");
        assert!(verify(&verifier, &old()).await.is_ok(), "{what}");
        assert!(is_unavailable(&verify(&verifier, &new()).await), "{what}");
        assert!(verifier.has_keys());
    }
    assert_eq!(elsewhere.requests(), 0, "redirects are not followed");
    endpoint.answers(Answer::Body(jwks(&[old_jwk(), new_jwk()])));
    assert!(verify(&verifier, &new()).await.is_ok());
}

#[tokio::test]
async fn before_the_first_keys_nothing_is_final() {
    let endpoint = Endpoint::start(Answer::Status("500 Internal Server Error")).await;
    let timing = Timing { retry_floor: Duration::from_millis(5), ..patient() };
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], timing);
    assert!(!verifier.has_keys());
    assert!(is_unavailable(&verify(&verifier, &old()).await));
    assert!(!verifier.has_keys());
    // What no key could mend is final all the same.
    let foreign = token_with_kid(&claims(json!({})), "old", SECRET, HS256);
    assert_eq!(verify(&verifier, &foreign).await.unwrap_err().code(), Some(Code::TokenInvalid));
    endpoint.answers(Answer::Body(jwks(&[old_jwk()])));
    until(async || verifier.has_keys()).await;
    assert!(verify(&verifier, &old()).await.is_ok());
}

#[tokio::test]
async fn early_tokens_wait_for_the_first_fetch() {
    let gate = Arc::new(Semaphore::new(0));
    let endpoint = Endpoint::start(Answer::Held(jwks(&[old_jwk()]), gate.clone())).await;
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], patient());
    let token = old();
    let mut early = Box::pin(verify(&verifier, &token));
    assert!((&mut early).now_or_never().is_none());
    gate.add_permits(1);
    assert!(early.await.is_ok());
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test]
async fn without_a_start_nothing_waits() {
    let endpoint = Endpoint::start(Answer::Body(jwks(&[old_jwk()]))).await;
    let issuer = issuer(&[ES256], KeyMaterial::from_jwks_url(endpoint.url.clone()));
    let verifier = Verifier::with_timing(&auth(vec![issuer]), patient()).unwrap();
    assert!(is_unavailable(&verify(&verifier, &old()).await));
    assert_eq!(endpoint.requests(), 0);
}

#[tokio::test]
async fn an_endpoint_cannot_serve_secrets() {
    let url = Url::parse("http://127.0.0.1:9/").unwrap();
    let issuer = issuer(&[HS256, ES256], KeyMaterial::from_jwks_url(url));
    let text = Verifier::new(&auth(vec![issuer])).unwrap_err().to_string();
    assert!(text.contains("app") && text.contains("HS256"), "{text}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_by_its_size() {
    let endpoint = Endpoint::start(Answer::Endless).await;
    let (verifier, _refreshers) = verifier(&endpoint.url, &[ES256], patient());
    assert!(is_unavailable(&verify(&verifier, &old()).await));
    let sent = endpoint.cut_off().await;
    // What is read is 256 KiB; the kernel's buffers on both sides hold some MiB more.
    assert!(sent < 32 << 20, "{sent} bytes went out");
}
