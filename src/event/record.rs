//! What the decision log is told of events.

use super::now::Now;
use super::pipeline::{Decision, Labels, Refused};
use crate::decision_log::{Kind, Outcome, Record, Teams, Who};
use crate::event_id::EventId;
use crate::reject::{Name, Reject};

/// What stands for the name of an event that the policy doesn't have: names of clients' own choosing are not written down.
const UNKNOWN: &str = "unknown";

/// An event that so many members heard, where that is known already.
pub(crate) fn accepted(
    who: Who,
    id: EventId,
    decision: &Decision<'_>,
    heard: Option<usize>,
    now: Now,
) -> Record {
    Record {
        event: Some(Name::from(decision.name)),
        event_type: decision.kind.map(Into::into),
        teams: Teams::of(decision.teams.iter().copied()),
        recipients: heard,
        ..of(who, id, Outcome::Accepted, now)
    }
}

/// An event that was relayed although a check that only observes would have refused it.
pub(crate) fn observed(
    who: Who,
    id: EventId,
    decision: &Decision<'_>,
    refused: &Refused,
    heard: Option<usize>,
    now: Now,
) -> Record {
    Record {
        outcome: Some(Outcome::Observed),
        code: Some(refused.reject.code.as_str()),
        stage: Some(refused.stage),
        rule: refused.reject.rule.clone(),
        ..accepted(who, id, decision, heard, now)
    }
}

/// An event that waits because it is over its sender's rate, or had to until it went with a later equal one.
pub(crate) fn folded(who: Who, id: EventId, decision: &Decision<'_>, over: &Reject, now: Now) -> Record {
    Record {
        outcome: Some(Outcome::Folded),
        code: Some(over.code.as_str()),
        rule: over.rule.clone(),
        ..accepted(who, id, decision, None, now)
    }
}

/// An event that was refused. The teams are those that its sender holds, where that is a peer: which one it was for may not be known.
pub(crate) fn refused(who: Who, id: EventId, refused: &Refused, labels: Labels<'_>, now: Now) -> Record {
    Record {
        event: Some(labels.name.map_or(Name::from(UNKNOWN), Name::from)),
        event_type: labels.kind.map(Into::into),
        code: Some(refused.reject.code.as_str()),
        stage: Some(refused.stage),
        rule: refused.reject.rule.clone(),
        ..of(who, id, Outcome::Refused, now)
    }
}

fn of(who: Who, id: EventId, outcome: Outcome, now: Now) -> Record {
    Record {
        id: Some(id),
        outcome: Some(outcome),
        latency: Some(now.steady.elapsed()),
        ..Record::new(Kind::Event, who, now.wall)
    }
}
