//! The keys of one issuer, and which of them a token is checked against.

use jsonwebtoken::Algorithm;

use crate::config::key_material::{KeyId, VerifyingKey};

/// How many keys one token is tried against. Rotation needs two; each try costs tens of microseconds, which a bad
/// token must not multiply.
const MAX_TRIED: usize = 8;

/// An issuer's keys, immutable; a fetched set replaces the whole ring.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: Box<[VerifyingKey]>,
}

/// What trying a token's signature came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// This key of the issuer made the signature.
    Verified(KeyId),
    /// Keys were tried, and none made it.
    BadSignature,
    /// The keys that the token's `kid` names may not be used with its algorithm.
    AlgorithmNotAllowed,
    /// No key bears the token's `kid`, and none without a `kid` made the signature.
    UnknownKid,
}

impl KeyRing {
    /// A ring of these keys.
    pub fn new(keys: impl Into<Box<[VerifyingKey]>>) -> Self {
        KeyRing { keys: keys.into() }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether this key is on it, and may be used with this algorithm.
    pub fn holds(&self, key: KeyId, algorithm: Algorithm) -> bool {
        holds(&self.keys, key, algorithm)
    }

    /// Tries a signature; see [`try_keys`].
    pub fn check(&self, kid: Option<&str>, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Match {
        try_keys(&self.keys, kid, algorithm, message, signature)
    }
}

/// Tries `signature` over `message` against the keys that `kid` and `algorithm` leave.
///
/// `kid` only narrows the choice and `algorithm` must be one that the key itself allows (RFC 8725 §3.1). Keys without
/// a `kid`, such as secrets and PEM keys, stand for any; a token without one is tried against those first, then
/// against the others, so that an issuer may begin or cease to write it. Several keys may share a `kid`.
pub fn try_keys(
    keys: &[VerifyingKey],
    kid: Option<&str>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Match {
    let nameless = || keys.iter().filter(|key| key.kid().is_none());
    let verified = |key: &VerifyingKey| key.verifies(algorithm, message, signature);
    match kid {
        Some(kid) => {
            let mut named = keys.iter().filter(|key| key.kid() == Some(kid)).peekable();
            if named.peek().is_some() {
                return outcome(named, algorithm, verified);
            }
            match outcome(nameless(), algorithm, verified) {
                Match::Verified(key) => Match::Verified(key),
                _ => Match::UnknownKid,
            }
        }
        None => {
            let named = keys.iter().filter(|key| key.kid().is_some());
            outcome(nameless().chain(named), algorithm, verified)
        }
    }
}

/// Whether this key is among them, and may be used with this algorithm.
pub fn holds(keys: &[VerifyingKey], key: KeyId, algorithm: Algorithm) -> bool {
    keys.iter().any(|one| one.id() == key && one.allows(algorithm))
}

fn outcome<'a>(
    keys: impl Iterator<Item = &'a VerifyingKey>,
    algorithm: Algorithm,
    verified: impl Fn(&VerifyingKey) -> bool,
) -> Match {
    let mut fitting = keys.filter(|key| key.allows(algorithm)).take(MAX_TRIED).peekable();
    if fitting.peek().is_none() {
        return Match::AlgorithmNotAllowed;
    }
    let found = fitting.find(|key| verified(key));
    found.map_or(Match::BadSignature, |key| Match::Verified(key.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_material::{JwkOrigin, parse_jwks};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const MESSAGE: &[u8] = b"header.payload";

    /// Secrets of one repeated byte each, with the given `kid`s.
    fn keys(wanted: &[(Option<&str>, u8)]) -> Vec<VerifyingKey> {
        let jwks: Vec<_> = wanted
            .iter()
            .map(|(kid, byte)| {
                let mut jwk = serde_json::json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([*byte; 32])});
                if let Some(kid) = kid {
                    jwk["kid"] = (*kid).into();
                }
                jwk
            })
            .collect();
        let document = serde_json::json!({ "keys": jwks }).to_string();
        parse_jwks(document.as_bytes(), &[Algorithm::HS256], JwkOrigin::File).unwrap().keys
    }

    fn signed(byte: u8) -> Vec<u8> {
        keys(&[(None, byte)])[0].sign(Algorithm::HS256, MESSAGE).unwrap()
    }

    fn check(keys: &[VerifyingKey], kid: Option<&str>, signature: &[u8]) -> Match {
        try_keys(keys, kid, Algorithm::HS256, MESSAGE, signature)
    }

    #[test]
    fn kid_narrows_and_never_widens() {
        let keys = keys(&[(Some("a"), 1), (Some("b"), 2)]);
        assert!(matches!(check(&keys, Some("a"), &signed(1)), Match::Verified(_)));
        assert_eq!(check(&keys, Some("a"), &signed(2)), Match::BadSignature);
        assert_eq!(check(&keys, Some("c"), &signed(1)), Match::UnknownKid);
        assert!(matches!(check(&keys, None, &signed(2)), Match::Verified(_)));
        assert_eq!(
            try_keys(&keys, Some("a"), Algorithm::HS384, MESSAGE, &signed(1)),
            Match::AlgorithmNotAllowed
        );
    }

    #[test]
    fn keys_that_share_a_kid_are_all_tried() {
        let keys = keys(&[(Some("a"), 1), (Some("a"), 2)]);
        assert!(matches!(check(&keys, Some("a"), &signed(1)), Match::Verified(_)));
        assert!(matches!(check(&keys, Some("a"), &signed(2)), Match::Verified(_)));
        assert_eq!(check(&keys, Some("a"), &signed(3)), Match::BadSignature);
    }

    #[test]
    fn keys_without_a_kid_stand_for_any() {
        let keys = keys(&[(None, 1), (Some("b"), 2)]);
        assert!(matches!(check(&keys, Some("whatever"), &signed(1)), Match::Verified(_)));
        assert_eq!(check(&keys, Some("b"), &signed(1)), Match::BadSignature);
        assert_eq!(check(&keys, Some("whatever"), &signed(2)), Match::UnknownKid);
    }

    #[test]
    fn only_so_many_keys_are_tried() {
        let wanted: Vec<_> = (1..=20).map(|byte| (None, byte)).collect();
        let keys = keys(&wanted);
        assert!(matches!(check(&keys, None, &signed(MAX_TRIED as u8)), Match::Verified(_)));
        assert_eq!(check(&keys, None, &signed(MAX_TRIED as u8 + 1)), Match::BadSignature);
    }
}
