//! `[events.NAME]`: what may be sent, and what it must look like.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{MODES, Report, replay, type_schema};
use crate::config::key_path::KeyPath;
use crate::config::policy::{
    EventPolicy, EventRules, FieldKind, FieldPolicy, Glob, Label, Presence, TaskIdPolicy, TimestampPolicy,
    TypePolicy, TypedPayload, UnknownFields,
};
use crate::config::raw;
use crate::config::values;

/// Names that Socket.IO's clients and Node's event emitters keep for themselves; sending them would throw there.
const RESERVED: [&str; 7] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error"];

/// The fields of a typed payload that have settings of their own.
pub(super) const OWN_FIELDS: [&str; 3] = ["type", "taskId", "timestamp"];

/// A longer name of an event, a type or a field is a slip of the pen. Bytes.
pub(super) const LONGEST_NAME: usize = 256;

/// A task id, a string, an array or an object that is longer than any packet.
const MOST_LENGTH: u32 = 1 << 30;

const PRESENCES: &[(&str, Presence)] =
    &[("required", Presence::Required), ("optional", Presence::Optional), ("forbidden", Presence::Forbidden)];

const KINDS: &[(&str, FieldKind)] = &[
    ("string", FieldKind::String),
    ("integer", FieldKind::Integer),
    ("number", FieldKind::Number),
    ("boolean", FieldKind::Boolean),
    ("object", FieldKind::Object),
    ("array", FieldKind::Array),
];

pub(super) fn compile(
    raw: &BTreeMap<String, raw::Event>,
    report: &mut Report<'_>,
) -> Option<HashMap<Arc<str>, Arc<EventPolicy>>> {
    let events: Vec<Option<EventPolicy>> = raw
        .iter()
        .map(|(name, event)| one_event(name, event, &KeyPath::of("events").key(name), report))
        .collect();
    let events = events.into_iter().collect::<Option<Vec<_>>>()?;
    Some(events.into_iter().map(|event| (event.name.clone(), Arc::new(event))).collect())
}

/// Numbers what events are counted under, in an order that does not depend on chance.
pub(super) fn label(events: &mut HashMap<Arc<str>, Arc<EventPolicy>>) -> Vec<Label> {
    let mut events: Vec<&mut EventPolicy> = events.values_mut().filter_map(Arc::get_mut).collect();
    events.sort_by(|one, other| one.name.cmp(&other.name));
    let mut labels = Vec::new();
    for event in events {
        let mut next = |kind: &str| {
            labels.push(Label { event: event.name.clone(), kind: kind.into() });
            labels.len() - 1
        };
        event.label = next("");
        let Some(typed) = &mut event.typed else { continue };
        let mut exact: Vec<_> = typed.exact_types.iter_mut().collect();
        exact.sort_by_key(|(name, _)| Arc::clone(name));
        for (name, policy) in exact {
            policy.label = next(name);
        }
        for (glob, policy) in &mut typed.glob_types {
            policy.label = next(glob.as_str());
        }
    }
    labels
}

fn one_event(name: &str, raw: &raw::Event, at: &KeyPath, report: &mut Report<'_>) -> Option<EventPolicy> {
    let name = event_name(name, at, report);
    let emit = match &raw.emit {
        Some(emit) => event_name(emit, &at.key("emit"), report),
        None => {
            let mend = "write emit = \"…\", the name under which members hear it";
            report.missing(&at.key("emit"), "no name to relay this event under", mend);
            None
        }
    };
    let echo = report.choice(&at.key("sender"), &raw.sender, &[("include", true), ("exclude", false)]);
    let is_typed = report.choice(&at.key("payload"), &raw.payload, &[("typed", true), ("any", false)]);
    let team_field = team_field(raw, is_typed, at, report);
    // A payload that is not looked at may still be described; the description is checked all the same.
    let typed = typed(raw, at, report);
    if is_typed == Some(true) && raw.types.is_empty() {
        report.warn(
            &at.key("types"),
            "no types, so every such event is refused as unknown_type",
            "add [[events.NAME.types]] with match = \"…\", or write payload = \"any\"",
        );
    }
    let rules = rules(at);
    let replay = replay::compile(raw, is_typed, typed.as_ref(), at, report);
    let typed = TypedPayload { replay: replay?, ..typed? };
    Some(EventPolicy {
        name: name?.into(),
        emit: emit?.into(),
        echo: echo?,
        typed: is_typed?.then_some(typed),
        team_field: team_field?,
        rules,
        label: 0,
    })
}

