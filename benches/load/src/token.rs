//! Tokens for the load (RFC 7519, RFC 7515), one distinct user each: HS256 under a shared secret, ES256 and RS256 under the static keys
//! in `keys/`, which guard nothing but benchmark servers on the loopback address.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// The environment variable that hands the secret to every server, as flowgate.toml names it.
pub const SECRET_VARIABLE: &str = "FLOWGATE_JWT_SECRET";
/// The secret when the environment sets none: it guards nothing but benchmark servers on the loopback address.
pub const DEFAULT_SECRET: &str = "a-secret-for-benchmarks-on-loopback-only";

/// Tokens outlive any run, and stay far below flowgate's default `max_lifetime`.
const LIFETIME_SECONDS: u64 = 4 * 3600;

const ES256_KEY: &str = include_str!("../keys/es256.private.pem");
const RS256_KEY: &str = include_str!("../keys/rs256.private.pem");

/// What tokens are signed with (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, with a key of 2,048 bits.
    Rs256,
}

impl Algorithm {
    /// The name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The issuer that flowgate.toml and the hardened Node peer demand of such tokens.
    #[must_use]
    pub fn issuer(self) -> &'static str {
        match self {
            Self::Hs256 => "https://bench.example",
            Self::Es256 => "https://es256.bench.example",
            Self::Rs256 => "https://rs256.bench.example",
        }
    }
}

/// Mints tokens with one key.
pub struct Mint {
    algorithm: Algorithm,
    key: Key,
    random: SystemRandom,
    header: String,
    issued: u64,
}

enum Key {
    Hmac(hmac::Key),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Mint {
    /// A mint whose tokens are all issued now; only HS256 takes `secret`.
    ///
    /// # Errors
    /// When the system clock stands before 1970, or a key in `keys/` is damaged.
    pub fn new(algorithm: Algorithm, secret: &str) -> Result<Self> {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::Hs256 => Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
            Algorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(ES256_KEY)?, &random);
                Key::Ecdsa(pair.map_err(|error| anyhow!("keys/es256.private.pem: {error}"))?)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(&der(RS256_KEY)?);
                Key::Rsa(pair.map_err(|error| anyhow!("keys/rs256.private.pem: {error}"))?)
            }
        };
        let issued =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.name()));
        Ok(Self { algorithm, key, random, header, issued })
    }

    /// A token for `user`, member of `team`. Neither may need JSON escapes.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn token(&self, user: &str, team: &str) -> Result<String> {
        self.token_between(user, team, self.issued, self.issued + LIFETIME_SECONDS)
    }

    /// The same with the times of `iat` and `exp`, in seconds since 1970.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn token_between(&self, user: &str, team: &str, issued: u64, expires: u64) -> Result<String> {
        let issuer = self.algorithm.issuer();
        let claims = format!(
            r#"{{"iss":"{issuer}","aud":"flowgate","sub":"{user}","teams":["{team}"],"roles":["editor"],"iat":{issued},"exp":{expires}}}"#
        );
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| anyhow!("signing a token with {} failed", self.algorithm.name());
        match &self.key {
            Key::Hmac(key) => Ok(hmac::sign(key, text).as_ref().to_vec()),
            Key::Ecdsa(pair) => Ok(pair.sign(&self.random, text).map_err(failed)?.as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, text, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

/// The bytes between the two boundary lines of a PEM text (RFC 7468).
fn der(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).context("a key in keys/ is no PEM")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

    /// The public key in a SubjectPublicKeyInfo stands at its end, after a head that depends on the kind of key only.
    fn verify(algorithm: &'static dyn VerificationAlgorithm, pem: &str, head: usize, token: &str) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = der(pem).unwrap();
        UnparsedPublicKey::new(algorithm, &key[head..])
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
    }

    #[test]
    fn the_signature_covers_header_and_claims() {
        let token = Mint::new(Algorithm::Hs256, DEFAULT_SECRET).unwrap().token("user-1", "team-1").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, DEFAULT_SECRET.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["teams"], serde_json::json!(["team-1"]));
    }

    #[test]
    fn the_public_keys_that_the_servers_read_verify_the_tokens() {
        let token = |algorithm| Mint::new(algorithm, "").unwrap().token("user-1", "team-1").unwrap();
        let es256 = include_str!("../keys/es256.public.pem");
        verify(&signature::ECDSA_P256_SHA256_FIXED, es256, 26, &token(Algorithm::Es256));
        let rs256 = include_str!("../keys/rs256.public.pem");
        verify(&signature::RSA_PKCS1_2048_8192_SHA256, rs256, 24, &token(Algorithm::Rs256));
    }
}
