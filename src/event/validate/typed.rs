//! A typed payload: one object whose fields the policy declares.

use std::borrow::Cow;
use std::time::SystemTime;

use smallvec::SmallVec;

use crate::config::policy::{
    EventPolicy, FieldKind, FieldPolicy, Mode, Presence, ReplayBy, TypePolicy, TypeRules, TypeSchema,
    TypedPayload, UnknownFields,
};
use crate::message::{Payload, Unread};
use crate::reject::{Code, Name, Reject};

use super::keys::Keys;
use super::nested::{self, Unsound};
use super::object::{self, Stopped};
use super::{by_schema, task_id, team, text, timestamp};

pub(super) const TYPE: &str = "type";
pub(super) const TASK_ID: &str = "taskId";
pub(super) const TIMESTAMP: &str = "timestamp";

/// Members that a payload usually has at most; more allocate when unknown ones are stripped.
const USUAL_MEMBERS: usize = 8;

/// What the arguments of one event say.
#[derive(Debug)]
pub(super) struct Read<'e> {
    /// The typed view.
    pub payload: Payload<'e>,
    /// The JSON text to relay.
    pub outgoing: Cow<'e, str>,
    /// The rules that judge events of this type.
    pub rules: Option<&'e TypeRules>,
    /// What it is counted under.
    pub label: usize,
    /// What could not be read, where that is not refused.
    pub unread: Unread<'e>,
    /// The JSON text of the field that `replay` names.
    pub id: Option<&'e str>,
}

/// Reads the arguments of one event.
pub(super) fn read<'e>(
    arguments: &'e str,
    event: &'e EventPolicy,
    typed: &'e TypedPayload,
    now: SystemTime,
) -> Result<Read<'e>, Reject> {
    let mut reading = Reading::new(event, typed);
    match object::each_member(arguments, |key, value| reading.member(key, value)) {
        Ok(()) => {
            let (payload, demands) = reading.judge(arguments, now)?;
            let (rules, label) = (demands.rules.as_ref(), demands.label);
            let outgoing = reading.outgoing(arguments);
            Ok(Read { payload, outgoing, rules, label, unread: Unread::default(), id: reading.id })
        }
        Err(Stopped::Refused(reject)) => Err(reject),
        Err(Stopped::Malformed) => {
            Err(Reject::new(Code::InvalidPayload, "the event takes one argument, a JSON object")
                .rule(&event.rules.event))
        }
    }
}