fn rules(at: &KeyPath) -> EventRules {
    let rule = |key: &str| Arc::from(at.key(key).to_string());
    EventRules {
        event: at.to_string().into(),
        types: rule("types"),
        task_id: rule("task_id"),
        timestamp: rule("timestamp"),
        fields: rule("fields"),
        unknown_fields: rule("unknown_fields"),
        team_field: rule("team_field"),
    }
}

/// A name that clients can emit and hear, and that stands in a packet as it is, without escapes.
fn event_name<'a>(name: &'a str, at: &KeyPath, report: &mut Report<'_>) -> Option<&'a str> {
    let found = if RESERVED.contains(&name) {
        format!("{name:?} is a name that Socket.IO keeps for itself")
    } else if let Some(fault) = unusable(name) {
        fault
    } else {
        return Some(name);
    };
    report.refuse(at, found, "choose another name, such as \"database-changed\"");
    None
}

/// Why a text cannot be the name of anything.
pub(super) fn unusable(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("an empty name".into());
    }
    if name.len() > LONGEST_NAME {
        return Some(format!("a name of more than {LONGEST_NAME} bytes"));
    }
    let odd = name.chars().find(|c| c.is_control() || matches!(c, '"' | '\\'))?;
    Some(format!(
        "{name:?} holds {odd:?}, and quotes, backslashes and control characters cannot stand in a name"
    ))
}

