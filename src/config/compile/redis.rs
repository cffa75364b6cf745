//! `[bus.redis]`: where Redis is, and how this node proves itself there.

use std::sync::Arc;

use url::Url;

use super::Report;
use super::bus::{file_content, variable, without_newline};
use super::keys::each;
use crate::config::bus::{ClientCertificate, Redis, RedisAddress, RedisTls, Secret};
use crate::config::certificate::{Certificate, Which};
use crate::config::key_path::KeyPath;
use crate::config::raw;
use crate::config::values::Fault;

/// The address of the defaults.
pub(super) const USUAL_URL: &str = "redis://127.0.0.1:6379";

/// Where Redis listens unless told otherwise.
const USUAL_PORT: u16 = 6379;

/// More seeds than any cluster needs; one that answers names all others.
const MOST_SERVERS: usize = 32;

/// It stands before every team's name in every channel.
const LONGEST_PREFIX: usize = 64;

/// So many databases nobody sets a server up with.
const LAST_DATABASE: u32 = 65_535;

/// What `is_used` says counts for what lies outside of the settings: without it no file and no variable is read.
pub(super) fn compile(raw: &raw::Redis, is_used: bool, report: &mut Report<'_>) -> Option<Redis> {
    let at = KeyPath::of("bus.redis");
    let places = places(raw, &at, report);
    let prefix = report.take(&at.key("prefix"), prefix(&raw.prefix));
    let connect_timeout = report.positive_duration(&at.key("connect_timeout"), &raw.connect_timeout);
    let response_timeout = report.positive_duration(&at.key("response_timeout"), &raw.response_timeout);
    let password = password(raw, is_used, &at, report);
    let speaks_tls = places.as_ref().map(|places| places.tls);
    let tls = tls(raw, speaks_tls, is_used, &at, report);
    let (places, password) = (places?, password?);
    Some(Redis {
        servers: places.servers,
        cluster: raw.cluster,
        database: places.database,
        tls: tls?,
        username: raw.username.clone(),
        password,
        prefix: prefix?,
        connect_timeout: connect_timeout?,
        response_timeout: response_timeout?,
    })
}

/// What one URL says.
struct Place {
    server: RedisAddress,
    database: u32,
    tls: bool,
}

/// What all of them say together.
struct Places {
    servers: Vec<RedisAddress>,
    database: u32,
    tls: bool,
}

fn places(raw: &raw::Redis, at: &KeyPath, report: &mut Report<'_>) -> Option<Places> {
    let (url, cluster) = (at.key("url"), at.key("cluster"));
    let texts = each(Some(&raw.url), &url);
    let before = report.problems.len();
    if texts.is_empty() || texts.len() > MOST_SERVERS {
        let found = format!("{} addresses", texts.len());
        report.refuse(&url, found, format!("write {USUAL_URL:?}, or a list of at most {MOST_SERVERS}"));
    }
    if texts.len() > 1 && !raw.cluster {
        let found = format!("{} addresses without bus.redis.cluster = true", texts.len());
        let mend = "write cluster = true if they are a cluster, or name the one server";
        report.refuse_beside(&url, &cluster, found, mend);
    }
    let read: Vec<Option<Place>> = texts.iter().map(|(at, text)| report.take(at, place(text))).collect();
    let read: Vec<Place> = read.into_iter().collect::<Option<_>>()?;
    let first = read.first()?;
    let (database, tls) = (first.database, first.tls);
    if raw.cluster && read.iter().any(|place| place.database != 0) {
        let found = "a database, while bus.redis.cluster = true: a cluster has only database 0";
        report.refuse_beside(&url, &cluster, found, "leave the number at its end out");
    }
    if read.iter().any(|place| place.tls != tls) {
        report.refuse(
            &url,
            "redis:// beside rediss://",
            "write the same for all, since a cluster speaks one",
        );
    }
    let servers = read.into_iter().map(|place| place.server).collect();
    (report.problems.len() == before).then_some(Places { servers, database, tls })
}

/// Reads one URL. What could be a password is not repeated.
fn place(text: &str) -> Result<Place, Fault> {
    let mend = format!("write one such as {USUAL_URL:?}, or \"rediss://redis.example:6380\" for TLS");
    let fault = |found: &str| Fault::new(found, mend.clone());
    let url = Url::parse(text).map_err(|_| fault("this is not a URL"))?;
    let tls = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        "unix" | "redis+unix" => return Err(fault("sockets of the file system are not supported")),
        _ => return Err(fault("this begins neither with redis:// nor with rediss://")),
    };
    if url.password().is_some() || !url.username().is_empty() {
        return Err(Fault::new(
            "there is a name or a password in it, and settings are shown",
            "write bus.redis.username, and password_env or password_file, instead",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("there is more behind the address"));
    }
    let host = match url.host() {
        Some(url::Host::Ipv6(address)) => address.to_string(),
        Some(host) if !host.to_string().is_empty() => host.to_string(),
        _ => return Err(fault("there is no host in it")),
    };
    let database = match url.path() {
        "" | "/" => 0,
        path => path[1..].parse().ok().filter(|number| *number <= LAST_DATABASE).ok_or_else(|| {
            Fault::new(
                format!("{path:?} is not the number of a database"),
                format!("write one such as \"{USUAL_URL}/1\", or leave it out"),
            )
        })?,
    };
    let server = RedisAddress { host, port: url.port().unwrap_or(USUAL_PORT) };
    Ok(Place { server, database, tls })
}

