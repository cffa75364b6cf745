//! `[auth]`, its issuers and claims, and `[rooms]`, which depends on its mode.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::Report;
use super::keys;
use crate::config::key_path::KeyPath;
use crate::config::policy::{Auth, AuthMode, ClaimPaths, Issuer, Rooms, TokenSource};
use crate::config::problem::{any_of, closest};
use crate::config::raw;
use crate::config::values::{self, Fault};

const MODES: &[(&str, AuthMode)] =
    &[("required", AuthMode::Required), ("optional", AuthMode::Optional), ("off", AuthMode::Off)];

/// The algorithms that flowgate verifies (RFC 7518 §3.1, RFC 8037).
const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

/// An issuer to paste.
const WITH_SECRET: &str = r#"
    [[auth.issuers]]
    name = "app"
    algorithms = ["HS256"]
    secret_env = "FLOWGATE_JWT_SECRET""#;

/// The same where secrets are not wanted.
const WITH_PUBLIC_KEYS: &str = r#"
    [[auth.issuers]]
    name = "app"
    algorithms = ["ES256"]
    jwks_url = "https://app.example/.well-known/jwks.json""#;

/// Clocks that differ by more are to be set right, and every token would live on for that long.
const MOST_LEEWAY: Duration = Duration::from_secs(10 * 60);

pub(super) fn compile(raw: &raw::Auth, report: &mut Report<'_>) -> Option<Auth> {
    let at = KeyPath::of("auth");
    let mode = report.choice(&at.key("mode"), &raw.mode, MODES);
    let token_from = token_sources(raw, &at.key("token_from"), report);
    let leeway = report.take(&at.key("leeway"), leeway(&raw.leeway));
    let max_lifetime = report.positive_duration(&at.key("max_lifetime"), &raw.max_lifetime);
    let claims = claims(&raw.claims, &at.key("claims"), report);
    let issuers = issuers(raw, max_lifetime, &at.key("issuers"), report);
    match mode {
        Some(AuthMode::Off) => report.warn(
            &at.key("mode"),
            "nobody is asked who they are, and everybody hears everything",
            "write \"required\" before strangers can reach it",
        ),
        Some(_) if raw.issuers.is_empty() && !report.context.without_keys => report.missing(
            &at.key("issuers"),
            format!("no issuer, while auth.mode = {:?} needs one to verify tokens", raw.mode),
            format!("add one:{}", if raw.asymmetric_only { WITH_PUBLIC_KEYS } else { WITH_SECRET }),
        ),
        _ => {}
    }
    Some(Auth {
        mode: mode?,
        token_from: token_from?,
        leeway: leeway?,
        max_lifetime: max_lifetime?,
        refresh: raw.refresh,
        issuers: issuers?,
        claims: claims?,
    })
}

pub(super) fn rooms(raw: &raw::Rooms, mode: &str, report: &mut Report<'_>) -> Option<Rooms> {
    let at = KeyPath::of("rooms");
    let without_team =
        report.choice(&at.key("without_team"), &raw.without_team, &[("reject", false), ("admit", true)]);
    let multi_team =
        report.choice(&at.key("multi_team"), &raw.multi_team, &[("choose", false), ("all", true)]);
    let anonymous = at.key("anonymous");
    match &raw.anonymous {
        Some(room) if room.trim().is_empty() => {
            report.refuse(&anonymous, "an empty name", "name a room, such as \"lobby\", or leave it out");
        }
        Some(_) if mode != "optional" => report.warn(
            &anonymous,
            format!("has no effect, since auth.mode is {mode:?}"),
            "leave it out, or write auth.mode = \"optional\"",
        ),
        None if mode == "optional" => report.warn(
            &anonymous,
            "not set, so clients without a token are admitted and hear nothing",
            "name a room, such as anonymous = \"lobby\"",
        ),
        _ => {}
    }
    Some(Rooms {
        admit_without_team: without_team?,
        send_to_all_teams: multi_team?,
        anonymous: raw.anonymous.as_deref().map(Into::into),
    })
}

