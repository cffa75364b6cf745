//! Rules: what the policy's `[[rules]]` say of this event from this peer.
//!
//! Only the rules of the event's own type are looked at, found when the policy was loaded. Without rules the stage is
//! not there.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::expression::{EventFacts, Facts, Failure, Id};
use crate::config::policy::{Policy, Rule, RuleMode, TypeRules};
use crate::message::{Event, TaskId};
use crate::metrics::{RuleCounters, RuleCounts};
use crate::reject::{Code, Reject};

use super::pipeline::{Context, Stage};

/// One rule says the same thing in the log at most this often, whatever clients send; the counters know the rest.
/// Nanoseconds.
const SAY_EVERY: u64 = 1_000_000_000;

/// Refuses what a rule does not allow.
pub struct Rules {
    /// By the rules' index.
    states: Vec<State>,
}

/// What one rule has decided so far.
struct State {
    counts: RuleCounts,
    /// When it may speak in the log again: nanoseconds since the pipeline's epoch.
    silent_until: AtomicU64,
}

impl Rules {
    /// The stage for this policy's rules, whose decisions are counted in `counters`.
    pub fn new(policy: &Policy, counters: &RuleCounters) -> Self {
        let state = |rule: &str| State { counts: counters.of(rule), silent_until: AtomicU64::new(0) };
        Rules { states: policy.rules.iter().map(|rule| state(&rule.name)).collect() }
    }

    /// Judges by one rule.
    fn judge(&self, rule: &Rule, facts: &Facts<'_>, cx: &Context<'_>) -> Result<(), Reject> {
        let Some(state) = self.states.get(rule.index) else { return Ok(()) };
        let enforced = rule.mode == RuleMode::Enforce;
        match rule.expression.evaluate(facts) {
            Ok(true) => {
                state.counts.allowed.inc();
                cx.note(&rule.key, || "it allows the event");
                Ok(())
            }
            Ok(false) if enforced => {
                state.counts.refused.inc();
                Err(Reject::new(Code::NotAllowed, "a rule of the policy does not allow it").rule(&rule.key))
            }
            Ok(false) => {
                state.counts.observed.inc();
                cx.would_refuse(&rule.key, "a rule of the policy does not allow it");
                if state.may_speak(cx.elapsed) {
                    tracing::info!(rule = &*rule.name, connection = %cx.peer.id(), event = %cx.id, "would have refused an event");
                }
                Ok(())
            }
            Err(failure) => {
                state.counts.error.inc();
                if state.may_speak(cx.elapsed) {
                    complain(rule, failure, cx);
                }
                let message = "a rule of the policy has no answer for it";
                if !enforced {
                    cx.would_refuse(&rule.key, message);
                    return Ok(());
                }
                Err(Reject::new(Code::NotAllowed, message).rule(&rule.key))
            }
        }
    }
}

impl State {
    fn may_speak(&self, now: u64) -> bool {
        let next = |until: u64| (until <= now).then(|| now.saturating_add(SAY_EVERY));
        self.silent_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// A rule without an answer is a mistake in the policy rather than in the event, so operators hear of it.
#[cold]
fn complain(rule: &Rule, failure: Failure, cx: &Context<'_>) {
    tracing::warn!(
        rule = &*rule.name,
        connection = %cx.peer.id(),
        event = %cx.id,
        refused = rule.mode == RuleMode::Enforce,
        why = failure.as_str(),
        "a rule has no answer for an event"
    );
}

impl Stage for Rules {
    fn name(&self) -> &'static str {
        "rules"
    }

    fn check<'e>(&self, event: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        let Some(TypeRules { rules, fields }) = event.rules() else { return Ok(()) };
        let payload = &event.payload;
        let said = EventFacts {
            name: event.name(),
            kind: payload.kind.as_deref(),
            task_id: payload.task_id.as_ref().map(|id| match id {
                TaskId::Integer(digits) => Id::Integer(digits),
                TaskId::String(text) => Id::Text(text),
            }),
            timestamp: payload.timestamp,
            json: &event.outgoing,
            fields,
        };
        let facts = Facts::new(cx.peer.facts(), said, cx.now.wall);
        let kind = payload.kind.as_deref().unwrap_or_default();
        let on_this = rules.iter().filter(|applied| applied.always || applied.rule.is_on(kind));
        for applied in on_this {
            self.judge(&applied.rule, &facts, cx)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
