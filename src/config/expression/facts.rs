//! What an expression may look at: `peer`, `event` or `team`, and `now`, each made into a CEL value when it is asked for.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{CelDouble, CelInt, CelList, CelMap, CelString, CelTimestamp, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use chrono::{DateTime, Utc};

use super::{Claims, Fields, json};

/// One event and who sends it, for all the rules that judge it: what one of them has made is there for the next.
#[derive(Debug)]
pub struct Facts<'a> {
    peer: View<Cached<PeerFacts<'a>, Names<'a>>>,
    event: View<Cached<EventFacts<'a>, OnceLock<Option<CelMap<'a>>>>>,
    now: SystemTime,
}

/// `peer`.
#[derive(Clone, Debug)]
pub struct PeerFacts<'a> {
    /// `peer.sub`, absent where nobody is asked who they are.
    pub subject: Option<&'a str>,
    /// `peer.teams`.
    pub teams: &'a [Arc<str>],
    /// `peer.roles`.
    pub roles: &'a [Arc<str>],
    /// `peer.claims`, as far as rules name them.
    pub claims: Option<&'a Claims>,
    /// `peer.address`, as text.
    pub address: IpAddr,
}

/// `event`.
#[derive(Clone, Debug)]
pub struct EventFacts<'a> {
    /// `event.name`.
    pub name: &'a str,
    /// `event.type`.
    pub kind: Option<Own<'a, &'a str>>,
    /// `event.taskId`.
    pub task_id: Option<Own<'a, Id<'a>>>,
    /// `event.timestamp`.
    pub timestamp: Option<Own<'a, SystemTime>>,
    /// `event.payload`: the JSON object that is relayed.
    pub json: &'a str,
    /// The fields of it that the rules read; others are not there.
    pub fields: &'a Fields,
}

/// What stands in one of the event's own fields.
#[derive(Clone, Copy, Debug)]
pub enum Own<'a, T> {
    /// What should.
    Read(T),
    /// Any other JSON, which only gets this far where validation does not refuse it. A rule sees it as it is, so that
    /// one which compares it with what should stand there has no answer.
    Json(&'a str),
}

impl<'a, T> Own<'a, T> {
    fn value<'b, 'v>(self, read: impl FnOnce(T) -> CowVal<'b, 'v>) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        'a: 'v,
    {
        match self {
            Own::Read(value) => Ok(read(value)),
            Own::Json(text) => match json::value(text) {
                Ok(value) => Ok(CowVal::Owned(value)),
                Err(_) => Err(unreadable("event")),
            },
        }
    }
}

fn unreadable(what: &str) -> ExecutionError {
    ExecutionError::function_error(what, "it is no JSON that can be read in one way only")
}

/// A task id.
#[derive(Clone, Copy, Debug)]
pub enum Id<'a> {
    /// The digits of an integer.
    Integer(&'a str),
    /// A text.
    Text(&'a str),
}

impl<'a> Facts<'a> {
    /// The facts of one event, at `now`.
    pub fn new(peer: PeerFacts<'a>, event: EventFacts<'a>, now: SystemTime) -> Self {
        Facts {
            peer: View(Cached { facts: peer, made: Names::default() }),
            event: View(Cached { facts: event, made: OnceLock::new() }),
            now,
        }
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "peer" => Some(CowVal::Borrowed(&self.peer)),
            "event" => Some(CowVal::Borrowed(&self.event)),
            "now" => Some(CowVal::owned(timestamp(self.now))),
            _ => None,
        }
    }
}

/// One peer in its teams: what decides what it hears there.
#[derive(Debug)]
pub struct ListenerFacts<'a> {
    peer: View<Cached<PeerFacts<'a>, Names<'a>>>,
    team: &'a str,
    now: SystemTime,
}

impl<'a> ListenerFacts<'a> {
    /// The facts of one peer at `now`, in no team yet.
    pub fn new(peer: PeerFacts<'a>, now: SystemTime) -> Self {
        ListenerFacts { peer: View(Cached { facts: peer, made: Names::default() }), team: "", now }
    }

