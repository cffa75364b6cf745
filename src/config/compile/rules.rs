//! `[[rules]]`: who may send what, beyond types and fields.
//!
//! An expression is checked here against the events that it will judge: the types that its rule is on, and, for each of
//! them, samples made of what the policy declares. What fails on every sample could never let an event pass.

mod sample;

use std::collections::HashMap;
use std::sync::Arc;

use super::events::{LONGEST_NAME, OWN_FIELDS, unusable};
use super::{MODES, Report};
use crate::config::expression::{Expression, Failure, Fault, Part, Scope};
use crate::config::key_path::KeyPath;
use crate::config::policy::{
    AppliedRule, EventPolicy, FieldKind, Glob, Mode, Presence, Rule, TypePolicy, TypeRules, TypedPayload,
    UnknownFields,
};
use crate::config::problem::closest;
use crate::config::raw;

use sample::Sample;
pub(super) use sample::{ADDRESS, NOON};

pub(super) type Events = HashMap<Arc<str>, Arc<EventPolicy>>;

/// Compiles every rule, and puts each beside the types that it judges. Without `events`, because something is wrong with
/// them, rules are checked by themselves only. `nobody_is_asked` who they are with `auth.mode = "off"`.
pub(super) fn compile(
    raw: &[raw::Rule],
    events: Option<&mut Events>,
    nobody_is_asked: bool,
    report: &mut Report<'_>,
) -> Option<Vec<Arc<Rule>>> {
    let at = KeyPath::of("rules");
    let rules: Vec<Option<Rule>> = raw
        .iter()
        .enumerate()
        .map(|(index, rule)| one_rule(index, rule, &at.entry("name", &rule.name), report))
        .collect();
    let events = events?;
    let mut compiled = Vec::new();
    for rule in rules.iter().flatten() {
        against_events(rule, &at.entry("name", &rule.name), events, nobody_is_asked, report);
    }
    for rule in rules {
        compiled.push(Arc::new(rule?));
    }
    for rule in compiled.iter().filter(|rule| rule.mode != Mode::Off) {
        attach(rule, events);
    }
    Some(compiled)
}

fn one_rule(index: usize, raw: &raw::Rule, at: &KeyPath, report: &mut Report<'_>) -> Option<Rule> {
    if let Some(fault) = unusable(&raw.name) {
        let mend = format!("write a name of at most {LONGEST_NAME} bytes, such as \"only editors delete\"");
        report.refuse(at, fault, mend);
        return None;
    }
    let on = on(raw.on.as_deref(), &at.key("on"), report);
    let expression = match &raw.allow_if {
        Some(text) => expression(text, Scope::Event, &at.key("allow_if"), report),
        None => {
            let mend = r#"write allow_if = '…', such as '"editor" in peer.roles'"#;
            report.missing(&at.key("allow_if"), "no expression", mend);
            None
        }
    };
    let mode = report.choice(&at.key("mode"), raw.mode.as_deref().unwrap_or("enforce"), MODES);
    Some(Rule {
        index,
        name: raw.name.as_str().into(),
        key: format!("rules.{}", raw.name).into(),
        on: on?,
        expression: expression?,
        mode: mode?,
    })
}

