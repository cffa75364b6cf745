//! The certificate and private key of `server.tls`, read from PEM (RFC 7468) and checked to belong together.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys};
use webpki::{EndEntityCert, KeyUsage};

use super::files::read_key_file;

/// A certificate chain and the private key of its first certificate.
#[derive(Clone)]
pub struct Certificate(Arc<CertifiedKey>);

/// Why two files are no such pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    /// Which of the two is wrong.
    pub file: Which,
    /// What was found, as a phrase. Never the key itself.
    pub found: String,
    /// What to write instead, as a phrase.
    pub mend: &'static str,
}

/// One file of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `server.tls.certificate_file`
    Certificate,
    /// `server.tls.key_file`
    Key,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.file {
            Which::Certificate => "server.tls.certificate_file",
            Which::Key => "server.tls.key_file",
        };
        write!(f, "{key}: {}; {}", self.found, self.mend)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of the key nothing, not even through a library's own idea of what may be shown.
        f.debug_struct("Certificate").field("chain", &self.0.cert.len()).finish_non_exhaustive()
    }
}

/// The content of both files. Blocks.
///
/// # Errors
/// Every file that cannot be read.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), Vec<CertificateError>> {
    let read = |file, path, mend| read_key_file(path).map_err(|found| CertificateError { file, found, mend });
    let certificate = read(
        Which::Certificate,
        certificate,
        "name a readable PEM certificate; its path is relative to the file that names it",
    );
    let key = read(
        Which::Key,
        key,
        "name a readable PEM private key; its path is relative to the file that names it",
    );
    match (certificate, key) {
        (Ok(certificate), Ok(key)) => Ok((certificate, key)),
        (certificate, key) => Err(certificate.err().into_iter().chain(key.err()).collect()),
    }
}

impl Certificate {
    /// The pair that is in these two PEM texts, which may be one and the same.
    ///
    /// # Errors
    /// A text that is damaged or holds something else, or a key that is another certificate's.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = chain(certificate)?;
        let key =
            aws_lc_rs::default_provider().key_provider.load_private_key(private_key(key)?).map_err(|_| {
                let found = "this private key is of a kind that TLS does not use, or damaged";
                wrong(
                    Which::Key,
                    found,
                    "give an RSA key of 2048 bits or more, an EC key on P-256, P-384 or P-521, or Ed25519",
                )
            })?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Certificate(Arc::new(pair)))
            }
            Err(Error::InconsistentKeys(_)) => Err(wrong(
                Which::Key,
                "this is not the key of the first certificate in certificate_file",
                "give the key that the certificate was made for, and put that certificate before those of its authorities",
            )),
            Err(_) => Err(wrong(
                Which::Certificate,
                "the first certificate cannot be read",
                "give an X.509 version 3 certificate",
            )),
        }
    }

    /// The pair as TLS takes it.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.0.clone()
    }

    /// Whether both are the same certificates.
    pub fn has_chain_of(&self, other: &Certificate) -> bool {
        self.0.cert == other.0.cert
    }

    /// Why clients will not accept it at this time, if its first certificate's dates are the reason.
    pub fn out_of_date(&self, now: SystemTime) -> Option<String> {
        let certificate = EndEntityCert::try_from(self.0.cert.first()?).ok()?;
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        // Without any authority this always fails; dates are looked at before authorities are.
        let provider = aws_lc_rs::default_provider();
        let checked = certificate.verify_for_usage(
            provider.signature_verification_algorithms.all,
            &[],
            &[],
            now,
            KeyUsage::server_auth(),
            None,
            None,
        );
        match checked.err()? {
            webpki::Error::CertExpired { not_after, .. } => Some(format!("expired at {}", date(not_after))),
            webpki::Error::CertNotValidYet { not_before, .. } => {
                Some(format!("is not valid before {}", date(not_before)))
            }
            _ => None,
        }
    }
}

fn date(at: UnixTime) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_secs());
    humantime::format_rfc3339_seconds(at).to_string()
}

fn wrong(file: Which, found: impl Into<String>, mend: &'static str) -> CertificateError {
    CertificateError { file, found: found.into(), mend }
}

/// Every certificate in the text, in its order; anything else in it is passed over, as servers commonly do.
fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let blocks = blocks(text, Which::Certificate)?;
    let chain: Vec<_> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| CertificateDer::from(block.into_contents()))
        .collect();
    if chain.is_empty() {
        let mend = "a PEM certificate begins with -----BEGIN CERTIFICATE-----";
        return Err(wrong(Which::Certificate, "there is no certificate in it", mend));
    }
    Ok(chain)
}

/// The one private key in the text.
fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let mut keys = blocks(text, Which::Key)?.into_iter().filter(|block| block.tag().ends_with("PRIVATE KEY"));
    let fault = |found, mend| Err(wrong(Which::Key, found, mend));
    let Some(block) = keys.next() else {
        let mend = "a PEM private key begins with -----BEGIN PRIVATE KEY-----";
        return fault("there is no private key in it", mend);
    };
    if keys.next().is_some() {
        return fault("there are several private keys in it", "keep the certificate's own");
    }
    match block.tag() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(block.into_contents().into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(block.into_contents().into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(block.into_contents().into())),
        "ENCRYPTED PRIVATE KEY" => fault(
            "this private key is encrypted with a passphrase, which nobody is there to type",
            "write it as `openssl pkey -in KEY -out NEW` does, readable to flowgate's user only",
        ),
        _ => {
            fault("this kind of private key is not known", "write it as `openssl pkey -in KEY -out NEW` does")
        }
    }
}

fn blocks(text: &[u8], file: Which) -> Result<Vec<pem::Pem>, CertificateError> {
    let damaged = || {
        wrong(file, "this is no PEM text, or a damaged one", "copy it again, with its BEGIN and END lines")
    };
    pem::parse_many(text).map_err(|_| damaged()).and_then(|blocks| match blocks.is_empty() {
        true => Err(damaged()),
        false => Ok(blocks),
    })
}
