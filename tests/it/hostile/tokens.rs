//! Rows 14 to 16, 19 and what is built of 20: tokens that were forged, that say too much or too little, or that end.

use std::process::Output;

use jsonwebtoken::Algorithm::{ES256, HS256, HS384, HS512, RS256};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::scene::Scene;
use crate::harness::http::{Http, UPGRADE, WEBSOCKET};
use crate::harness::packets::{self, EVENT};
use crate::harness::polling::Polling;
use crate::harness::process::flowgate;
use crate::harness::websocket::RawSocket;
use crate::harness::{BASE, SECRET_VARIABLE, claims, closes, code_of, mint, now, within, write_settings};
use crate::keys::{self, P256, P256_OTHER, RSA, RSA_PUBLIC, SECRET, part, raw, sign, token_with_kid};

/// Beside the tests' own issuer, which has a secret: one with an RSA key, and one with a key that has a `kid`.
fn issuers(folder: &std::path::Path) -> String {
    let jwks = folder.join("jwks.json");
    std::fs::write(&jwks, keys::jwks(&[keys::jwk(P256, "k1", ES256)])).unwrap();
    format!(
        r#"
        [[auth.issuers]]
        name = "rsa"
        issuer = "https://rsa.example"
        algorithms = ["RS256"]
        public_key_file = "{}/tests/fixtures/keys/rsa2048.pub.pem"

        [[auth.issuers]]
        name = "named"
        issuer = "https://named.example"
        algorithms = ["ES256"]
        jwks_file = "{}"
        "#,
        env!("CARGO_MANIFEST_DIR"),
        jwks.display(),
    )
}

/// Both transports answer with the code and nothing else, both are counted, and nobody came in.
async fn refused(scene: &Scene, what: &str, token: &str, code: &str) {
    let counted = scene.refused(code).await;
    let admitted = scene.metric("flowgate_admissions_total").await;
    let (auth, said) = (json!({ "token": token }), Err(code.to_owned()));
    assert_eq!(RawSocket::open(scene.public).await.connect(&auth).await, said, "{what}");
    let mut polling = Polling::open(scene.public).await;
    assert_eq!(polling.connect(&auth).await, said, "{what}");
    polling.post("1").await;
    assert_eq!(scene.refused(code).await, counted + 2.0, "{what}");
    assert_eq!(scene.metric("flowgate_admissions_total").await, admitted, "{what}");
}

async fn let_in(scene: &Scene, what: &str, token: &str) {
    let auth = json!({ "token": token });
    assert_eq!(RawSocket::open(scene.public).await.connect(&auth).await, Ok(()), "{what}");
    let mut polling = Polling::open(scene.public).await;
    assert_eq!(polling.connect(&auth).await, Ok(()), "{what}");
    polling.post("1").await;
}