    /// Moves on to another team; what has been made of the peer stays.
    pub fn enter(&mut self, team: &'a str) {
        self.team = team;
    }
}

impl VariableResolver for ListenerFacts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "peer" => Some(CowVal::Borrowed(&self.peer)),
            "team" => Some(CowVal::owned(CelString::from(self.team))),
            "now" => Some(CowVal::owned(timestamp(self.now))),
            _ => None,
        }
    }
}

/// Facts, and what has been made of them.
#[derive(Clone, Debug)]
struct Cached<F, M> {
    facts: F,
    made: M,
}

#[derive(Clone, Debug, Default)]
struct Names<'a> {
    teams: OnceLock<CelList<'a>>,
    roles: OnceLock<CelList<'a>>,
}

/// A value with named fields. As a value it is a map, though the checks let no expression use it as a whole.
#[derive(Clone, Debug)]
struct View<T>(T);

trait Named {
    /// The field's value; `None` where it is absent.
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v;
}

impl<T: Named + Clone + Debug + Send + Sync> Val for View<T> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl<T: Named> Indexer for View<T> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(name) = index.downcast_ref::<CelString>() else {
            return Err(ExecutionError::UnexpectedType {
                got: index.get_type().name().to_owned(),
                want: "string".to_owned(),
            });
        };
        self.0.field(name.inner())?.ok_or_else(|| ExecutionError::no_such_key(name.inner()))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl<'a> Named for Cached<PeerFacts<'a>, Names<'a>> {
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        let peer = &self.facts;
        Ok(match name {
            "sub" => peer.subject.map(|subject| CowVal::owned(CelString::from(subject))),
            "teams" => Some(CowVal::Borrowed(self.made.teams.get_or_init(|| list(peer.teams)))),
            "roles" => Some(CowVal::Borrowed(self.made.roles.get_or_init(|| list(peer.roles)))),
            "claims" => Some(match peer.claims {
                Some(claims) => CowVal::Borrowed(claims.as_map()),
                None => CowVal::owned(CelMap::default()),
            }),
            "address" => Some(CowVal::owned(CelString::from(peer.address.to_canonical().to_string()))),
            _ => None,
        })
    }
}

impl<'a> Named for Cached<EventFacts<'a>, OnceLock<Option<CelMap<'a>>>> {
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        let event = &self.facts;
        Ok(match name {
            "name" => Some(CowVal::owned(CelString::from(event.name))),
            "type" => {
                let kind = |kind| CowVal::owned(CelString::from(kind));
                event.kind.map(|own| own.value(kind)).transpose()?
            }
            "taskId" => event.task_id.map(|own| own.value(id)).transpose()?,
            "timestamp" => {
                let time = |time| CowVal::owned(timestamp(time));
                event.timestamp.map(|own| own.value(time)).transpose()?
            }
            "payload" => {
                let read = || json::fields(event.json, event.fields).ok();
                match self.made.get_or_init(read) {
                    Some(payload) => Some(CowVal::Borrowed(payload)),
                    None => return Err(unreadable("event.payload")),
                }
            }
            _ => None,
        })
    }
}

fn list<'a>(names: &'a [Arc<str>]) -> CelList<'a> {
    let names = names.iter().map(|name| -> Box<dyn Val + 'a> { Box::new(CelString::from(&**name)) });
    names.collect::<Vec<_>>().into()
}

/// An integer that 64 bits do not hold is a `double`, as everywhere in JSON.
fn id<'b, 'v>(id: Id<'v>) -> CowVal<'b, 'v> {
    match id {
        Id::Text(text) => CowVal::owned(CelString::from(text)),
        Id::Integer(digits) => match digits.parse::<i64>() {
            Ok(number) => CowVal::owned(CelInt::from(number)),
            Err(_) => CowVal::owned(CelDouble::from(digits.parse().unwrap_or(f64::NAN))),
        },
    }
}

fn timestamp(time: SystemTime) -> CelTimestamp {
    DateTime::<Utc>::from(time).fixed_offset().into()
}
