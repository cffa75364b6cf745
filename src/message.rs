//! An event on its way through the pipeline.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::policy::{EventPolicy, TypeRules};
use crate::reject::{Refused, Reject};

/// What a JSON `taskId` was.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskId<'a> {
    /// A JSON integer, as its digits were written.
    Integer(&'a str),
    /// A JSON string, decoded.
    String(Cow<'a, str>),
}

/// What an event is about, as far as that decides who hears it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topic<'a> {
    /// The decoded `type`, empty where a payload says none though it should; `None` where the payload is not looked at.
    pub kind: Option<Cow<'a, str>>,
    /// The `taskId`, where there is one.
    pub task_id: Option<TaskId<'a>>,
}

/// The typed view of a payload, filled in by validation when the policy says `payload = "typed"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload<'a> {
    /// The decoded `type`.
    pub kind: Option<Cow<'a, str>>,
    /// The policy's name or glob that the `type` matched: one of a fixed set, so that metrics may use it as a label.
    pub label: Option<&'a str>,
    /// The `taskId`.
    pub task_id: Option<TaskId<'a>>,
    /// The `timestamp`, already inside its window unless validation only observes.
    pub timestamp: Option<SystemTime>,
    /// The team named by the policy's `team_field`, not yet checked against the sender's teams.
    pub team: Option<Cow<'a, str>>,
}

/// What stands in the fields that every payload may have and is nothing that they should hold, as JSON text. Only where
/// validation does not refuse it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Unread<'a> {
    /// A `type` that is no text.
    pub kind: Option<&'a str>,
    /// A `taskId` that is neither integer nor text.
    pub task_id: Option<&'a str>,
    /// A `timestamp` that is no time.
    pub timestamp: Option<&'a str>,
}

/// One event from a client: its name and its unparsed arguments, which stages refuse or narrow.
#[derive(Debug)]
pub struct Event<'a> {
    name: &'a str,
    arguments: &'a str,
    /// What will be relayed: the argument's own JSON text, byte for byte, unless the policy strips fields.
    pub outgoing: Cow<'a, str>,
    /// The typed view, once validation has run.
    pub payload: Payload<'a>,
    policy: Option<&'a EventPolicy>,
    rules: Option<&'a TypeRules>,
    unread: Unread<'a>,
    label: Option<usize>,
    observed: Vec<Refused>,
    over: Option<Reject>,
    id: Option<&'a str>,
    only_teams: Option<Vec<Arc<str>>>,
}

impl<'a> Event<'a> {
    /// Splits the text of a Socket.IO event packet, `["name"]` or `["name",argument…]`, without parsing the arguments.
    ///
    /// Returns `None` where the text is no array that begins with a plain string, or ends in a comma.
    pub fn split(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?.trim_ascii_start().strip_prefix('"')?;
        let (name, rest) = inner.split_once('"')?;
        if name.contains('\\') {
            return None;
        }
        let rest = rest.trim_ascii();
        let arguments = match rest.strip_prefix(',') {
            Some(arguments) if arguments.trim_ascii().is_empty() => return None,
            Some(arguments) => arguments,
            None if rest.is_empty() => "",
            None => return None,
        };
        Some(Event {
            name,
            arguments,
            outgoing: Cow::Borrowed("null"),
            payload: Payload::default(),
            policy: None,
            rules: None,
            unread: Unread::default(),
            label: None,
            observed: Vec::new(),
            over: None,
            id: None,
            only_teams: None,
        })
    }

    /// The event's name, such as `database-change`.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The unparsed JSON text of all arguments, without the brackets; empty when there is none.
    pub fn arguments(&self) -> &'a str {
        self.arguments
    }

    /// What the policy says of this event; `None` until validation has found its name in the policy.
    pub fn policy(&self) -> Option<&'a EventPolicy> {
        self.policy
    }

    /// Set once, by validation.
    pub(crate) fn set_policy(&mut self, policy: &'a EventPolicy) {
        self.policy = Some(policy);
        self.label = Some(policy.label);
    }

    /// The place among the policy's labels under which it is counted, as far as it is known yet.
    pub(crate) fn label(&self) -> Option<usize> {
        self.label
    }

    /// Set by validation when it has found the type's.
    pub(crate) fn set_label(&mut self, label: usize) {
        self.label = Some(label);
    }

    /// The rules that judge events of this type; `None` where none does.
    pub(crate) fn rules(&self) -> Option<&'a TypeRules> {
        self.rules
    }

    /// Set once, by validation.
    pub(crate) fn set_rules(&mut self, rules: Option<&'a TypeRules>) {
        self.rules = rules;
    }

    /// What its payload says that could not be read as it should be.
    pub(crate) fn unread(&self) -> Unread<'a> {
        self.unread
    }

    /// Set once, by validation.
    pub(crate) fn set_unread(&mut self, unread: Unread<'a>) {
        self.unread = unread;
    }

    /// Notes that a stage whose mode is `observe` would have refused it.
    pub(crate) fn would_refuse(&mut self, stage: &'static str, reject: Reject) {
        self.observed.push(Refused { reject, stage });
    }

    /// What it would have been refused for, were every check enforced; in the order of the stages.
    pub fn observed(&self) -> &[Refused] {
        &self.observed
    }

    /// The same, taken out.
    pub(crate) fn take_observed(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.observed)
    }

    /// The JSON text of the field that tells it from its replays, where the policy names one and it is there.
    pub(crate) fn id(&self) -> Option<&'a str> {
        self.id
    }

    /// Set once, by validation.
    pub(crate) fn set_id(&mut self, id: Option<&'a str>) {
        self.id = id;
    }

    /// Notes that it is over its sender's rate, which it is to wait for instead of being refused.
    pub(crate) fn set_over(&mut self, over: Reject) {
        self.over = Some(over);
    }

    /// The refusal that it would have met, had it not been left to wait.
    pub(crate) fn over(&self) -> Option<&Reject> {
        self.over.as_ref()
    }

    /// The same, taken out.
    pub(crate) fn take_over(&mut self) -> Option<Reject> {
        self.over.take()
    }

    /// Relays the event to these teams at most: to those among them that it would have reached anyway, also after what
    /// an earlier stage narrowed it to. If none is left, the event is refused with `no_room`.
    pub fn narrow(&mut self, mut teams: Vec<Arc<str>>) {
        if let Some(before) = &self.only_teams {
            teams.retain(|team| before.contains(team));
        }
        self.only_teams = Some(teams);
    }

    /// The teams that stages narrowed the event to; `None` when none did.
    pub fn only_teams(&self) -> Option<&[Arc<str>]> {
        self.only_teams.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_name_and_arguments() {
        let event = Event::split(r#"["database-change",{"a" : 1.0}]"#).unwrap();
        assert_eq!((event.name(), event.arguments()), ("database-change", r#"{"a" : 1.0}"#));
        let event = Event::split(r#"["x"]"#).unwrap();
        assert_eq!((event.name(), event.arguments()), ("x", ""));
    }

    #[test]
    fn refuses_what_is_not_an_event() {
        for text in
            ["", "[", "[]", "[1]", "{}", r#"["x"1]"#, r#"["x\"y",1]"#, r#"["x"#, r#"["x",]"#, r#"["x", ]"#]
        {
            assert!(Event::split(text).is_none(), "{text}");
        }
    }

    #[test]
    fn narrowing_twice_never_widens() {
        let mut event = Event::split(r#"["x"]"#).unwrap();
        event.narrow(vec!["a".into(), "b".into()]);
        event.narrow(vec!["b".into(), "c".into()]);
        assert_eq!(event.only_teams(), Some(&["b".into()][..]));
    }
}
