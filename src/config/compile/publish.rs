//! `[publish]`: backends that announce changes, and whether clients still may.

use std::sync::Arc;

use super::events::{LONGEST_NAME, unusable};
use super::rules::{Events, no_such_type, types as declared};
use super::{Report, keys, nodejs};
use crate::config::admin_token::AdminToken;
use crate::config::key_path::KeyPath;
use crate::config::policy::{Glob, Publish, Publisher};
use crate::config::raw;
use crate::name::TEAMS;

/// A name that no publisher may have.
const ADMIN: &str = "admin";

/// What messages show as the name of a variable.
const EXAMPLE: &str = "APP_PUBLISH_TOKEN";

pub(super) fn compile(
    raw: &raw::Publish,
    events: Option<&Events>,
    admin_token: Option<&AdminToken>,
    report: &mut Report<'_>,
) -> Option<Publish> {
    let at = KeyPath::of("publish").key("publishers");
    let each = raw.publishers.iter().map(|one| publisher(one, &at.entry("name", &one.name), events, report));
    let publishers: Option<Vec<_>> = each.collect::<Vec<_>>().into_iter().collect();
    if !raw.clients && raw.publishers.is_empty() {
        report.warn(
            &KeyPath::of("publish").key("clients"),
            "clients may not send, and no publisher is there that could",
            "write [[publish.publishers]]; until then only the admin token can publish",
        );
    }
    let publishers = publishers?;
    shared_tokens(&publishers, admin_token, &at, report);
    Some(Publish { clients: raw.clients, publishers })
}

/// Whoever has another's token is taken for the first who has it, and may do what that one may.
fn shared_tokens(
    publishers: &[Arc<Publisher>],
    admin_token: Option<&AdminToken>,
    at: &KeyPath,
    report: &mut Report<'_>,
) {
    const MEND: &str = "give each a token of its own, such as the output of `openssl rand -hex 32`";
    for (index, publisher) in publishers.iter().enumerate() {
        let at = at.entry("name", &publisher.name).key("token_env");
        let holds = |token: &AdminToken| publisher.tokens.iter().any(|own| own.is_same(token));
        if admin_token.is_some_and(holds) {
            report.warn(
                &at,
                "it has the same token as the admin, and can do everything that the API can",
                MEND,
            );
        }
        for other in &publishers[..index] {
            if other.tokens.iter().any(holds) {
                let found =
                    format!("it has the same token as the publisher {:?}, and is taken for it", other.name);
                report.warn(&at, found, MEND);
            }
        }
    }
}

fn publisher(
    raw: &raw::Publisher,
    at: &KeyPath,
    events: Option<&Events>,
    report: &mut Report<'_>,
) -> Option<Arc<Publisher>> {
    let fault = match raw.name.as_str() {
        ADMIN => Some("this is how logs and metrics call whoever brings the admin token".into()),
        nodejs::NAME => Some("this is how logs and metrics call what comes by [bus.nodejs]".into()),
        name => unusable(name),
    };
    if let Some(fault) = fault {
        let mend = format!("write a name of at most {LONGEST_NAME} bytes, such as \"api\"");
        report.refuse(at, fault, mend);
        return None;
    }
    let tokens = tokens(raw, at, report);
    let teams = match raw.teams.as_deref() {
        None | Some([]) => {
            let mend = r#"write teams = ["design", "client-*"], or ["*"] for all of them"#;
            report.missing(&at.key("teams"), "no team to publish to", mend);
            None
        }
        Some(patterns) => teams(patterns, &at.key("teams"), report),
    };
    let types = types(raw.types.as_deref().unwrap_or_default(), &at.key("types"), events, report);
    Some(Arc::new(Publisher {
        name: raw.name.as_str().into(),
        key: format!("publish.publishers.{}", raw.name).into(),
        tokens: tokens?,
        teams: teams?,
        types: types?,
    }))
}

pub(super) fn teams(patterns: &[String], at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<Glob>> {
    let mut right = true;
    for (index, pattern) in patterns.iter().enumerate() {
        // A star is a pattern's own; everything else must be what a team's name could hold.
        if let Err(why) = TEAMS.check(&pattern.replace('*', "x")) {
            report.refuse(&at.index(index), format!("{pattern:?} {why}"), "write names of teams, or globs");
            right = false;
        }
    }
    right.then(|| globs(patterns))
}

pub(super) fn types(
    patterns: &[String],
    at: &KeyPath,
    events: Option<&Events>,
    report: &mut Report<'_>,
) -> Option<Vec<Glob>> {
    if patterns.is_empty() {
        return Some(vec![Glob::new("*")]);
    }
    let before = report.problems.len();
    let globs = globs(patterns);
    // Events without a type are the star's.
    for (index, pattern) in globs.iter().enumerate().filter(|(_, pattern)| pattern.as_str() != "*") {
        if let Some(events) = events
            && !declared(events).any(|(_, _, kind, _)| pattern.overlaps(&Glob::new(kind)))
        {
            no_such_type(pattern, &at.index(index), events, report);
        }
    }
    (report.problems.len() == before).then_some(globs)
}

fn globs(patterns: &[String]) -> Vec<Glob> {
    patterns.iter().map(|pattern| Glob::new(pattern.as_str())).collect()
}

/// A list, so that the old and the new one hold side by side while they are rotated.
fn tokens(raw: &raw::Publisher, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<AdminToken>> {
    let places = keys::each(raw.token_env.as_ref(), &at.key("token_env"));
    if places.is_empty() {
        let mend = format!("write token_env = {EXAMPLE:?}, a variable with a token of at least 16 bytes");
        report.missing(&at.key("token_env"), "nothing to prove itself with", mend);
        return None;
    }
    let mut tokens = Vec::new();
    for (at, name) in places {
        match keys::variable(name, EXAMPLE, &at, report)? {
            Some(text) => match AdminToken::new(&text) {
                Ok(token) => tokens.push(token),
                Err(error) => {
                    report.refuse(&at, format!("the environment variable {name}: {error}"), "");
                    return None;
                }
            },
            None if report.context.without_keys => {}
            None => {
                let found = format!("the environment variable {name} is not set");
                report.missing(&at, found, format!("set {name} where flowgate starts"));
                return None;
            }
        }
    }
    Some(tokens)
}
