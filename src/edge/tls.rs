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
    pub async fn follow_files(&self) {
        let mut seen = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let files = self.files.clone();
            let look = move || read_pair(&files.certificate_file, &files.key_file);
            // The task only fails when the runtime goes down.
            let Ok(read) = tokio::task::spawn_blocking(look).await else { return };
            let mark = read.as_ref().map(|(certificate, key)| [fingerprint(certificate), fingerprint(key)]);
            let mark = mark.map_err(Vec::clone);
            if seen.as_ref() != Some(&mark) {
                seen = Some(mark);
                self.take(read.and_then(|(certificate, key)| {
                    Certificate::from_pem(&certificate, &key).map_err(|error| vec![error])
                }));
            }
        }
    }

    fn take(&self, found: Result<Certificate, Vec<CertificateError>>) {
        match found {
            // What was read at the start, or what had been replaced by a bad one.
            Ok(certificate) if certificate.has_chain_of(&self.current.0.read()) => {}
            Ok(certificate) => {
                tracing::info!("new connections are shown the changed TLS certificate");
                if let Some(why) = certificate.out_of_date(SystemTime::now()) {
                    tracing::warn!("the changed TLS certificate {why}");
                }
                *self.current.0.write() = certificate;
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(
                        "the changed TLS files are not used, and the old certificate stays: {error}"
                    );
                }
            }
        }
    }
}

/// Tells contents apart without keeping a copy of the key.
fn fingerprint(content: &[u8]) -> Vec<u8> {
    digest(&SHA256, content).as_ref().to_vec()
}
