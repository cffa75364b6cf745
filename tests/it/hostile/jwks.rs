//! Rows 17 and 18: keys that are fetched, from endpoints that are driven or that fail.

use std::time::Instant;

use futures_util::future::join_all;
use jsonwebtoken::Algorithm::{ES256, RS256};
use serde_json::{Value, json};

use super::scene::Scene;
use crate::harness::endpoint::{Answer, Endpoint};
use crate::harness::http::get;
use crate::harness::websocket::RawSocket;
use crate::harness::{claims, until};
use crate::keys::{P256, P256_OTHER, RSA, jwk, jwks, token_with_kid};

/// Between two fetches that unknown `kid`s ask for (docs/architecture.md), in seconds.
const MIN_INTERVAL: u64 = 10;

/// An issuer whose keys this endpoint has. What it is called is a part of its `iss`.
fn issuer(name: &str, endpoint: &Endpoint) -> String {
    format!(
        r#"
        [[auth.issuers]]
        name = "{name}"
        issuer = "https://{name}.example"
        algorithms = ["ES256"]
        jwks_url = "{}"
        insecure_http = true
        "#,
        endpoint.url
    )
}

fn token(issuer: &str, kid: &str, key: &[u8]) -> Value {
    // A team of their own: the honest one would count them.
    let claims = claims(json!({ "iss": format!("https://{issuer}.example"), "teams": ["blue"] }));
    json!({ "token": token_with_kid(&claims, kid, key, ES256) })
}

fn old_keys() -> String {
    jwks(&[jwk(P256, "old", ES256)])
}

fn new_keys() -> String {
    jwks(&[jwk(P256, "old", ES256), jwk(P256_OTHER, "new", ES256)])
}

async fn connect(scene: &Scene, auth: &Value) -> Result<(), String> {
    RawSocket::open(scene.public).await.connect(auth).await
}

async fn until_let_in(scene: &Scene, auth: &Value) {
    until("it is let in", async || connect(scene, auth).await.is_ok()).await;
}

