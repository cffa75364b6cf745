//! Key material of one issuer, loaded and checked against its algorithms before anything listens.
//!
//! The rule of RFC 8725 §3.1 is built in here: a key is made for named algorithms, those of the issuer that its
//! kind can serve, and can never be asked to verify another one, whatever a token says.

mod jwk;
mod key_id;
mod pem;
mod verifying_key;

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};
use url::Url;

pub(crate) use jwk::MAX_KID_BYTES;
pub use jwk::{JwkOrigin, JwkSet, MAX_JWKS_BYTES, MAX_JWKS_KEYS, parse_jwks};
pub use key_id::KeyId;
pub use verifying_key::{KeyKind, VerifyingKey};

/// What verifies an issuer's tokens.
pub enum KeyMaterial {
    /// Keys that are known before anything listens: secrets, a PEM file, a JWKS file.
    Keys(Arc<[VerifyingKey]>),
    /// A JWKS endpoint, fetched in the background.
    Endpoint(Url),
}

/// Why key material cannot be used; the text says what was found and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl KeyError {
    fn new(text: impl Into<String>) -> Self {
        KeyError(text.into())
    }
}

impl KeyMaterial {
    /// No key at all, with which no token verifies: for trying a policy where its keys are not.
    pub fn none() -> Self {
        KeyMaterial::Keys(Arc::new([]))
    }

    /// An HMAC secret, at least as long as the hash of every algorithm (RFC 7518 §3.2).
    ///
    /// One trailing newline is not part of the secret, because editors and `echo` add it.
    pub fn from_secret(secret: Vec<u8>, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        Self::from_secrets(vec![secret], algorithms)
    }

    /// HMAC secrets that are all valid at once, while one replaces another. Minting uses the first.
    pub fn from_secrets(secrets: Vec<Vec<u8>>, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        check_algorithms(algorithms)?;
        if secrets.is_empty() {
            return Err(KeyError::new("there is no secret: name at least one"));
        }
        let mut keys = Vec::with_capacity(secrets.len());
        for mut secret in secrets {
            trim_newline(&mut secret);
            check_secret(&secret, algorithms)?;
            keys.push(VerifyingKey::from_secret(None, &secret, algorithms));
        }
        every_algorithm_has_a_key(&keys, algorithms)?;
        Ok(KeyMaterial::Keys(keys.into()))
    }

    /// PEM public keys (SPKI, or PKCS#1 for RSA) or X.509 certificates, each of a kind that some algorithm needs.
    ///
    /// A file may hold several, while one replaces another. Of a certificate only the key is used: its names and
    /// dates are not looked at.
    pub fn from_public_pem(pem: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        check_algorithms(algorithms)?;
        let keys = pem::public_keys(pem, algorithms)?;
        every_key_has_an_algorithm(&keys, algorithms)?;
        every_algorithm_has_a_key(&keys, algorithms)?;
        Ok(KeyMaterial::Keys(keys.into()))
    }

    /// A JWKS document (RFC 7517) read from a file.
    ///
    /// Keys that are not for verifying signatures, or only with algorithms that the issuer does not list, are left
    /// out; a damaged key is an error, because here somebody can mend it.
    pub fn from_jwks(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        check_algorithms(algorithms)?;
        let set = parse_jwks(document, algorithms, JwkOrigin::File)?;
        if set.keys.is_empty() {
            return Err(KeyError(format!(
                "no key in this JWKS can verify {}: {}",
                names(algorithms),
                if set.left_out.is_empty() { "it is empty".into() } else { set.left_out.join("; ") }
            )));
        }
        every_algorithm_has_a_key(&set.keys, algorithms)?;
        Ok(KeyMaterial::Keys(set.keys.into()))
    }

    /// A JWKS endpoint, fetched in the background. Whether `http` is allowed was decided before; see
    /// [`KeyMaterial::check_endpoint`] for what an endpoint cannot serve.
    pub fn from_jwks_url(url: Url) -> Self {
        KeyMaterial::Endpoint(url)
    }

