//! `[server]` and `[internal]`: addresses, the path, transports, origins, proxies.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::{Report, keys, tls};
use crate::config::admin_token::AdminToken;
use crate::config::key_path::KeyPath;
use crate::config::policy::{AllowedOrigins, Internal, Server};
use crate::config::raw;
use crate::config::values::{self, Fault};

pub(super) fn server(raw: &raw::Server, auth: &raw::Auth, report: &mut Report<'_>) -> Option<Server> {
    let at = KeyPath::of("server");
    let listen = report.take(&at.key("listen"), address(&raw.listen));
    let path = report.take(&at.key("path"), path(&raw.path));
    let transports = transports(&raw.transports, &at.key("transports"), report);
    let allowed_origins = origins(&raw.allowed_origins, &at.key("allowed_origins"), report);
    let trusted_proxies = proxies(&raw.trusted_proxies, &at.key("trusted_proxies"), report);
    let tls = tls::compile(&raw.tls, &at.key("tls"), report);
    cookies_need_origins(raw, auth, report);
    let (polling, websocket) = transports?;
    Some(Server {
        listen: listen?,
        path: path?,
        polling,
        websocket,
        allowed_origins: allowed_origins?,
        allow_missing_origin: raw.allow_missing_origin,
        trusted_proxies: trusted_proxies?,
        bind_sessions_to_address: raw.bind_sessions_to_address,
        tls: tls?,
    })
}

pub(super) fn internal(
    raw: &raw::Internal,
    server: Option<&Server>,
    report: &mut Report<'_>,
) -> Option<Internal> {
    let at = KeyPath::of("internal.listen");
    let listen = report.take(&at, address(&raw.listen));
    let admin_token = admin_token(&raw.admin_token_env, report);
    let listen = listen?;
    if let Some(server) = server
        && collide(server.listen, listen)
    {
        let found = format!("{:?} is taken by server.listen, {:?}", raw.listen, server.listen.to_string());
        report.refuse_beside(&at, &KeyPath::of("server.listen"), found, "give it a port of its own");
        return None;
    }
    if !listen.ip().is_loopback() {
        let found = format!("{:?} can be reached from other machines", raw.listen);
        report.warn(&at, found, "make sure that only your operators can, or listen on 127.0.0.1");
    }
    Some(Internal { listen, admin_token_env: raw.admin_token_env.as_str().into(), admin_token: admin_token? })
}

/// The variable of the defaults, which need not be set: not everybody wants the API.
const USUAL_VARIABLE: &str = "FLOWGATE_ADMIN_TOKEN";

/// `Some(None)` where the variable is not set, which closes the API; `None` where what it holds will not do.
fn admin_token(variable: &str, report: &mut Report<'_>) -> Option<Option<AdminToken>> {
    let at = KeyPath::of("internal.admin_token_env");
    match keys::variable(variable, USUAL_VARIABLE, &at, report)? {
        Some(text) => match AdminToken::new(&text) {
            Ok(token) => Some(Some(token)),
            Err(error) => {
                report.refuse(&at, format!("the environment variable {variable}: {error}"), "");
                None
            }
        },
        None => {
            if variable != USUAL_VARIABLE && !report.context.without_keys {
                let found = format!("the environment variable {variable} is not set, so the API is closed");
                report.warn(&at, found, format!("set {variable} where flowgate starts"));
            }
            Some(None)
        }
    }
}

/// Whether the second of two listeners could not be bound; port 0 is always another.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let mend = match text.rsplit_once(':') {
            Some(("", port)) if port.parse::<u16>().is_ok() => {
                format!("write \"127.0.0.1:{port}\" for this machine only, or \"0.0.0.0:{port}\" for all")
            }
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{port}\""),
            _ => r#"write an IP address and a port, such as "127.0.0.1:3000" or "[::1]:3000""#.to_owned(),
        };
        Fault::new(format!("{text:?} is not an address to listen on"), mend)
    })
}

