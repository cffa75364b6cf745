//! Keys of the tests, and tokens signed with them in every way, also the wrong ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flowgate::config::key_material::KeyMaterial;
use flowgate::config::policy::{Auth, AuthMode, ClaimPaths, Issuer, TokenSource};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey};
use serde_json::{Value, json};

macro_rules! key_file {
    ($name:literal) => {
        include_bytes!(concat!("../fixtures/keys/", $name))
    };
}

pub const RSA: &[u8] = key_file!("rsa2048.pem");
pub const RSA_PUBLIC: &[u8] = key_file!("rsa2048.pub.pem");
pub const P256: &[u8] = key_file!("p256.pem");
pub const P256_PUBLIC: &[u8] = key_file!("p256.pub.pem");
pub const P256_OTHER: &[u8] = key_file!("p256-other.pem");
pub const P256_OTHER_PUBLIC: &[u8] = key_file!("p256-other.pub.pem");
pub const P384: &[u8] = key_file!("p384.pem");
pub const P384_PUBLIC: &[u8] = key_file!("p384.pub.pem");
pub const ED25519: &[u8] = key_file!("ed25519.pem");
pub const ED25519_PUBLIC: &[u8] = key_file!("ed25519.pub.pem");
pub const SECRET: &[u8] = b"a secret of the tests, long enough for HS512: 0123456789abcdefghij";

/// The time at which the tests take place: seconds since 1970.
pub const NOW: u64 = 1_800_000_000;

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Claims that everything here accepts, with what `change` makes of them; `null` removes one.
pub fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": "https://app.example", "sub": "user-1", "aud": "flowgate", "iat": NOW - 10, "exp": NOW + 600,
        "teams": ["red"], "roles": ["editor"],
    });
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub fn part(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// A signature in base64url, with a secret or a PEM key.
pub fn sign(message: &str, key: &[u8], algorithm: Algorithm) -> String {
    let key = match algorithm.family() {
        AlgorithmFamily::Hmac => EncodingKey::from_secret(key),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(key).unwrap(),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(key).unwrap(),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(key).unwrap(),
    };
    jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap()
}

/// A token with exactly this header and payload, signed.
pub fn raw(header: &str, payload: &str, key: &[u8], algorithm: Algorithm) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = sign(&message, key, algorithm);
    format!("{message}.{signature}")
}

/// A well-formed token.
pub fn token(claims: &Value, key: &[u8], algorithm: Algorithm) -> String {
    raw(&json!({"alg": algorithm, "typ": "JWT"}).to_string(), &claims.to_string(), key, algorithm)
}

/// A well-formed token whose header names its key.
pub fn token_with_kid(claims: &Value, kid: &str, key: &[u8], algorithm: Algorithm) -> String {
    raw(&json!({"alg": algorithm, "kid": kid}).to_string(), &claims.to_string(), key, algorithm)
}

pub fn issuer(algorithms: &[Algorithm], key: KeyMaterial) -> Issuer {
    Issuer {
        name: "app".into(),
        issuer: Some("https://app.example".into()),
        audience: vec!["flowgate".into()],
        algorithms: algorithms.to_vec(),
        max_lifetime: Duration::from_secs(3600),
        key,
    }
}

pub fn auth(issuers: Vec<Issuer>) -> Auth {
    let path = |text: &str| text.split('.').map(str::to_owned).collect();
    Auth {
        mode: AuthMode::Required,
        token_from: vec![TokenSource::Auth],
        leeway: Duration::from_secs(5),
        max_lifetime: Duration::from_secs(3600),
        refresh: false,
        issuers,
        claims: ClaimPaths { subject: path("sub"), teams: path("teams"), roles: path("roles") },
    }
}

/// The public JWK of a private PEM key, with this `kid`.
pub fn jwk(private: &[u8], kid: &str, algorithm: Algorithm) -> Value {
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(private).unwrap(),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(private).unwrap(),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(private).unwrap(),
        AlgorithmFamily::Hmac => unreachable!("a secret has no public half"),
    };
    let mut jwk =
        serde_json::to_value(jsonwebtoken::jwk::Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
    jwk["kid"] = kid.into();
    jwk
}

/// A key set.
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
