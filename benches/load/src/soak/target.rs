//! The server under soak, as clients see it: where it listens and whose tokens it believes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::wire::Wire;
use crate::token::{Algorithm, Mint};

/// A secret that flowgate was not told.
const OTHER_SECRET: &str = "some-other-secret-that-flowgate-never-heard-of";

/// Where to connect, and with what.
pub struct Target {
    /// The public port.
    pub public: SocketAddr,
    /// Health and metrics.
    pub internal: SocketAddr,
    mint: Mint,
    forger: Mint,
}

impl Target {
    /// The server at these addresses, which trusts `secret`.
    ///
    /// # Errors
    /// When the system clock stands before 1970.
    pub fn new(public: SocketAddr, internal: SocketAddr, secret: &str) -> Result<Self> {
        Ok(Self {
            public,
            internal,
            mint: Mint::new(Algorithm::Hs256, secret)?,
            forger: Mint::new(Algorithm::Hs256, OTHER_SECRET)?,
        })
    }

    /// Connects to the public port from `from`.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub async fn dial(&self, from: Ipv4Addr) -> io::Result<Wire> {
        Wire::dial(self.public, from, None).await
    }

    /// A token that is good for `lifetime` from now, to the second.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, user: &str, team: usize, lifetime: Duration) -> io::Result<String> {
        let now = epoch_seconds();
        self.mint
            .token_between(user, &team_name(team), now, now + lifetime.as_secs())
            .map_err(io::Error::other)
    }

    /// A token that expired `ago`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn expired_token(&self, user: &str, team: usize, ago: Duration) -> io::Result<String> {
        let now = epoch_seconds();
        self.mint
            .token_between(
                user,
                &team_name(team),
                now.saturating_sub(3600),
                now.saturating_sub(ago.as_secs()),
            )
            .map_err(io::Error::other)
    }

    /// A token signed with another secret.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn forged_token(&self, user: &str, team: usize) -> io::Result<String> {
        self.forger.token(user, &team_name(team)).map_err(io::Error::other)
    }
}

/// The name of a team in tokens.
#[must_use]
pub fn team_name(team: usize) -> String {
    format!("team-{team}")
}

/// Now, in seconds since 1970.
#[must_use]
pub fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
