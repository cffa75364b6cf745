//! Revocations as JSON: what the API and the store say, and what somebody wants, checked.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::name::{TEAMS, check_identifier};

use super::entry::{Revocation, RevocationId, Target};
use super::lifetimes::Lifetimes;

/// The longest reason, in bytes.
pub const LONGEST_REASON: usize = 200;

/// The longest that anybody may ask a revocation to hold.
const LONGEST_TERM: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A revocation, each part under its own name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Written {
    pub(super) id: RevocationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<Time>,
    revoked_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Box<str>>,
}

impl Written {
    /// As the API says it: with the time at which it will be forgotten, whoever said so.
    pub fn for_people(revocation: &Revocation, lifetimes: &Lifetimes) -> Self {
        let end = lifetimes.end(revocation);
        Written { until: Some(Time(end)), ..Written::from(revocation.clone()) }
    }
}

impl From<Revocation> for Written {
    fn from(revocation: Revocation) -> Self {
        let (mut token_id, mut subject, mut team) = (None, None, None);
        match revocation.target {
            Target::TokenId(name) => token_id = Some(boxed(&name)),
            Target::Subject(name) => subject = Some(boxed(&name)),
            Target::Team(name) => team = Some(boxed(&name)),
            Target::Everyone => {}
        }
        Written {
            id: revocation.id,
            token_id,
            subject,
            team,
            issuer: revocation.issuer.as_deref().map(boxed),
            issued_before: revocation.issued_before.map(Time),
            revoked_at: Time(revocation.revoked_at),
            until: revocation.until.map(Time),
            reason: revocation.reason.as_deref().map(boxed),
        }
    }
}

impl TryFrom<Written> for Revocation {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let revocation = Revocation {
            id: written.id,
            target: target(written.token_id, written.subject, written.team)?,
            issuer: written.issuer.map(Into::into),
            issued_before: written.issued_before.map(|time| time.0),
            revoked_at: written.revoked_at.0,
            until: written.until.map(|time| time.0),
            reason: written.reason.map(Into::into),
        };
        if revocation.target == Target::Everyone && revocation.issued_before.is_none() {
            return Err("it would be about every token");
        }
        Ok(revocation)
    }
}

fn boxed(text: &str) -> Box<str> {
    text.into()
}

/// The one target of three; none of them is everyone.
fn target(
    token_id: Option<Box<str>>,
    subject: Option<Box<str>>,
    team: Option<Box<str>>,
) -> Result<Target, &'static str> {
    match (token_id, subject, team) {
        (Some(name), None, None) => Ok(Target::TokenId(name.into())),
        (None, Some(name), None) => Ok(Target::Subject(name.into())),
        (None, None, Some(name)) => Ok(Target::Team(name.into())),
        (None, None, None) => Ok(Target::Everyone),
        _ => Err("tokenId, subject and team are each a revocation of their own; write one of them"),
    }
}

/// What somebody wants revoked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    /// A token's `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<Box<str>>,
    /// A subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// A team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<Box<str>>,
    /// An issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Box<str>>,
    /// Tokens with an `iat` before this, and those without one: RFC 3339, or `now` for all that could be accepted now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<String>,
    /// How long it holds, such as `2h`. A subject or team is then shut out whenever its tokens are issued; without it, what
    /// is issued from now on, as `now` understands it, counts.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
}

impl Wanted {
    /// The revocation, made at `now`.
    ///
    /// # Errors
    /// What cannot be, as a sentence for whoever wants it.
    pub fn check(
        self,
        id: RevocationId,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Revocation, String> {
        let now = whole_millis(now);
        let target = target(self.token_id, self.subject, self.team)?;
        check_name(&target)?;
        if let Some(issuer) = &self.issuer
            && !lifetimes.knows(issuer)
        {
            return Err("no issuer in auth.issuers has the name that issuer says".into());
        }
        let until = self.term.as_deref().map(|term| end_of(term, now)).transpose()?;
        let issued_before = match (&target, self.issued_before.as_deref()) {
            (Target::TokenId(_), None) => None,
            (Target::TokenId(_), Some(_)) => {
                return Err(
                    "a tokenId names one token, whenever it was issued; leave issuedBefore out".into()
                );
            }
            (Target::Everyone, None) => {
                return Err(
                    "write tokenId, subject or team, or issuedBefore for the tokens of everyone".into()
                );
            }
            (_, None) if until.is_some() => None,
            // One that was accepted already may say that it is issued as far ahead as clocks may differ.
            (_, None | Some("now")) => Some(now.checked_add(lifetimes.leeway()).unwrap_or(now)),
            (_, Some(text)) => Some(past(text, now, lifetimes)?),
        };
        if let Some(reason) = &self.reason
            && (reason.len() > LONGEST_REASON || reason.chars().any(char::is_control))
        {
            return Err(format!("a reason is one line of at most {LONGEST_REASON} bytes"));
        }
        let reason = self.reason.filter(|reason| !reason.is_empty()).map(Into::into);
        let issuer = self.issuer.map(Into::into);
        Ok(Revocation { id, target, issuer, issued_before, revoked_at: now, until, reason })
    }
}

/// A moment that lies ahead by the leeway at most: what is yet to be issued cannot be revoked.
fn past(text: &str, now: SystemTime, lifetimes: &Lifetimes) -> Result<SystemTime, String> {
    let time = parse(text)
        .ok_or("issuedBefore is no time; write `now`, or one such as 2026-03-01T12:00:00Z".to_owned())?;
    match time.duration_since(now) {
        Ok(ahead) if ahead > lifetimes.leeway() => {
            Err("issuedBefore lies further ahead than auth.leeway; to shut a subject or team out, say for how long".into())
        }
        _ => Ok(time),
    }
}

/// When a term is over that begins now.
fn end_of(term: &str, now: SystemTime) -> Result<SystemTime, String> {
    let term = humantime::parse_duration(term)
        .map_err(|_| "for is no duration; write one such as 90m or 30d".to_owned())?;
    if term.is_zero() || term > LONGEST_TERM {
        return Err("for lies between a millisecond and ten years".into());
    }
    now.checked_add(term).map(whole_millis).ok_or_else(|| "for is too long".into())
}

/// A name that no token can hold revokes nothing, and whoever wrote it would believe that it does.
fn check_name(target: &Target) -> Result<(), String> {
    let (key, checked) = match target {
        Target::TokenId(name) => ("tokenId", check_identifier(name)),
        Target::Subject(name) => ("subject", check_identifier(name)),
        Target::Team(name) => ("team", TEAMS.check(name)),
        Target::Everyone => return Ok(()),
    };
    checked.map_err(|why| format!("{key} {why}, so no token can have it"))
}

fn parse(text: &str) -> Option<SystemTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (time.unix_timestamp() >= 0).then(|| whole_millis(SystemTime::from(time)))
}

/// Rounded up to what is written, so that nothing is revoked a moment less than was asked for.
pub(super) fn whole_millis(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = since.as_nanos().div_ceil(1_000_000);
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// A time as RFC 3339 text with milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Time).ok_or_else(|| serde::de::Error::custom("it is no time"))
    }
}
