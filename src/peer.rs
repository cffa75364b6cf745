//! A peer: what admission learned of one socket. Nothing here can be changed by the client afterwards.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::config::expression::{Claims, PeerFacts};
use crate::filter::Filter;

/// The public number of one admitted socket within this process; never its Engine.IO session id, which is a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u64);

impl PeerId {
    /// The next unused number.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        PeerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The one that is displayed like this.
    pub fn parse(text: &str) -> Option<Self> {
        let id = PeerId(text.strip_prefix('c')?.parse().ok()?);
        // In no other form: `c+1` and `c01` are none.
        (id.to_string() == text).then_some(id)
    }

    /// A number of a test's own choosing.
    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        PeerId(number)
    }
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// What counts as one client address: an IPv4 address, or an IPv6 /64, which is what one client is usually given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        AddressKey(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
            v4 => v4,
        })
    }
}

/// How a peer came in, which decides whether it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A token verified.
    Verified,
    /// `auth.mode = "optional"` and no token: it listens and may not send.
    Anonymous,
    /// `auth.mode = "off"`: nobody is asked who they are.
    Open,
    /// No socket at all: what a backend publishes has this for its sender.
    Publisher,
}

/// Everything admission vouches for. Only [`crate::connect`] makes one.
#[derive(Debug)]
pub struct Peer {
    pub(crate) id: PeerId,
    pub(crate) standing: Standing,
    pub(crate) subject: Option<Arc<str>>,
    pub(crate) teams: Box<[Arc<str>]>,
    pub(crate) roles: Box<[Arc<str>]>,
    /// Boxed, and absent where no rule reads claims: an idle connection pays for it.
    pub(crate) claims: Option<Box<Claims>>,
    pub(crate) chosen_team: Option<Arc<str>>,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) address: IpAddr,
    pub(crate) expires_at: Option<SystemTime>,
}

impl Peer {
    /// The number under which logs and pages know this socket.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// How it came in.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The verified subject claim; `None` for peers without a token.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The teams it holds, each once, from verified claims or policy.
    pub fn teams(&self) -> &[Arc<str>] {
        &self.teams
    }

    /// The roles it holds, from verified claims.
    pub fn roles(&self) -> &[Arc<str>] {
        &self.roles
    }

    /// The verified claims that rules read; `None` where none does, and for peers without a token.
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_deref()
    }

    /// The team named by `auth.team` at the handshake; always one of [`Peer::teams`].
    pub fn chosen_team(&self) -> Option<&Arc<str>> {
        self.chosen_team.as_ref()
    }

    /// What it wants to hear, as it said at the handshake (`auth.filter`); `None` for everything.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    /// What expressions may look at.
    pub fn facts(&self) -> PeerFacts<'_> {
        PeerFacts {
            subject: self.subject(),
            teams: &self.teams,
            roles: &self.roles,
            claims: self.claims(),
            address: self.address,
        }
    }

    /// The real client address, as the trusted proxies tell it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When its token ends (`exp`, without leeway); `None` for peers without a token.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_displayed_and_in_no_other_form() {
        for number in [1, 42, u64::MAX] {
            let id = PeerId::numbered(number);
            assert_eq!(PeerId::parse(&id.to_string()), Some(id));
        }
        for other in ["", "c", "1", "c01", "c+1", "c-1", "c1 ", "C1", "c18446744073709551616", "c1é"] {
            assert_eq!(PeerId::parse(other), None, "{other:?}");
        }
    }
}
