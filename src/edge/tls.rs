//! TLS in the process (rustls), for where no proxy ends it, with a certificate that can be replaced while it serves.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

use crate::config::certificate::{Certificate, CertificateError, read_pair};
use crate::config::policy;

/// How often the files are looked at. Renewed certificates overlap with the old ones by days, and two small files cost
/// nothing; by content rather than time, since mounted secrets are links that keep their times.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What may wait, encrypted, for a peer's kernel to take it, above what the outlet holds. Two records: one goes out while
/// the next is made. Bytes.
const BUFFER: usize = 32 * 1024;

/// The only protocol spoken above TLS (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// TLS as one listener speaks it.
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    files: policy::Tls,
}

/// The certificate that new connections are shown, whatever name they ask for.
#[derive(Debug)]
struct Current(RwLock<Certificate>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().certified_key())
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with this certificate, until the files hold another.
    ///
    /// # Errors
    /// The library's own defaults do not fit together.
    pub fn new(policy: &policy::Tls) -> anyhow::Result<Self> {
        let current = Arc::new(Current(RwLock::new(policy.certificate.clone())));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), current, files: policy.clone() })
    }

    /// The handshake. It has no deadline of its own.
    ///
    /// # Errors
    /// What came is no TLS, or none that we speak, or the connection has ended.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER))).await
    }

    /// Reads the files again whenever they change, for as long as it is polled. A pair that cannot be used is said once
    /// and changes nothing; connections that are open keep what they have.
    pub async fn follow_files(self: Arc<Self>) {
        let mut seen = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = self.clone();
            let look = move || {
                tls.look(&mut seen);
                seen
            };
            // The task only fails when the runtime goes down.
            let Ok(now_seen) = tokio::task::spawn_blocking(look).await else { return };
            seen = now_seen;
        }
    }

    /// Reads the files, and uses what is in them if that is new. Blocks.
    fn look(&self, seen: &mut Option<Seen>) -> Change {
        let read = read_pair(&self.files.certificate_file, &self.files.key_file);
        let now = match &read {
            Ok((certificate, key)) => Seen::Content(fingerprint(certificate), fingerprint(key)),
            Err(errors) => Seen::Unreadable(errors.clone()),
        };
        if seen.as_ref() == Some(&now) {
            return Change::None;
        }
        *seen = Some(now);
        let pair = read.and_then(|(certificate, key)| {
            Certificate::from_pem(&certificate, &key).map_err(|error| vec![error])
        });
        match pair {
            // What was read at the start, or what had been replaced by a bad one.
            Ok(certificate) if certificate.has_chain_of(&self.current.0.read()) => Change::None,
            Ok(certificate) => {
                tracing::info!("new connections are shown the changed TLS certificate");
                if let Some(why) = certificate.out_of_date(SystemTime::now()) {
                    tracing::warn!("the changed TLS certificate {why}");
                }
                *self.current.0.write() = certificate;
                Change::Used
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(
                        "the changed TLS files are not used, and the old certificate stays: {error}"
                    );
                }
                Change::Refused
            }
        }
    }
}

/// What the files were at the last look. Fingerprints, so that the key is kept in one place only.
#[derive(PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>, Vec<u8>),
    Unreadable(Vec<CertificateError>),
}

/// What came of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    None,
    Used,
    Refused,
}

fn fingerprint(content: &[u8]) -> Vec<u8> {
    digest(&SHA256, content).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_the_files_is_acted_on_once() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (first, second) = (make(), make());
        let put = |certificate: &str, key: &str| {
            std::fs::write(&certificate_file, certificate).unwrap();
            std::fs::write(&key_file, key).unwrap();
        };
        let certificate =
            Certificate::from_pem(first.cert.pem().as_bytes(), first.signing_key.serialize_pem().as_bytes());
        let policy = policy::Tls {
            certificate_file: certificate_file.clone(),
            key_file: key_file.clone(),
            certificate: certificate.unwrap(),
        };
        let tls = Tls::new(&policy).unwrap();
        let mut seen = None;
        let mut looks = |wanted: Change| {
            assert_eq!(tls.look(&mut seen), wanted);
            assert_eq!(tls.look(&mut seen), Change::None, "once");
        };
        let shown = || tls.current.0.read().certified_key().cert[0].clone();
        put(&first.cert.pem(), &first.signing_key.serialize_pem());
        looks(Change::None);
        put(&second.cert.pem(), &first.signing_key.serialize_pem());
        looks(Change::Refused);
        put(&second.cert.pem(), &second.signing_key.serialize_pem());
        assert_eq!(&shown(), first.cert.der());
        looks(Change::Used);
        assert_eq!(&shown(), second.cert.der());
        put("rubbish", &second.signing_key.serialize_pem());
        looks(Change::Refused);
        std::fs::remove_file(&certificate_file).unwrap();
        looks(Change::Refused);
        put(&second.cert.pem(), &second.signing_key.serialize_pem());
        looks(Change::None);
        assert_eq!(&shown(), second.cert.der());
    }
}
