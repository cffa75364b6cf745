//! `[bus]`: how several nodes share their teams, as the process acts on it. None of it changes while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::policy::Publisher;

/// `[bus]`.
#[derive(Clone, Debug)]
pub struct Bus {
    /// What carries changes to other nodes.
    pub driver: Driver,
    /// How logs, metrics and the API call this node; at most 64 visible ASCII characters. It need not be unique.
    pub node: Arc<str>,
    /// What may wait for other nodes at once, in bytes.
    pub max_queued: usize,
    /// Whether the process is not ready while Redis is not reached.
    pub required: bool,
    /// `bus.hmac`: the secrets of the nodes, of which the first signs and each verifies; empty where nothing is signed.
    pub hmac: Vec<Secret>,
    /// `bus.nodejs`: what is shared with Socket.IO servers in Node.js; `None` where it is not enabled.
    pub nodejs: Option<NodeJs>,
}

/// `[bus.nodejs]`.
#[derive(Clone, Debug)]
pub struct NodeJs {
    /// What the names of their channels begin with.
    pub key: Arc<str>,
    /// What they may announce here, as one publisher that nobody has a token of.
    pub publisher: Arc<Publisher>,
    /// Whether what they send to no room in particular goes to all teams.
    pub everyone: bool,
}

/// `bus.driver`.
#[derive(Clone, Debug)]
pub enum Driver {
    /// This node is alone.
    None,
    /// Redis.
    Redis(Redis),
}

/// `[bus.redis]`.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The one server; or some of a cluster's, which name the others. Never empty.
    pub servers: Vec<RedisAddress>,
    /// Whether they are a cluster.
    pub cluster: bool,
    /// The database of a single server; 0 in a cluster.
    pub database: u32,
    /// Set where TLS is spoken, which `rediss://` asks for.
    pub tls: Option<RedisTls>,
    /// The user (ACL) that this node is; `None`: Redis's `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// What the names of all channels and keys begin with.
    pub prefix: Arc<str>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How TLS is spoken with Redis.
#[derive(Clone, Debug)]
pub struct RedisTls {
    /// `ca_file`: PEM of the authorities that are believed instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// What this node shows of itself.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, both PEM, known to belong together.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Secret,
}

/// Bytes that are never shown.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// These bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Secret(bytes.into())
    }

    /// The bytes, for who uses them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl RedisAddress {
    /// Whether it is this machine: what is said to it passes no network.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!((format!("{secret:?}"), secret.expose()), ("Secret(…)".into(), &b"hunter2"[..]));
    }

    #[test]
    fn addresses_show_as_they_are_written_and_loopback_is_known() {
        let of = |host: &str| RedisAddress { host: host.into(), port: 6379 };
        assert_eq!(of("::1").to_string(), "[::1]:6379");
        assert_eq!(of("redis").to_string(), "redis:6379");
        let here = ["localhost", "LOCALHOST", "127.0.0.1", "127.3.2.1", "::1"];
        assert!(here.iter().all(|host| of(host).is_loopback()));
        let elsewhere = ["redis", "10.0.0.1", "localhost.example", "::2", "0.0.0.0"];
        assert!(!elsewhere.iter().any(|host| of(host).is_loopback()));
    }
}
