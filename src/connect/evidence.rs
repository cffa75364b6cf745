//! What is kept of a verified token for as long as its socket is there: what it takes to judge the socket again by another
//! policy. It is no credential: the signature is not in it.

use std::fmt;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::claims::{self, Fault};
use crate::config::key_material::KeyId;

/// A token that was verified, without its signature. The claims are its own text, which is at most
/// [`MAX_TOKEN_BYTES`](super::token::MAX_TOKEN_BYTES) and mostly some hundred bytes; any of them may be what another
/// policy asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What verified it.
    pub key: KeyId,
    /// With what it was signed.
    pub algorithm: Algorithm,
    claims: Box<[u8]>,
}

impl Evidence {
    /// Of a token whose signature this key has made over these claims.
    pub(super) fn new(key: KeyId, algorithm: Algorithm, claims: Vec<u8>) -> Self {
        Evidence { key, algorithm, claims: claims.into() }
    }

    /// The claims set, as it was signed.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Fault> {
        claims::parse(&self.claims)
    }
}

impl fmt::Debug for Evidence {
    /// Claims may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
