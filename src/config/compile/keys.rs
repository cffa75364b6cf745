//! An issuer's keys: which of the five settings names them, and reading what it names.

use jsonwebtoken::Algorithm;

use super::Report;
use crate::config::files::LARGEST_KEY_FILE;
use crate::config::key_material::{KeyError, KeyMaterial};
use crate::config::key_path::KeyPath;
use crate::config::raw::{self, OneOrMany};

const FIVE: &str = "secret_env, secret_file, public_key_file, jwks_file or jwks_url";

/// Loads the keys that the issuer names. `algorithms` is `None` where those are wrong themselves; what can be said of
/// the keys without them is said.
pub(super) fn load(
    raw: &raw::Issuer,
    algorithms: Option<&[Algorithm]>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<KeyMaterial> {
    let named: Vec<(&str, Vec<(KeyPath, &str)>)> = [
        ("secret_env", each(raw.secret_env.as_ref(), &at.key("secret_env"))),
        ("secret_file", each(raw.secret_file.as_ref(), &at.key("secret_file"))),
        ("public_key_file", each(raw.public_key_file.as_ref(), &at.key("public_key_file"))),
        ("jwks_file", raw.jwks_file.iter().map(|text| (at.key("jwks_file"), text.as_str())).collect()),
        ("jwks_url", raw.jwks_url.iter().map(|text| (at.key("jwks_url"), text.as_str())).collect()),
    ]
    .into_iter()
    .filter(|(_, places)| !places.is_empty())
    .collect();
    let (source, places) = match named.as_slice() {
        [] => {
            report.missing(at, "no key to verify its tokens with", format!("write one of {FIVE}"));
            return None;
        }
        [only] => only,
        [_, .., (last, _)] => {
            let all: Vec<&str> = named.iter().map(|(source, _)| *source).collect();
            report.refuse(
                &at.key(last),
                format!("{} together", all.join(" and ")),
                format!("keep one of {FIVE}"),
            );
            return None;
        }
    };
    insecure_http_has_effect(raw, at, report);
    if report.context.without_keys && places.iter().any(|(at, text)| is_absent(source, text, at, report)) {
        return Some(KeyMaterial::none());
    }
    let at = at.key(source);
    match *source {
        "secret_env" => {
            let secrets = read_all(places, report, environment);
            secret(places, secrets?, algorithms?, &at, report)
        }
        "secret_file" => {
            let secrets = read_all(places, report, file);
            secret(places, secrets?, algorithms?, &at, report)
        }
        "public_key_file" => {
            // PEM files may follow each other in one text; a newline keeps their lines apart.
            let pems = read_all(places, report, file)?.join(&b'\n');
            check(KeyMaterial::from_public_pem(&pems, algorithms?), &at, report)
        }
        "jwks_file" => {
            let documents = read_all(places, report, file)?;
            check(KeyMaterial::from_jwks(documents.first()?, algorithms?), &at, report)
        }
        _ => {
            let (_, text) = places.first()?;
            let url = url(text, raw.insecure_http, &at, report)?;
            check(KeyMaterial::check_endpoint(&url, algorithms?), &at, report)?;
            Some(KeyMaterial::from_jwks_url(url))
        }
    }
}

/// Whether what a setting names is not there. What cannot be the name of a variable is refused all the same.
fn is_absent(source: &str, text: &str, at: &KeyPath, report: &Report<'_>) -> bool {
    match source {
        "secret_env" => is_variable(text) && !report.context.environment.contains_key(text),
        "jwks_url" => false,
        _ => !report.folder(at).join(text).exists(),
    }
}

/// Reads every place, also after one has failed.
fn read_all(
    places: &[(KeyPath, &str)],
    report: &mut Report<'_>,
    read: fn(&str, &KeyPath, &mut Report<'_>) -> Option<Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    let contents: Vec<Option<Vec<u8>>> = places.iter().map(|(at, text)| read(text, at, report)).collect();
    contents.into_iter().collect()
}

/// One secret or several. Each is checked alone first, so that a fault is said of the one that has it.
fn secret(
    places: &[(KeyPath, &str)],
    secrets: Vec<Vec<u8>>,
    algorithms: &[Algorithm],
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<KeyMaterial> {
    let right = std::iter::zip(places, &secrets)
        .filter(|((at, _), secret)| {
            check(KeyMaterial::from_secret(secret.to_vec(), algorithms), at, report).is_some()
        })
        .count();
    if right < secrets.len() {
        return None;
    }
    check(KeyMaterial::from_secrets(secrets, algorithms), at, report)
}

/// The text or texts, each with its place. An empty list names nothing.
pub(super) fn each<'a>(texts: Option<&'a OneOrMany>, at: &KeyPath) -> Vec<(KeyPath, &'a str)> {
    match texts {
        None => Vec::new(),
        Some(OneOrMany::One(text)) => vec![(at.clone(), text)],
        Some(OneOrMany::Many(texts)) => {
            texts.iter().enumerate().map(|(index, text)| (at.index(index), text.as_str())).collect()
        }
    }
}

fn insecure_http_has_effect(raw: &raw::Issuer, at: &KeyPath, report: &mut Report<'_>) {
    let over_http = raw.jwks_url.as_ref().is_some_and(|url| url.to_ascii_lowercase().starts_with("http://"));
    if raw.insecure_http && over_http {
        let found = "keys are fetched over http: whoever sits on the way can make tokens";
        report.warn(&at.key("insecure_http"), found, "use https as soon as you can");
    } else if raw.insecure_http {
        report.warn(&at.key("insecure_http"), "has no effect without a jwks_url of http://", "leave it out");
    }
}

fn environment(name: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<u8>> {
    match variable(name, "FLOWGATE_JWT_SECRET", at, report)? {
        Some(secret) => Some(secret.into_bytes()),
        None => {
            let mend = format!("set {name} where flowgate starts, or name another variable");
            report.refuse(at, format!("the environment variable {name} is not set"), mend);
            None
        }
    }
}

/// What an environment variable with a secret holds: `Some(None)` where it is not set, `None` where this cannot be its
/// name, such as `example` could. What may be the secret itself in the place of a name is not repeated.
pub(super) fn variable(
    name: &str,
    example: &str,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    if !is_variable(name) {
        let mend = format!("write a name such as {example:?}, never the secret itself");
        report.refuse(at, "this is not the name of an environment variable", mend);
        return None;
    }
    let text = report.context.environment.get(name);
    if text.is_none() && !report.context.without_keys && name.chars().any(|c| c.is_ascii_lowercase()) {
        let mend = format!("set it where flowgate starts, or write a name such as {example:?}");
        report.refuse(at, "the environment variable that this names is not set", mend);
        return None;
    }
    Some(text.cloned())
}

fn is_variable(name: &str) -> bool {
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads a file named by the settings, relative to the file that names it.
fn file(name: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<u8>> {
    match report.named_file(at, name, LARGEST_KEY_FILE, false) {
        Ok(content) => Some(content),
        Err(fault) => {
            report.refuse(
                at,
                fault,
                "name a readable key file; its path is relative to the file that names it",
            );
            None
        }
    }
}

fn url(text: &str, insecure_http: bool, at: &KeyPath, report: &mut Report<'_>) -> Option<url::Url> {
    let example = "write one such as https://app.example/.well-known/jwks.json";
    let Some(url) = url::Url::parse(text).ok().filter(|url| url.has_host()) else {
        report.refuse(at, "this is not a URL", example);
        return None;
    };
    if url.scheme() == "http" && !insecure_http {
        let found = "an http:// address, over which anybody on the way could replace the keys";
        report.refuse(at, found, "write https://, or insecure_http = true beside it");
        return None;
    }
    Some(url)
}

/// What key material says of itself tells what was found and what to write.
fn check<T>(checked: Result<T, KeyError>, at: &KeyPath, report: &mut Report<'_>) -> Option<T> {
    match checked {
        Ok(checked) => Some(checked),
        Err(error) => {
            report.refuse(at, error.to_string(), "");
            None
        }
    }
}
