//! `[[audience]]`: who may hear what.
//!
//! An expression is checked here against the listeners whom it will judge, as an event's rule is against events.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::events::{LONGEST_NAME, unusable};
use super::rules::{ADDRESS, Events, NOON, describe, expression, no_such_type, on, types};
use super::{MODES, Report};
use crate::config::expression::{Failure, ListenerFacts, Part, PeerFacts, Scope};
use crate::config::key_path::KeyPath;
use crate::config::policy::{AudienceRule, Glob};
use crate::config::raw;

/// The one room of `auth.mode = "off"`, as [`crate::connect::rooms`] has it.
const EVERYONE: &str = "*";

/// What no team's name holds, as [`crate::connect::claims`] has it.
const IN_NO_TEAM: char = ':';

/// What decides which listeners there are.
pub(super) struct Doors<'a> {
    /// `auth.mode`
    pub mode: &'a str,
    /// `rooms.anonymous`
    pub anonymous: Option<&'a str>,
}

/// Compiles every rule. Without `events`, because something is wrong with them, rules are checked by themselves only.
pub(super) fn compile(
    raw: &[raw::Audience],
    events: Option<&Events>,
    doors: &Doors<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Arc<AudienceRule>>> {
    let at = KeyPath::of("audience");
    let rules: Vec<Option<AudienceRule>> =
        raw.iter().map(|rule| one_rule(rule, &at.entry("name", &rule.name), events, doors, report)).collect();
    rules.into_iter().map(|rule| rule.map(Arc::new)).collect()
}

fn one_rule(
    raw: &raw::Audience,
    at: &KeyPath,
    events: Option<&Events>,
    doors: &Doors<'_>,
    report: &mut Report<'_>,
) -> Option<AudienceRule> {
    if let Some(fault) = unusable(&raw.name) {
        let mend = format!("write a name of at most {LONGEST_NAME} bytes, such as \"comments are internal\"");
        report.refuse(at, fault, mend);
        return None;
    }
    let on = on(raw.on.as_deref(), &at.key("on"), report);
    for (index, pattern) in on.iter().flatten().enumerate() {
        if let Some(events) = events
            && !types(events).any(|(_, _, kind, _)| pattern.overlaps(&Glob::new(kind)))
        {
            no_such_type(pattern, &at.key("on").index(index), events, report);
        }
    }
    let teams = teams(raw.teams.as_deref(), &at.key("teams"), doors, report);
    let expression = match &raw.hear_if {
        Some(text) => expression(text, Scope::Listener, &at.key("hear_if"), report),
        None => {
            let mend = r#"write hear_if = '…', such as '"internal" in peer.roles'"#;
            report.missing(&at.key("hear_if"), "no expression", mend);
            None
        }
    };
    let mode = report.choice(&at.key("mode"), raw.mode.as_deref().unwrap_or("enforce"), MODES);
    let rule = AudienceRule {
        name: raw.name.as_str().into(),
        key: format!("audience.{}", raw.name).into(),
        on: on?,
        teams: teams?,
        expression: expression?,
        mode: mode?,
    };
    samples(&rule, doors, &at.key("hear_if"), report);
    Some(rule)
}

/// `None` where it is wrong, `Some(None)` where every team is meant.
fn teams(
    raw: Option<&[String]>,
    at: &KeyPath,
    doors: &Doors<'_>,
    report: &mut Report<'_>,
) -> Option<Option<Vec<Glob>>> {
    const MEND: &str = r#"write names or globs, such as teams = ["client-*"], or leave it out for all teams"#;
    let Some(raw) = raw else { return Some(None) };
    if raw.is_empty() {
        report.refuse(at, "no teams, so the rule could never judge anybody", MEND);
        return None;
    }
    let mut right = true;
    for (index, pattern) in raw.iter().enumerate() {
        let odd = |c: &char| c.is_control() || *c == IN_NO_TEAM;
        let found = if doors.mode == "off" && !Glob::new(pattern.as_str()).matches(EVERYONE) {
            format!("{pattern:?} matches no team, since auth.mode is \"off\" and everybody is in one room")
        } else if pattern.is_empty() {
            "an empty name".to_owned()
        } else if let Some(odd) = pattern.chars().find(odd) {
            format!("{pattern:?} matches no team, since no team's name holds {odd:?}")
        } else {
            continue;
        };
        report.refuse(&at.index(index), found, MEND);
        right = false;
    }
    right.then(|| Some(raw.iter().map(|pattern| Glob::new(pattern.as_str())).collect()))
}

/// A listener as it may come.
struct Listener {
    /// Who it is, for people.
    what: &'static str,
    subject: Option<&'static str>,
    teams: Vec<Arc<str>>,
    roles: Vec<Arc<str>>,
    /// In which of its rooms it listens.
    team: String,
}

impl Listener {
    /// Those whom a rule may judge.
    fn all(rule: &AudienceRule, doors: &Doors<'_>) -> Vec<Listener> {
        let names = |name: &str| vec![Arc::from(name)];
        if doors.mode == "off" {
            let what = "peer where nobody is asked who they are";
            return vec![Listener {
                what,
                subject: None,
                teams: names(EVERYONE),
                roles: vec![],
                team: EVERYONE.into(),
            }];
        }
        let patterns = rule.teams.iter().flatten().map(|pattern| pattern.as_str().replace('*', ""));
        let team = patterns.filter(|name| rule.is_in(name)).find(|name| !name.is_empty());
        let team = team.unwrap_or_else(|| "design".into());
        let verified = Listener {
            what: "peer with a token",
            subject: Some("ann"),
            teams: names(&team),
            roles: names("editor"),
            team,
        };
        let anonymous = doors.anonymous.filter(|room| doors.mode == "optional" && rule.is_in(room));
        let anonymous = anonymous.map(|room| Listener {
            what: "peer without a token",
            subject: None,
            teams: vec![],
            roles: vec![],
            team: room.into(),
        });
        std::iter::once(verified).chain(anonymous).collect()
    }

    fn facts(&self) -> ListenerFacts<'_> {
        let peer = PeerFacts {
            subject: self.subject,
            teams: &self.teams,
            roles: &self.roles,
            claims: None,
            address: ADDRESS,
        };
        let mut facts = ListenerFacts::new(peer, UNIX_EPOCH + Duration::from_secs(NOON));
        facts.enter(&self.team);
        facts
    }
}