/// Claims for another issuer than the tests' own.
fn by(iss: &str) -> Value {
    claims(json!({ "iss": iss }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_forged_signatures_and_headers_are_token_invalid_and_nothing_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(&issuers(folder.path())).await;
    // Where the tokens' own addresses point: nobody may come.
    let lure = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", lure.local_addr().unwrap());
    let (rsa, named, app) = (by("https://rsa.example"), by("https://named.example"), claims(json!({})));
    // What is refused below is not refused for something else.
    for (what, good) in [
        ("HS256", keys::token(&app, SECRET, HS256)),
        ("RS256", keys::token(&rsa, RSA, RS256)),
        ("a kid", token_with_kid(&named, "k1", P256, ES256)),
        ("no kid", keys::token(&named, P256, ES256)),
    ] {
        let_in(&scene, what, &good).await;
    }
    let mut forged = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let message = format!("{}.{}", part(&json!({ "alg": alg }).to_string()), part(&app.to_string()));
        forged.push((format!("alg {alg}, unsigned"), format!("{message}.")));
        forged.push((format!("alg {alg}, signed"), format!("{message}.{}", sign(&message, SECRET, HS256))));
    }
    // The public key's bytes as a secret, as the file has them and trimmed.
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_ascii()] {
        for algorithm in [HS256, HS384, HS512] {
            forged.push((format!("{algorithm:?} with the public key"), keys::token(&rsa, secret, algorithm)));
        }
    }
    // Another issuer's key, whether it may be used with that algorithm or not.
    forged.push(("one issuer's secret for another".into(), keys::token(&rsa, SECRET, HS256)));
    forged.push(("one issuer's key for another".into(), keys::token(&app, RSA, RS256)));
    forged.push(("a key of nobody's".into(), keys::token(&named, P256_OTHER, ES256)));
    for kid in ["k2", "", "../../etc/passwd", "' OR 1=1 --", "k1\u{0}", &"k".repeat(300)] {
        forged.push((format!("kid {kid}"), token_with_kid(&named, kid, P256, ES256)));
    }
    forged.push((
        "a kid that is no text".into(),
        raw(r#"{"alg":"ES256","kid":7}"#, &named.to_string(), P256, ES256),
    ));
    let theirs = keys::jwk(P256_OTHER, "theirs", ES256);
    let addresses = [("jku", json!(url)), ("x5u", json!(url)), ("jwk", theirs), ("x5c", json!(["AAAA"]))];
    for (name, value) in &addresses {
        let mut header = json!({ "alg": "ES256", "kid": "theirs" });
        header[name] = value.clone();
        forged.push((
            format!("{name} of theirs"),
            raw(&header.to_string(), &named.to_string(), P256_OTHER, ES256),
        ));
    }
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null)] {
        let header = json!({ "alg": "HS256", "crit": crit, "b64": false, "exp": 1 }).to_string();
        forged.push((format!("crit {crit}"), raw(&header, &app.to_string(), SECRET, HS256)));
    }
    let good = keys::token(&app, SECRET, HS256);
    let (message, signature) = good.rsplit_once('.').unwrap();
    forged.push(("no signature".into(), format!("{message}.")));
    forged.push(("a signature of something else".into(), format!("{message}x.{signature}")));
    forged.push(("not even a token".into(), "a.b.c".into()));
    let attack = async {
        for (what, token) in &forged {
            refused(&scene, what, token, "token_invalid").await;
        }
        // Beside a good signature the addresses do no harm, and no good.
        for (name, value) in addresses {
            let mut header = json!({ "alg": "ES256", "kid": "k1" });
            header[name] = value;
            let_in(&scene, name, &raw(&header.to_string(), &named.to_string(), P256, ES256)).await;
        }
    };
    scene.during(attack).await;
    let fetch = tokio::time::timeout(std::time::Duration::ZERO, lure.accept()).await;
    assert!(fetch.is_err(), "somebody fetched: {fetch:?}");
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_15_registered_claims_are_as_the_policy_says() {
    let scene = Scene::new("[auth]\nleeway = \"5s\"\nmax_lifetime = \"1h\"").await;
    let now = now();
    for good in [
        json!({}),
        json!({ "aud": ["other", "flowgate"] }),
        json!({ "nbf": now + 2, "iat": now + 2 }),
        json!({ "iat": null, "exp": now + 3_500 }),
        json!({ "exp": now as f64 + 600.5 }),
        json!({ "exp": now - 1 }),
    ] {
        let_in(&scene, &good.to_string(), &mint(good.clone())).await;
    }
    let bad = [
        json!({ "exp": null }),
        json!({ "exp": (now + 600).to_string() }),
        json!({ "exp": "2100-01-01T00:00:00Z" }),
        json!({ "exp": [now + 600] }),
        json!({ "exp": true }),
        json!({ "exp": -1 }),
        json!({ "exp": u64::MAX }),
        json!({ "exp": 1e300 }),
        json!({ "exp": now + 4_000 }),
        json!({ "iat": null, "exp": now + 4_000 }),
        json!({ "iat": 0, "exp": now + 60 }),
        json!({ "iat": now + 600, "exp": now + 700 }),
        json!({ "iat": "now" }),
        json!({ "nbf": now + 600 }),
        json!({ "nbf": "soon" }),
        json!({ "iss": "https://other.example" }),
        json!({ "iss": "https://app.example/" }),
        json!({ "iss": null }),
        json!({ "iss": ["https://app.example"] }),
        json!({ "aud": "other" }),
        json!({ "aud": ["other"] }),
        json!({ "aud": [] }),
        json!({ "aud": [["flowgate"]] }),
        json!({ "aud": null }),
        json!({ "aud": 7 }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
        json!({ "sub": "" }),
    ];
    // Only a token that was good once is called expired; of a forged one that is not said.
    let over = claims(json!({ "exp": now - 60, "iat": now - 120 }));
    let forged = keys::token(&over, b"another secret, which is long enough for HS256", HS256);
    let attack = async {
        for bad in bad {
            refused(&scene, &bad.to_string(), &mint(bad.clone()), "token_invalid").await;
        }
        refused(&scene, "expired", &keys::token(&over, SECRET, HS256), "token_expired").await;
        refused(&scene, "expired and forged", &forged, "token_invalid").await;
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_huge_and_odd_tokens_are_refused_with_a_bound() {
    // Packets of megabytes are let through here, so that the token's own bounds are what is met.
    let scene = Scene::new(
        "[auth]\ntoken_from = [\"auth\", \"header\"]\n[limits.payload]\nhard_max_bytes = \"8MiB\"",
    )
    .await;
    let names = |count: usize| (0..count).map(|at| format!("t{at}")).collect::<Vec<_>>();
    let_in(&scene, "as many teams as may be", &mint(json!({ "teams": names(256) }))).await;
    let_in(&scene, "as long a name as may be", &mint(json!({ "teams": ["x".repeat(128)] }))).await;
    let deep = |depth: usize| {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let text = claims(json!({})).to_string().replacen('{', &format!("{{\"x\":{nested},"), 1);
        raw(r#"{"alg":"HS256"}"#, &text, SECRET, HS256)
    };
    let_in(&scene, "some nesting", &deep(10)).await;
    let twice = claims(json!({})).to_string().replacen('{', r#"{"sub":"root","#, 1);
    let mut odd = vec![
        ("a megabyte".to_owned(), "x".repeat(1 << 20)),
        ("a megabyte of dots".to_owned(), ".".repeat(1 << 20)),
        ("a byte over the bound".to_owned(), "x".repeat(8 * 1024 + 1)),
        ("a hundred thousand teams".to_owned(), mint(json!({ "teams": names(100_000) }))),
        ("257 teams".to_owned(), mint(json!({ "teams": names(257) }))),
        ("257 roles".to_owned(), mint(json!({ "roles": names(257) }))),
        ("claims nested deeply".to_owned(), deep(2_000)),
        ("claims said twice".to_owned(), raw(r#"{"alg":"HS256"}"#, &twice, SECRET, HS256)),
        ("an empty one".to_owned(), String::new()),
    ];
    for name in ["a:b", "user:ann", "*", "a*", "a\nb", "a\u{0}b", "a\u{7f}", "", &"x".repeat(129)] {
        odd.push((format!("team {name:?}"), mint(json!({ "teams": ["red", name] }))));
    }
    for value in [json!(7), json!({}), json!(["red", 7]), json!([["red"]]), json!([{ "name": "red" }])] {
        odd.push((format!("teams {value}"), mint(json!({ "teams": value }))));
    }
    let attack = async {
        for (what, token) in &odd {
            refused(&scene, what, token, "token_invalid").await;
        }
        // In a header it meets the head's bound instead.
        let mut http = Http::to(scene.public).await;
        let bearer = format!("Bearer {}", "x".repeat(1 << 20));
        let headers: Vec<_> = UPGRADE.iter().copied().chain([("Authorization", bearer.as_str())]).collect();
        http.send("GET", WEBSOCKET, &headers, "").await;
        let answer = within("the head is refused", http.answer()).await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 431), "{answer:?}");
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_16_a_token_of_a_megabyte_ends_at_the_packet_limit() {
    let scene = Scene::new("").await;
    let auth = json!({ "token": "x".repeat(1 << 20) });
    let attack = async {
        let mut websocket = RawSocket::open(scene.public).await;
        assert_eq!(websocket.connect(&auth).await, Err("closed".into()));
        let mut polling = Polling::open(scene.public).await;
        let answer = polling.post(&packets::connect(&auth)).await;
        assert_eq!((answer.status, &*code_of(&answer)), (413, "body_too_large"));
    };
    scene.during(attack).await;
    assert_eq!(scene.refused("body_too_large").await, 1.0);
    scene.at_rest().await;
}

/// `serve` with a secret, and with this as its only algorithm.
fn with_secret(secret: &str, algorithm: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let settings = BASE.replace("HS256", algorithm);
    let paths = write_settings(folder.path(), &[&settings]);
    let mut command = flowgate(&["check", "--config"]);
    command.arg(&paths[0]).env(SECRET_VARIABLE, secret).output().unwrap()
}

#[test]
fn row_19_a_short_secret_does_not_start() {
    for (algorithm, enough) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let good = "k3y!".repeat(16)[..enough].to_owned();
        assert_eq!(with_secret(&good, algorithm).status.code(), Some(0), "{algorithm}");
        // A newline at its end is trimmed and does not make it longer.
        for short in [&good[1..], &format!("{}\n", &good[1..]), "x", ""] {
            let output = with_secret(short, algorithm);
            assert_eq!(output.status.code(), Some(78), "{algorithm} {short:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("auth.issuers[name=\"app\"].secret_env"), "{said}");
            assert!(short.len() < 8 || !said.contains(short.trim_end()), "the secret is shown: {said}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = write_settings(folder.path(), &[BASE]);
    let mut serve = flowgate(&["serve", "--config"]);
    let output = serve.arg(&paths[0]).env(SECRET_VARIABLE, "x".repeat(31)).output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(78), vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_token_that_expires_closes_its_socket() {
    let scene = Scene::new("[auth]\nleeway = \"0s\"").await;
    let exp = now() + 3;
    // A team of their own: the honest one would hear them.
    let auth = |user: &str| json!({ "token": mint(json!({ "sub": user, "teams": ["blue"], "exp": exp })) });
    let attack = async {
        let mut websocket = RawSocket::join(scene.public, &auth("eve")).await;
        let polling = Polling::join(scene.public, &auth("mallory")).await;
        let upgraded = Polling::join(scene.public, &auth("trudy")).await.upgrade().await;
        let never_reads = RawSocket::join(scene.public, &auth("oscar")).await;
        let colleague = json!({ "token": mint(json!({ "sub": "dan", "teams": ["blue"] })) });
        let mut colleague = RawSocket::join(scene.public, &colleague).await;
        // It sends until the end, which comes in its time.
        let mut said = 0_u64;
        while says(&mut websocket, said).await {
            said += 1;
        }
        assert!(now() >= exp, "before its time");
        scene.until(&closes("token_expired"), 4.0).await;
        scene.until("flowgate_peers", 4.0).await;
        // Transports are closed, so that a stock client comes back with a fresh token.
        assert_eq!(upgraded.close_code().await, Some(1001));
        within("the polling one's end", polling.closed()).await;
        drop(never_reads);
        // What it said last may have been relayed and its answer lost in the end; nothing comes after that.
        let heard = colleague.heard_until_now().await;
        let in_order = (0..heard.len()).map(|at| at.to_string()).collect::<Vec<_>>();
        assert_eq!(heard, in_order);
        assert!((said..=said + 1).contains(&(heard.len() as u64)), "{said} answered, {} heard", heard.len());
        refused(&scene, "the same token again", auth("eve")["token"].as_str().unwrap(), "token_expired")
            .await;
        let_in(&scene, "a fresh one", &mint(json!({ "sub": "eve", "teams": ["blue"] }))).await;
    };
    scene.during(attack).await;
    scene.at_rest().await;
}

/// Says a number to the team, and whether it was taken.
async fn says(socket: &mut RawSocket, number: u64) -> bool {
    socket.send(&packets::event(EVENT, &number.to_string(), Some(number))).await;
    while let Some(packet) = socket.packet().await {
        if let Some(answer) = packets::answer(&packet, number) {
            assert_eq!(answer["ok"], true);
            return true;
        }
    }
    false
}
