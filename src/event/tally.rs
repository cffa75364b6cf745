//! What became of events, counted by the names that the policy gives, and what observed checks would have refused, said.
//!
//! The counters of every label are made with the pipeline, so that counting is an index and an addition.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use crate::config::policy::{EventLimits, Label, Mode, Policy};
use crate::metrics::{EventCounters, EventCounts};
use crate::reject::{Code, Refused, Reject};

use super::pipeline::Context;
use super::rules::Rules;

/// One thing is said in the log at most this often, whatever clients send; the counters know the rest. Nanoseconds.
const SAY_EVERY: u64 = 1_000_000_000;

/// The rates that an event may be over, as refusals name them.
const RATES: [&str; 4] = [
    "limits.events.per_socket",
    "limits.events.per_user",
    "limits.events.per_address",
    "limits.events.per_team",
];

/// What validation refuses with.
const VALIDATION: [Code; 6] = [
    Code::InvalidPayload,
    Code::MissingField,
    Code::UnknownField,
    Code::UnknownType,
    Code::StaleTimestamp,
    Code::FutureTimestamp,
];

/// The counters of one policy's labels.
pub(super) struct Tally {
    counters: EventCounters,
    /// As in [`Policy::labels`].
    labels: Vec<Counted>,
    stages: Vec<RefusedAt>,
    /// As in [`RATES`].
    over: [Counter; RATES.len()],
    /// Tokens on live sockets that were taken, and those that were not.
    refreshes: [Quiet; 2],
}

/// What one stage refused. A counter is made with the first refusal, since most stages have few codes.
struct RefusedAt {
    stage: &'static str,
    /// As in [`Code::ALL`].
    counters: Box<[OnceLock<Counter>]>,
}

struct Counted {
    label: Label,
    counts: EventCounts,
    quiet: Quiet,
}

/// Keeps the lines about one thing apart in the log.
#[derive(Default)]
pub(super) struct Quiet {
    /// Nanoseconds since the pipeline's epoch.
    until: AtomicU64,
}

impl Quiet {
    /// Whether it may be spoken of at `now`. If so, it may not be for a while.
    pub fn may_speak(&self, now: u64) -> bool {
        let next = |until: u64| (until <= now).then(|| now.saturating_add(SAY_EVERY));
        self.until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl Tally {
    /// Those of this policy, among `counters`, for what these stages say.
    pub fn new(
        policy: &Policy,
        counters: &EventCounters,
        stages: impl Iterator<Item = &'static str>,
    ) -> Self {
        let labels = policy.labels.iter().map(|label| {
            for code in observable(policy, label) {
                // It is there from now on, at zero.
                counters.observed(label, code);
            }
            Counted { label: label.clone(), counts: counters.of(label), quiet: Quiet::default() }
        });
        let refused_at =
            |stage| RefusedAt { stage, counters: Code::ALL.iter().map(|_| OnceLock::new()).collect() };
        Tally {
            labels: labels.collect(),
            stages: stages.map(refused_at).collect(),
            over: RATES.map(|key| counters.over_limit(key)),
            refreshes: Default::default(),
            counters: counters.clone(),
        }
    }

    /// Whether the log may say at `now` that a token was taken on a live socket, or that it was not.
    pub fn may_say_refresh(&self, is_taken: bool, now: u64) -> bool {
        self.refreshes[usize::from(is_taken)].may_speak(now)
    }

    /// Counts a refusal by who spoke it.
    pub fn refused(&self, refused: &Refused) {
        let Refused { stage, reject } = refused;
        let Some(at) = self.stages.iter().find(|at| at.stage == *stage) else { return };
        at.counters[reject.code.index()].get_or_init(|| self.counters.refused_at(stage, reject.code)).inc();
        self.over(refused);
    }

    fn over(&self, refused: &Refused) {
        self.over_rate(&refused.reject);
    }

    /// Counts an event over a rate.
    pub fn over_rate(&self, reject: &Reject) {
        let rule = reject.rule.as_deref();
        if let Some(at) = RATES.iter().position(|rate| rule == Some(*rate)) {
            self.over[at].inc();
        }
    }

    /// Counts what became of an event: refused, or accepted with what would have refused it. One of a name that the policy
    /// doesn't know is counted by its code only.
    pub fn count(&self, label: Option<usize>, decided: Result<&[Refused], &Refused>, cx: &Context<'_>) {
        let Some(counted) = label.and_then(|label| self.labels.get(label)) else { return };
        match decided {
            Err(_) => drop(counted.counts.refused.inc()),
            Ok([]) => drop(counted.counts.accepted.inc()),
            Ok(observed) => self.observed(counted, observed, cx),
        }
    }

    /// An event that several checks would have refused counts once under each of their codes. The log says the first;
    /// rules speak for themselves.
    #[cold]
    fn observed(&self, counted: &Counted, observed: &[Refused], cx: &Context<'_>) {
        counted.counts.observed.inc();
        for (at, refused) in observed.iter().enumerate() {
            self.over(refused);
            let code = refused.reject.code;
            if observed[..at].iter().all(|earlier| earlier.reject.code != code) {
                self.counters.observed(&counted.label, code).inc();
            }
        }
        let first = observed.iter().find(|refused| refused.stage != Rules::NAME);
        if let Some(Refused { reject, stage }) = first
            && counted.quiet.may_speak(cx.elapsed)
        {
            tracing::info!(
                name = &*counted.label.event,
                r#type = &*counted.label.kind,
                code = reject.code.as_str(),
                stage,
                rule = reject.rule.as_deref(),
                connection = %cx.peer.id(),
                event = %cx.id,
                "would have refused an event"
            );
        }
    }
}

/// The codes that observed checks may give to events of this label.
fn observable(policy: &Policy, label: &Label) -> Vec<Code> {
    let observes = |mode| mode == Mode::Observe;
    let EventLimits { per_socket, per_user, per_address, per_team, .. } = &policy.limits.events;
    let limits = [per_socket, per_user, per_address, per_team].iter().any(|limit| observes(limit.mode));
    let rules = policy.rules.iter().any(|rule| observes(rule.mode));
    let typed = policy.events.get(&label.event).and_then(|event| event.typed.as_ref());
    let mut codes = Vec::new();
    codes.extend(limits.then_some(Code::RateLimited));
    codes.extend((rules && typed.is_some()).then_some(Code::NotAllowed));
    let replay = typed.and_then(|typed| typed.replay.as_ref());
    codes.extend(replay.filter(|replay| observes(replay.mode)).map(|_| Code::Duplicate));
    codes.extend(VALIDATION.iter().filter(|_| typed.is_some_and(|typed| observes(typed.validation))));
    codes
}