pub(super) fn on(raw: Option<&[String]>, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<Glob>> {
    let mend = r#"write the types that it judges, such as on = ["task-deleted"], or ["*"] for all"#;
    match raw {
        None => {
            report.missing(at, "no types", mend);
            None
        }
        Some([]) => {
            report.refuse(at, "no types, so the rule could never judge an event", mend);
            None
        }
        Some(patterns) => Some(patterns.iter().map(|pattern| Glob::new(pattern.as_str())).collect()),
    }
}

pub(super) fn expression(
    text: &str,
    scope: Scope,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Expression> {
    match Expression::parse(text, scope) {
        Ok(expression) => Some(expression),
        Err(Fault { found, mend, did_you_mean }) => {
            let mut problem = report.problem(at, found, mend);
            problem.did_you_mean = did_you_mean;
            report.problems.push(problem);
            None
        }
    }
}

/// A type that a rule judges.
struct Judged<'a> {
    event: &'a EventPolicy,
    payload: &'a TypedPayload,
    /// A name of it.
    kind: String,
    policy: &'a TypePolicy,
}

/// Says what keeps a rule from ever judging, or from ever letting pass.
fn against_events(
    rule: &Rule,
    at: &KeyPath,
    events: &Events,
    nobody_is_asked: bool,
    report: &mut Report<'_>,
) {
    let known = report.problems.len();
    for (index, pattern) in rule.on.iter().enumerate() {
        if !types(events).any(|(_, _, type_pattern, _)| pattern.overlaps(&Glob::new(type_pattern))) {
            no_such_type(pattern, &at.key("on").index(index), events, report);
        }
    }
    let mut judged: Vec<Judged<'_>> = types(events)
        .filter_map(|(event, payload, type_pattern, policy)| {
            let pattern = rule.on.iter().find(|pattern| pattern.overlaps(&Glob::new(type_pattern)))?;
            // Of a glob that the rule is on a part of, that part.
            let narrower = if type_pattern.contains('*') { pattern.as_str() } else { type_pattern };
            let narrower = if Glob::new(type_pattern).matches(narrower) { narrower } else { type_pattern };
            Some(Judged { event, payload, kind: narrower.replace('*', ""), policy })
        })
        .collect();
    // Types come out of maps, and what is said first must not depend on their order.
    judged.sort_by(|one, other| (&one.event.name, &one.kind).cmp(&(&other.event.name, &other.kind)));
    let at = at.key("allow_if");
    fields(rule, &judged, &at, report);
    if report.problems.len() == known {
        samples(rule, &judged, nobody_is_asked, &at, report);
    }
}

/// Every type of every event: its event and payload, its name or glob, and its policy.
pub(super) fn types(
    events: &Events,
) -> impl Iterator<Item = (&EventPolicy, &TypedPayload, &str, &TypePolicy)> {
    events.values().filter_map(|event| Some((&**event, event.typed.as_ref()?))).flat_map(
        |(event, payload)| {
            let exact = payload.exact_types.iter().map(|(name, policy)| (&**name, policy));
            let globs = payload.glob_types.iter().map(|(glob, policy)| (glob.as_str(), policy));
            exact.chain(globs).map(move |(pattern, policy)| (event, payload, pattern, policy))
        },
    )
}

pub(super) fn no_such_type(pattern: &Glob, at: &KeyPath, events: &Events, report: &mut Report<'_>) {
    let found = format!("{:?} matches no type of any event", pattern.as_str());
    let mut names: Vec<&str> = types(events).map(|(_, _, name, _)| name).collect();
    names.sort_unstable();
    let mend = match names.is_empty() {
        true => "rules judge types, which only events with payload = \"typed\" have".to_owned(),
        false => "write the name or glob of one of [[events.NAME.types]], or add it there".to_owned(),
    };
    let mut problem = report.problem(at, found, mend);
    problem.did_you_mean = closest(pattern.as_str(), names);
    report.problems.push(problem);
}

/// Says which fields of the payload no event that the rule judges can have.
fn fields(rule: &Rule, judged: &[Judged<'_>], at: &KeyPath, report: &mut Report<'_>) {
    if judged.is_empty() {
        return;
    }
    for field in &rule.expression.reads().fields.names {
        if judged.iter().any(|judged| may_have(judged, field)) {
            continue;
        }
        let found = format!("`event.payload.{field}` is a field that no event it judges may have");
        let mend = "declare it in `fields` of the event, or leave it out";
        let known = judged.iter().flat_map(|judged| judged.payload.fields.keys()).map(|name| &**name);
        let mut problem = report.problem(at, found, mend);
        problem.did_you_mean = closest(field, known.chain(OWN_FIELDS));
        report.problems.push(problem);
    }
}

fn may_have(judged: &Judged<'_>, field: &str) -> bool {
    let declared =
        judged.payload.fields.get(field).is_some_and(|field| field.presence != Presence::Forbidden);
    declared
        || is_own(field, judged)
        || judged.payload.unknown_fields == UnknownFields::Pass
        || judged.payload.validation != Mode::Enforce
        || judged.policy.schema.is_some()
}

/// Tries the expression on samples of each type.
fn samples(rule: &Rule, judged: &[Judged<'_>], nobody_is_asked: bool, at: &KeyPath, report: &mut Report<'_>) {
    let all: Vec<(&Judged<'_>, Vec<Sample>)> =
        judged.iter().map(|judged| (judged, Sample::all_of(judged, nobody_is_asked))).collect();
    // A part that has no answer for any type is wrong by itself, even where another part decides first.
    for part in rule.expression.parts() {
        let mut failures = all.iter().flat_map(|(judged, samples)| {
            let known = is_declared(&part, judged);
            samples.iter().map(move |sample| (known, sample))
        });
        let mut first = None;
        let hopeless = failures.all(|(known, sample)| match sample.on(rule, |facts| part.try_on(facts)) {
            Err((failure, said)) if known && !of_values(failure, &part) => {
                first.get_or_insert((failure, said));
                true
            }
            _ => false,
        });
        if let (true, Some((failure, said))) = (hopeless, first) {
            let (found, mend) = describe(&part, failure, &said);
            report.refuse(at, found, mend);
            return;
        }
    }
    let mut doubtful = None;
    for (judged, samples) in &all {
        if !rule.expression.parts().all(|part| is_declared(&part, judged)) {
            continue;
        }
        let failures: Vec<(&Sample, Failure)> = samples
            .iter()
            .filter_map(|sample| {
                Some((sample, sample.on(rule, |facts| rule.expression.evaluate(facts)).err()?))
            })
            .filter(|(_, failure)| *failure != Failure::Value)
            .collect();
        let Some((sample, failure)) = failures.first() else { continue };
        let (kind, why) = (&judged.kind, failure.as_str());
        if failures.len() == samples.len() {
            let found = format!("it has no answer for any {kind:?} of {:?}: {why}", &*judged.event.name);
            let mend = "ask for what such an event has; `has(event.payload.x)` says whether it has x";
            report.refuse(at, found, mend);
            return;
        }
        doubtful.get_or_insert_with(|| format!("it has no answer for a {kind:?} {}: {why}", sample.what));
    }
    if let Some(found) = doubtful {
        let mend =
            "ask first, as in has(event.taskId) && …, or type(event.taskId) == int && …; no answer refuses";
        report.warn(at, found, mend);
    }
}

/// Whether the policy says all about what the part looks at. Claims, what is inside of objects and arrays, and fields
/// that nobody declared can be anything.
fn is_declared(part: &Part<'_>, judged: &Judged<'_>) -> bool {
    !part.any_path(|path| match *path {
        ["peer", "claims", ..] | ["event", "payload", "[]", ..] => true,
        ["event", "payload", field, ..] if judged.policy.schema.is_some() => !is_own(field, judged),
        ["event", "payload", field, ref inside @ ..] => match judged.payload.fields.get(field) {
            Some(field) => !inside.is_empty() && matches!(field.kind, FieldKind::Object | FieldKind::Array),
            None => !is_own(field, judged),
        },
        _ => false,
    })
}

/// Whether the policy says of a field what it is by settings of its own.
fn is_own(field: &str, judged: &Judged<'_>) -> bool {
    OWN_FIELDS.contains(&field) || judged.event.team_field.as_deref() == Some(field)
}

/// Whether it failed for the sample's values, which another event's need not share.
fn of_values(failure: Failure, part: &Part<'_>) -> bool {
    failure == Failure::Value
        && part.any_path(|path| !matches!(path, ["now"] | ["event", "name" | "type" | "timestamp"]))
}

pub(super) fn describe(part: &Part<'_>, failure: Failure, said: &str) -> (String, &'static str) {
    let place = part.place();
    match failure {
        Failure::NotBoolean => (
            format!("{place}: a value of type {said}, where true or false is needed"),
            "compare it with something, as in peer.sub == \"ann\"",
        ),
        Failure::Absent => (
            format!("{place}: {}: {said}", failure.as_str()),
            "ask for what such an event has; `has(event.payload.x)` says whether it has x",
        ),
        _ => (
            format!("{place}: {}: {said}", failure.as_str()),
            "compare texts with texts and numbers with numbers",
        ),
    }
}

/// Puts a rule beside the types that it judges, and beside the events of no declared type that may pass: what a rule is
/// on it judges also where validation only observes.
fn attach(rule: &Arc<Rule>, events: &mut Events) {
    for event in events.values_mut() {
        let Some(payload) = Arc::get_mut(event).and_then(|event| event.typed.as_mut()) else { continue };
        if payload.validation != Mode::Enforce {
            add(rule, false, &mut payload.undeclared);
        }
        let exact = payload.exact_types.iter_mut().map(|(name, policy)| (&**name, policy));
        let globs = payload.glob_types.iter_mut().map(|(glob, policy)| (glob.as_str(), policy));
        for (pattern, policy) in exact.chain(globs) {
            if !rule.on.iter().any(|on| on.overlaps(&Glob::new(pattern))) {
                continue;
            }
            let always = rule.on.iter().any(|on| on.covers(&Glob::new(pattern)));
            add(rule, always, &mut policy.rules);
        }
    }
}

fn add(rule: &Arc<Rule>, always: bool, to: &mut Option<TypeRules>) {
    let rules = to.get_or_insert_with(|| TypeRules { rules: Vec::new(), fields: Default::default() });
    rules.fields.extend(&rule.expression.reads().fields);
    rules.rules.push(AppliedRule { rule: rule.clone(), always });
}
