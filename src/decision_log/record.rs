//! One decision, and the line that it becomes.
//!
//! What stands in a line is the process's own (numbers, times, codes), the policy's (names of events, types, rules),
//! verified (subject, teams), or an operator's. What a client chose and nobody vouches for has no field to stand in.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use smallvec::SmallVec;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::event_id::EventId;
use crate::peer::{Peer, PeerId};
use crate::reject::Name;
use crate::revocation::RevocationId;

/// Teams that one line names; it says how many more there are.
const MOST_TEAMS: usize = 8;

/// Bytes of a reason given in words.
const LONGEST_REASON: usize = 400;

/// What was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An HTTP request that was turned away before it had a session.
    Handshake,
    /// A CONNECT.
    Admission,
    /// An event.
    Event,
    /// The end of a connection, where it was decided here.
    Close,
    /// A revocation that was made, undone, or could not be.
    Revocation,
    /// Another policy, put in force or not.
    Reload,
    /// A newer token on a live socket, taken or not.
    Refresh,
    /// What an operator did over the admin API.
    Admin,
    /// Lines that were left out because one connection, or one address, has had its share of them.
    Suppressed,
    /// Lines that were lost because they could not be written, or not fast enough.
    Dropped,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Let in, relayed, or done.
    Accepted,
    /// Turned away.
    Refused,
    /// Relayed, though a check that only observes would have refused it.
    Observed,
    /// Accepted over its sender's rate, to be relayed later, or a later equal one in its place.
    Folded,
}

/// Of whom.
#[derive(Clone, Debug)]
pub enum Who {
    /// Nobody in particular.
    Nobody,
    /// Whoever brought the admin token.
    Admin,
    /// A backend that publishes.
    Publisher(Arc<str>),
    /// An address, before there is a session.
    Address(IpAddr),
    /// A connection on which nobody has been admitted.
    Stranger(PeerId, IpAddr),
    /// A connection of which nothing else is known here.
    Connection(PeerId),
    /// An admitted peer.
    Peer(Arc<Peer>),
}

impl Who {
    /// The number of the connection, where it is one.
    pub fn id(&self) -> Option<PeerId> {
        match self {
            Who::Nobody | Who::Admin | Who::Publisher(_) | Who::Address(_) => None,
            Who::Stranger(id, _) | Who::Connection(id) => Some(*id),
            Who::Peer(peer) => Some(peer.id()),
        }
    }
}

/// Which teams a line names.
#[derive(Clone, Debug)]
pub enum Teams {
    /// Those that the peer holds.
    Held,
    /// The first few of these, and how many there are.
    These(SmallVec<[Arc<str>; 2]>, usize),
}

impl Teams {
    /// The first few of these teams.
    pub fn of<'t>(teams: impl ExactSizeIterator<Item = &'t Arc<str>>) -> Self {
        let count = teams.len();
        Teams::These(teams.take(MOST_TEAMS).cloned().collect(), count)
    }
}

/// One decision. What does not apply is `None`.
#[derive(Debug)]
pub struct Record {
    /// When.
    pub time: SystemTime,
    /// On what.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Option<Outcome>,
    /// Of whom.
    pub who: Who,
    /// The event's id, as its acknowledgement has it.
    pub id: Option<EventId>,
    /// The event's name as the policy has it, or `unknown`.
    pub event: Option<Name>,
    /// The policy's name or glob that the event's type matched.
    pub event_type: Option<Box<str>>,
    /// The teams concerned.
    pub teams: Teams,
    /// `polling` or `websocket`.
    pub transport: Option<&'static str>,
    /// The code of a refusal, or the reason of a close.
    pub code: Option<&'static str>,
    /// The stage of the pipeline that decided.
    pub stage: Option<&'static str>,
    /// The configuration's key that spoke.
    pub rule: Option<Name>,
    /// The reason in words, as the log has it.
    pub why: Option<Box<str>>,
    /// How many members heard it.
    pub recipients: Option<usize>,
    /// From its arrival to now.
    pub latency: Option<Duration>,
    /// How many lines this one stands for.
    pub count: Option<u64>,
    /// The revocation's id.
    pub revocation: Option<RevocationId>,
    /// How many live sockets were closed for it.
    pub closed: Option<usize>,
    /// The hash of the policy in force.
    pub policy: Option<Arc<str>>,
}

