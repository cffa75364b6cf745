//! What can be read of a payload that validation doesn't refuse, because the policy has it observe or switches it off.
//!
//! Where the policy enforces it, nothing of this runs. What the path of an event itself depends on still holds: one
//! argument, of valid JSON, and each of the fields that flowgate acts on at most once, since whoever reads the event next may
//! take the other one; and the team field names a team or is refused. So no event reaches a room, or escapes a rule, by
//! being malformed.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde_json::value::RawValue;

use crate::config::policy::{EventPolicy, Presence, TaskIdPolicy, TimestampPolicy, TypedPayload};
use crate::message::{Payload, Unread};
use crate::reject::{Code, Name, Reject};

use super::object::{self, Stopped};
use super::typed::{self, Read, TASK_ID, TIMESTAMP, TYPE};
use super::{not_one_argument, task_id, team, text, timestamp};

/// Any integer and any text that a packet can hold.
const ANY_ID: TaskIdPolicy = TaskIdPolicy { integer: true, string: true, max_length: usize::MAX };

/// Any time.
const ANY_TIME: TimestampPolicy =
    TimestampPolicy { presence: Presence::Optional, max_age: Duration::MAX, max_ahead: Duration::MAX };

/// Reads what there is to read.
pub(super) fn read<'e>(
    arguments: &'e str,
    event: &'e EventPolicy,
    typed: &'e TypedPayload,
) -> Result<Read<'e>, Reject> {
    let argument = arguments.trim_ascii();
    let mut found = Found::default();
    if argument.starts_with('{') {
        object::each_member(argument, |key, value| found.member(event, key, value)).map_err(|stopped| {
            match stopped {
                Stopped::Refused(reject) => reject,
                Stopped::Malformed => not_one_argument(event),
            }
        })?;
    } else if !argument.is_empty() && serde_json::from_str::<&RawValue>(argument).is_err() {
        return Err(not_one_argument(event));
    }

    let kind = found.kind.and_then(text::decode);
    let declared = kind.as_deref().and_then(|kind| typed::find_type(typed, kind));
    let id = found.task_id.and_then(|raw| task_id::read(raw, &ANY_ID).ok());
    let time = found.timestamp.and_then(|raw| timestamp::read(raw, &ANY_TIME, SystemTime::UNIX_EPOCH).ok());
    let unread = Unread {
        kind: found.kind.filter(|_| kind.is_none()),
        task_id: found.task_id.filter(|_| id.is_none()),
        timestamp: found.timestamp.filter(|_| time.is_none()),
    };
    let label = declared.map(|(label, _)| label);
    let payload = Payload { kind, label, task_id: id, timestamp: time, team: found.team };
    Ok(Read {
        payload,
        unread,
        id: None,
        outgoing: Cow::Borrowed(if argument.is_empty() { "null" } else { argument }),
        rules: declared.map_or(typed.undeclared.as_ref(), |(_, policy)| policy.rules.as_ref()),
        label: declared.map_or(event.label, |(_, policy)| policy.label),
    })
}

/// The fields that flowgate acts on, the first three as JSON text.
#[derive(Default)]
struct Found<'e> {
    kind: Option<&'e str>,
    task_id: Option<&'e str>,
    timestamp: Option<&'e str>,
    team: Option<Cow<'e, str>>,
}

impl<'e> Found<'e> {
    fn member(&mut self, event: &EventPolicy, raw_key: &'e str, value: &'e str) -> Result<(), Reject> {
        // A key that is no text is none of these.
        let Some(key) = text::decode(raw_key) else { return Ok(()) };
        let twice = match &*key {
            TYPE => self.kind.replace(value).is_some(),
            TASK_ID => self.task_id.replace(value).is_some(),
            TIMESTAMP => self.timestamp.replace(value).is_some(),
            key if event.team_field.as_deref() == Some(key) => {
                self.team.replace(team::read(value, event)?).is_some()
            }
            _ => false,
        };
        if !twice {
            return Ok(());
        }
        let mut reject = Reject::new(Code::InvalidPayload, "a field appears twice").rule(&event.rules.event);
        reject.field = Name::from_client(&key);
        Err(reject)
    }
}

#[cfg(test)]
mod tests;
