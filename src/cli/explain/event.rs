//! The event that the arguments describe.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ExplainArgs;
use crate::trial::Trial;

/// An event as a client sends it.
pub(super) struct Event {
    pub name: String,
    /// JSON text, byte for byte as it was given; `None` for an event without an argument.
    pub payload: Option<String>,
}

/// An event that says its own name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named<'a> {
    name: String,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Event {
    /// `None` where the arguments ask about no event.
    pub(super) fn of(args: &ExplainArgs, trial: &Trial) -> Option<Self> {
        let (text, name) = (args.event.as_deref(), args.event_name.clone());
        let named = text.filter(|_| name.is_none()).and_then(|text| serde_json::from_str(text).ok());
        match (named, text, name) {
            (Some(Named { name, payload }), ..) => {
                Some(Event { name, payload: payload.map(|payload| payload.get().to_owned()) })
            }
            (None, None, None) => None,
            (None, text, name) => Some(Event {
                name: name.unwrap_or_else(|| trial.usual_event().to_owned()),
                payload: text.map(|text| text.trim_ascii().to_owned()),
            }),
        }
    }
}

/// Checks that an argument is JSON, and leaves it as it stands.
pub(super) fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("this is not JSON: it fails at column {}", error.column())),
    }
}
