//! What an expression may look at: `peer`, `event` or `team`, and `now`, each made into a CEL value when it is asked for.

use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{CelList, CelMap, CelString, CelTimestamp, MAP_TYPE, Type};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use chrono::{DateTime, Utc};

use super::json::{self, Made};
use super::program::Known;
use super::{Claims, Fields};

/// One event and who sends it, for all the rules that judge it: what one of them has made is there for the next.
#[derive(Debug)]
pub struct Facts<'a> {
    peer: View<Cached<PeerFacts<'a>, PeerMade<'a>>>,
    event: View<Cached<EventFacts<'a>, EventMade<'a>>>,
    now: Moment,
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

/// The value of one of the event's own fields: what has been made of it, or whatever JSON stands there.
fn own<'a: 'v, 'b, 'v, T>(
    said: Option<Own<'a, T>>,
    made: Option<&'b (dyn Val + 'v)>,
) -> Result<Option<CowVal<'b, 'v>>, ExecutionError> {
    match (said, made) {
        (_, Some(made)) => Ok(Some(CowVal::Borrowed(made))),
        (Some(Own::Json(text)), None) => match json::value(text) {
            Ok(value) => Ok(Some(CowVal::Owned(value.boxed()))),
            Err(_) => Err(unreadable("event")),
        },
        _ => Ok(None),
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
            peer: View(Cached { made: PeerMade::of(&peer), facts: peer }),
            event: View(Cached { made: EventMade::of(&event), facts: event }),
            now: Moment::new(now),
        }
    }
}

impl Known for Facts<'_> {
    fn names(&self, field: &str) -> Option<&[Arc<str>]> {
        self.peer.0.facts.names(field)
    }

    fn as_resolver(&self) -> &dyn VariableResolver {
        self
    }
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "peer" => Some(CowVal::Borrowed(&self.peer)),
            "event" => Some(CowVal::Borrowed(&self.event)),
            "now" => Some(CowVal::Borrowed(self.now.value())),
            _ => None,
        }
    }
}

/// One peer in its teams: what decides what it hears there.
#[derive(Debug)]
pub struct ListenerFacts<'a> {
    peer: View<Cached<PeerFacts<'a>, PeerMade<'a>>>,
    team: CelString<'a>,
    now: Moment,
}

impl<'a> ListenerFacts<'a> {
    /// The facts of one peer at `now`, in no team yet.
    pub fn new(peer: PeerFacts<'a>, now: SystemTime) -> Self {
        let peer = View(Cached { made: PeerMade::of(&peer), facts: peer });
        ListenerFacts { peer, team: CelString::from(""), now: Moment::new(now) }
    }

    /// Moves on to another team; what has been made of the peer stays.
    pub fn enter(&mut self, team: &'a str) {
        self.team = CelString::from(team);
    }
}

impl Known for ListenerFacts<'_> {
    fn names(&self, field: &str) -> Option<&[Arc<str>]> {
        self.peer.0.facts.names(field)
    }

    fn as_resolver(&self) -> &dyn VariableResolver {
        self
    }
}

impl VariableResolver for ListenerFacts<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "peer" => Some(CowVal::Borrowed(&self.peer)),
            "team" => Some(CowVal::Borrowed(&self.team)),
            "now" => Some(CowVal::Borrowed(self.now.value())),
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

impl<'a> PeerFacts<'a> {
    fn names(&self, field: &str) -> Option<&'a [Arc<str>]> {
        match field {
            "teams" => Some(self.teams),
            "roles" => Some(self.roles),
            _ => None,
        }
    }
}

/// What has been made of a peer. Texts are borrowed, and so are made at once.
#[derive(Clone, Debug)]
struct PeerMade<'a> {
    subject: Option<CelString<'a>>,
    teams: OnceLock<CelList<'a>>,
    roles: OnceLock<CelList<'a>>,
}

impl<'a> PeerMade<'a> {
    fn of(peer: &PeerFacts<'a>) -> Self {
        let subject = peer.subject.map(CelString::from);
        PeerMade { subject, teams: OnceLock::new(), roles: OnceLock::new() }
    }
}

/// What has been made of an event, likewise.
#[derive(Clone, Debug)]
struct EventMade<'a> {
    name: CelString<'a>,
    kind: Option<CelString<'a>>,
    task_id: Option<Made<'a>>,
    timestamp: Option<Moment>,
    payload: OnceLock<Option<Payload<'a>>>,
}

