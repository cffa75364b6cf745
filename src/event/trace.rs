//! What each step of one decision said, for `flowgate explain` and for tests of a policy. On the event path there is no
//! trace, and nothing is made for one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use crate::reject::Reject;

use super::pipeline::Refused;

/// The steps of one decision, in their order.
#[derive(Debug, Default)]
pub struct Trace(RefCell<Steps>);

#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    stage: &'static str,
    /// Whether the stage has said something of its own.
    has_spoken: bool,
}

/// One thing that a stage said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name of the stage: one of a fixed set.
    pub stage: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// The label of the code of what was refused, or would have been.
    pub code: Option<&'static str>,
    /// The configuration key that spoke, as refusals name it.
    pub rule: Option<String>,
    /// The payload's field concerned.
    pub field: Option<String>,
    /// A phrase for people.
    pub message: Cow<'static, str>,
    /// When the same event may be sent again.
    pub retry_after: Option<Duration>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lets the event, or the client, pass.
    Passed,
    /// It would refuse, and lets pass, since it only observes.
    Observed,
    /// It refuses.
    Refused,
}

impl Verdict {
    /// One word, as `--json` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Observed => "observed",
            Verdict::Refused => "refused",
        }
    }
}

impl Step {
    /// A step that lets pass.
    pub fn passed(stage: &'static str, rule: Option<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Step {
            stage,
            verdict: Verdict::Passed,
            code: None,
            rule,
            field: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A step with this verdict for the reasons of a refusal.
    pub fn of_reject(stage: &'static str, verdict: Verdict, reject: &Reject) -> Self {
        Step {
            stage,
            verdict,
            code: Some(reject.code.as_str()),
            rule: reject.rule.as_deref().map(str::to_owned),
            field: reject.field.as_deref().map(str::to_owned),
            message: Cow::Borrowed(reject.message),
            retry_after: reject.retry_after,
        }
    }
}

impl Trace {
    /// The steps so far.
    pub fn into_steps(self) -> Vec<Step> {
        self.0.into_inner().steps
    }

    /// What follows is said by this stage.
    pub(super) fn begin(&self, stage: &'static str) {
        let mut steps = self.0.borrow_mut();
        steps.stage = stage;
        steps.has_spoken = false;
    }

    /// The stage has let the event pass. One that has said nothing of its own is listed all the same.
    pub(super) fn passed(&self) {
        let mut steps = self.0.borrow_mut();
        if !steps.has_spoken {
            let step = Step::passed(steps.stage, None, "");
            steps.steps.push(step);
        }
    }

    /// The present stage names the key by which it lets the event pass.
    pub(super) fn note(&self, rule: &str, message: impl Into<Cow<'static, str>>) {
        let stage = self.0.borrow().stage;
        self.push(Step::passed(stage, Some(rule.to_owned()), message));
    }

    /// The present stage lets the event pass, and would refuse it if it did more than observe.
    pub(super) fn observed(&self, reject: &Reject) {
        let stage = self.0.borrow().stage;
        self.push(Step::of_reject(stage, Verdict::Observed, reject));
    }

    /// The event was refused.
    pub(super) fn refused(&self, refused: &Refused) {
        self.push(Step::of_reject(refused.stage, Verdict::Refused, &refused.reject));
    }

    fn push(&self, step: Step) {
        let mut steps = self.0.borrow_mut();
        steps.has_spoken = true;
        steps.steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::fixtures::{World, per_second};

    /// Stage, verdict and rule of each step, and whether the event passed.
    fn steps(world: &World, text: &str) -> (Vec<(&'static str, Verdict, String)>, bool) {
        let trace = Trace::default();
        let passed = world.pipeline.explain(&world.sender, text, world.now, &trace).is_ok();
        let steps = trace.into_steps().into_iter();
        (steps.map(|step| (step.stage, step.verdict, step.rule.unwrap_or_default())).collect(), passed)
    }

    #[test]
    fn every_stage_says_what_it_went_by() {
        let world = World::new(|_| {});
        let (steps, passed) = steps(&world, r#"["database-change",{"type":"comment-added"}]"#);
        let expected = [
            ("size", "limits.payload"),
            ("rate_limit", "limits.events.per_socket"),
            ("rate_limit", "limits.events.per_user"),
            ("rate_limit", "limits.events.per_address"),
            ("validate", "events.database-change.types"),
            ("authorize", "auth.mode"),
            ("route", "auth.claims.teams"),
            ("team_limit", "limits.events.per_team"),
        ];
        assert_eq!(steps, expected.map(|(stage, rule)| (stage, Verdict::Passed, rule.to_owned())));
        assert!(passed);
    }

    #[test]
    fn the_stage_that_refuses_is_the_last_to_speak() {
        let world = World::new(|policy| policy.limits.events.per_socket = per_second(1));
        let (said, passed) = steps(&world, r#"["database-change",{"type":"nope"}]"#);
        let last = ("validate", Verdict::Refused, "events.database-change.types".to_owned());
        assert_eq!((said.last(), passed), (Some(&last), false));
        let (said, _) = steps(&world, r#"["any"]"#);
        let last = ("rate_limit", Verdict::Refused, "limits.events.per_socket".to_owned());
        assert_eq!(said.last(), Some(&last));
        // What is no event at all is charged for, and refused without a stage having begun.
        let (said, _) = steps(&World::new(|_| {}), "[1]");
        assert_eq!(said, [("validate", Verdict::Refused, String::new())]);
    }

    #[test]
    fn explaining_costs_what_deciding_costs() {
        let world = World::new(|policy| policy.limits.events.per_socket = per_second(3));
        let left = || world.pipeline.budget(&world.sender, world.now)[0].left;
        assert_eq!(left(), 3);
        assert!(steps(&world, r#"["any"]"#).1);
        assert_eq!(left(), 2);
        world.decide(r#"["any"]"#).unwrap();
        assert_eq!(left(), 1);
        world.decide(r#"["nope"]"#).unwrap_err();
        assert!(!steps(&world, r#"["any"]"#).1);
        assert_eq!(left(), 0);
    }

    #[test]
    fn a_budget_names_every_rate() {
        let world = World::new(|policy| policy.limits.events.per_team = per_second(5));
        world.decide(r#"["any"]"#).unwrap();
        let budget = world.pipeline.budget(&world.sender, world.now);
        let rules: Vec<_> = budget.iter().map(|rate| (rate.rule, rate.team.as_deref())).collect();
        let expected = [
            ("limits.events.per_socket", None),
            ("limits.events.per_user", None),
            ("limits.events.per_address", None),
            ("limits.events.per_team", Some("red")),
        ];
        assert_eq!(rules, expected);
        assert_eq!((budget[3].left, budget[3].burst), (4, 5));
    }
}