/// What has been read of the object so far. The first three are JSON text, judged when all members are known.
struct Reading<'e> {
    event: &'e EventPolicy,
    typed: &'e TypedPayload,
    kind: Option<&'e str>,
    task_id: Option<&'e str>,
    timestamp: Option<&'e str>,
    team: Option<Cow<'e, str>>,
    /// The field that tells it from its replays.
    id: Option<&'e str>,
    /// Every other key.
    others: Keys<'e>,
    /// Where some types have a schema, all members: who judges the others is known when the type is.
    waiting: SmallVec<[Member<'e>; USUAL_MEMBERS]>,
    /// With `unknown_fields = "strip"`, those that stay.
    kept: SmallVec<[Member<'e>; USUAL_MEMBERS]>,
    /// Whether any member was left out of `kept`.
    stripped: bool,
}

/// The JSON texts of a key and its value.
type Member<'e> = (&'e str, &'e str);

impl<'e> Reading<'e> {
    fn new(event: &'e EventPolicy, typed: &'e TypedPayload) -> Self {
        Reading {
            event,
            typed,
            kind: None,
            task_id: None,
            timestamp: None,
            team: None,
            id: None,
            others: Keys::default(),
            waiting: SmallVec::new(),
            kept: SmallVec::new(),
            stripped: false,
        }
    }

    /// Takes in one member, as the JSON texts of its key and value.
    fn member(&mut self, raw_key: &'e str, value: &'e str) -> Result<(), Reject> {
        let Some(key) = text::decode(raw_key) else {
            return Err(self.invalid("a key is not valid text", None));
        };
        let (new, keep) = match &*key {
            TYPE => (self.kind.replace(value).is_none(), true),
            TASK_ID => (self.task_id.replace(value).is_none(), true),
            TIMESTAMP => (self.timestamp.replace(value).is_none(), true),
            key_text => {
                if self.is_id(key_text) {
                    self.id = Some(value);
                }
                let keep = self.typed.schemas || self.other(key_text, value)?;
                (self.others.insert(key), keep)
            }
        };
        if !new {
            let name = text::decode(raw_key).and_then(|key| Name::from_client(&key));
            return Err(self.invalid("a field appears twice", name));
        }
        if self.typed.schemas {
            self.waiting.push((raw_key, value));
        } else {
            self.keep(keep, (raw_key, value));
        }
        Ok(())
    }

    fn is_id(&self, key: &str) -> bool {
        let replay = self.typed.replay.as_ref();
        replay.is_some_and(|replay| matches!(&replay.by, ReplayBy::Id(field) if &**field == key))
    }

    fn keep(&mut self, keep: bool, member: Member<'e>) {
        self.stripped |= !keep;
        if keep && self.typed.unknown_fields == UnknownFields::Strip {
            self.kept.push(member);
        }
    }

    /// Judges a member that is none of the three which every event may have. `true` if it is to be relayed.
    fn other(&mut self, key: &str, value: &'e str) -> Result<bool, Reject> {
        let names_team = self.event.team_field.as_deref() == Some(key);
        if names_team {
            self.team = Some(team::read(value, self.event)?);
        }
        if let Some((name, field)) = self.typed.fields.get_key_value(key) {
            declared(field, value)
                .map_err(|(code, message)| Reject::new(code, message).rule(&field.rule).field(name))?;
            return Ok(true);
        }
        match self.typed.unknown_fields {
            _ if names_team => Ok(true),
            UnknownFields::Strip => Ok(false),
            UnknownFields::Pass => self.sound(key, value).map(|()| true),
            UnknownFields::Reject => {
                let mut reject = Reject::new(
                    Code::UnknownField,
                    "the payload has a field that the policy doesn't declare",
                )
                .rule(&self.event.rules.unknown_fields);
                reject.field = Name::from_client(key);
                Err(reject)
            }
        }
    }

    /// Judges what nobody has described.
    fn sound(&self, key: &str, value: &str) -> Result<(), Reject> {
        match nested::inspect(value) {
            Ok(_) => Ok(()),
            Err(unsound) => Err(self.invalid(sentence(unsound), Name::from_client(key))),
        }
    }

    /// Judges the members that waited for the type: by its schema, or else as everywhere.
    fn judge_waiting(&mut self, schema: Option<&TypeSchema>, whole: &'e str) -> Result<(), Reject> {
        for member in std::mem::take(&mut self.waiting) {
            let (raw_key, value) = member;
            let Some(key) = text::decode(raw_key) else { continue };
            let keep = match (&*key, schema) {
                (TYPE | TASK_ID | TIMESTAMP, _) => true,
                (key, None) => self.other(key, value)?,
                (key, Some(_)) if self.event.team_field.as_deref() == Some(key) => {
                    self.team = Some(team::read(value, self.event)?);
                    true
                }
                (key, Some(_)) => self.sound(key, value).map(|()| true)?,
            };
            self.keep(keep, member);
        }
        schema.map_or(Ok(()), |schema| by_schema::judge(schema, whole))
    }

    /// Judges what only the whole object tells: the type, what it demands, and what is missing.
    fn judge(&mut self, whole: &'e str, now: SystemTime) -> Result<(Payload<'e>, &'e TypePolicy), Reject> {
        let rules = &self.event.rules;
        let Some(kind) = self.kind else {
            return Err(Reject::new(Code::MissingField, "the payload has no type")
                .rule(&rules.types)
                .field(TYPE));
        };
        let Some(kind) = text::decode(kind) else {
            return Err(Reject::new(Code::InvalidPayload, "type must be a string")
                .rule(&rules.types)
                .field(TYPE));
        };
        let Some((label, demands)) = find_type(self.typed, &kind) else {
            return Err(Reject::new(Code::UnknownType, "the policy knows no such type")
                .rule(&rules.types)
                .field(TYPE));
        };

        let task_id = match self.task_id {
            Some(_) if demands.task_id == Presence::Forbidden => {
                return Err(forbidden().rule(&rules.types).field(TASK_ID));
            }
            None if demands.task_id == Presence::Required => {
                return Err(missing().rule(&rules.types).field(TASK_ID));
            }
            None => None,
            Some(raw) => Some(task_id::read(raw, &self.typed.task_id).map_err(|message| {
                Reject::new(Code::InvalidPayload, message).rule(&rules.task_id).field(TASK_ID)
            })?),
        };
        let window = &self.typed.timestamp;
        let timestamp = match self.timestamp {
            Some(_) if window.presence == Presence::Forbidden => {
                return Err(forbidden().rule(&rules.timestamp).field(TIMESTAMP));
            }
            None if window.presence == Presence::Required => {
                return Err(missing().rule(&rules.timestamp).field(TIMESTAMP));
            }
            None => None,
            Some(raw) => Some(timestamp::read(raw, window, now).map_err(|(code, message)| {
                Reject::new(code, message).rule(&rules.timestamp).field(TIMESTAMP)
            })?),
        };
        let schema = demands.schema.as_ref();
        if self.typed.schemas {
            self.judge_waiting(schema, whole)?;
        }
        for (name, field) in &self.typed.fields {
            let required = field.presence == Presence::Required && schema.is_none();
            if required && !self.others.contains(name) {
                return Err(missing().rule(&field.rule).field(name));
            }
        }
        let team = self.team.take();
        let payload = Payload { kind: Some(kind), label: Some(label), task_id, timestamp, team };
        Ok((payload, demands))
    }

    /// What to relay: the object as it came, or its remaining members with their own bytes and in their order. Nothing is
    /// stripped where validation is only tried.
    fn outgoing(&self, arguments: &'e str) -> Cow<'e, str> {
        if !self.stripped || self.typed.validation != Mode::Enforce {
            return Cow::Borrowed(arguments.trim_ascii());
        }
        let mut json = String::with_capacity(arguments.len());
        json.push('{');
        for (at, (key, value)) in self.kept.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            json.extend([key, ":", value]);
        }
        json.push('}');
        Cow::Owned(json)
    }

    fn invalid(&self, message: &'static str, field: Option<Name>) -> Reject {
        let mut reject = Reject::new(Code::InvalidPayload, message).rule(&self.event.rules.event);
        reject.field = field;
        reject
    }
}

/// The type's policy, by exact name or else by the first glob that matches, and the name or glob itself.
pub(super) fn find_type<'e>(typed: &'e TypedPayload, kind: &str) -> Option<(&'e str, &'e TypePolicy)> {
    if let Some((name, policy)) = typed.exact_types.get_key_value(kind) {
        return Some((name, policy));
    }
    typed.glob_types.iter().find(|(glob, _)| glob.matches(kind)).map(|(glob, policy)| (glob.as_str(), policy))
}

