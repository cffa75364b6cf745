//! The server under soak, as clients see it: where it listens and whose tokens it believes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::wire::Wire;
use crate::token::Mint;

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
        Ok(Self { public, internal, mint: Mint::new(secret)?, forger: Mint::new(OTHER_SECRET)? })
    }

    /// Connects to the public port from `from`.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub async fn dial(&self, from: Ipv4Addr) -> io::Result<Wire> {
        Wire::dial(self.public, from, None).await
    }

    /// A token that is good for `lifetime` from now, to the second.
    #[must_use]
    pub fn token(&self, user: &str, team: usize, lifetime: Duration) -> String {
        let now = epoch_seconds();
        self.mint.token_between(user, &team_name(team), now, now + lifetime.as_secs())
    }

    /// A token that expired `ago`.
    #[must_use]
    pub fn expired_token(&self, user: &str, team: usize, ago: Duration) -> String {
        let now = epoch_seconds();
        self.mint.token_between(
            user,
            &team_name(team),
            now.saturating_sub(3600),
            now.saturating_sub(ago.as_secs()),
        )
    }

    /// A token signed with another secret.
    #[must_use]
    pub fn forged_token(&self, user: &str, team: usize) -> String {
        self.forger.token(user, &team_name(team))
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