impl Record {
    /// A decision of this kind, with nothing said of it yet.
    pub fn new(kind: Kind, who: Who, time: SystemTime) -> Self {
        Record {
            time,
            kind,
            outcome: None,
            who,
            id: None,
            event: None,
            event_type: None,
            teams: Teams::Held,
            transport: None,
            code: None,
            stage: None,
            rule: None,
            why: None,
            recipients: None,
            latency: None,
            count: None,
            revocation: None,
            closed: None,
            policy: None,
        }
    }

    /// Appends its line, with the newline that ends it.
    pub(super) fn write(&self, lines: &mut Vec<u8>) {
        let begin = lines.len();
        let mut json = serde_json::Serializer::with_formatter(&mut *lines, OneLine);
        // Memory takes everything, and nothing here refuses to be serialised; half a line must not stand in any case.
        match self.line().serialize(&mut json) {
            Ok(()) => lines.push(b'\n'),
            Err(_) => lines.truncate(begin),
        }
    }

    fn line(&self) -> Line<'_> {
        let (connection, address, peer) = match &self.who {
            Who::Nobody | Who::Admin | Who::Publisher(_) => (None, None, None),
            Who::Address(address) => (None, Some(*address), None),
            Who::Stranger(id, address) => (Some(*id), Some(*address), None),
            Who::Connection(id) => (Some(*id), None, None),
            Who::Peer(peer) => (Some(peer.id()), Some(peer.address()), Some(&**peer)),
        };
        let (teams, count) = match &self.teams {
            Teams::These(teams, count) => (&teams[..], *count),
            Teams::Held => peer.map_or((&[][..], 0), |peer| (peer.teams(), peer.teams().len())),
        };
        let teams = teams.get(..MOST_TEAMS).unwrap_or(teams);
        Line {
            time: self.time,
            kind: self.kind,
            outcome: self.outcome,
            by: match &self.who {
                Who::Admin => Some("admin"),
                Who::Publisher(name) => Some(name),
                _ => None,
            },
            connection: connection.map(Shown),
            id: self.id.map(Shown),
            subject: peer.and_then(Peer::subject),
            address,
            transport: self.transport,
            teams: teams.iter().map(|team| &**team).collect(),
            more_teams: Some(count - teams.len()).filter(|more| *more > 0),
            event: self.event.as_deref(),
            event_type: self.event_type.as_deref(),
            code: self.code,
            stage: self.stage,
            rule: self.rule.as_deref(),
            why: self.why.as_deref().map(|why| &why[..why.floor_char_boundary(LONGEST_REASON)]),
            recipients: self.recipients,
            latency_us: self.latency.map(|latency| latency.as_micros() as u64),
            count: self.count,
            revocation: self.revocation.map(Shown),
            closed: self.closed,
            policy: self.policy.as_deref(),
        }
    }
}

/// A line's fields, in their order.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Shown<PeerId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Shown<EventId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    #[serde(skip_serializing_if = "SmallVec::is_empty")]
    teams: SmallVec<[&'a str; MOST_TEAMS]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more_teams: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<Shown<RevocationId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
}

/// Serialised as it is displayed.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let text = OffsetDateTime::from(*time).format(&format).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

