//! One key and the algorithms that it may verify.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaSubjectPublicKey, VerificationAlgorithm};
use jsonwebtoken::Algorithm;

use super::{KeyError, KeyId};

/// RFC 7518 §3.3 and §3.5: a key of 2048 bits or larger.
const LEAST_RSA_BITS: usize = 2048;
/// Larger keys only make each verification slower; the library refuses them too.
const MOST_RSA_BITS: usize = 8192;

/// What a key is, which decides what it can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A shared secret for HMAC.
    Secret,
    /// An RSA public key of so many bits.
    Rsa(usize),
    /// An EC public key on P-256.
    P256,
    /// An EC public key on P-384.
    P384,
    /// An Ed25519 public key.
    Ed25519,
}

impl KeyKind {
    /// Every algorithm that such a key can verify.
    pub fn algorithms(self) -> &'static [Algorithm] {
        match self {
            KeyKind::Secret => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            KeyKind::Rsa(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            KeyKind::P256 => &[Algorithm::ES256],
            KeyKind::P384 => &[Algorithm::ES384],
            KeyKind::Ed25519 => &[Algorithm::EdDSA],
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Secret => f.write_str("a shared secret"),
            KeyKind::Rsa(bits) => write!(f, "an RSA key of {bits} bits"),
            KeyKind::P256 => f.write_str("an EC key on P-256"),
            KeyKind::P384 => f.write_str("an EC key on P-384"),
            KeyKind::Ed25519 => f.write_str("an Ed25519 key"),
        }
    }
}

/// A key, parsed once, with one check for each algorithm it may verify.
pub struct VerifyingKey {
    id: KeyId,
    kid: Option<Arc<str>>,
    kind: KeyKind,
    checks: Box<[(Algorithm, Check)]>,
}

/// One key prepared for one algorithm, so that neither can be swapped for another.
enum Check {
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl VerifyingKey {
    /// A shared secret for those of `algorithms` that are HMAC.
    pub(super) fn from_secret(kid: Option<Arc<str>>, secret: &[u8], algorithms: &[Algorithm]) -> Self {
        let checks = algorithms
            .iter()
            .filter_map(|&algorithm| {
                let hash = match algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => return None,
                };
                Some((algorithm, Check::Hmac(Box::new(hmac::Key::new(hash, secret)))))
            })
            .collect();
        VerifyingKey { id: KeyId::of_secret(secret), kid, kind: KeyKind::Secret, checks }
    }

    /// A public key for those of `algorithms` that its kind can verify.
    ///
    /// `bytes` is a DER SubjectPublicKeyInfo; RSA may also be PKCS#1, EC an uncompressed point, Ed25519 its 32 bytes.
    pub(super) fn from_public(
        kid: Option<Arc<str>>,
        bytes: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let (kind, id) = identify(bytes)?;
        let mut checks = Vec::new();
        for &algorithm in algorithms {
            let Some(verification) = verification_of(kind, algorithm) else { continue };
            let key = ParsedPublicKey::new(verification, bytes)
                .map_err(|_| KeyError(format!("{kind} that {algorithm:?} cannot use; make a new one")))?;
            checks.push((algorithm, Check::Public(key)));
        }
        Ok(VerifyingKey { id, kid, kind, checks: checks.into() })
    }

    /// By what it is known again, whatever encoding it was read from.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The JWK's `kid`; secrets and PEM keys have none.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The algorithms it may verify: the issuer's, as far as its kind and its JWK's `alg` allow.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.checks.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Whether it may verify `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms().any(|allowed| allowed == algorithm)
    }

    /// Whether `signature` is this key's over `message`; false for an algorithm that it may not verify.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let Some((_, check)) = self.checks.iter().find(|(allowed, _)| *allowed == algorithm) else {
            return false;
        };
        match check {
            Check::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Check::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }

    /// Signs with a shared secret, for minting tokens; `None` for public keys and algorithms it does not allow.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Option<Vec<u8>> {
        let (_, check) = self.checks.iter().find(|(allowed, _)| *allowed == algorithm)?;
        match check {
            Check::Hmac(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Check::Public(_) => None,
        }
    }
}

impl fmt::Debug for VerifyingKey {
    /// Says what the key is for, never what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("kind", &self.kind)
            .field("algorithms", &self.algorithms().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Finds out what a public key is by offering it to each parser of the cryptographic library.
fn identify(bytes: &[u8]) -> Result<(KeyKind, KeyId), KeyError> {
    if let Ok(key) = RsaSubjectPublicKey::from_der(bytes) {
        let modulus = key.modulus();
        let modulus = modulus.big_endian_without_leading_zero();
        let bits = bit_length(modulus);
        if bits < LEAST_RSA_BITS {
            return Err(KeyError(format!(
                "found an RSA key of {bits} bits, and at least {LEAST_RSA_BITS} are needed (RFC 7518 §3.3): make a larger one"
            )));
        }
        if bits > MOST_RSA_BITS {
            return Err(KeyError(format!(
                "found an RSA key of {bits} bits, and at most {MOST_RSA_BITS} are supported: make a smaller one"
            )));
        }
        let id = KeyId::of_rsa(modulus, key.exponent().big_endian_without_leading_zero());
        return Ok((KeyKind::Rsa(bits), id));
    }
    let parses = |algorithm| ParsedPublicKey::new(algorithm, bytes).is_ok();
    let on_curve = |kind| Ok((kind, KeyId::of_point(kind, bytes)));
    if parses(&signature::ECDSA_P256_SHA256_FIXED) {
        return on_curve(KeyKind::P256);
    }
    if parses(&signature::ECDSA_P384_SHA384_FIXED) {
        return on_curve(KeyKind::P384);
    }
    if parses(&signature::ED25519) {
        return on_curve(KeyKind::Ed25519);
    }
    let found = if parses(&signature::ECDSA_P521_SHA512_FIXED) {
        "an EC key on P-521"
    } else if parses(&signature::ECDSA_P256K1_SHA256_FIXED) {
        "an EC key on secp256k1"
    } else {
        "something that is no valid public key"
    };
    Err(KeyError(format!(
        "found {found}: give an RSA key of at least {LEAST_RSA_BITS} bits, an EC key on P-256 or P-384, or an Ed25519 key"
    )))
}

fn bit_length(big_endian: &[u8]) -> usize {
    let leading = big_endian.first().map_or(0, |byte| byte.leading_zeros() as usize);
    big_endian.len() * 8 - leading
}

fn verification_of(kind: KeyKind, algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match (kind, algorithm) {
        (KeyKind::Rsa(_), Algorithm::RS256) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        (KeyKind::Rsa(_), Algorithm::RS384) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        (KeyKind::Rsa(_), Algorithm::RS512) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        (KeyKind::Rsa(_), Algorithm::PS256) => Some(&signature::RSA_PSS_2048_8192_SHA256),
        (KeyKind::Rsa(_), Algorithm::PS384) => Some(&signature::RSA_PSS_2048_8192_SHA384),
        (KeyKind::Rsa(_), Algorithm::PS512) => Some(&signature::RSA_PSS_2048_8192_SHA512),
        (KeyKind::P256, Algorithm::ES256) => Some(&signature::ECDSA_P256_SHA256_FIXED),
        (KeyKind::P384, Algorithm::ES384) => Some(&signature::ECDSA_P384_SHA384_FIXED),
        (KeyKind::Ed25519, Algorithm::EdDSA) => Some(&signature::ED25519),
        _ => None,
    }
}
