//! What proves that a message comes from a node that knows the secret (`bus.hmac`).
//!
//! HMAC-SHA256 (RFC 2104) over the channel and the message, so that neither can be changed, nor the message moved to another
//! team's channel.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Tells these from whatever else may be signed with the same secret.
const PURPOSE: &[u8] = b"flowgate bus 1";

/// The secrets of this node. Without any nothing is signed, and no signature is looked at.
#[derive(Debug, Default)]
pub struct Seal {
    /// The first signs; all are believed.
    keys: Vec<Key>,
}

impl Seal {
    /// Signs with the first of these secrets, and believes all.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Self {
        Seal { keys: secrets.into_iter().map(|secret| Key::new(HMAC_SHA256, secret)).collect() }
    }

    /// The signature of a message, where there is a secret.
    pub fn sign(&self, channel: &str, message: &[u8]) -> Option<String> {
        let tag = tag(self.keys.first()?, channel, message);
        Some(URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// Whether this is a signature of the message by one of the secrets. Without any everything is.
    pub fn is_valid(&self, signature: &str, channel: &str, message: &[u8]) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let is_by = |key| verify_slices_are_equal(tag(key, channel, message).as_ref(), &signature).is_ok();
        self.keys.iter().any(is_by)
    }
}

fn tag(key: &Key, channel: &str, message: &[u8]) -> Tag {
    let mut context = Context::with_key(key);
    context.update(PURPOSE);
    // So that no byte can be moved from the one to the other.
    context.update(&(channel.len() as u64).to_be_bytes());
    context.update(channel.as_bytes());
    context.update(message);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_message_on_one_channel_by_one_secret() {
        let seal = Seal::new([&b"secret"[..]]);
        let signature = seal.sign("fg:t:{red}", b"hello").unwrap();
        assert!(seal.is_valid(&signature, "fg:t:{red}", b"hello"));
        assert!(!seal.is_valid(&signature, "fg:t:{blue}", b"hello"));
        assert!(!seal.is_valid(&signature, "fg:t:{red}", b"hello "));
        assert!(!seal.is_valid(&signature, "fg:t:{red", b"}hello"));
        assert!(!Seal::new([&b"other"[..]]).is_valid(&signature, "fg:t:{red}", b"hello"));
        for bad in ["", "-", "AAAA", &signature[1..], &format!("{signature}A")] {
            assert!(!seal.is_valid(bad, "fg:t:{red}", b"hello"), "{bad}");
        }
    }

    #[test]
    fn an_older_secret_is_believed_and_does_not_sign() {
        let (old, new) = (Seal::new([&b"old"[..]]), Seal::new([&b"new"[..], b"old"]));
        assert!(new.is_valid(&old.sign("c", b"m").unwrap(), "c", b"m"));
        assert!(!old.is_valid(&new.sign("c", b"m").unwrap(), "c", b"m"));
    }

    #[test]
    fn without_a_secret_nothing_is_signed_or_asked_for() {
        assert_eq!(Seal::default().sign("c", b"m"), None);
        assert!(Seal::default().is_valid("-", "c", b"m"));
    }
}
