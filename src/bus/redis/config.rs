//! What the driver is told: where the servers are, who it is there, and how long it waits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

/// Everything about the other side of the connections.
#[derive(Clone, Debug)]
pub struct Config {
    /// One server, or a cluster's.
    pub servers: Servers,
    /// `None` speaks without TLS.
    pub tls: Option<Tls>,
    /// The ACL user; without it Redis's own, `default`.
    pub username: Option<String>,
    /// Its password; without it nothing is said of who this is.
    pub password: Option<Password>,
    /// How long a connection may take, from the name's look-up to the server's welcome.
    pub connect_timeout: Duration,
    /// How long an answer may take before the connection counts as broken.
    pub response_timeout: Duration,
}

/// Which servers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Redis 6 or later by itself; with `PUBLISH` and `SUBSCRIBE`.
    One {
        /// Where it is.
        address: Address,
        /// The number of its database. Channels are the same in all of them.
        database: u32,
    },
    /// Redis Cluster, 7 or later; with `SPUBLISH` and `SSUBSCRIBE`. Any of its nodes, from which the others are learnt.
    Cluster(Vec<Address>),
}

/// A server's host, a name or an IP address without brackets, and its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Looked up anew for each connection.
    pub host: String,
    /// Of TCP.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes it as it is.
    pub fn new(password: String) -> Self {
        Password(password)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a password)")
    }
}

/// How the server's certificate is checked, and which of ours is shown to it. TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(pub(super) Arc<ClientConfig>);

impl Tls {
    /// Trusts the certificates in `authorities`, a PEM text, or without it the system's. Shows `identity`, a certificate chain
    /// and its private key, both PEM, to a server that asks.
    ///
    /// # Errors
    /// What is wrong with them, as a phrase. Never the key itself.
    pub fn new(authorities: Option<&[u8]>, identity: Option<(&[u8], &[u8])>) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| error.to_string())?;
        let builder = match authorities {
            None => builder
                .with_platform_verifier()
                .map_err(|error| format!("the system's root certificates cannot be used: {error}"))?,
            Some(pem) => builder.with_root_certificates(roots(pem)?),
        };
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let key =
                    PrivateKeyDer::from_pem_slice(key).map_err(|_| "no private key in PEM".to_owned())?;
                builder
                    .with_client_auth_cert(chain(certificates)?, key)
                    .map_err(|error| format!("the certificate and its key cannot be used: {error}"))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(|error| format!("a certificate that cannot be trusted: {error}"))?;
    }
    Ok(roots)
}

/// At least one certificate.
fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("no certificates in PEM".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_password() {
        let config = Config {
            servers: Servers::One { address: Address { host: "::1".into(), port: 6379 }, database: 0 },
            tls: None,
            username: Some("bus".into()),
            password: Some(Password::new("hunter2".into())),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("bus") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn addresses_are_written_as_in_urls() {
        assert_eq!(Address { host: "::1".into(), port: 6379 }.to_string(), "[::1]:6379");
        assert_eq!(Address { host: "redis".into(), port: 1 }.to_string(), "redis:1");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert_eq!(Tls::new(Some(b"nothing"), None).unwrap_err(), "no certificates in PEM");
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        assert!(Tls::new(Some(certificate.as_bytes()), None).is_ok());
        let identity = (certificate.as_bytes(), b"nothing".as_slice());
        assert_eq!(
            Tls::new(Some(certificate.as_bytes()), Some(identity)).unwrap_err(),
            "no private key in PEM"
        );
    }
}
