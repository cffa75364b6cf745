//! By what one key is known again, after it was read again: a digest, from which nobody learns the key.

use aws_lc_rs::digest::{Context, SHA256};
use url::Url;

use super::KeyKind;

/// Keeps these digests apart from any other of the same bytes.
const DOMAIN: &[u8] = b"flowgate key\0";

/// A key, or the endpoint that vouches for its keys. 64 bits, since each socket keeps one; they tell apart the handful of
/// keys that one operator configures, and open nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// Of a shared secret.
    pub(super) fn of_secret(secret: &[u8]) -> Self {
        Self::digest(b"secret\0", &[secret])
    }

    /// Of an RSA key, by its modulus and exponent.
    pub(super) fn of_rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::digest(b"rsa\0", &[modulus, b"\0", exponent])
    }

    /// Of a key on a curve, in any encoding that ends with its point, which all do: SPKI, SEC 1 and the bare bytes.
    pub(super) fn of_point(kind: KeyKind, encoded: &[u8]) -> Self {
        let length = match kind {
            KeyKind::P256 => 65,
            KeyKind::P384 => 97,
            _ => 32,
        };
        Self::digest(b"point\0", &[&encoded[encoded.len().saturating_sub(length)..]])
    }

    /// Of an endpoint: whoever a key of its was good for stays welcome when it publishes others.
    pub fn of_endpoint(url: &Url) -> Self {
        Self::digest(b"endpoint\0", &[url.as_str().as_bytes()])
    }

    /// For what tells policies apart.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn digest(kind: &[u8], parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        context.update(kind);
        parts.iter().for_each(|part| context.update(part));
        let digest = context.finish();
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        KeyId(u64::from_be_bytes(first))
    }
}
