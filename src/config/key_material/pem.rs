//! PEM files: public keys and certificates (RFC 7468).

use jsonwebtoken::Algorithm;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{KeyError, VerifyingKey};

/// During a rotation there are two or three keys; more in one file is a mistake, and each costs every bad token time.
const MAX_PEM_KEYS: usize = 8;

/// Every public key in `text`, each for those of `algorithms` that its kind can verify.
pub(super) fn public_keys(text: &[u8], algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, KeyError> {
    let blocks = pem::parse_many(text).map_err(|_| {
        KeyError::new("this PEM text is damaged: copy it again, with its BEGIN and END lines")
    })?;
    if blocks.is_empty() {
        return Err(KeyError::new(
            "there is no PEM block: a public key begins with -----BEGIN PUBLIC KEY-----",
        ));
    }
    if blocks.len() > MAX_PEM_KEYS {
        return Err(KeyError(format!("found {} PEM blocks; at most {MAX_PEM_KEYS} are used", blocks.len())));
    }
    blocks.iter().map(|block| public_key(block.tag(), block.contents(), algorithms)).collect()
}

fn public_key(tag: &str, der: &[u8], algorithms: &[Algorithm]) -> Result<VerifyingKey, KeyError> {
    match tag {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => VerifyingKey::from_public(None, der, algorithms),
        "CERTIFICATE" => {
            let der = CertificateDer::from(der);
            let certificate = EndEntityCert::try_from(&der).map_err(|_| {
                KeyError::new(
                    "this certificate cannot be read: write its key instead, as `openssl x509 -pubkey -noout` prints it",
                )
            })?;
            VerifyingKey::from_public(None, &certificate.subject_public_key_info(), algorithms)
        }
        // The block's text is not echoed: it may be the very thing that must not be seen.
        private if private.ends_with("PRIVATE KEY") => Err(KeyError::new(
            "this is a private key, which only the issuer should hold: give its public half, as \
             `openssl pkey -in KEY -pubout` prints it, and consider the private key seen by this machine",
        )),
        other => Err(KeyError(format!(
            "found a PEM block {:?}: give a PUBLIC KEY, an RSA PUBLIC KEY or a CERTIFICATE",
            other.chars().take(40).collect::<String>()
        ))),
    }
}