fn token_sources(raw: &raw::Auth, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<TokenSource>> {
    if raw.token_from.is_empty() && raw.mode != "off" {
        report.refuse(at, "nowhere to look for a token", r#"write ["auth"], ["header"] or ["cookie:NAME"]"#);
    }
    let mut sources: Vec<TokenSource> = Vec::new();
    let mut known = true;
    for (index, text) in raw.token_from.iter().enumerate() {
        match report.take(&at.index(index), token_source(text)) {
            Some(source) if sources.contains(&source) => {
                report.refuse(&at.index(index), format!("{text:?} a second time"), "name each place once");
            }
            Some(source) => sources.push(source),
            None => known = false,
        }
    }
    known.then_some(sources)
}

fn token_source(text: &str) -> Result<TokenSource, Fault> {
    let mend = r#"write "auth", "header" or "cookie:NAME""#;
    match text.split_once(':') {
        None if text == "auth" => Ok(TokenSource::Auth),
        None if text == "header" => Ok(TokenSource::Header),
        Some(("cookie", "")) | None if text.starts_with("cookie") => {
            Err(Fault::new(format!("{text:?} names no cookie"), r#"write its name, as in "cookie:session""#))
        }
        Some(("cookie", name)) if name.chars().all(cookie_name_character) => {
            Ok(TokenSource::Cookie(name.to_owned()))
        }
        Some(("cookie", _)) => Err(Fault::new(
            format!("{text:?} is no name a cookie can have"),
            "write it without spaces, quotes and separators, as in \"cookie:session\"",
        )),
        _ => Err(Fault::new(format!("{text:?} is no place for a token"), mend)),
    }
}

/// A `token` character of RFC 9110 §5.6.2, of which cookie names are made (RFC 6265 §4.1.1).
fn cookie_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn leeway(text: &str) -> Result<Duration, Fault> {
    match values::duration(text)? {
        leeway if leeway > MOST_LEEWAY => Err(Fault::new(
            format!("{text:?} is more than clocks differ, and lengthens every token's life"),
            "write at most \"10m\", and synchronise the clocks",
        )),
        leeway => Ok(leeway),
    }
}

fn claims(raw: &raw::Claims, at: &KeyPath, report: &mut Report<'_>) -> Option<ClaimPaths> {
    let subject = report.take(&at.key("subject"), values::claim_path(&raw.subject));
    let teams = report.take(&at.key("teams"), values::claim_path(&raw.teams));
    let roles = report.take(&at.key("roles"), values::claim_path(&raw.roles));
    Some(ClaimPaths { subject: subject?, teams: teams?, roles: roles? })
}

fn issuers(
    raw: &raw::Auth,
    max_lifetime: Option<Duration>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Vec<Issuer>> {
    told_apart(&raw.issuers, at, report);
    let issuers: Vec<Option<Issuer>> = raw
        .issuers
        .iter()
        .map(|issuer| {
            one_issuer(issuer, raw.asymmetric_only, max_lifetime, &at.entry("name", &issuer.name), report)
        })
        .collect();
    issuers.into_iter().collect()
}

/// A token says in `iss` whose it is, so two issuers must not answer to the same.
fn told_apart(issuers: &[raw::Issuer], at: &KeyPath, report: &mut Report<'_>) {
    let mut seen: HashMap<Option<&str>, &str> = HashMap::new();
    for issuer in issuers {
        let Some(other) = seen.insert(issuer.issuer.as_deref(), &issuer.name) else { continue };
        let at = at.entry("name", &issuer.name);
        match &issuer.issuer {
            Some(shared) => report.refuse(
                &at.key("issuer"),
                format!("{shared:?} is also the issuer of {other:?}, so they cannot be told apart"),
                "keep one entry; to let an old and a new key overlap, give it both in a list, \
                 as in secret_env = [\"NEW\", \"OLD\"]",
            ),
            None => report.refuse(
                &at,
                format!("no `issuer`, like {other:?}, so they cannot be told apart"),
                "write issuer = \"…\", the `iss` of its tokens; only one entry may leave it out",
            ),
        }
    }
}

fn one_issuer(
    raw: &raw::Issuer,
    asymmetric_only: bool,
    default_lifetime: Option<Duration>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Issuer> {
    if raw.issuer.as_deref() == Some("") {
        let mend = "write the `iss` of its tokens, or leave it out";
        report.refuse(&at.key("issuer"), "an empty text", mend);
    }
    if let Some(index) = raw.audience.iter().position(String::is_empty) {
        report.refuse(
            &at.key("audience").index(index),
            "an empty text",
            "write a name that `aud` must contain",
        );
    }
    let max_lifetime = match &raw.max_lifetime {
        Some(text) => report.positive_duration(&at.key("max_lifetime"), text),
        None => default_lifetime,
    };
    let algorithms = algorithms(raw, asymmetric_only, at, report);
    let key = keys::load(raw, algorithms.as_deref(), at, report);
    Some(Issuer {
        name: raw.name.as_str().into(),
        issuer: raw.issuer.clone(),
        audience: raw.audience.clone(),
        algorithms: algorithms?,
        max_lifetime: max_lifetime?,
        key: key?,
    })
}

fn algorithms(
    raw: &raw::Issuer,
    asymmetric_only: bool,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Vec<Algorithm>> {
    let at = at.key("algorithms");
    let Some(names) = raw.algorithms.as_ref().filter(|names| !names.is_empty()) else {
        let mend = "name those of its key, as in algorithms = [\"HS256\"] or [\"ES256\"]";
        report.missing(&at, "no algorithm, so no token could be verified", mend);
        return None;
    };
    let mut algorithms = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match Algorithm::from_str(name) {
            Ok(algorithm) if ALGORITHMS.contains(&name.as_str()) => algorithms.push(algorithm),
            _ => {
                let mut problem = report.problem(
                    &at.index(index),
                    format!("{name:?} is no algorithm that flowgate verifies"),
                    format!("write {}", any_of(ALGORITHMS)),
                );
                problem.did_you_mean = closest(name, ALGORITHMS);
                report.problems.push(problem);
            }
        }
    }
    if algorithms.len() < names.len() {
        return None;
    }
    let symmetric = algorithms.iter().filter(|algorithm| algorithm.family() == AlgorithmFamily::Hmac).count();
    if symmetric > 0 && asymmetric_only {
        let found = format!("{}, while auth.asymmetric_only = true", names.join(", "));
        report.refuse(&at, found, "use RS*, PS*, ES* or EdDSA with public_key_file, jwks_file or jwks_url");
        return None;
    }
    if symmetric > 0 && symmetric < algorithms.len() {
        report.refuse(
            &at,
            format!("{}: HS with others, so a public key could be taken for a secret", names.join(", ")),
            "make two issuers of it, each with its own kind of key",
        );
        return None;
    }
    Some(algorithms)
}
