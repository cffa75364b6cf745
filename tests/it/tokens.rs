//! Tokens, good and hostile, against configured keys: RFC 8725 and rows 14 to 16 and 19 of the list of attacks.

use std::time::Duration;

use flowgate::config::key_material::KeyMaterial;
use flowgate::connect::token::{MAX_TOKEN_BYTES, TokenError, Verified, Verifier};
use flowgate::reject::Code;
use futures_util::FutureExt;
use jsonwebtoken::Algorithm::{self, *};
use serde_json::{Value, json};

use crate::keys::*;

/// One issuer with a secret for HS256.
fn hs256() -> Verifier {
    Verifier::new(&auth(vec![issuer(&[HS256], KeyMaterial::from_secret(SECRET.to_vec(), &[HS256]).unwrap())]))
        .unwrap()
}

fn public(pem: &[u8], algorithms: &[Algorithm]) -> Verifier {
    Verifier::new(&auth(vec![issuer(algorithms, KeyMaterial::from_public_pem(pem, algorithms).unwrap())]))
        .unwrap()
}

/// Verifies at [`NOW`] and, since configured keys wait for nothing, in one poll.
fn verify(verifier: &Verifier, token: &str) -> Result<Verified, TokenError> {
    verify_after(verifier, token, Duration::ZERO)
}

fn verify_after(verifier: &Verifier, token: &str, passed: Duration) -> Result<Verified, TokenError> {
    verifier.verify(token, now() + passed).now_or_never().expect("configured keys wait for nothing")
}

fn hs_token(change: Value) -> String {
    token(&claims(change), SECRET, HS256)
}

/// Refused with `token_invalid` and a reason that holds these words.
#[track_caller]
fn refused(verifier: &Verifier, token: &str, words: &str) {
    let error = verify(verifier, token).expect_err("it should have been refused");
    assert_eq!(error.code(), Some(Code::TokenInvalid), "{error}");
    assert!(error.to_string().contains(words), "{error}, instead of {words}");
}

#[test]
fn every_algorithm_verifies_with_its_key_and_no_other() {
    let secret: [(&[u8], &[Algorithm]); 1] = [(SECRET, &[HS256, HS384, HS512])];
    for (key, algorithms) in secret {
        for &algorithm in algorithms {
            let material = KeyMaterial::from_secret(key.to_vec(), &[algorithm]).unwrap();
            let verifier = Verifier::new(&auth(vec![issuer(&[algorithm], material)])).unwrap();
            assert!(verify(&verifier, &token(&claims(json!({})), key, algorithm)).is_ok(), "{algorithm:?}");
            let other = [key, b"x"].concat();
            refused(&verifier, &token(&claims(json!({})), &other, algorithm), "signature");
        }
    }
    for (private, public_key, algorithms) in [
        (RSA, RSA_PUBLIC, &[RS256, RS384, RS512, PS256, PS384, PS512][..]),
        (P256, P256_PUBLIC, &[ES256]),
        (P384, P384_PUBLIC, &[ES384]),
        (ED25519, ED25519_PUBLIC, &[EdDSA]),
    ] {
        for &algorithm in algorithms {
            let good = token(&claims(json!({})), private, algorithm);
            let verifier = public(public_key, &[algorithm]);
            assert!(verify(&verifier, &good).is_ok(), "{algorithm:?}");
            // One bit of the payload, and one of the signature.
            let (message, signature) = good.rsplit_once('.').unwrap();
            let flipped = |text: &str| {
                let at = text.len() / 2;
                let other = if &text[at..=at] == "A" { "B" } else { "A" };
                format!("{}{other}{}", &text[..at], &text[at + 1..])
            };
            refused(&verifier, &format!("{message}.{}", flipped(signature)), "signature");
            assert!(verify(&verifier, &format!("{}.{signature}", flipped(message))).is_err());
            refused(&verifier, &format!("{message}."), "signature");
            // The same key with another algorithm that it could serve, but the issuer does not list.
            for &other in algorithms.iter().filter(|&&other| other != algorithm) {
                refused(&verifier, &token(&claims(json!({})), private, other), "algorithm");
            }
        }
    }
    let ec = public(P256_PUBLIC, &[ES256]);
    refused(&ec, &token(&claims(json!({})), P256_OTHER, ES256), "signature");
}

