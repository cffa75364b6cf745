//! `[bus]`: whether there are other nodes, and how this one is called. What leads to Redis is in [`super::redis`].

use std::sync::Arc;

use super::{Report, keys, redis};
use crate::config::bus::{Bus, Driver, Secret};
use crate::config::files::LARGEST_KEY_FILE;
use crate::config::key_path::KeyPath;
use crate::config::policy::PayloadLimits;
use crate::config::raw;
use crate::config::values::{self, Fault};

/// A name stands in every line of a log.
const LONGEST_NODE: usize = 64;

/// What a node is called whose machine has no name that could be shown.
const NAMELESS: &str = "flowgate";

/// An HMAC-SHA256 is as hard to forge as its key is to guess; RFC 2104 §3 wants no fewer than the hash has. Bytes.
const SHORTEST_SECRET: usize = 32;

/// As many as anybody rotates; each costs a hash for every message that none of those before it has signed.
const MOST_SECRETS: usize = 4;

pub(super) fn compile(
    raw: &raw::Bus,
    payload: Option<PayloadLimits>,
    report: &mut Report<'_>,
) -> Option<Bus> {
    let at = KeyPath::of("bus");
    let is_redis = report.choice(&at.key("driver"), &raw.driver, &[("none", false), ("redis", true)]);
    let node = match &raw.node {
        Some(name) => report.take(&at.key("node"), node(name)),
        None => Some(host_name()),
    };
    let max_queued = max_queued(&raw.max_queued, payload, &at.key("max_queued"), report);
    let is_used = is_redis == Some(true);
    let redis = redis::compile(&raw.redis, is_used, report);
    let hmac = secrets(&raw.hmac, is_used, &at.key("hmac"), report);
    let (redis, hmac) = (redis?, hmac?);
    let driver = match is_redis? {
        true => Driver::Redis(redis),
        false => {
            has_effect(&raw.redis, report);
            Driver::None
        }
    };
    if let Driver::Redis(redis) = &driver {
        redis::deserves_a_look(redis, &hmac, report);
    }
    let required = raw.required && matches!(driver, Driver::Redis(_));
    if raw.required && !required {
        let mend = r#"leave it out, or write bus.driver = "redis""#;
        report.warn(&at.key("required"), r#"has no effect with bus.driver = "none""#, mend);
    }
    // What is said to servers in Node.js goes by the events too: [`super::nodejs`].
    Some(Bus { driver, node: node?, max_queued: max_queued?, required, hmac, nodejs: None })
}

/// Somebody who names a Redis server has more than one node in mind.
fn has_effect(raw: &raw::Redis, report: &mut Report<'_>) {
    let at = KeyPath::of("bus.redis.url");
    let is_default = matches!(&raw.url, raw::OneOrMany::One(url) if url == redis::USUAL_URL);
    if !is_default {
        let mend = r#"write bus.driver = "redis" where other nodes are to hear what is sent here"#;
        report.warn(&at, r#"has no effect with bus.driver = "none""#, mend);
    }
}

fn node(name: &str) -> Result<Arc<str>, Fault> {
    let mend = || format!("write at most {LONGEST_NODE} visible ASCII characters, such as \"web-1\"");
    match name.len() {
        0 => Err(Fault::new("found an empty name", mend())),
        long if long > LONGEST_NODE => Err(Fault::new(format!("{name:?} is {long} bytes long"), mend())),
        _ if !name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(Fault::new(format!("{name:?} holds what is not visible ASCII"), mend()))
        }
        _ => Ok(name.into()),
    }
}

/// The machine's name, or in a container the container's.
fn host_name() -> Arc<str> {
    let machine = rustix::system::uname();
    let name = machine.nodename().to_str().ok().and_then(|name| node(name).ok());
    name.unwrap_or_else(|| NAMELESS.into())
}

fn max_queued(
    raw: &raw::Size,
    payload: Option<PayloadLimits>,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<usize> {
    let max_queued = report.take(at, values::size(raw))?;
    match payload {
        Some(payload) if max_queued < payload.hard_max_bytes => {
            let found = format!(
                "{max_queued} bytes hold less than one event of limits.payload.hard_max_bytes, {}",
                payload.hard_max_bytes
            );
            let mend = "write many times that: it is all that other nodes do not miss while Redis is away";
            report.refuse_beside(at, &KeyPath::of("limits.payload.hard_max_bytes"), found, mend);
            None
        }
        _ => Some(max_queued),
    }
}

/// The secrets of `[bus.hmac]`; none where none are named, or where they are not used.
fn secrets(raw: &raw::Hmac, is_used: bool, at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<Secret>> {
    let (env, file) = (at.key("secret_env"), at.key("secret_file"));
    let variables = keys::each(raw.secret_env.as_ref(), &env);
    let files = keys::each(raw.secret_file.as_ref(), &file);
    if !variables.is_empty() && !files.is_empty() {
        report.refuse(&file, "secret_env and secret_file together", "keep one of them, which may be a list");
        return None;
    }
    let count = variables.len() + files.len();
    if count > MOST_SECRETS {
        let at = if files.is_empty() { env } else { file };
        report.refuse(
            &at,
            format!("{count} secrets"),
            format!("keep {MOST_SECRETS} at most: the new one, then the old"),
        );
        return None;
    }
    if !is_used {
        return Some(Vec::new());
    }
    let read = variables.iter().map(|(at, name)| variable(name, "FLOWGATE_BUS_SECRET", at, report));
    let mut read: Vec<_> = read.map(|secret| secret.map(|text| text.map(String::into_bytes))).collect();
    read.extend(files.iter().map(|(at, name)| file_content(name, at, report)));
    let places = variables.iter().chain(&files);
    let checked: Vec<_> =
        std::iter::zip(places, read).map(|((at, _), secret)| secret.map(|s| hmac(s, at, report))).collect();
    // Each is there and right, or is not there and not missed.
    let checked: Option<Vec<Option<Secret>>> = checked.into_iter().map(Option::flatten).collect();
    Some(checked?.into_iter().flatten().collect())
}

/// Checks one; `Some(None)` where it is not there and not missed.
fn hmac(secret: Option<Vec<u8>>, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<Secret>> {
    let Some(secret) = secret else { return Some(None) };
    let secret = without_newline(secret);
    if secret.len() < SHORTEST_SECRET {
        let found = format!("this secret is {} bytes long", secret.len());
        let mend =
            format!("use at least {SHORTEST_SECRET} bytes, such as the output of `openssl rand -hex 32`");
        report.refuse(at, found, mend);
        return None;
    }
    Some(Some(Secret::new(secret)))
}

/// What a variable holds that must be set; `Some(None)` where it is not, and need not be for this once.
pub(super) fn variable(
    name: &str,
    example: &str,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<String>> {
    let text = keys::variable(name, example, at, report)?;
    if text.is_none() && !report.context.without_keys {
        let mend = format!("set {name} where flowgate starts, or name another variable");
        report.refuse(at, format!("the environment variable {name} is not set"), mend);
        return None;
    }
    Some(text)
}

/// What stands in a file that must be there; `Some(None)` where it is not, and need not be for this once.
pub(super) fn file_content(name: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<Vec<u8>>> {
    if report.context.without_keys && !report.folder(at).join(name).exists() {
        return Some(None);
    }
    match report.named_file(at, name, LARGEST_KEY_FILE, false) {
        Ok(content) => Some(Some(content)),
        Err(fault) => {
            let mend = "name a readable file; its path is relative to the file that names it";
            report.refuse(at, fault, mend);
            None
        }
    }
}

/// Editors and `echo` end a file with a newline that is no part of the secret.
pub(super) fn without_newline(mut secret: Vec<u8>) -> Vec<u8> {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    secret
}
