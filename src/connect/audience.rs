//! Who hears what: the policy's `[[audience]]`, asked once for each socket.
//!
//! What comes out says for each of a peer's rooms which rules withhold their types from it there. Deliveries only look at
//! that ([`crate::hears`]).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::config::expression::{Failure, ListenerFacts};
use crate::config::policy::{AudienceRule, EventPolicy, Glob, Mode, Policy};
use crate::hears::{Hears, Listening, Withholder};
use crate::metrics::{AudienceCounters, AudienceCounts};
use crate::peer::Peer;

/// One rule says the same thing in the log at most this often; the counters know the rest.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// The audience rules of one policy, but for those that are off.
pub struct Audience {
    rules: Vec<State>,
}

/// One rule, and what it has decided so far.
struct State {
    rule: Arc<AudienceRule>,
    withholder: Withholder,
    counts: AudienceCounts,
    spoke: Mutex<Option<Instant>>,
}

/// What one rule says of a peer in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It hears the types that the rule is on.
    Hears,
    /// It does not.
    Deaf,
    /// No answer, and then it does not either.
    NoAnswer(Failure),
}

impl Audience {
    /// Those of this policy, whose decisions are counted in `counters`.
    pub fn new(policy: &Policy, counters: &AudienceCounters) -> Self {
        let state = |rule: &Arc<AudienceRule>| {
            let counts = counters.of(&rule.name);
            let withholder = Withholder::new(rule.clone(), counts.deliveries.clone());
            State { rule: rule.clone(), withholder, counts, spoke: Mutex::default() }
        };
        let rules = policy.audience.iter().filter(|rule| rule.mode != Mode::Off);
        Audience { rules: rules.map(state).collect() }
    }

    /// What this peer hears in each of these rooms, by the rules and by its own filter.
    pub fn listens(&self, peer: &Peer, rooms: &[Arc<str>], now: SystemTime) -> Vec<Listening> {
        let mut withholding: Vec<Vec<Withholder>> = vec![Vec::new(); rooms.len()];
        let mut facts = ListenerFacts::new(peer.facts(), now);
        for state in &self.rules {
            let mut before = None;
            let mut silenced = Silenced::default();
            for (room, withholding) in rooms.iter().zip(&mut withholding) {
                let Some(said) = ask(&state.rule, &mut facts, room, &mut before) else { continue };
                state.count(said);
                if said != Said::Hears {
                    withholding.push(state.withholder.clone());
                    silenced.note(said);
                }
            }
            state.tell(peer, &silenced);
        }
        let listening = |(room, rules): (&Arc<str>, _)| Listening {
            room: room.clone(),
            hears: Hears::less(rules, peer.filter().cloned()),
        };
        rooms.iter().zip(withholding).map(listening).collect()
    }
}

/// Asks one rule about a peer in one room; `None` where it is not in that room's team. An expression that does not look at
/// the team is evaluated once, and `before` keeps its answer.
fn ask<'f>(
    rule: &AudienceRule,
    facts: &mut ListenerFacts<'f>,
    room: &'f str,
    before: &mut Option<Said>,
) -> Option<Said> {
    if !rule.is_in(room) {
        return None;
    }
    if let (Some(said), false) = (*before, rule.expression.reads().team) {
        return Some(said);
    }
    facts.enter(room);
    let said = match rule.expression.evaluate(facts) {
        Ok(true) => Said::Hears,
        Ok(false) => Said::Deaf,
        Err(failure) => Said::NoAnswer(failure),
    };
    *before = Some(said);
    Some(said)
}

/// In how many of a peer's rooms a rule silences its types, and why where it had no answer.
#[derive(Default)]
struct Silenced {
    rooms: usize,
    failure: Option<Failure>,
}

impl Silenced {
    fn note(&mut self, said: Said) {
        self.rooms += 1;
        if let Said::NoAnswer(failure) = said {
            self.failure.get_or_insert(failure);
        }
    }
}

impl State {
    fn count(&self, said: Said) {
        let counts = &self.counts;
        let counter = match said {
            Said::Hears => &counts.hears,
            Said::Deaf if self.rule.mode == Mode::Enforce => &counts.withheld,
            Said::Deaf => &counts.observed,
            Said::NoAnswer(_) => &counts.error,
        };
        counter.inc();
    }