#[test]
fn a_verified_token_says_who_it_is_for() {
    let change = json!({"jti": "t-1", "teams": ["red", "blue", "red"], "roles": "editor"});
    let verified = verify(&hs256(), &hs_token(change)).unwrap();
    assert_eq!(&*verified.issuer, "app");
    assert_eq!(&*verified.subject, "user-1");
    assert_eq!(verified.teams.iter().map(|team| &**team).collect::<Vec<_>>(), ["red", "blue"]);
    assert_eq!(verified.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["editor"]);
    assert_eq!(verified.expires_at, now() + Duration::from_secs(600));
    assert_eq!(verified.issued_at, Some(now() - Duration::from_secs(10)));
    assert_eq!(verified.token_id.as_deref(), Some("t-1"));
}

// Row 14: algorithms, keys and headers.

#[test]
fn a_public_key_is_no_secret() {
    let verifier = public(RSA_PUBLIC, &[RS256]);
    // The file's bytes as they are, and without what an issuer might trim.
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_ascii()] {
        for algorithm in [HS256, HS384, HS512] {
            refused(&verifier, &token(&claims(json!({})), secret, algorithm), "algorithm");
        }
    }
    // Also where another issuer does take HS256: its key decides, not the token's word.
    let app = issuer(&[RS256], KeyMaterial::from_public_pem(RSA_PUBLIC, &[RS256]).unwrap());
    let mut legacy = issuer(&[HS256], KeyMaterial::from_secret(SECRET.to_vec(), &[HS256]).unwrap());
    legacy.name = "legacy".into();
    legacy.issuer = Some("https://legacy.example".into());
    let both = Verifier::new(&auth(vec![app, legacy])).unwrap();
    refused(&both, &token(&claims(json!({})), RSA_PUBLIC, HS256), "algorithm");
    refused(&both, &token(&claims(json!({})), SECRET, HS256), "algorithm");
    let legacy_claims = claims(json!({"iss": "https://legacy.example"}));
    assert_eq!(&*verify(&both, &token(&legacy_claims, SECRET, HS256)).unwrap().issuer, "legacy");
    refused(&both, &token(&legacy_claims, RSA, RS256), "algorithm");
}

