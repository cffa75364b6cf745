//! Key material: JSON Web Key Sets from files and endpoints, PEM files, DER as it stands in them, secrets, and the pair
//! that TLS needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flowgate::config::certificate::Certificate;
use flowgate::config::key_material::{
    JwkOrigin, JwkSet, KeyError, KeyKind, KeyMaterial, MAX_JWKS_BYTES, MAX_JWKS_KEYS, VerifyingKey,
    parse_jwks,
};
use jsonwebtoken::Algorithm::{
    self, ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512,
};

use crate::json::Members;

/// What issuers may ask for: everything, one of each kind, and secrets.
const WANTED: &[&[Algorithm]] = &[
    &[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA],
    &[RS256],
    &[ES256, EdDSA],
    &[HS256],
    &[HS256, HS384, HS512],
];

/// A key set, a PEM file, or the DER inside one.
///
/// Promised: a key comes out only for algorithms that were asked for and that its kind can serve; no secret comes from an
/// endpoint, and none is repeated in an error; nothing verifies what was not signed.
pub fn jwks(data: &[u8]) {
    for algorithms in WANTED {
        for origin in [JwkOrigin::File, JwkOrigin::Endpoint] {
            match parse_jwks(data, algorithms, origin) {
                Ok(set) => check_set(data, &set, algorithms, origin),
                Err(error) => check_error(data, &error),
            }
        }
        material(data, KeyMaterial::from_jwks(data, algorithms), algorithms);
        material(data, KeyMaterial::from_public_pem(data, algorithms), algorithms);
        material(data, KeyMaterial::from_secret(data.to_vec(), algorithms), algorithms);
    }
    for tag in ["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"] {
        let pem = format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", STANDARD.encode(data));
        for algorithms in &WANTED[1..3] {
            material(data, KeyMaterial::from_public_pem(pem.as_bytes(), algorithms), algorithms);
        }
    }
    pair(data);
}

/// The bytes as a certificate or as its private key, beside the right other half, and as both.
fn pair(data: &[u8]) {
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/fixtures/keys/p256.cert.pem");
    const KEY: &[u8] = include_bytes!("../../tests/fixtures/keys/p256.pem");
    for (certificate, key) in [(data, KEY), (CERTIFICATE, data), (data, data)] {
        match Certificate::from_pem(certificate, key) {
            Ok(pair) => drop(pair.out_of_date(crate::noon().wall)),
            Err(error) => assert!(crate::is_one_line(&error.found) && crate::is_one_line(error.mend)),
        }
    }
}

fn check_set(data: &[u8], set: &JwkSet, algorithms: &[Algorithm], origin: JwkOrigin) {
    assert!(data.len() <= MAX_JWKS_BYTES && set.keys.len() + set.left_out.len() <= MAX_JWKS_KEYS);
    check_keys(&set.keys, algorithms);
    for key in &set.keys {
        assert!(origin == JwkOrigin::File || key.kind() != KeyKind::Secret, "a secret from an endpoint");
        assert!(key.kid().is_none_or(|kid| kid.len() <= 256));
    }
    for why in &set.left_out {
        tells_nothing(data, why);
    }
}

fn material(data: &[u8], material: Result<KeyMaterial, KeyError>, algorithms: &[Algorithm]) {
    match material {
        Ok(KeyMaterial::Keys(keys)) => {
            check_keys(&keys, algorithms);
            let served = |algorithm: &Algorithm| keys.iter().any(|key| key.allows(*algorithm));
            assert!(algorithms.iter().all(served), "an algorithm without a key");
        }
        Ok(KeyMaterial::Endpoint(_)) => panic!("an endpoint out of a file"),
        Err(error) => check_error(data, &error),
    }
}

fn check_keys(keys: &[VerifyingKey], algorithms: &[Algorithm]) {
    for key in keys {
        let mut allowed = key.algorithms().peekable();
        assert!(allowed.peek().is_some(), "a key for nothing");
        for algorithm in allowed {
            assert!(algorithms.contains(&algorithm) && key.kind().algorithms().contains(&algorithm));
        }
        // One algorithm is enough: what takes the time is the arithmetic behind, which is not what is fuzzed.
        if let Some(algorithm) = key.algorithms().next() {
            assert!(!key.verifies(algorithm, b"not signed", &[0; 64]), "{key:?} {algorithm:?}");
        }
    }
}

fn check_error(data: &[u8], error: &KeyError) {
    assert!(error.0.len() < 16 * 1024, "{} bytes", error.0.len());
    tells_nothing(data, &error.0);
}

/// A message about a key set does not repeat the secrets in it. Short ones may stand in any sentence by chance.
fn tells_nothing(data: &[u8], message: &str) {
    const LEAST: usize = 16;
    let Some(set) = std::str::from_utf8(data).ok().and_then(Members::of) else { return };
    let keys = set.0.iter().filter(|(name, _)| name == "keys");
    let keys =
        keys.filter_map(|(_, keys)| serde_json::from_str::<Vec<&serde_json::value::RawValue>>(keys).ok());
    for key in keys.flatten().filter_map(|key| Members::of(key.get())) {
        for (name, value) in key.0.iter().filter(|(name, _)| name == "k" || name == "d") {
            let Ok(secret) = serde_json::from_str::<String>(value) else { continue };
            assert!(secret.len() < LEAST || !message.contains(&secret), "{name} in {message:?}");
        }
    }
}