/// Judges the JSON value of a declared further field. On failure the code, and a sentence.
///
/// `max_length` counts a string's decoded bytes, an array's elements, an object's members; other kinds have none.
fn declared(field: &FieldPolicy, raw: &str) -> Result<(), (Code, &'static str)> {
    let invalid = |message| Err((Code::InvalidPayload, message));
    if field.presence == Presence::Forbidden {
        return Err((Code::UnknownField, "this field must not be there"));
    }
    let first = raw.as_bytes().first();
    let right_kind = match field.kind {
        FieldKind::String => first == Some(&b'"'),
        FieldKind::Integer => nested::is_integer(raw),
        FieldKind::Number => matches!(first, Some(b'-' | b'0'..=b'9')),
        FieldKind::Boolean => matches!(raw, "true" | "false"),
        FieldKind::Object => first == Some(&b'{'),
        FieldKind::Array => first == Some(&b'['),
    };
    if !right_kind {
        return invalid(match field.kind {
            FieldKind::String => "this field must be a string",
            FieldKind::Integer => "this field must be an integer",
            FieldKind::Number => "this field must be a number",
            FieldKind::Boolean => "this field must be true or false",
            FieldKind::Object => "this field must be an object",
            FieldKind::Array => "this field must be an array",
        });
    }
    let length = match field.kind {
        FieldKind::String => match text::decode(raw) {
            Some(text) => text.len(),
            None => return invalid("this field is not valid text"),
        },
        _ => match nested::inspect(raw) {
            Ok(length) => length,
            Err(unsound) => return invalid(sentence(unsound)),
        },
    };
    if field.max_length.is_some_and(|max| length > max) {
        return invalid("this field is too long");
    }
    Ok(())
}

fn missing() -> Reject {
    Reject::new(Code::MissingField, "a required field is missing")
}

fn forbidden() -> Reject {
    Reject::new(Code::UnknownField, "this field must not be there")
}

fn sentence(unsound: Unsound) -> &'static str {
    match unsound {
        Unsound::DuplicateKey => "an object holds a key twice",
        Unsound::Key => "a key is not valid text",
        Unsound::Number => "a number is longer or larger than any reader can hold",
    }
}
