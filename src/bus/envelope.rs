//! What nodes send each other, as bytes: flowgate's own format.
//!
//! ```text
//! fg1 SIGNATURE
//! KIND {"origin":"18e…","n":7,…}
//! PAYLOAD
//! ```
//!
//! The first line says the version, and the signature of all that follows (`-` where nodes have no secret). The second says what kind
//! of message it is and what it is about, as JSON. A change's payload follows as it is, byte for byte. What a node of a later
//! version adds to the JSON is not looked at; whatever this one could misunderstand gets another version.
//!
//! Whatever arrives is checked before anything is done with it: Redis may be shared.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::channel::Channel;
use super::control::About;
use super::seal::Seal;
use crate::connect::rooms::EVERYONE;
use crate::event::size::is_deeper_than;
use crate::event_id::{EventId, Run, hexadecimal};
use crate::message::{TaskId, Topic};
pub use crate::metrics::BusRefusal as Refusal;
use crate::name::{TEAMS, check_identifier};
use crate::relay::change::Change;

/// What a message begins with.
const VERSION: &str = "fg1";

/// Stands where a signature would.
const UNSIGNED: &str = "-";

/// The longest first two lines, in bytes, beside what a payload's type and task id take up: 256 teams of 128 bytes, each escaped
/// in the worst way, and names.
const HEAD_BYTES: usize = 128 << 10;

/// Teams of one change: as many as a sender may be in, whose events may go to all of them.
pub const MOST_TEAMS: usize = TEAMS.most;

/// The longest name of a node, in bytes.
pub const MOST_NODE_BYTES: usize = 255;

/// The end of the year 9999, beyond which RFC 3339 has no dates.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_800);

/// Which run of which node: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(pub u64);

impl From<Run> for Origin {
    fn from(run: Run) -> Self {
        Origin(run.number())
    }
}

impl From<Origin> for Run {
    fn from(Origin(number): Origin) -> Self {
        Run::numbered(number)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let number = if text.is_empty() { None } else { hexadecimal(&text) };
        number.map(Origin).ok_or_else(|| D::Error::custom("no origin"))
    }
}

/// A team, and the number that its origin gave the message among all that it has published to the team: 1, 2, 3…
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<'a>(#[serde(borrow)] pub Cow<'a, str>, pub u64);

/// A message that has arrived.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Who sent it.
    pub origin: Origin,
    /// When, by the origin's clock.
    pub sent_at: SystemTime,
    /// What it says.
    pub message: Message<'a>,
}

