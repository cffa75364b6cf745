//! Rules: what the policy's `[[rules]]` say of this event from this peer.
//!
//! Only the rules of the event's own type are looked at, found when the policy was loaded. Without rules the stage is
//! not there.

use crate::config::expression::{EventFacts, Facts, Failure, Id, Own};
use crate::config::policy::{AppliedRule, Mode, Policy, Rule, TypeRules};
use crate::message::{Event, TaskId};
use crate::metrics::{RuleCounters, RuleCounts};
use crate::reject::{Code, Reject};

use super::pipeline::{Context, Stage};
use super::tally::Quiet;

/// Refuses what a rule does not allow.
pub struct Rules {
    /// By the rules' index.
    states: Vec<State>,
}

/// What one rule has decided so far.
struct State {
    counts: RuleCounts,
    quiet: Quiet,
}

impl Rules {
    /// The stage's name.
    pub(super) const NAME: &'static str = "rules";

    /// The stage for this policy's rules, whose decisions are counted in `counters`.
    pub fn new(policy: &Policy, counters: &RuleCounters) -> Self {
        let state = |rule: &str| State { counts: counters.of(rule), quiet: Quiet::default() };
        Rules { states: policy.rules.iter().map(|rule| state(&rule.name)).collect() }
    }

    /// Judges by one rule, whatever its mode is.
    fn judge(&self, rule: &Rule, facts: &Facts<'_>, cx: &Context<'_>) -> Result<(), Reject> {
        let Some(state) = self.states.get(rule.index) else { return Ok(()) };
        let enforced = rule.mode == Mode::Enforce;
        match rule.expression.evaluate(facts) {
            Ok(true) => {
                state.counts.allowed.inc();
                cx.note(&rule.key, || "it allows the event");
                Ok(())
            }
            Ok(false) => {
                if enforced {
                    state.counts.refused.inc();
                } else {
                    state.counts.observed.inc();
                    if state.quiet.may_speak(cx.elapsed) {
                        tracing::info!(rule = &*rule.name, connection = %cx.peer.id(), event = %cx.id, "would have refused an event");
                    }
                }
                Err(Reject::new(Code::NotAllowed, "a rule of the policy does not allow it").rule(&rule.key))
            }
            Err(failure) => {
                state.counts.error.inc();
                if state.quiet.may_speak(cx.elapsed) {
                    complain(rule, failure, cx);
                }
                let message = "a rule of the policy has no answer for it";
                Err(Reject::new(Code::NotAllowed, message).rule(&rule.key))
            }
        }
    }
}

/// A rule without an answer is a mistake in the policy rather than in the event, so operators hear of it.
#[cold]
fn complain(rule: &Rule, failure: Failure, cx: &Context<'_>) {
    tracing::warn!(
        rule = &*rule.name,
        connection = %cx.peer.id(),
        event = %cx.id,
        refused = rule.mode == Mode::Enforce,
        why = failure.as_str(),
        "a rule has no answer for an event"
    );
}

impl Stage for Rules {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn judges_sender(&self) -> bool {
        true
    }

    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        let Some(TypeRules { rules, fields }) = event.rules() else { return Ok(()) };
        let payload = &event.payload;
        let unread = event.unread();
        let said = EventFacts {
            name: event.name(),
            kind: own(payload.kind.as_deref(), unread.kind),
            task_id: own(payload.task_id.as_ref().map(id), unread.task_id),
            timestamp: own(payload.timestamp, unread.timestamp),
            json: &event.outgoing,
            fields,
        };
        let facts = Facts::new(cx.peer.facts(), said, cx.now.wall);
        let kind = payload.kind.as_deref().unwrap_or_default();
        let on_this = rules.iter().filter(|applied| applied.always || applied.rule.is_on(kind));
        let mut observed = Vec::new();
        for AppliedRule { rule, .. } in on_this {
            match self.judge(rule, &facts, cx) {
                Err(reject) if rule.mode != Mode::Enforce => observed.push(reject),
                judged => judged?,
            }
        }
        drop(facts);
        observed.into_iter().for_each(|reject| cx.would_refuse(event, Self::NAME, reject));
        Ok(())
    }
}

/// What stands in one of the event's own fields, read or unread.
fn own<'a, T>(read: Option<T>, unread: Option<&'a str>) -> Option<Own<'a, T>> {
    read.map(Own::Read).or(unread.map(Own::Json))
}

fn id<'a>(id: &'a TaskId<'_>) -> Id<'a> {
    match id {
        TaskId::Integer(digits) => Id::Integer(digits),
        TaskId::String(text) => Id::Text(text),
    }
}

#[cfg(test)]
mod tests;