/// Braces would move keys of a cluster to other servers; stars and brackets are patterns in a server's access lists.
fn prefix(text: &str) -> Result<Arc<str>, Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    if (1..=LONGEST_PREFIX).contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    Err(Fault::new(
        format!("{text:?} cannot begin the name of a channel"),
        format!("write at most {LONGEST_PREFIX} letters, digits and -_.:/, such as \"flowgate\""),
    ))
}

/// `Some(None)` where there is none.
fn password(
    raw: &raw::Redis,
    is_used: bool,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<Secret>> {
    let (env, file) = (at.key("password_env"), at.key("password_file"));
    if raw.username.as_ref().is_some_and(|name| name.trim().is_empty()) {
        report.refuse(&at.key("username"), "found an empty name", "write the user's name, or leave it out");
        return None;
    }
    let read = match (&raw.password_env, &raw.password_file) {
        (Some(_), Some(_)) => {
            report.refuse(&file, "password_env and password_file together", "keep one of them");
            return None;
        }
        (None, None) if raw.username.is_some() => {
            let mend = "write password_env or password_file beside it";
            report.missing(&at.key("username"), "a name without a password", mend);
            return None;
        }
        _ if !is_used => return Some(None),
        (None, None) => return Some(None),
        (Some(name), None) => variable(name, "FLOWGATE_REDIS_PASSWORD", &env, report)?
            .map(|text| (without_newline(text.into_bytes()), &env)),
        (None, Some(name)) => {
            file_content(name, &file, report)?.map(|content| (without_newline(content), &file))
        }
    };
    let Some((password, at)) = read else { return Some(None) };
    let fault = match std::str::from_utf8(&password) {
        Ok("") => Some("this password is empty"),
        Ok(_) => None,
        Err(_) => Some("this password is not UTF-8"),
    };
    if let Some(found) = fault {
        report.refuse(at, found, "give the one that the server asks for, or leave it out");
        return None;
    }
    Some(Some(Secret::new(password)))
}

/// `Some(None)` where plain TCP is spoken. `speaks_tls` is `None` where the addresses are wrong themselves.
fn tls(
    raw: &raw::Redis,
    speaks_tls: Option<bool>,
    is_used: bool,
    at: &KeyPath,
    report: &mut Report<'_>,
) -> Option<Option<RedisTls>> {
    let keys = ["ca_file", "certificate_file", "key_file"];
    let [authorities, certificate, key] = keys.map(|key| at.key(key));
    let named = [&raw.ca_file, &raw.certificate_file, &raw.key_file];
    if speaks_tls == Some(false) {
        for (key, _) in std::iter::zip(keys, named).filter(|(_, named)| named.is_some()) {
            let mend = "write rediss:// in bus.redis.url, or leave this out";
            report.refuse_beside(
                &at.key(key),
                &at.key("url"),
                "there is no TLS over redis://, which this is for",
                mend,
            );
        }
        return named.iter().all(|named| named.is_none()).then_some(None);
    }
    let pair = match (&raw.certificate_file, &raw.key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            report.missing(&certificate, "a certificate without its key", "write key_file beside it");
            return None;
        }
        (None, Some(_)) => {
            report.missing(&key, "a key without its certificate", "write certificate_file beside it");
            return None;
        }
    };
    if !is_used {
        return Some(Some(RedisTls { authorities: None, client: None }));
    }
    let roots = match &raw.ca_file {
        Some(name) => read_authorities(name, &authorities, report),
        None => Some(None),
    };
    let client = match pair {
        Some((cert, private)) => read_client(cert, private, [&certificate, &key], report),
        None => Some(None),
    };
    Some(Some(RedisTls { authorities: roots?, client: client? }))
}

fn read_authorities(name: &str, at: &KeyPath, report: &mut Report<'_>) -> Option<Option<Vec<u8>>> {
    let Some(text) = file_content(name, at, report)? else { return Some(None) };
    let is_right = pem::parse_many(&text)
        .is_ok_and(|blocks| !blocks.is_empty() && blocks.iter().all(|block| block.tag() == "CERTIFICATE"));
    if !is_right {
        let mend = "name the PEM certificates of the authorities that sign Redis's, and nothing else";
        report.refuse(at, "there are no certificates in it, or more than those", mend);
        return None;
    }
    Some(Some(text))
}

fn read_client(
    certificate: &str,
    key: &str,
    [at_certificate, at_key]: [&KeyPath; 2],
    report: &mut Report<'_>,
) -> Option<Option<ClientCertificate>> {
    let certificate = file_content(certificate, at_certificate, report);
    let key = file_content(key, at_key, report);
    let (Some(certificate), Some(key)) = (certificate?, key?) else { return Some(None) };
    if let Err(error) = Certificate::from_pem(&certificate, &key) {
        let at = match error.file {
            Which::Certificate => at_certificate,
            Which::Key => at_key,
        };
        report.refuse(at, error.found, error.mend);
        return None;
    }
    Some(Some(ClientCertificate { certificate, key: Secret::new(key) }))
}

/// Warns of what strangers could read or write on the way to Redis.
pub(super) fn deserves_a_look(redis: &Redis, hmac: &[Secret], report: &mut Report<'_>) {
    if report.context.without_keys || redis.tls.is_some() {
        return;
    }
    let Some(far) = redis.servers.iter().find(|server| !server.is_loopback()) else { return };
    let at = KeyPath::of("bus.redis.url");
    if redis.password.is_some() {
        let found = format!("the password goes to {far} over a network in plain text");
        report.warn(&at, found, "use rediss://, unless only your machines can listen there");
    }
    if hmac.is_empty() {
        let found =
            format!("whoever can write to {far}, or sits on the way, can announce changes to every team");
        let mend = "sign what nodes say with [bus.hmac], and use rediss:// where others share the network";
        report.warn(&at, found, mend);
    }
}