#[test]
fn unsigned_and_unknown_algorithms_are_refused() {
    let payload = claims(json!({})).to_string();
    for alg in ["none", "None", "NONE", "nOnE"] {
        let message = format!("{}.{}", part(&json!({ "alg": alg }).to_string()), part(&payload));
        refused(&hs256(), &format!("{message}."), "not signed");
        refused(&hs256(), &format!("{message}.{}", sign(&message, SECRET, HS256)), "not signed");
    }
    for alg in ["", "hs256", "HS257", "RSA-OAEP", "HS256\u{0}", &"x".repeat(1000)] {
        refused(&hs256(), &raw(&json!({ "alg": alg }).to_string(), &payload, SECRET, HS256), "not supported");
    }
    for header in
        ["{}", r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":"HS256","alg":"none"}"#, "[]", "x", ""]
    {
        refused(&hs256(), &raw(header, &payload, SECRET, HS256), "header");
    }
}

#[test]
fn keys_and_addresses_in_the_header_are_never_used() {
    let payload = claims(json!({})).to_string();
    let theirs = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let verifier = public(P256_PUBLIC, &[ES256]);
    // A listener where the addresses point: nobody may come.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    for (name, value) in [("jwk", theirs), ("jku", json!(url)), ("x5u", json!(url)), ("x5c", json!(["AAAA"]))]
    {
        let mut header = json!({"alg": "ES256", "kid": "theirs"});
        header[name] = value;
        refused(&verifier, &raw(&header.to_string(), &payload, P256_OTHER, ES256), "signature");
        // They do no harm beside a good signature either.
        assert!(verify(&verifier, &raw(&header.to_string(), &payload, P256, ES256)).is_ok(), "{name}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn whatever_is_critical_refuses() {
    let payload = claims(json!({})).to_string();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x")] {
        let header = json!({"alg": "HS256", "crit": crit, "b64": false}).to_string();
        refused(&hs256(), &raw(&header, &payload, SECRET, HS256), "crit");
    }
}

#[test]
fn the_type_is_a_jwt() {
    let payload = claims(json!({})).to_string();
    let typed = |typ: Value| raw(&json!({"alg": "HS256", "typ": typ}).to_string(), &payload, SECRET, HS256);
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(verify(&hs256(), &typed(json!(typ))).is_ok(), "{typ}");
    }
    for typ in ["JWE", "dpop+jwt", "logout+jwt", "secevent+jwt", "", "text/jwt"] {
        refused(&hs256(), &typed(json!(typ)), "typ");
    }
    refused(&hs256(), &typed(json!(5)), "header");
}

#[test]
fn the_kid_chooses_among_configured_keys_only() {
    let jwks = |kids: &[&str]| {
        let key =
            |kid: &&str| json!({"kty": "oct", "k": part(std::str::from_utf8(SECRET).unwrap()), "kid": kid});
        json!({ "keys": kids.iter().map(key).collect::<Vec<_>>() }).to_string()
    };
    let material = KeyMaterial::from_jwks(jwks(&["a", "b"]).as_bytes(), &[HS256]).unwrap();
    let verifier = Verifier::new(&auth(vec![issuer(&[HS256], material)])).unwrap();
    let claims = claims(json!({}));
    assert!(verify(&verifier, &token_with_kid(&claims, "b", SECRET, HS256)).is_ok());
    assert!(verify(&verifier, &token(&claims, SECRET, HS256)).is_ok());
    for kid in ["c", "", "../../etc/passwd", "' OR 1=1", "a\u{0}"] {
        refused(&verifier, &token_with_kid(&claims, kid, SECRET, HS256), "no key with the kid");
    }
    refused(&verifier, &token_with_kid(&claims, &"k".repeat(300), SECRET, HS256), "kid longer");
    let header = r#"{"alg":"HS256","kid":7}"#;
    refused(&verifier, &raw(header, &claims.to_string(), SECRET, HS256), "header");
}

// Row 15: the registered claims.

#[test]
fn exp_is_a_number_and_there() {
    refused(&hs256(), &hs_token(json!({"exp": null})), "no exp");
    for text in
        [json!("2027-01-15"), json!((NOW + 600).to_string()), json!(true), json!([NOW + 600]), json!({})]
    {
        refused(&hs256(), &hs_token(json!({ "exp": text })), "exp is not a number");
    }
    for odd in [json!(-1), json!(-1.5), json!(1e300)] {
        refused(&hs256(), &hs_token(json!({ "exp": odd })), "exp");
    }
    refused(&hs256(), &hs_token(json!({"exp": u64::MAX})), "max_lifetime");
    let null = claims(json!({})).to_string().replace(&(NOW + 600).to_string(), "null");
    refused(&hs256(), &raw(r#"{"alg":"HS256"}"#, &null, SECRET, HS256), "exp is not a number");
    let overflow = null.replace("null", "1e400");
    refused(&hs256(), &raw(r#"{"alg":"HS256"}"#, &overflow, SECRET, HS256), "JSON");

    let verified = verify(&hs256(), &hs_token(json!({"exp": NOW as f64 + 600.5}))).unwrap();
    assert_eq!(verified.expires_at, now() + Duration::from_millis(600_500));
}

#[test]
fn a_token_is_good_until_exp_and_leeway() {
    let good = hs_token(json!({}));
    let at = |millis| verify_after(&hs256(), &good, Duration::from_millis(millis));
    assert!(at(604_999).is_ok());
    let error = at(605_000).unwrap_err();
    assert_eq!(error, TokenError::Expired(Duration::from_secs(5)));
    assert_eq!(error.code(), Some(Code::TokenExpired));
    // Nobody learns that a token has expired unless it was real.
    let (message, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{message}.{}", sign(message, b"another secret that is long enough....", HS256));
    let error = verify_after(&hs256(), &forged, Duration::from_secs(9000)).unwrap_err();
    assert_eq!(error.code(), Some(Code::TokenInvalid));
    let other = verify_after(&hs256(), &hs_token(json!({"aud": "other"})), Duration::from_secs(9000));
    assert_eq!(other.unwrap_err().code(), Some(Code::TokenInvalid));
}

#[test]
fn a_token_is_not_good_before_nbf_and_iat() {
    for name in ["nbf", "iat"] {
        assert!(verify(&hs256(), &hs_token(json!({ name: NOW + 5 }))).is_ok(), "{name} within the leeway");
        refused(&hs256(), &hs_token(json!({ name: NOW + 6 })), name);
        refused(&hs256(), &hs_token(json!({ name: NOW as f64 + 5.001 })), name);
        refused(&hs256(), &hs_token(json!({ name: "soon" })), name);
    }
    assert!(verify(&hs256(), &hs_token(json!({"iat": null, "nbf": NOW - 1}))).is_ok());
}

#[test]
fn nobody_lives_longer_than_max_lifetime() {
    assert!(verify(&hs256(), &hs_token(json!({"iat": NOW - 10, "exp": NOW + 3590}))).is_ok());
    refused(&hs256(), &hs_token(json!({"iat": NOW - 10, "exp": NOW + 3591})), "max_lifetime");
    assert!(verify(&hs256(), &hs_token(json!({"iat": null, "exp": NOW + 3605}))).is_ok());
    refused(&hs256(), &hs_token(json!({"iat": null, "exp": NOW + 3606})), "max_lifetime");
    // An old iat does not make a long life short.
    refused(&hs256(), &hs_token(json!({"iat": 0, "exp": NOW + 60})), "max_lifetime");
}

#[test]
fn the_issuer_is_the_configured_one() {
    refused(&hs256(), &hs_token(json!({"iss": "https://other.example"})), "https://other.example");
    refused(&hs256(), &hs_token(json!({"iss": "https://app.example/"})), "no issuer");
    refused(&hs256(), &hs_token(json!({"iss": null})), "no iss");
    refused(&hs256(), &hs_token(json!({"iss": ["https://app.example"]})), "iss");
    // An issuer that asks for none takes what no other one claims.
    let mut any = issuer(&[HS256], KeyMaterial::from_secret([b'a'; 64].to_vec(), &[HS256]).unwrap());
    (any.name, any.issuer) = ("any".into(), None);
    let app = issuer(&[HS256], KeyMaterial::from_secret(SECRET.to_vec(), &[HS256]).unwrap());
    let both = Verifier::new(&auth(vec![any, app])).unwrap();
    let by = |iss: Value, secret: &[u8]| verify(&both, &token(&claims(json!({ "iss": iss })), secret, HS256));
    assert_eq!(&*by(json!("https://app.example"), SECRET).unwrap().issuer, "app");
    assert_eq!(&*by(json!(null), &[b'a'; 64]).unwrap().issuer, "any");
    assert_eq!(&*by(json!("https://other.example"), &[b'a'; 64]).unwrap().issuer, "any");
    assert!(by(json!("https://app.example"), &[b'a'; 64]).is_err());
}

#[test]
fn the_audience_holds_one_of_ours() {
    for good in [json!("flowgate"), json!(["flowgate"]), json!(["other", "flowgate"])] {
        assert!(verify(&hs256(), &hs_token(json!({ "aud": good }))).is_ok(), "{good}");
    }
    for bad in [
        json!("other"),
        json!("Flowgate"),
        json!([]),
        json!(["other"]),
        json!([["flowgate"]]),
        json!(7),
        json!({}),
    ] {
        refused(&hs256(), &hs_token(json!({ "aud": bad })), "aud");
    }
    refused(&hs256(), &hs_token(json!({"aud": null})), "no aud");
    let mut open = issuer(&[HS256], KeyMaterial::from_secret(SECRET.to_vec(), &[HS256]).unwrap());
    open.audience.clear();
    let open = Verifier::new(&auth(vec![open])).unwrap();
    assert!(verify(&open, &hs_token(json!({"aud": "other"}))).is_ok());
    assert!(verify(&open, &hs_token(json!({"aud": null}))).is_ok());
}

#[test]
fn the_subject_is_bounded_text() {
    assert!(verify(&hs256(), &hs_token(json!({"sub": "x".repeat(256)}))).is_ok());
    refused(&hs256(), &hs_token(json!({"sub": null})), "no sub");
    for bad in [json!(""), json!("x".repeat(257)), json!(7), json!(["user"]), json!("a\nb"), json!("a\u{0}")]
    {
        refused(&hs256(), &hs_token(json!({ "sub": bad })), "sub");
    }
    refused(&hs256(), &hs_token(json!({"jti": 7})), "jti");
    let mut auth = auth(vec![issuer(&[HS256], KeyMaterial::from_secret(SECRET.to_vec(), &[HS256]).unwrap())]);
    auth.claims.subject = vec!["user".into(), "id".into()];
    auth.claims.teams = vec!["https://app".into(), "example/teams".into()];
    let verifier = Verifier::new(&auth).unwrap();
    let change = json!({"user": {"id": "u-7"}, "https://app.example/teams": "green"});
    let verified = verify(&verifier, &hs_token(change)).unwrap();
    assert_eq!((&*verified.subject, &*verified.teams[0]), ("u-7", "green"));
}

// Row 16: size and shape.

#[test]
fn huge_odd_and_deep_tokens_are_refused() {
    for (token, words) in [
        ("x".repeat(MAX_TOKEN_BYTES + 1), "at most"),
        ("x".repeat(1 << 20), "at most"),
        (".".repeat(MAX_TOKEN_BYTES), "three parts"),
        (String::new(), "three parts"),
        ("a.b".into(), "three parts"),
        ("a.b.c.d.e".into(), "three parts"),
        ("..".into(), "header"),
        ("é.é.é".into(), "base64url"),
    ] {
        refused(&hs256(), &token, words);
    }
    let good = hs_token(json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    refused(&hs256(), &format!("{message}.{signature}="), "signature is not");
    refused(&hs256(), &format!("{good} "), "base64url");
    refused(&hs256(), &format!("{good}\n"), "base64url");
    let deep = format!("{{\"exp\":1,\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
    refused(&hs256(), &raw(r#"{"alg":"HS256"}"#, &deep, SECRET, HS256), "JSON");
    let twice = claims(json!({})).to_string().replacen('{', "{\"sub\":\"root\",", 1);
    refused(&hs256(), &raw(r#"{"alg":"HS256"}"#, &twice, SECRET, HS256), "twice");
    let teams: Vec<_> = (0..100_000).map(|n| format!("t{n}")).collect();
    refused(&hs256(), &hs_token(json!({ "teams": teams })), "at most");
    refused(&hs256(), &hs_token(json!({ "teams": &teams[..257] })), "teams has 257");
    refused(&hs256(), &hs_token(json!({ "roles": &teams[..257] })), "roles has 257");
    for bad in ["a:b", "*", "a\nb", "a\u{0}b", "", &"x".repeat(129)] {
        refused(&hs256(), &hs_token(json!({"teams": ["red", bad]})), "teams");
    }
    assert!(verify(&hs256(), &hs_token(json!({"roles": ["read:tasks"]}))).is_ok());
    for bad in [json!(7), json!(["red", 7]), json!([{"name": "red"}])] {
        refused(&hs256(), &hs_token(json!({ "teams": bad })), "teams");
    }
    assert!(verify(&hs256(), &hs_token(json!({"teams": null, "roles": null}))).unwrap().teams.is_empty());
}

#[test]
fn a_clock_before_1970_refuses_and_does_not_panic() {
    let early = std::time::UNIX_EPOCH - Duration::from_secs(1000);
    assert!(hs256().verify(&hs_token(json!({})), early).now_or_never().unwrap().is_err());
}

#[test]
fn reasons_hold_no_claims_and_cannot_forge_a_log_line() {
    let secret = "hunter2";
    for change in [
        json!({"sub": format!("{secret}\n")}),
        json!({"teams": [format!("{secret}:")]}),
        json!({"roles": {secret: secret}}),
        json!({"aud": secret}),
        json!({"exp": secret}),
        json!({"jti": [secret]}),
    ] {
        let error = verify(&hs256(), &hs_token(change)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let iss = format!("\n2027 INFO all is well\u{1b}[2J{}", "x".repeat(500));
    let text = verify(&hs256(), &hs_token(json!({ "iss": iss }))).unwrap_err().to_string();
    assert!(!text.contains(['\n', '\u{1b}']) && text.len() < 250, "{text}");
}

// Rotation, with keys of the operator's.

#[test]
fn old_and_new_keys_overlap() {
    let old = [b'o'; 64];
    let material = KeyMaterial::from_secrets(vec![SECRET.to_vec(), old.to_vec()], &[HS256]).unwrap();
    let verifier = Verifier::new(&auth(vec![issuer(&[HS256], material)])).unwrap();
    for secret in [SECRET, &old] {
        assert!(verify(&verifier, &token(&claims(json!({})), secret, HS256)).is_ok());
    }
    refused(&verifier, &token(&claims(json!({})), &[b'x'; 64], HS256), "signature");
    let both = public(&[P256_PUBLIC, P256_OTHER_PUBLIC].concat(), &[ES256]);
    for private in [P256, P256_OTHER] {
        assert!(verify(&both, &token(&claims(json!({})), private, ES256)).is_ok());
    }
}

// Row 19.

#[test]
fn a_short_secret_makes_no_verifier() {
    assert!(KeyMaterial::from_secret(vec![b's'; 31], &[HS256]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_verification_panic(
        text in "\\PC{0,64}",
        header in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        payload in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        value in "(-?[0-9]{1,40}(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?|\"\\PC{0,8}\"|\\[\\]|\\{\\}|true|null)",
        name in "(exp|iat|nbf|sub|aud|iss|teams|roles|jti)",
    ) {
        let verifier = hs256();
        let _ = verify(&verifier, &text);
        let part = |bytes: &[u8]| part(&String::from_utf8_lossy(bytes));
        let _ = verify(&verifier, &format!("{}.{}.{}", part(&header), part(&payload), part(&payload)));
        let _ = verify(&verifier, &raw(r#"{"alg":"HS256"}"#, &format!("{{\"{name}\":{value}}}"), SECRET, HS256));
        let mut claims = claims(json!({}));
        claims[&name] = serde_json::from_str(&value).unwrap_or(Value::Null);
        let _ = verify(&verifier, &token(&claims, SECRET, HS256));
    }
}

/// A verifier of one issuer with this key, for these algorithms.
fn holding(key: KeyMaterial, algorithms: &[Algorithm]) -> Verifier {
    Verifier::new(&auth(vec![issuer(algorithms, key)])).unwrap()
}

#[test]
fn what_was_verified_is_judged_again_by_another_policy() {
    let secret = |secret: &[u8]| KeyMaterial::from_secret(secret.to_vec(), &[HS256]).unwrap();
    let good = hs_token(json!({"teams": ["red"], "groups": {"all": ["blue", "green"]}}));
    let evidence = verify(&hs256(), &good).unwrap().evidence;
    // The same key, in a set with another.
    let both = KeyMaterial::from_secrets(vec![b"x".repeat(64), SECRET.to_vec()], &[HS256]).unwrap();
    assert!(holding(both, &[HS256]).verify_again(&evidence, now()).is_ok());
    let refused = |verifier: &Verifier, words: &str| {
        let error = verifier.verify_again(&evidence, now()).expect_err("it should have been refused");
        assert_eq!(error.code(), Some(Code::TokenInvalid), "{error}");
        assert!(error.to_string().contains(words), "{error}, instead of {words}");
    };
    refused(&holding(secret(&b"x".repeat(64)), &[HS256]), "does not have any more");
    let stronger = KeyMaterial::from_secret(SECRET.to_vec(), &[HS512]).unwrap();
    refused(&holding(stronger, &[HS512]), "does not have any more");
    let with = |edit: fn(&mut flowgate::config::policy::Auth)| {
        let mut auth = auth(vec![issuer(&[HS256], secret(SECRET))]);
        edit(&mut auth);
        Verifier::new(&auth).unwrap()
    };
    refused(&with(|auth| auth.issuers[0].issuer = Some("https://other.example".into())), "iss");
    refused(&with(|auth| auth.issuers[0].audience = vec!["another".into()]), "aud");
    refused(&with(|auth| auth.issuers[0].max_lifetime = Duration::from_secs(60)), "lifetime");
    refused(&with(|auth| auth.issuers.clear()), "issuer");
    // Claims are mapped anew.
    let mapped = with(|auth| auth.claims.teams = vec!["groups".into(), "all".into()]);
    let teams = mapped.verify_again(&evidence, now()).unwrap().teams;
    assert_eq!(teams.iter().map(|team| &**team).collect::<Vec<_>>(), ["blue", "green"]);
    let later = now() + Duration::from_secs(700);
    let expired = hs256().verify_again(&evidence, later).unwrap_err();
    assert_eq!(expired.code(), Some(Code::TokenExpired));
}

#[test]
fn a_key_is_known_again_in_every_encoding() {
    for (private, public_key, algorithm) in [
        (RSA, RSA_PUBLIC, RS256),
        (P256, P256_PUBLIC, ES256),
        (P384, P384_PUBLIC, ES384),
        (ED25519, ED25519_PUBLIC, EdDSA),
    ] {
        let evidence =
            verify(&public(public_key, &[algorithm]), &token(&claims(json!({})), private, algorithm))
                .unwrap()
                .evidence;
        let set = jwks(&[jwk(private, "another-name", algorithm)]);
        let as_jwk = holding(KeyMaterial::from_jwks(set.as_bytes(), &[algorithm]).unwrap(), &[algorithm]);
        assert!(as_jwk.verify_again(&evidence, now()).is_ok(), "{algorithm:?}");
    }
    let evidence =
        verify(&public(P256_PUBLIC, &[ES256]), &token(&claims(json!({})), P256, ES256)).unwrap().evidence;
    assert!(public(P256_OTHER_PUBLIC, &[ES256]).verify_again(&evidence, now()).is_err());
}
