//! Runs tests of a policy, each from a beginning of its own at which nothing has been used up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Expect, Step, Suite, Test};
use crate::config::policy::Policy;
use crate::connect::token::VerifierError;
use crate::event::Now;
use crate::event::trace;
use crate::trial::{Handshake, Member, Ruling, Trial};

/// Something that is not as expected.
#[derive(Debug)]
pub struct Failure {
    /// The step's number, from one.
    pub step: usize,
    /// How often it had been repeated before.
    pub repeated: u32,
    /// How long after the beginning.
    pub at: Duration,
    /// Who.
    pub from: String,
    /// What was sent, for people; `None` for a handshake.
    pub event: Option<String>,
    /// What differs, at least one.
    pub differences: Vec<Difference>,
    /// How it came to what it came to.
    pub steps: Vec<trace::Step>,
}

/// One expectation that is not met.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The key of `expect`.
    pub key: &'static str,
    /// What it says.
    pub expected: Value,
    /// What it is.
    pub got: Value,
}

/// What a test is about, while it runs.
struct Stage<'t> {
    trial: Trial,
    began: Now,
    test: &'t Test,
    /// In the order of the test's peers.
    handshakes: Vec<Handshake>,
}

/// Runs one test; `None` where everything is as expected. The first step that is not ends it, since what follows builds on it.
///
/// # Errors
/// The policy cannot be tried.
pub async fn run(suite: &Suite, test: &Test, policy: &Arc<Policy>) -> Result<Option<Failure>, VerifierError> {
    let began = Now { wall: suite.now, steady: Instant::now() };
    let trial = Trial::new(policy.clone(), began)?;
    let mut handshakes = Vec::with_capacity(test.peers.len());
    for peer in &test.peers {
        handshakes.push(trial.admit(&peer.arrival, began).await);
    }
    let stage = Stage { trial, began, test, handshakes };
    Ok(test.steps.iter().enumerate().find_map(|(number, step)| stage.play(number + 1, step)))
}

impl Stage<'_> {
    fn play(&self, number: usize, step: &Step) -> Option<Failure> {
        let failure = |repeated, (differences, steps): (Vec<Difference>, Vec<trace::Step>)| Failure {
            step: number,
            repeated,
            at: step.at,
            from: self.test.peers.get(step.from).map(|peer| peer.name.clone()).unwrap_or_default(),
            event: step.event.as_ref().map(|event| {
                let name = event.name.as_deref().unwrap_or(self.trial.usual_event());
                format!("{name} {}", event.payload.as_deref().unwrap_or("without an argument"))
            }),
            differences,
            steps,
        };
        (0..step.repeat).find_map(|repeated| self.once(step).map(|found| failure(repeated, found)))
    }

    /// What differs, and the steps that led there.
    fn once(&self, step: &Step) -> Option<(Vec<Difference>, Vec<trace::Step>)> {
        let handshake = self.handshakes.get(step.from)?;
        let mut differences = Differences::default();
        let steps = match (&handshake.outcome, &step.event) {
            (Ok(member), Some(event)) => {
                differences.compare("admitted", step.expect.admitted, true);
                let now = self.began + step.at;
                let members = self.handshakes.iter().filter_map(|handshake| handshake.outcome.as_ref().ok());
                let name = event.name.as_deref().unwrap_or(self.trial.usual_event());
                let ruling = self.trial.send(member, name, event.payload.as_deref(), members, now);
                self.judge(&ruling, &step.expect, &mut differences);
                ruling.steps
            }
            (outcome, _) => {
                judge_handshake(outcome.as_ref(), step, &mut differences);
                handshake.steps.clone()
            }
        };
        (!differences.0.is_empty()).then_some((differences.0, steps))
    }

    fn judge(&self, ruling: &Ruling, expect: &Expect, differences: &mut Differences) {
        let (relayed, denial) = (ruling.outcome.as_ref().ok(), ruling.outcome.as_ref().err());
        let word = |accepted: bool| if accepted { "accepted" } else { "refused" };
        differences.compare("decision", expect.accepted.map(word), word(relayed.is_some()));
        differences.compare("code", expect.code.as_deref(), denial.map(|denial| denial.code));
        differences.compare("rule", expect.rule.as_deref(), denial.and_then(|denial| denial.rule.as_deref()));
        let rooms = relayed.iter().flat_map(|relayed| &relayed.rooms).map(|room| room.to_string());
        differences.compare_sets("rooms", expect.rooms.as_ref(), rooms.collect());
        let recipients = relayed.iter().flat_map(|relayed| &relayed.recipients);
        let recipients = recipients.filter_map(|id| {
            let is_it = |handshake: &Handshake| {
                handshake.outcome.as_ref().is_ok_and(|member| member.peer().id() == *id)
            };
            let place = self.handshakes.iter().position(is_it)?;
            Some(self.test.peers.get(place)?.name.clone())
        });
        differences.compare_sets("recipients", expect.recipients.as_ref(), recipients.collect());
        let payload =
            relayed.map(|relayed| serde_json::from_str::<Value>(&relayed.payload).unwrap_or_default());
        differences.compare("relayed", expect.relayed.clone(), payload);
        let observed = ruling.observed.iter().map(|denial| denial.code.to_owned());
        differences.compare_sets("observed", expect.observed.as_ref(), observed.collect());
        differences.compare("closes", expect.closes.as_deref(), ruling.closes.map(|reason| reason.as_str()));
        if let Some(answer) = &expect.answer {
            let said = |key: &String| ruling.answer.as_ref().and_then(|said| said.get(key)).cloned();
            let got: Value = answer.keys().map(|key| (key.clone(), said(key).unwrap_or_default())).collect();
            differences.compare("answer", Some(Value::Object(answer.clone())), got);
        }
    }
}

/// Compares what a handshake came to. An event that was to be sent is none, and whatever is expected of it is not met.
fn judge_handshake(
    outcome: Result<&Member, &crate::trial::Denial>,
    step: &Step,
    differences: &mut Differences,
) {
    let (expect, admitted) = (&step.expect, outcome.is_ok());
    let expected = expect.admitted.or(step.event.is_some().then_some(true));
    differences.compare("admitted", expected, admitted);
    let denial = outcome.err();
    differences.compare("code", expect.code.as_deref(), denial.map(|denial| denial.code));
    differences.compare("rule", expect.rule.as_deref(), denial.and_then(|denial| denial.rule.as_deref()));
    let rooms =
        outcome.iter().flat_map(|member| member.listening()).map(|listening| listening.room.to_string());
    differences.compare_sets("rooms", expect.rooms.as_ref(), rooms.collect());
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    /// Notes a difference, where something is expected.
    fn compare(&mut self, key: &'static str, expected: Option<impl Into<Value>>, got: impl Into<Value>) {
        let Some(expected) = expected.map(Into::into) else { return };
        let got = got.into();
        if expected != got {
            self.0.push(Difference { key, expected, got });
        }
    }

    /// The same without regard to the order.
    fn compare_sets(&mut self, key: &'static str, expected: Option<&Vec<String>>, mut got: Vec<String>) {
        let Some(mut expected) = expected.cloned() else { return };
        expected.sort();
        got.sort();
        self.compare(key, Some(json!(expected)), json!(got));
    }
}
