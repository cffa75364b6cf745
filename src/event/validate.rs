//! Validation: is this one of the policy's events, and does its payload look as the policy says?
//!
//! A payload is decoded once, without building a tree: members are visited as slices of the text, and what is not looked
//! at is never copied. What passes is relayed from that same text. The rules that the policy's keys leave open:
//!
//! - Field names are compared exactly, after JSON's escapes are decoded. `null` is a value, not an absent field.
//! - A key that appears twice is refused (`invalid_payload`), also in nested objects: two readers could see two values.
//! - A field that is there though its presence is `forbidden` is `unknown_field`, whatever `unknown_fields` says.
//! - A number must be one that JavaScript can hold, anywhere in a typed payload: finite, and at most 64 characters.
//! - With `validation = "observe"` or `"off"` none of these refuses; what holds all the same is said in `lenient`.
//! - With `payload = "any"` only JSON's grammar counts, and the team field's own value and uniqueness.

mod by_schema;
mod keys;
mod lenient;
mod nested;
mod object;
mod task_id;
mod team;
mod text;
mod timestamp;
mod typed;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::config::policy::{EventPolicy, Mode, TypedPayload};
use crate::message::Event;
use crate::reject::{Code, Reject};

use self::object::Stopped;
use self::typed::Read;
use super::pipeline::{Context, Stage};

/// Refuses events that the policy doesn't name, and payloads that are not as it describes them.
pub struct Validate;

impl Validate {
    /// The stage's name.
    pub(super) const NAME: &'static str = "validate";
}

impl Stage for Validate {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        let Some(policy) = cx.policy.events.get(event.name()) else { return Err(unknown_event()) };
        event.set_policy(policy);
        match &policy.typed {
            Some(typed) => {
                let read = read(event, policy, typed, cx)?;
                event.payload = read.payload;
                event.outgoing = read.outgoing;
                event.set_rules(read.rules);
                event.set_label(read.label);
                event.set_unread(read.unread);
                event.set_id(read.id);
                cx.note(&policy.rules.types, || match event.payload.label {
                    Some(label) => format!("its type is one of {label:?}"),
                    None => "it has none of the types".into(),
                });
                if matches!(event.outgoing, Cow::Owned(_)) {
                    cx.note(
                        &policy.rules.unknown_fields,
                        || "relayed without the fields that nobody declared",
                    );
                }
            }
            None if event.arguments().is_empty() => {
                cx.note(&policy.rules.event, || "no argument, relayed as null");
            }
            None => {
                let (argument, team) = one_argument(event.arguments(), policy)?;
                event.payload.team = team;
                event.outgoing = Cow::Borrowed(argument);
                cx.note(&policy.rules.event, || "any JSON is relayed");
            }
        }
        Ok(())
    }
}

/// Reads a typed payload as strictly as its mode says.
fn read<'e>(
    event: &mut Event<'e>,
    policy: &'e EventPolicy,
    typed: &'e TypedPayload,
    cx: &Context<'e>,
) -> Result<Read<'e>, Reject> {
    let (arguments, now) = (event.arguments(), cx.now.wall);
    match typed.validation {
        Mode::Enforce => typed::read(arguments, policy, typed, now),
        Mode::Off => lenient::read(arguments, policy, typed),
        Mode::Observe => typed::read(arguments, policy, typed, now).or_else(|reject| {
            let read = lenient::read(arguments, policy, typed)?;
            cx.would_refuse(event, Validate::NAME, reject);
            Ok(read)
        }),
    }
}

/// The policy's name or glob that the type of an event matches.
pub(super) fn label<'e>(event: &Event<'e>, policy: &'e EventPolicy) -> Option<&'e str> {
    lenient::read(event.arguments(), policy, policy.typed.as_ref()?).ok()?.payload.label
}

/// The one argument, which may be any JSON, without the whitespace around it, and the team that it names.
fn one_argument<'e>(
    arguments: &'e str,
    policy: &EventPolicy,
) -> Result<(&'e str, Option<Cow<'e, str>>), Reject> {
    let argument = arguments.trim_ascii();
    let read = match &policy.team_field {
        Some(field) if argument.starts_with('{') => team::find(argument, field, policy),
        _ => match serde_json::from_str::<&RawValue>(argument) {
            Ok(_) => Ok(None),
            Err(_) => Err(Stopped::Malformed),
        },
    };
    match read {
        Ok(team) => Ok((argument, team)),
        Err(Stopped::Refused(reject)) => Err(reject),
        Err(Stopped::Malformed) => Err(not_one_argument(policy)),
    }
}

fn not_one_argument(policy: &EventPolicy) -> Reject {
    Reject::new(Code::InvalidPayload, "the event takes one argument, of valid JSON").rule(&policy.rules.event)
}

/// A JSON text, decoded, or the digits of a JSON integer; and which of the two.
pub(super) fn text_or_integer(raw: &str) -> Option<(bool, Cow<'_, str>)> {
    match text::decode(raw) {
        Some(text) => Some((true, text)),
        None => nested::is_integer(raw).then_some((false, Cow::Borrowed(raw))),
    }
}

/// The refusal of an event that the policy doesn't name.
pub(super) fn unknown_event() -> Reject {
    Reject::new(Code::UnknownEvent, "this server knows no event of this name").rule("events")
}

#[cfg(test)]
mod tests;