    /// Refuses what no endpoint can serve: HMAC algorithms, whose keys would be public.
    pub fn check_endpoint(url: &Url, algorithms: &[Algorithm]) -> Result<(), KeyError> {
        check_algorithms(algorithms)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(KeyError::new("this is not an http or https address; write https://HOST/PATH"));
        }
        match algorithms.iter().find(|algorithm| algorithm.family() == AlgorithmFamily::Hmac) {
            Some(algorithm) => Err(KeyError(format!(
                "{algorithm:?} needs a shared secret, and a secret is never fetched from an address: \
                 take it out of algorithms, or use secret_env or secret_file"
            ))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyMaterial::Keys(keys) => f.debug_tuple("Keys").field(keys).finish(),
            KeyMaterial::Endpoint(url) => f.debug_tuple("Endpoint").field(&url.host_str()).finish(),
        }
    }
}

/// The algorithm that a JWS header or a JWK calls by this name; `Ed25519` is the newer name of `EdDSA` with that
/// curve (RFC 9864).
pub fn algorithm_named(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" {
        return Some(Algorithm::EdDSA);
    }
    name.parse().ok()
}

fn check_algorithms(algorithms: &[Algorithm]) -> Result<(), KeyError> {
    if algorithms.is_empty() {
        return Err(KeyError::new("algorithms is empty: name the ones that this issuer signs with"));
    }
    Ok(())
}

fn trim_newline(secret: &mut Vec<u8>) {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
}

fn check_secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<(), KeyError> {
    if let Some(other) = algorithms.iter().find(|algorithm| algorithm.family() != AlgorithmFamily::Hmac) {
        return Err(KeyError(format!(
            "{other:?} needs a public key, not a secret: write algorithms with HS256, HS384 or HS512 only, \
             or use public_key_file, jwks_file or jwks_url"
        )));
    }
    // A public key that is used as a secret lets everyone who knows it sign (RFC 8725 §2.1).
    let marker = b"-----BEGIN ";
    if secret.windows(marker.len()).any(|text| text == marker) {
        return Err(KeyError::new(
            "this is a PEM key, not a secret: use public_key_file with RS256, ES256 or EdDSA",
        ));
    }
    for &algorithm in algorithms {
        let least = least_secret_bytes(algorithm);
        if secret.len() < least {
            return Err(KeyError(format!(
                "the secret is {} bytes long and {algorithm:?} needs at least {least} (RFC 7518 §3.2): \
                 write a longer one, such as the output of `openssl rand -hex {least}`",
                secret.len()
            )));
        }
    }
    Ok(())
}

/// RFC 7518 §3.2: a key of the same size as the hash output or larger.
pub(crate) fn least_secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}

fn every_key_has_an_algorithm(keys: &[VerifyingKey], algorithms: &[Algorithm]) -> Result<(), KeyError> {
    match keys.iter().find(|key| key.algorithms().next().is_none()) {
        Some(key) => Err(KeyError(format!(
            "found {}, which cannot verify {}: write algorithms with some of {}, or give another key",
            key.kind(),
            names(algorithms),
            names(key.kind().algorithms()),
        ))),
        None => Ok(()),
    }
}

fn every_algorithm_has_a_key(keys: &[VerifyingKey], algorithms: &[Algorithm]) -> Result<(), KeyError> {
    let Some(lonely) = algorithms.iter().find(|&&algorithm| !keys.iter().any(|key| key.allows(algorithm)))
    else {
        return Ok(());
    };
    let mut found: Vec<_> = keys.iter().map(|key| key.kind().to_string()).collect();
    found.dedup();
    Err(KeyError(format!(
        "no key here can verify {lonely:?}, which needs {}; found {}: take {lonely:?} out of algorithms, or add such a key",
        needed(*lonely),
        found.join(" and "),
    )))
}

fn needed(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "an EC key on P-256",
        Algorithm::ES384 => "an EC key on P-384",
        Algorithm::EdDSA => "an Ed25519 key",
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "a shared secret",
        _ => "an RSA key",
    }
}

fn names(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
