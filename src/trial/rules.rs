//! What each of the policy's `[[rules]]` said of one event.

use serde_json::Value;

use super::Ruling;
use crate::config::policy::{Mode, Policy, Rule};
use crate::event::trace::Verdict;

/// What a rule said of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It lets the event pass.
    Allows,
    /// It would refuse it, and only observes.
    WouldRefuse,
    /// It refuses it.
    Refuses,
    /// It is not on events of this type.
    NotOnType,
    /// It is off.
    Off,
    /// Something else refused the event before.
    NotAsked,
}

impl Said {
    /// One word, as `--json` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Said::Allows => "allows",
            Said::WouldRefuse => "would_refuse",
            Said::Refuses => "refuses",
            Said::NotOnType => "not_on_type",
            Said::Off => "off",
            Said::NotAsked => "not_asked",
        }
    }
}

/// Every rule of the policy, in its order, with what it said of the event of this name and argument.
pub fn said<'p>(
    policy: &'p Policy,
    ruling: &Ruling,
    name: &str,
    argument: Option<&str>,
) -> Vec<(&'p Rule, Said)> {
    let kind = kind(policy, name, argument);
    let of = |rule: &'p Rule| {
        let spoke = ruling.steps.iter().find(|step| step.rule.as_deref() == Some(&*rule.key));
        let said = match spoke.map(|step| step.verdict) {
            Some(Verdict::Passed) => Said::Allows,
            Some(Verdict::Observed) => Said::WouldRefuse,
            Some(Verdict::Refused) => Said::Refuses,
            None if rule.mode == Mode::Off => Said::Off,
            None if kind.as_deref().is_some_and(|kind| rule.is_on(kind)) => Said::NotAsked,
            None => Said::NotOnType,
        };
        (rule, said)
    };
    policy.rules.iter().map(|rule| of(rule)).collect()
}

/// The type that rules go by; `None` where the payload is not looked at.
pub fn kind(policy: &Policy, name: &str, argument: Option<&str>) -> Option<String> {
    policy.events.get(name)?.typed.as_ref()?;
    let payload: Value = serde_json::from_str(argument?).ok()?;
    Some(payload.get("type").and_then(Value::as_str).unwrap_or_default().to_owned())
}