/// Tries the expression on listeners. Claims can be anything, so parts that look at them are not tried.
fn samples(rule: &AudienceRule, doors: &Doors<'_>, at: &KeyPath, report: &mut Report<'_>) {
    let listeners = Listener::all(rule, doors);
    let reads_claims = |part: &Part<'_>| part.any_path(|path| matches!(path, ["peer", "claims", ..]));
    for part in rule.expression.parts().filter(|part| !reads_claims(part)) {
        let tried = listeners.iter().map(|listener| part.try_on(&listener.facts()));
        let failures: Vec<(Failure, String)> = tried.filter_map(Result::err).collect();
        let depends = part.any_path(|path| *path != ["now"]);
        match failures.first() {
            Some((failure, said))
                if failures.len() == listeners.len() && !(*failure == Failure::Value && depends) =>
            {
                let (found, mend) = describe(&part, *failure, said);
                let mend = if *failure == Failure::Absent { "ask first, as in has(peer.sub)" } else { mend };
                report.refuse(at, found, mend);
                return;
            }
            _ => {}
        }
    }
    if rule.expression.parts().any(|part| reads_claims(&part)) {
        return;
    }
    let doubtful = listeners.iter().find_map(|listener| {
        let failure = rule.expression.evaluate(&listener.facts()).err()?;
        (failure != Failure::Value).then_some((listener.what, failure))
    });
    if let Some((what, failure)) = doubtful {
        let found = format!("it has no answer for a {what}: {}", failure.as_str());
        let mend = "ask first, as in has(peer.sub) && …; no answer means that it does not hear";
        report.warn(at, found, mend);
    }
}
