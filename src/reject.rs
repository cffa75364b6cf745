//! Refusals: one list of stable codes, used in answers, logs and metric labels alike.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Declares [`Code`] with its wire label, so that the list, the labels and [`Code::ALL`] cannot drift apart.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// Why something was refused. The label is part of the public contract and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];

            /// The stable label, as clients, logs and metrics see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $label,)+ }
            }
        }
    };
}

codes! {
    /// CONNECT: no token where one is required.
    TokenMissing = "token_missing",
    /// CONNECT: the token does not verify; the log says why, the client never learns it.
    TokenInvalid = "token_invalid",
    /// CONNECT: the token verified but has expired.
    TokenExpired = "token_expired",
    /// CONNECT: the token was revoked.
    TokenRevoked = "token_revoked",
    /// CONNECT: no team in the claims, or `auth.team` names one the peer does not hold.
    NoTeam = "no_team",
    /// HTTP 400: not a request this server speaks.
    Malformed = "malformed",
    /// HTTP 403: the page's origin is not allowed.
    Origin = "origin",
    /// HTTP 404: no such path.
    NotFound = "not_found",
    /// HTTP 413: the body is larger than `limits.payload.hard_max_bytes`.
    BodyTooLarge = "body_too_large",
    /// HTTP 429: a rate or a cap of this client's address.
    TooManyRequests = "too_many_requests",
    /// Not answered, closed: a TCP connection too many, of this address or in total.
    TooManyConnections = "too_many_connections",
    /// Not answered, closed: no TLS handshake that this server speaks, or none in time.
    TlsHandshake = "tls_handshake",
    /// HTTP 503: the process is going down.
    Draining = "draining",
    /// HTTP 503: the process serves as many connections as it may.
    Full = "full",
    /// Event: no such event in the policy.
    UnknownEvent = "unknown_event",
    /// Event: not one argument of the expected shape.
    InvalidPayload = "invalid_payload",
    /// Event: a required field is absent.
    MissingField = "missing_field",
    /// Event: a field that the policy does not declare.
    UnknownField = "unknown_field",
    /// Event: a `type` that the policy does not declare.
    UnknownType = "unknown_type",
    /// Event: the timestamp lies too far in the past.
    StaleTimestamp = "stale_timestamp",
    /// Event: the timestamp lies too far in the future.
    FutureTimestamp = "future_timestamp",
    /// Event: it was relayed before.
    Duplicate = "duplicate",
    /// Event: larger than `limits.payload.max_bytes`.
    TooLarge = "too_large",
    /// Event: nested deeper than `limits.payload.max_depth`.
    TooDeep = "too_deep",
    /// Event: over a rate; the answer says when to retry.
    RateLimited = "rate_limited",
    /// Event: this peer may not send it.
    NotAllowed = "not_allowed",
    /// Event: no room to relay to, or a team that the sender does not hold.
    NoRoom = "no_room",
}

impl Code {
    /// Whether it is said of an event, rather than of a socket or of a request.
    pub const fn is_of_event(self) -> bool {
        self.index() >= Code::UnknownEvent.index()
    }

    /// This code's place in [`Code::ALL`], for counters kept in an array.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A configuration key or a payload's field, as a refusal names it. Making one never allocates.
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
    Inline { length: u8, bytes: [u8; Name::MAX_CLIENT_BYTES] },
}

impl Name {
    /// The longest name of a client's own choosing that a refusal repeats. Ordinary field names fit, and a refusal stays
    /// small enough to be returned by value.
    pub const MAX_CLIENT_BYTES: usize = 30;

    /// A name that a client chose: `None` unless it is short and printable, so that a log or an answer may repeat it.
    pub fn from_client(text: &str) -> Option<Self> {
        let printable = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation() || c == ' ';
        if text.is_empty() || !text.chars().all(printable) {
            return None;
        }
        let mut bytes = [0; Self::MAX_CLIENT_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Name(Text::Inline { length: text.len() as u8, bytes }))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
            Text::Inline { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Name(Text::Static(text))
    }
}

impl From<&Arc<str>> for Name {
    fn from(text: &Arc<str>) -> Self {
        Name(Text::Shared(text.clone()))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// One refused event: what the acknowledgement, the log and the metric are made from.
///
/// Refusing must stay cheap under a flood, so no text in it is newly allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The stable code.
    pub code: Code,
    /// When the same event may be sent again, for [`Code::RateLimited`].
    pub retry_after: Option<Duration>,
    /// The configuration key that spoke, such as `events.database-change.timestamp`.
    pub rule: Option<Name>,
    /// The payload's field concerned, where one is.
    pub field: Option<Name>,
    /// One sentence for the developer of the client; sent only with `refusals.detail = "full"`.
    pub message: &'static str,
}

impl Reject {
    /// A refusal with a code and a sentence for the developer of the client.
    pub fn new(code: Code, message: &'static str) -> Self {
        Reject { code, retry_after: None, rule: None, field: None, message }
    }

    /// Names the configuration key that spoke.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<Name>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Names the payload's field concerned.
    #[must_use]
    pub fn field(mut self, field: impl Into<Name>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when the same event may be sent again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// An event that was refused, or would have been, and by which stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reject: Reject,
    /// The name of the stage: one of a fixed set.
    pub stage: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_distinct_and_indexed() {
        let mut labels: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Code::ALL.len());
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.index(), at);
        }
    }

    #[test]
    fn names_of_clients_are_repeated_only_when_short_and_printable() {
        for text in ["a", "__proto__", "größe", &"x".repeat(Name::MAX_CLIENT_BYTES)] {
            assert_eq!(Name::from_client(text).unwrap().as_str(), text);
        }
        for text in ["", "a\nb", "\u{202e}x", "a\0", &"x".repeat(Name::MAX_CLIENT_BYTES + 1)] {
            assert!(Name::from_client(text).is_none(), "{text:?}");
        }
    }
}