/// Compact JSON in which nothing else than the end of a line ends a line, or turns the text round: JSON itself lets
/// characters stand that some readers take for the end of a line, and some terminals for an order.
pub(crate) struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some((at, odd)) = rest.char_indices().find(|(_, c)| is_odd(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            // All of them are in the basic plane, so that one escape is one character.
            write!(writer, "\\u{:04x}", u32::from(odd))?;
            rest = &rest[at + odd.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

/// Control characters, line and paragraph separators, and what changes the direction of text.
pub(crate) fn is_odd(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::fixtures::{peer, peer_of};
    use crate::peer::Standing;

    fn text(record: &Record) -> String {
        let mut lines = Vec::new();
        record.write(&mut lines);
        String::from_utf8(lines).unwrap()
    }

    fn parsed(record: &Record) -> Value {
        serde_json::from_str(&text(record)).unwrap()
    }

    fn at(milliseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_event_says_who_what_and_which_rule() {
        let peer = Arc::new(peer(&["red", "blue"]));
        let id = EventId::next();
        let record = Record {
            id: Some(id),
            outcome: Some(Outcome::Refused),
            event: Some("database-change".into()),
            event_type: Some("comment-*".into()),
            code: Some("stale_timestamp"),
            stage: Some("validate"),
            rule: Some("events.database-change.timestamp".into()),
            latency: Some(Duration::from_nanos(12_900)),
            ..Record::new(Kind::Event, Who::Peer(peer.clone()), at(1_772_366_400_007))
        };
        let expected = json!({
            "time": "2026-03-01T12:00:00.007Z",
            "kind": "event",
            "outcome": "refused",
            "connection": peer.id().to_string(),
            "id": id.to_string(),
            "subject": "ada",
            "address": "192.0.2.1",
            "teams": ["red", "blue"],
            "event": "database-change",
            "type": "comment-*",
            "code": "stale_timestamp",
            "stage": "validate",
            "rule": "events.database-change.timestamp",
            "latency_us": 12,
        });
        assert_eq!(parsed(&record), expected);
        assert!(text(&record).starts_with(r#"{"time":"2026-03-01T12:00:00.007Z","kind":"event","outcome":"#));
    }

    #[test]
    fn lines_are_bounded_whoever_is_named() {
        let (long, many) = ("\u{7f}".repeat(256), vec!["\u{85}".repeat(64); 256]);
        let teams: Vec<&str> = many.iter().map(|team| team.as_str()).collect();
        let peer = Arc::new(peer_of(Standing::Verified, Some(&long), &teams, None));
        let record = Record {
            why: Some("\u{202e}".repeat(10_000).into()),
            ..Record::new(Kind::Admission, Who::Peer(peer), at(0))
        };
        let (line, parsed) = (text(&record), parsed(&record));
        assert!(line.len() < 8 << 10, "{}", line.len());
        assert_eq!((parsed["teams"].as_array().unwrap().len(), &parsed["more_teams"]), (8, &json!(248)));
        assert_eq!(parsed["why"].as_str().unwrap().len(), LONGEST_REASON / 3 * 3);
    }

    #[test]
    fn nothing_in_a_name_ends_the_line_or_forges_another() {
        for name in [
            "a\nb",
            "a\r\n{\"kind\":\"admission\"}",
            "\"},{\"",
            "\\",
            "\u{2028}{",
            "\u{2029}",
            "\u{85}",
            "\u{9b}2J",
            "\u{1b}[2J",
            "\u{202e}drow",
            "\0",
        ] {
            let team: Arc<str> = name.into();
            let record = Record {
                teams: Teams::of([&team].into_iter()),
                event: Some(Name::from(&team)),
                ..Record::new(
                    Kind::Event,
                    Who::Peer(Arc::new(peer_of(Standing::Verified, Some(name), &[], None))),
                    at(0),
                )
            };
            let line = text(&record);
            let shown = line.strip_suffix('\n').unwrap();
            assert!(shown.chars().all(|c| (' '..='~').contains(&c)), "{shown:?}");
            let parsed = parsed(&record);
            assert_eq!(
                (&parsed["subject"], &parsed["teams"][0], &parsed["event"]),
                (&json!(name), &json!(name), &json!(name))
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_one_line(name in any::<String>(), why in any::<String>()) {
            let who = Who::Peer(Arc::new(peer_of(Standing::Verified, Some(&name), &[], None)));
            let record = Record { why: Some(why.clone().into()), ..Record::new(Kind::Event, who, at(0)) };
            let line = text(&record);
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert_eq!(line.chars().filter(|c| is_odd(*c)).count(), 1);
            let parsed = parsed(&record);
            prop_assert_eq!(parsed["subject"].as_str(), Some(name.as_str()));
            prop_assert!(why.starts_with(parsed["why"].as_str().unwrap()));
        }
    }
}
