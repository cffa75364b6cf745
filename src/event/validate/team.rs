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

/// The team named in an object of which nothing else is known. `None` if `field` is not in it.
pub(super) fn find<'e>(
    object: &'e str,
    field: &str,
    policy: &EventPolicy,
) -> Result<Option<Cow<'e, str>>, Stopped> {
    let mut team = None;
    object::each_member(object, |key, value| {
        if text::decode(key).is_some_and(|key| key == field) && team.replace(read(value, policy)?).is_some() {
            return Err(refuse(policy, "the team field appears twice"));
        }
        Ok(())
    })?;
    Ok(team)
}

fn refuse(policy: &EventPolicy, message: &'static str) -> Reject {
    let reject = Reject::new(Code::InvalidPayload, message).rule(&policy.rules.team_field);
    match &policy.team_field {
        Some(field) => reject.field(field),
        None => reject,
    }
}