    /// What operators wait for: what would be withheld, and rules that have no answer, which are mistakes in the policy.
    fn tell(&self, peer: &Peer, silenced: &Silenced) {
        let enforced = self.rule.mode == Mode::Enforce;
        let (rule, connection, rooms) = (&*self.rule.name, peer.id(), silenced.rooms);
        match silenced.failure {
            _ if rooms == 0 => {}
            Some(failure) if self.may_speak() => {
                let why = failure.as_str();
                tracing::warn!(rule, %connection, rooms, withheld = enforced, why, "an audience rule has no answer for a peer");
            }
            None if enforced => tracing::debug!(rule, %connection, rooms, "withholds its types from a peer"),
            None if self.may_speak() => {
                tracing::info!(rule, %connection, rooms, "would withhold its types from a peer");
            }
            _ => {}
        }
    }

    fn may_speak(&self) -> bool {
        let now = Instant::now();
        let mut spoke = self.spoke.lock();
        let may = spoke.is_none_or(|before| now.saturating_duration_since(before) >= SAY_EVERY);
        if may {
            *spoke = Some(now);
        }
        may
    }
}

/// What a peer hears of one type in one room, for people.
#[derive(Clone, Debug)]
pub struct Heard<'p> {
    /// The event's name.
    pub event: &'p str,
    /// The type's name or glob; `None` for an event whose payload is not looked at.
    pub kind: Option<&'p str>,
    /// The rules that are on the type or a part of it, in the order of the policy, and what each says. Those of
    /// `mode = "observe"` too.
    pub rules: Vec<(&'p AudienceRule, Said)>,
}

impl Heard<'_> {
    /// Whether it hears it, as far as the rules decide: what its own filter leaves of that is its own choice.
    pub fn hears(&self) -> Ears {
        let withheld =
            self.rules.iter().filter(|(rule, said)| rule.mode == Mode::Enforce && *said != Said::Hears);
        let kind = self.kind.unwrap_or_default();
        withheld.fold(Ears::Open, |ears, (rule, _)| {
            match rule.on.iter().any(|on| on.covers(&Glob::new(kind))) {
                true => Ears::Shut,
                false if ears == Ears::Open => Ears::Partly,
                false => ears,
            }
        })
    }
}

/// How much of a type is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ears {
    /// All.
    Open,
    /// The type is a glob, and rules on a part of it withhold that.
    Partly,
    /// Nothing.
    Shut,
}

/// What a peer hears in one of its rooms, by event and type, both sorted. Nothing is counted, and no line is logged.
pub fn heard<'p>(policy: &'p Policy, peer: &Peer, room: &str, now: SystemTime) -> Vec<Heard<'p>> {
    let mut facts = ListenerFacts::new(peer.facts(), now);
    let rules = policy.audience.iter().filter(|rule| rule.mode != Mode::Off);
    let said: Vec<(&AudienceRule, Said)> =
        rules.filter_map(|rule| Some((&**rule, ask(rule, &mut facts, room, &mut None)?))).collect();
    let on = |kind: &str| {
        let kind = Glob::new(kind);
        said.iter().filter(|(rule, _)| rule.on.iter().any(|on| on.overlaps(&kind))).copied().collect()
    };
    let mut heard: Vec<Heard<'p>> = policy
        .events
        .values()
        .flat_map(|event| types(event).into_iter().map(move |kind| (&*event.name, kind)))
        .map(|(event, kind)| Heard { event, kind, rules: kind.map(on).unwrap_or_default() })
        .collect();
    heard.sort_by(|one, other| (one.event, one.kind).cmp(&(other.event, other.kind)));
    heard
}

/// The types of an event; one without a name where its payload is not looked at.
fn types(event: &EventPolicy) -> Vec<Option<&str>> {
    let Some(payload) = &event.typed else { return vec![None] };
    let exact = payload.exact_types.keys().map(|name| &**name);
    let globs = payload.glob_types.iter().map(|(glob, _)| glob.as_str());
    exact.chain(globs).map(Some).collect()
}

#[cfg(test)]
mod tests;