async fn until_ready(scene: &Scene) {
    until("ready", async || get(scene.internal, "/ready", &[]).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_17_a_flood_of_unknown_kids_costs_the_endpoint_a_fetch_now_and_then() {
    const FLOOD: usize = 1_000;
    let endpoint = Endpoint::start(Answer::Body(old_keys())).await;
    let scene = Scene::new(&issuer("far", &endpoint)).await;
    until_ready(&scene).await;
    let begin = Instant::now();
    let attack = async {
        // Half of them invent a kid each, half share one.
        let auths: Vec<_> = (0..FLOOD)
            .map(|at| token("far", &format!("kid-{}", if at % 2 == 0 { 0 } else { at }), P256_OTHER))
            .collect();
        let outcomes = join_all(auths.iter().map(|auth| connect(&scene, auth))).await;
        let count = |code: &str| outcomes.iter().filter(|outcome| **outcome == Err(code.into())).count();
        let (invalid, later) = (count("token_invalid"), count("closed"));
        assert_eq!(invalid + later, FLOOD, "{outcomes:?}");
        // Those that came before the fetch; the others are told to come back when the next is allowed.
        let looked_for = outcomes.iter().position(|outcome| *outcome == Err("token_invalid".into())).unwrap();
        assert_eq!(scene.refused("token_invalid").await, invalid as f64);
        assert_eq!(scene.closed("keys_unavailable").await, later as f64);
        // What a fetch did not bring is remembered.
        let before = endpoint.requests();
        for _ in 0..20 {
            assert_eq!(connect(&scene, &auths[looked_for]).await, Err("token_invalid".into()));
        }
        assert_eq!(endpoint.requests(), before);
        // Tokens of known keys are not bothered.
        assert_eq!(connect(&scene, &token("far", "old", P256)).await, Ok(()));
        assert_eq!(endpoint.requests(), before);
        // The first fetch was before the flood.
        let (fetches, passed) = (endpoint.requests() as u64 - 1, begin.elapsed().as_secs());
        assert!((1..=1 + passed / MIN_INTERVAL).contains(&fetches), "{fetches} in {passed} s");
        // A true rotation is noticed all the same.
        endpoint.answers(Answer::Body(new_keys()));
        until_let_in(&scene, &token("far", "new", P256_OTHER)).await;
        assert_eq!(endpoint.most_at_once(), 1);
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_an_endpoint_that_fails_leaves_the_last_good_keys() {
    let elsewhere = Endpoint::start(Answer::Body(new_keys())).await;
    let far_too_many: Vec<_> = (0..101).map(|_| jwk(P256_OTHER, "new", ES256)).collect();
    let failures = [
        ("down", Answer::Status("503 Service Unavailable"), "503"),
        ("redirecting", Answer::Redirect(elsewhere.url.clone()), "redirects are not followed"),
        ("rubbish", Answer::Body("<html>maintenance</html>".into()), ""),
        ("keyless", Answer::Body(jwks(&[])), ""),
        ("useless", Answer::Body(jwks(&[jwk(RSA, "new", RS256)])), "no key in it"),
        ("crowded", Answer::Body(jwks(&far_too_many)), ""),
        ("huge", Answer::Body(format!("{}{}", " ".repeat(300_000), new_keys())), "longer than"),
        ("endless", Answer::Endless, "longer than"),
        ("closing", Answer::Closed, ""),
        ("silent", Answer::Silent, "timed out"),
    ];
    let mut endpoints = Vec::new();
    let mut settings = String::new();
    for (name, _, _) in &failures {
        let endpoint = Endpoint::start(Answer::Body(old_keys())).await;
        settings += &issuer(name, &endpoint);
        endpoints.push(endpoint);
    }
    let scene = Scene::new(&settings).await;
    until_ready(&scene).await;
    let memory = scene.process().resident();
    let attack = async {
        for (endpoint, (_, answer, _)) in endpoints.iter().zip(&failures) {
            endpoint.answers(answer.clone());
        }
        // An unknown kid has each of them asked. Nobody can tell whether it is good, so its client may come back.
        let strangers: Vec<_> = failures.iter().map(|(name, _, _)| token(name, "new", P256_OTHER)).collect();
        for outcome in join_all(strangers.iter().map(|auth| connect(&scene, auth))).await {
            assert_eq!(outcome, Err("closed".into()));
        }
        assert_eq!(scene.closed("keys_unavailable").await, failures.len() as f64);
        assert_eq!(scene.refused("token_invalid").await, 0.0);
        for ((name, _, words), endpoint) in failures.iter().zip(&endpoints) {
            until(&format!("the log tells of {name}"), async || {
                scene.log().lines().any(|line| {
                    line.contains("could not fetch keys")
                        && line.contains(&format!("issuer={name}"))
                        && line.contains("last_good_kept=true")
                        && line.contains(words)
                })
            })
            .await;
            assert!(endpoint.requests() > 1, "{name} was asked");
            // The last good keys stay, and the process stays ready.
            assert_eq!(connect(&scene, &token(name, "old", P256)).await, Ok(()), "{name}");
        }
        assert_eq!(get(scene.internal, "/ready", &[]).await.status, 200);
        assert_eq!(elsewhere.requests(), 0, "redirects are not followed");
        let endless = &endpoints[failures.iter().position(|(name, _, _)| *name == "endless").unwrap()];
        // What is read is 256 KiB; the kernel's buffers on both sides hold some MiB more.
        assert!(endless.cut_off().await < 32 << 20);
        assert!(scene.process().resident() < memory + (32 << 20));
        // Each comes back by itself, without anybody asking.
        for (endpoint, auth) in endpoints.iter().zip(&strangers) {
            endpoint.answers(Answer::Body(new_keys()));
            until_let_in(&scene, auth).await;
        }
        assert!(endpoints.iter().all(|endpoint| endpoint.most_at_once() == 1));
    };
    scene.during(attack).await;
    scene.at_rest().await;
}
