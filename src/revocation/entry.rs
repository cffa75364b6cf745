//! One revocation: which tokens it is about, and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use super::written::Written;

/// The name of a revocation, by which it is undone. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationId(u64);

/// Random bits below the milliseconds, so that an id that was undone is not given again after a restart.
const RANDOM_BITS: u32 = 20;

impl RevocationId {
    /// The name of one that is made at this time, with these random bits.
    pub(super) fn at(now: SystemTime, random: u32) -> Self {
        let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        RevocationId(millis << RANDOM_BITS | u64::from(random & ((1 << RANDOM_BITS) - 1)))
    }

    /// The same name as an integer.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Reads what [`fmt::Display`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_plain.then(|| u64::from_str_radix(text, 16).ok().map(RevocationId)).flatten()
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for RevocationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevocationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RevocationId::parse(&text).ok_or_else(|| D::Error::custom("not the id of a revocation"))
    }
}

/// Which tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one with this `jti`.
    TokenId(Arc<str>),
    /// Those of this subject.
    Subject(Arc<str>),
    /// Those that hold this team.
    Team(Arc<str>),
    /// All.
    Everyone,
}

impl fmt::Display for Target {
    /// As logs and the command line say it. Names from outside are quoted and escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::TokenId(id) => write!(f, "token {id:?}"),
            Target::Subject(subject) => write!(f, "subject {subject:?}"),
            Target::Team(team) => write!(f, "team {team:?}"),
            Target::Everyone => f.write_str("everyone"),
        }
    }
}

/// A revocation, as it is written to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Revocation {
    /// Its name.
    pub id: RevocationId,
    /// Which tokens it is about.
    pub target: Target,
    /// Only tokens of the issuer that is configured under this name.
    pub issuer: Option<Arc<str>>,
    /// Only tokens whose `iat` lies before this, and those without one. Absent: whenever they were issued.
    pub issued_before: Option<SystemTime>,
    /// When it was asked for, the last time.
    pub revoked_at: SystemTime,
    /// When it ends, where somebody has said so. Else it ends when no such token can be valid any more.
    pub until: Option<SystemTime>,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
}

/// What a token says that revocations look at.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// The configured name of its issuer.
    pub issuer: &'a str,
    /// Its subject.
    pub subject: &'a str,
    /// The teams that it holds.
    pub teams: &'a [Arc<str>],
    /// Its `jti`.
    pub id: Option<&'a str>,
    /// Its `iat`.
    pub issued_at: Option<SystemTime>,
}

impl fmt::Display for Revocation {
    /// What it is about, as logs say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)?;
        if let Some(issuer) = &self.issuer {
            write!(f, " of issuer {issuer:?}")?;
        }
        if let Some(before) = self.issued_before {
            write!(f, ", issued before {}", humantime::format_rfc3339_millis(before))?;
        }
        if let Some(until) = self.until {
            write!(f, ", until {}", humantime::format_rfc3339_millis(until))?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason:?}"),
            None => Ok(()),
        }
    }
}

impl Revocation {
    /// Whether it holds at `now` for a token of its target. When one without `iat` was issued nobody can tell, so it is
    /// taken for an old one.
    pub(super) fn covers(&self, token: &Token<'_>, now: SystemTime) -> bool {
        let of_issuer = self.issuer.as_deref().is_none_or(|issuer| issuer == token.issuer);
        let is_old = match (self.issued_before, token.issued_at) {
            (Some(before), Some(issued)) => issued < before,
            _ => true,
        };
        of_issuer && is_old && self.until.is_none_or(|until| now < until)
    }

    /// Whether one revocation could say what both say.
    pub(super) fn is_like(&self, other: &Revocation) -> bool {
        self.target == other.target
            && self.issuer == other.issuer
            && self.issued_before.is_some() == other.issued_before.is_some()
            && self.until.is_some() == other.until.is_some()
    }

    /// This one, so that it also says what `later`, which is like it, says.
    pub(super) fn with(&self, later: &Revocation) -> Revocation {
        Revocation {
            id: self.id,
            target: self.target.clone(),
            issuer: self.issuer.clone(),
            issued_before: self.issued_before.max(later.issued_before),
            revoked_at: self.revoked_at.max(later.revoked_at),
            until: self.until.max(later.until),
            reason: later.reason.clone().or_else(|| self.reason.clone()),
        }
    }
}