impl<'a> EventMade<'a> {
    fn of(event: &EventFacts<'a>) -> Self {
        EventMade {
            name: CelString::from(event.name),
            kind: read(event.kind).map(CelString::from),
            task_id: read(event.task_id).map(id),
            timestamp: read(event.timestamp).map(Moment::new),
            payload: OnceLock::new(),
        }
    }
}

fn read<T>(own: Option<Own<'_, T>>) -> Option<T> {
    match own? {
        Own::Read(value) => Some(value),
        Own::Json(_) => None,
    }
}

/// `event.payload`.
#[derive(Clone, Debug)]
enum Payload<'a> {
    /// All fields, for rules that look at it as a whole.
    All(CelMap<'a>),
    /// Those that rules name.
    Named(View<json::Members<'a>>),
}

impl<'a> Named for json::Members<'a> {
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        Ok(self.get(name).map(|value| CowVal::Borrowed(value.as_val())))
    }
}

/// A time, which is a value once somebody asks.
#[derive(Clone, Debug)]
struct Moment {
    time: SystemTime,
    made: OnceLock<CelTimestamp>,
}

impl Moment {
    fn new(time: SystemTime) -> Self {
        Moment { time, made: OnceLock::new() }
    }

    fn value(&self) -> &CelTimestamp {
        self.made.get_or_init(|| DateTime::<Utc>::from(self.time).fixed_offset().into())
    }
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

impl<'a> Named for Cached<PeerFacts<'a>, PeerMade<'a>> {
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        let Cached { facts: peer, made } = self;
        Ok(match name {
            "sub" => made.subject.as_ref().map(|subject| CowVal::Borrowed(subject)),
            "teams" => Some(CowVal::Borrowed(made.teams.get_or_init(|| list(peer.teams)))),
            "roles" => Some(CowVal::Borrowed(made.roles.get_or_init(|| list(peer.roles)))),
            "claims" => Some(match peer.claims {
                Some(claims) => CowVal::Borrowed(claims.as_map()),
                None => CowVal::owned(CelMap::default()),
            }),
            "address" => Some(CowVal::owned(CelString::from(peer.address.to_canonical().to_string()))),
            _ => None,
        })
    }
}

impl<'a> Named for Cached<EventFacts<'a>, EventMade<'a>> {
    fn field<'b, 'v>(&'b self, name: &str) -> Result<Option<CowVal<'b, 'v>>, ExecutionError>
    where
        Self: 'v,
    {
        let Cached { facts: event, made } = self;
        match name {
            "name" => Ok(Some(CowVal::Borrowed(&made.name))),
            "type" => own(event.kind, made.kind.as_ref().map(|kind| kind as &(dyn Val + 'v))),
            "taskId" => own(event.task_id, made.task_id.as_ref().map(Made::as_val)),
            "timestamp" => {
                own(event.timestamp, made.timestamp.as_ref().map(|time| time.value() as &(dyn Val + 'v)))
            }
            "payload" => {
                let read = || match event.fields.all {
                    true => json::object(event.json).map(Payload::All).ok(),
                    false => {
                        json::fields(event.json, event.fields).map(|read| Payload::Named(View(read))).ok()
                    }
                };
                match made.payload.get_or_init(read) {
                    Some(Payload::All(map)) => Ok(Some(CowVal::Borrowed(map))),
                    Some(Payload::Named(members)) => Ok(Some(CowVal::Borrowed(members))),
                    None => Err(unreadable("event.payload")),
                }
            }
            _ => Ok(None),
        }
    }
}

fn list<'a>(names: &'a [Arc<str>]) -> CelList<'a> {
    let names = names.iter().map(|name| -> Box<dyn Val + 'a> { Box::new(CelString::from(&**name)) });
    names.collect::<Vec<_>>().into()
}

/// An integer that 64 bits do not hold is a `double`, as everywhere in JSON.
fn id<'a>(id: Id<'a>) -> Made<'a> {
    match id {
        Id::Text(text) => Made::Text(CelString::from(text)),
        Id::Integer(digits) => match digits.parse::<i64>() {
            Ok(number) => Made::Int(number.into()),
            Err(_) => Made::Double(digits.parse::<f64>().unwrap_or(f64::NAN).into()),
        },
    }
}
