//! The team that a payload names. Whether the sender holds it is for the route to say.

use std::borrow::Cow;

use crate::config::policy::EventPolicy;
use crate::reject::{Code, Reject};

use super::object::{self, Stopped};
use super::text;

/// Reads the team field's JSON value.
pub(super) fn read<'e>(raw: &'e str, policy: &EventPolicy) -> Result<Cow<'e, str>, Reject> {
    text::decode(raw).ok_or_else(|| refuse(policy, "the team field must be a string"))
}

/// The team named in a payload of which nothing else is known. Only an object can name one.
pub(super) fn find<'e>(payload: &'e str, policy: &EventPolicy) -> Result<Option<Cow<'e, str>>, Reject> {
    let Some(field) = policy.team_field.as_deref().filter(|_| payload.starts_with('{')) else {
        return Ok(None);
    };
    let mut team = None;
    let found = object::each_member(payload, |key, value| {
        if text::decode(key).is_some_and(|key| key == field) && team.replace(read(value, policy)?).is_some() {
            return Err(refuse(policy, "the team field appears twice"));
        }
        Ok(())
    });
    match found {
        Ok(()) => Ok(team),
        Err(Stopped::Refused(reject)) => Err(reject),
        Err(Stopped::NotAnObject) => Err(refuse(policy, "the payload cannot be searched for its team field")),
    }
}

fn refuse(policy: &EventPolicy, message: &'static str) -> Reject {
    let reject = Reject::new(Code::InvalidPayload, message).rule(&policy.rules.team_field);
    match &policy.team_field {
        Some(field) => reject.field(field),
        None => reject,
    }
}