/// `None` where it is wrong, `Some(None)` where there is none.
fn team_field(
    raw: &raw::Event,
    is_typed: Option<bool>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<Arc<str>>> {
    let Some(field) = &raw.team_field else { return Some(None) };
    let at = at.key("team_field");
    if let Some(fault) = unusable(field) {
        report.refuse(&at, fault, "write the field's name, such as \"team\", or leave it out");
    } else if OWN_FIELDS.contains(&field.as_str()) {
        let mend = "choose another field, such as \"team\"";
        report.refuse(&at, format!("{field:?} has a meaning of its own in a typed payload"), mend);
    } else if raw.fields.contains_key(field) {
        report.refuse(&at, format!("{field:?} is declared in `fields` too"), "leave it out of `fields`");
    } else if is_typed == Some(false) {
        let mend = "write payload = \"typed\", or leave team_field out";
        report.refuse(&at, "no field is looked at with payload = \"any\"", mend);
    } else {
        return Some(Some(field.as_str().into()));
    }
    None
}

fn typed(raw: &raw::Event, at: &KeyPath, report: &mut Report<'_>) -> Option<TypedPayload> {
    let validation = report.choice(&at.key("validation"), &raw.validation, MODES);
    let unknown_fields = report.choice(
        &at.key("unknown_fields"),
        &raw.unknown_fields,
        &[("reject", UnknownFields::Reject), ("strip", UnknownFields::Strip), ("pass", UnknownFields::Pass)],
    );
    let timestamp = timestamp(&raw.timestamp, &at.key("timestamp"), report);
    let task_id = task_id(&raw.task_id, &at.key("task_id"), report);
    let fields = fields(&raw.fields, &at.key("fields"), report);
    let types = types(&raw.types, &at.key("types"), report);
    let (exact_types, glob_types) = types?;
    let mut schemas = exact_types.values().chain(glob_types.iter().map(|(_, policy)| policy));
    let payload = TypedPayload {
        validation: validation?,
        schemas: schemas.any(|policy| policy.schema.is_some()),
        unknown_fields: unknown_fields?,
        timestamp: timestamp?,
        task_id: task_id?,
        fields: fields?,
        exact_types,
        glob_types,
        replay: None,
        undeclared: None,
    };
    let team_field = raw.team_field.as_deref();
    for entry in &raw.types {
        let at = at.key("types").entry("match", &entry.pattern);
        let name = entry.pattern.as_str();
        let glob = || payload.glob_types.iter().find(|(glob, _)| glob.as_str() == name);
        match payload.exact_types.get(name) {
            Some(policy) => {
                type_schema::against_policy(Some(name), policy, &payload, team_field, &at, report)
            }
            None => glob().into_iter().for_each(|(_, policy)| {
                type_schema::against_policy(None, policy, &payload, team_field, &at, report);
            }),
        }
    }
    Some(payload)
}

fn timestamp(raw: &raw::Timestamp, at: &KeyPath, report: &mut Report<'_>) -> Option<TimestampPolicy> {
    let presence = report.choice(&at.key("presence"), &raw.presence, PRESENCES);
    let max_age = report.positive_duration(&at.key("max_age"), &raw.max_age);
    let max_ahead = report.take(&at.key("max_ahead"), values::duration(&raw.max_ahead));
    Some(TimestampPolicy { presence: presence?, max_age: max_age?, max_ahead: max_ahead? })
}

fn task_id(raw: &raw::TaskId, at: &KeyPath, report: &mut Report<'_>) -> Option<TaskIdPolicy> {
    let max_length = report.take(&at.key("max_length"), values::count(raw.max_length, MOST_LENGTH));
    let at = at.key("kinds");
    if raw.kinds.is_empty() {
        report.refuse(
            &at,
            "no kind, so no task id could be right",
            r#"write ["integer", "string"], or one of them"#,
        );
        return None;
    }
    let (mut integer, mut string, mut known) = (false, false, true);
    for (index, kind) in raw.kinds.iter().enumerate() {
        match report.choice(&at.index(index), kind, &[("integer", true), ("string", false)]) {
            Some(true) => integer = true,
            Some(false) => string = true,
            None => known = false,
        }
    }
    known.then_some(())?;
    Some(TaskIdPolicy { integer, string, max_length: max_length? as usize })
}

fn fields(
    raw: &BTreeMap<String, raw::Field>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<HashMap<Arc<str>, FieldPolicy>> {
    let fields: Vec<Option<(Arc<str>, FieldPolicy)>> = raw
        .iter()
        .map(|(name, field)| Some((name.as_str().into(), one_field(name, field, &at.key(name), report)?)))
        .collect();
    fields.into_iter().collect()
}

fn one_field(name: &str, raw: &raw::Field, at: &KeyPath, report: &mut Report<'_>) -> Option<FieldPolicy> {
    if OWN_FIELDS.contains(&name) {
        let mend = "leave it out; `types`, `task_id` and `timestamp` of the event describe those";
        report.refuse(at, format!("{name:?} has settings of its own"), mend);
    } else if let Some(fault) = unusable(name) {
        report.refuse(at, fault, "write the field's name as it stands in the payload");
    }
    let presence = match &raw.presence {
        Some(presence) => report.choice(&at.key("presence"), presence, PRESENCES),
        None => Some(Presence::Optional),
    };
    let Some(kind) = &raw.kind else {
        let mend = "write kind = \"string\", \"integer\", \"number\", \"boolean\", \"object\" or \"array\"";
        report.missing(&at.key("kind"), "no kind", mend);
        return None;
    };
    let kind = report.choice(&at.key("kind"), kind, KINDS);
    let max_length = raw.max_length.map(|length| {
        if matches!(kind, Some(FieldKind::Integer | FieldKind::Number | FieldKind::Boolean)) {
            let mend = "leave it out; it counts a string's bytes, an array's elements, an object's members";
            report.refuse(&at.key("max_length"), "this kind has no length", mend);
        }
        report.take(&at.key("max_length"), values::count(length, MOST_LENGTH))
    });
    let max_length = match max_length {
        Some(length) => Some(length? as usize),
        None => None,
    };
    Some(FieldPolicy { rule: at.to_string().into(), kind: kind?, presence: presence?, max_length })
}

type Types = (HashMap<Arc<str>, TypePolicy>, Vec<(Glob, TypePolicy)>);

fn types(raw: &[raw::Type], at: &KeyPath, report: &mut Report<'_>) -> Option<Types> {
    let mut exact = HashMap::new();
    let mut globs: Vec<(Glob, TypePolicy)> = Vec::new();
    let mut right = true;
    for entry in raw {
        let at = at.entry("match", &entry.pattern);
        let task_id = match &entry.task_id {
            Some(presence) => report.choice(&at.key("task_id"), presence, PRESENCES),
            None => Some(Presence::Optional),
        };
        if let Some(fault) = unusable(&entry.pattern) {
            report.refuse(&at, fault, "write a type's name, or a glob such as \"comment-*\"");
            right = false;
        }
        let schema = type_schema::load(entry.schema.as_deref(), &at, report);
        let (Some(task_id), Some(schema)) = (task_id, schema) else {
            right = false;
            continue;
        };
        let policy = TypePolicy { task_id, rules: None, label: 0, schema };
        if !entry.pattern.contains('*') {
            exact.insert(entry.pattern.as_str().into(), policy);
            continue;
        }
        let glob = Glob::new(entry.pattern.as_str());
        if let Some((earlier, _)) = globs.iter().find(|(earlier, _)| earlier.covers(&glob)) {
            report.refuse(
                &at,
                format!("it never matches, since {:?} before it matches all that it would", earlier.as_str()),
                "put it first, or leave one of them out",
            );
            right = false;
        }
        globs.push((glob, policy));
    }
    right.then_some((exact, globs))
}