/// The path with both slashes. What a URL would have to escape is refused, since clients would escape it differently.
fn path(text: &str) -> Result<String, Fault> {
    let fault = |found: &str| Fault::new(format!("{text:?} {found}"), r#"write one such as "/socket.io/""#);
    if !text.starts_with('/') {
        return Err(fault("does not begin with a slash"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if let Some(odd) = text.chars().find(|c| !plain(*c)) {
        return Err(fault(&format!("holds {odd:?}; only letters, digits and -._~/ may stand in it")));
    }
    let inner = text[1..].strip_suffix('/').unwrap_or(&text[1..]);
    if inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(fault("has a segment that is empty or of dots only"));
    }
    Ok(format!("/{inner}/"))
}

fn transports(names: &[String], at: &KeyPath, report: &mut Report<'_>) -> Option<(bool, bool)> {
    if names.is_empty() {
        report.refuse(
            at,
            "no transport, so nobody could connect",
            r#"write ["polling", "websocket"], or one of them"#,
        );
        return None;
    }
    let (mut polling, mut websocket, mut known) = (false, false, true);
    for (index, name) in names.iter().enumerate() {
        match report.choice(&at.index(index), name, &[("polling", true), ("websocket", false)]) {
            Some(true) => polling = true,
            Some(false) => websocket = true,
            None => known = false,
        }
    }
    known.then_some((polling, websocket))
}

fn origins(texts: &[String], at: &KeyPath, report: &mut Report<'_>) -> Option<AllowedOrigins> {
    if texts.iter().any(|text| text == "*") {
        if texts.len() == 1 {
            return Some(AllowedOrigins::Any);
        }
        report.refuse(
            at,
            "`*` beside others, which it makes meaningless",
            r#"write ["*"] alone, or leave it out"#,
        );
        return None;
    }
    let origins: Vec<Option<String>> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| report.take(&at.index(index), values::origin(text)))
        .collect();
    origins.into_iter().collect::<Option<Vec<_>>>().map(AllowedOrigins::List)
}

fn proxies(texts: &[String], at: &KeyPath, report: &mut Report<'_>) -> Option<Vec<IpNet>> {
    let networks: Vec<Option<IpNet>> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let network = report.take(&at.index(index), network(text))?;
            if network.prefix_len() == 0 {
                let found = format!("{text:?} holds every address, so anybody's X-Forwarded-For is believed");
                report.warn(&at.index(index), found, "name your proxies' network");
            }
            Some(network)
        })
        .collect();
    networks.into_iter().collect()
}

fn network(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        let found = format!("{text:?} is an address without a prefix length");
        return Err(Fault::new(found, format!("write \"{}\"", IpNet::from(address))));
    }
    let network: IpNet = text.parse().map_err(|_| {
        Fault::new(format!("{text:?} is not a network"), r#"write a CIDR such as "10.0.0.0/8" or "fd00::/8""#)
    })?;
    match network.trunc() {
        whole if whole == network => Ok(network),
        whole => Err(Fault::new(
            format!("{text:?} has bits beyond its prefix"),
            format!(
                "write \"{whole}\" for the network, or \"{}\" for the address",
                IpNet::from(network.addr())
            ),
        )),
    }
}

/// A browser sends cookies with whatever page makes the request, so the origin is all that tells friend from foe.
fn cookies_need_origins(raw: &raw::Server, auth: &raw::Auth, report: &mut Report<'_>) {
    if auth.mode == "off" || !auth.token_from.iter().any(|source| source.starts_with("cookie")) {
        return;
    }
    let tokens = KeyPath::of("auth.token_from");
    if raw.allow_missing_origin {
        report.refuse_beside(
            &KeyPath::of("server.allow_missing_origin"),
            &tokens,
            "true, while auth.token_from takes tokens from a cookie",
            "write allow_missing_origin = false, or take no tokens from cookies",
        );
    }
    if raw.allowed_origins.iter().any(|origin| origin == "*") {
        report.refuse_beside(
            &KeyPath::of("server.allowed_origins"),
            &tokens,
            "`*`, while auth.token_from takes tokens from a cookie: any page could act for your users",
            "name the origins that are yours, or take no tokens from cookies",
        );
    }
}