/// What nodes say to each other.
#[derive(Debug)]
pub enum Message<'a> {
    /// On its teams' channels: what has been relayed to the members there, and is to be relayed here.
    Change(Box<Shared<'a>>),
    /// On its team's channel: the origin has dropped changes to it, which nobody else will ever hear.
    Missed(Numbered<'a>),
    /// The same of so many teams that they are not named.
    MissedAnywhere,
    /// A node is there, is called so, and says this of itself.
    Alive(Cow<'a, str>, Option<About>),
    /// To all nodes, about what concerns no team; what [`super::control`] reads.
    Word(&'a str),
    /// A node leaves, and everybody has heard everything of it.
    Goodbye,
}

/// A change as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shared<'a> {
    origin: Origin,
    /// Microseconds since 1970.
    sent: u64,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    emit: Cow<'a, str>,
    #[serde(borrow)]
    teams: Vec<Numbered<'a>>,
    #[serde(borrow, rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    task: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    /// When it was relayed first; microseconds since 1970.
    at: u64,
    #[serde(skip)]
    payload: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Other<'a> {
    origin: Origin,
    sent: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    team: Option<Numbered<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    node: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
}

/// What a node lets payloads be: `limits.payload` of its policy.
#[derive(Clone, Copy, Debug)]
pub struct PayloadLimits {
    /// Bytes.
    pub max_bytes: usize,
    /// Arrays and objects inside each other.
    pub max_depth: usize,
}

/// A message that is to be sent, without the first line: that is each channel's own.
#[derive(Clone, Debug)]
pub struct Body(Vec<u8>);

impl Body {
    /// A change that was relayed `at`, with its number in each of its teams.
    pub fn change<T: AsRef<str>>(
        origin: Origin,
        change: &Change,
        teams: &[(T, u64)],
        at: SystemTime,
        now: SystemTime,
    ) -> Self {
        let topic = change.key.topic();
        let task = topic.task_id.as_ref().and_then(written);
        let shared = Shared {
            origin,
            sent: micros(now),
            id: change.id.to_string().into(),
            event: Cow::Borrowed(change.key.event()),
            emit: Cow::Borrowed(&change.emit),
            teams: teams.iter().map(|(team, number)| Numbered(team.as_ref().into(), *number)).collect(),
            kind: topic.kind,
            task: task.as_deref(),
            actor: change.actor.as_deref().map(Cow::Borrowed),
            at: micros(at),
            payload: "",
        };
        Self::new("change", &shared, &change.payload)
    }

    /// That changes to a team were dropped, with this message's own number in it.
    pub fn missed(origin: Origin, team: &str, number: u64, now: SystemTime) -> Self {
        Self::other("missed", origin, Some(Numbered(team.into(), number)), now)
    }

    /// That changes to many teams were dropped.
    pub fn missed_anywhere(origin: Origin, now: SystemTime) -> Self {
        Self::other("missed-anywhere", origin, None, now)
    }

    /// That the node of this name is there, and what it says of itself.
    pub fn alive(origin: Origin, node: &str, about: Option<About>, now: SystemTime) -> Self {
        let node = Some(Cow::Borrowed(node));
        Self::new("alive", &Other { origin, sent: micros(now), team: None, node, about }, "")
    }

    /// What [`super::control`] says.
    pub fn word(origin: Origin, word: &str, now: SystemTime) -> Self {
        Self::new("word", &Other { origin, sent: micros(now), team: None, node: None, about: None }, word)
    }

    /// That it leaves.
    pub fn goodbye(origin: Origin, now: SystemTime) -> Self {
        Self::other("goodbye", origin, None, now)
    }

    fn other(kind: &str, origin: Origin, team: Option<Numbered<'_>>, now: SystemTime) -> Self {
        Self::new(kind, &Other { origin, sent: micros(now), team, node: None, about: None }, "")
    }

    fn new(kind: &str, header: &impl Serialize, payload: &str) -> Self {
        let mut body = Vec::with_capacity(256 + payload.len());
        body.extend_from_slice(kind.as_bytes());
        body.push(b' ');
        // Texts and numbers always have a form.
        let _ = serde_json::to_writer(&mut body, header);
        body.push(b'\n');
        body.extend_from_slice(payload.as_bytes());
        Body(body)
    }

    /// As it is published on the channel of this name.
    pub fn sealed(&self, channel: &str, seal: &Seal) -> Vec<u8> {
        let signature = seal.sign(channel, &self.0);
        let signature = signature.as_deref().unwrap_or(UNSIGNED);
        [VERSION.as_bytes(), b" ", signature.as_bytes(), b"\n", &self.0].concat()
    }

    /// How long it is, without the first line; bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is a kind at least.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is left of a message that came on the channel of this name when its first line has been judged.
///
/// # Errors
/// It is to be ignored, and counted.
pub fn unseal<'m>(
    name: &str,
    message: &'m [u8],
    seal: &Seal,
    limits: PayloadLimits,
) -> Result<&'m str, Refusal> {
    let rest = message.strip_prefix(VERSION.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let (signature, body) = rest.and_then(|rest| split(rest, b'\n')).ok_or(Refusal::Version)?;
    let signature = std::str::from_utf8(signature).map_err(|_| Refusal::Signature)?;
    if !seal.is_valid(signature, name, body) {
        return Err(Refusal::Signature);
    }
    // The type and task id are parts of the payload.
    if body.len() > HEAD_BYTES.saturating_add(limits.max_bytes.saturating_mul(2)) {
        return Err(Refusal::TooLarge);
    }
    std::str::from_utf8(body).map_err(|_| Refusal::Malformed)
}

/// Reads what [`unseal`] has left of a message that came on this channel.
///
/// # Errors
/// It is to be ignored, and counted.
pub fn read<'m>(channel: Channel<'_>, body: &'m str, limits: PayloadLimits) -> Result<Envelope<'m>, Refusal> {
    let (kind, rest) = body.split_once(' ').ok_or(Refusal::Malformed)?;
    let (header, payload) = rest.split_once('\n').ok_or(Refusal::Malformed)?;
    let (origin, sent, message) = match kind {
        "change" => {
            let mut shared: Shared<'m> = serde_json::from_str(header).map_err(|_| Refusal::Malformed)?;
            shared.payload = payload;
            let is_its =
                matches!(channel, Channel::Team(via) if shared.teams.iter().any(|team| team.0 == via));
            if !is_its {
                return Err(Refusal::Team);
            }
            shared.check(limits)?;
            (shared.origin, shared.sent, Message::Change(Box::new(shared)))
        }
        kind => {
            let other: Other<'m> = serde_json::from_str(header).map_err(|_| Refusal::Malformed)?;
            (other.origin, other.sent, other.message(kind, channel, payload)?)
        }
    };
    Ok(Envelope { origin, sent_at: time(sent), message })
}

impl<'a> Shared<'a> {
    /// Its teams, each once.
    pub fn teams(&self) -> &[Numbered<'a>] {
        &self.teams
    }

    /// The event that it was.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The name that members hear.
    pub fn emit(&self) -> &str {
        &self.emit
    }

    /// The JSON text to relay.
    pub fn payload(&self) -> &str {
        self.payload
    }

    /// What its acknowledgement called it.
    pub fn id(&self) -> Option<EventId> {
        EventId::parse(&self.id)
    }

    /// The subject of whoever sent it.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// When it was relayed first.
    pub fn relayed_at(&self) -> SystemTime {
        time(self.at)
    }

    /// What it is about.
    pub fn topic(&self) -> Topic<'_> {
        Topic { kind: self.kind.as_deref().map(Cow::Borrowed), task_id: self.task.and_then(task) }
    }

    fn check(&self, limits: PayloadLimits) -> Result<(), Refusal> {
        let is_twice =
            |(at, team): (usize, &Numbered<'_>)| self.teams[..at].iter().any(|other| other.0 == team.0);
        if self.teams.len() > MOST_TEAMS
            || !self.teams.iter().all(Numbered::is_possible)
            || self.teams.iter().enumerate().any(is_twice)
        {
            return Err(Refusal::Team);
        }
        if self.payload.len() > limits.max_bytes {
            return Err(Refusal::TooLarge);
        }
        if is_deeper_than(self.payload, limits.max_depth) {
            return Err(Refusal::TooDeep);
        }
        let has_actor = self.actor.as_ref().is_none_or(|actor| check_identifier(actor).is_ok());
        let has_task = self.task.is_none_or(|text| task(text).is_some());
        let is_json = serde_json::from_str::<IgnoredAny>(self.payload).is_ok();
        if !has_actor || !has_task || !is_json || self.id().is_none() {
            return Err(Refusal::Malformed);
        }
        Ok(())
    }
}

impl Numbered<'_> {
    /// Whether there may be such a team. Numbers begin at 1.
    fn is_possible(&self) -> bool {
        (*self.0 == *EVERYONE || TEAMS.check(&self.0).is_ok()) && self.1 > 0
    }
}

impl<'a> Other<'a> {
    fn message(self, kind: &str, channel: Channel<'_>, rest: &'a str) -> Result<Message<'a>, Refusal> {
        match (kind, channel) {
            ("missed", Channel::Team(via)) => {
                let team = self.team.ok_or(Refusal::Malformed)?;
                if team.0 == via && team.is_possible() {
                    Ok(Message::Missed(team))
                } else {
                    Err(Refusal::Team)
                }
            }
            ("missed-anywhere", Channel::Control) => Ok(Message::MissedAnywhere),
            ("goodbye", Channel::Control) => Ok(Message::Goodbye),
            ("alive", Channel::Control) => {
                let node = self.node.ok_or(Refusal::Malformed)?;
                let is_name =
                    !node.is_empty() && node.len() <= MOST_NODE_BYTES && !node.chars().any(char::is_control);
                let is_possible = self.about.as_ref().is_none_or(About::is_possible);
                if is_name && is_possible {
                    Ok(Message::Alive(node, self.about))
                } else {
                    Err(Refusal::Malformed)
                }
            }
            ("word", Channel::Control) => Ok(Message::Word(rest)),
            ("missed" | "missed-anywhere" | "goodbye" | "alive" | "word", _) => Err(Refusal::Team),
            _ => Err(Refusal::Malformed),
        }
    }
}

/// A task id as JSON.
fn written(id: &TaskId<'_>) -> Option<Box<RawValue>> {
    let text = match id {
        TaskId::Integer(digits) => (*digits).to_owned(),
        TaskId::String(text) => serde_json::to_string(text).ok()?,
    };
    RawValue::from_string(text).ok()
}

fn task(text: &RawValue) -> Option<TaskId<'_>> {
    let text = text.get();
    if text.starts_with('"') {
        // Borrowed where nothing in it is escaped.
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        return serde_json::from_str::<Text<'_>>(text).ok().map(|Text(text)| TaskId::String(text));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    // As long as a node's policy lets them be: they are no machine's integers.
    let is_integer = digits.bytes().all(|digit| digit.is_ascii_digit());
    is_integer.then_some(TaskId::Integer(text))
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// The time so many microseconds after 1970 began; that beginning for what cannot be written as a date.
fn time(micros: u64) -> SystemTime {
    let since = Duration::from_micros(micros);
    if since < LAST_DATE { UNIX_EPOCH + since } else { UNIX_EPOCH }
}

#[cfg(test)]
mod tests;
