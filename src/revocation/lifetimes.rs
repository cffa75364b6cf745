//! How long revocations must be kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::policy::Auth;

use super::entry::Revocation;

/// How long tokens may be valid.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    by_issuer: Vec<(Arc<str>, Duration)>,
    longest: Duration,
    leeway: Duration,
}

impl Lifetimes {
    /// Those of this policy.
    pub fn of(auth: &Auth) -> Self {
        let by_issuer: Vec<_> =
            auth.issuers.iter().map(|issuer| (issuer.name.clone(), issuer.max_lifetime)).collect();
        let longest = by_issuer.iter().map(|(_, lifetime)| *lifetime).max().unwrap_or(auth.max_lifetime);
        Lifetimes { by_issuer, longest, leeway: auth.leeway }
    }

    /// How far clocks may differ.
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    /// Whether tokens of this issuer are accepted at all.
    pub fn knows(&self, issuer: &str) -> bool {
        self.by_issuer.iter().any(|(name, _)| **name == *issuer)
    }

    /// When a revocation has nothing left to do: its own end, or when every token that it is about has expired.
    ///
    /// A token that was accepted, or could have been, when it was revoked expires `max_lifetime` after that at the latest.
    /// Its `iat` may lie ahead of our clock by the leeway, and `exp` is not enforced before another leeway has passed.
    pub fn end(&self, revocation: &Revocation) -> SystemTime {
        if let Some(until) = revocation.until {
            return until;
        }
        // An issuer that the policy knew when the revocation was made may be gone, and come back.
        let of_issuer = |name: &Arc<str>| {
            self.by_issuer.iter().find(|(known, _)| known == name).map(|(_, lifetime)| *lifetime)
        };
        let lifetime = revocation.issuer.as_ref().and_then(of_issuer).unwrap_or(self.longest);
        // Of a token without iat nobody knows when it was issued, so that a moment long past does not end it sooner.
        let latest = revocation.revoked_at.checked_add(self.leeway).unwrap_or(revocation.revoked_at);
        let from = revocation.issued_before.map_or(latest, |at| at.max(latest));
        from.checked_add(lifetime + self.leeway).unwrap_or(from)
    }
}
