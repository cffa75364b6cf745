//! Which names the operators' port answers to.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Operations;
use super::answer::Declined;

/// A page in an operator's browser can make it call any name that resolves to loopback (DNS rebinding), but not with
/// another `Host` than that name.
pub(super) async fn check(
    State(operations): State<Arc<Operations>>,
    request: Request,
    next: Next,
) -> Response {
    if operations.loopback && !names_this_machine(request.headers(), request.uri()) {
        let message = "the Host header must name this machine, such as localhost";
        return Declined::new(StatusCode::FORBIDDEN, "host", message).into_response();
    }
    next.run(request).await
}

fn names_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    // HTTP/1.0 need not say whom it means.
    let mut hosts = headers.get_all(header::HOST).iter();
    hosts.all(|host| host.to_str().is_ok_and(is_this_machine))
        && uri.authority().is_none_or(|authority| is_this_machine(authority.as_str()))
}

/// Whether a host, with its port if it has one, is a name of loopback. What is left over anywhere makes it another's.
fn is_this_machine(host: &str) -> bool {
    let (is_loopback, port) = match host.strip_prefix('[') {
        Some(inside) => {
            let Some((address, port)) = inside.split_once(']') else { return false };
            (address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()), port)
        }
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            let is_loopback = name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
            (is_loopback || name.eq_ignore_ascii_case("localhost"), port)
        }
    };
    is_loopback && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_port(text: &str) -> bool {
    // A sign would be parsed too.
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass() {
        let passes = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            names_this_machine(&headers, &Uri::from_static("/metrics"))
        };
        for host in [
            "localhost",
            "LOCALHOST",
            "LocalHost:3001",
            "127.0.0.1:3001",
            "127.0.0.1:65535",
            "[::1]",
            "[::1]:3001",
            "127.9.9.9",
        ] {
            assert!(passes(host), "{host}");
        }
        for host in [
            "",
            "evil.test",
            "localhost.evil.test",
            "10.0.0.1:3001",
            "127.0.0.1.evil.test",
            "a b",
            "[::1]evil.test",
            "[::1",
            "[[::1]]",
            "::1",
            "[127.0.0.1]",
            "[localhost]",
            "127.0.0.1]",
            "[::2]:3001",
            "127.0.0.1:99999999",
            "127.0.0.1:65536",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:80:80",
            "localhost:evil.test",
            "evil.test@localhost",
            "localhost:80@evil.test",
            "localh\u{f6}st",
        ] {
            assert!(!passes(host), "{host}");
        }
    }

    #[test]
    fn none_of_several_names_may_be_anothers() {
        let passes = |hosts: &[&str], uri: &'static str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            names_this_machine(&headers, &Uri::from_static(uri))
        };
        assert!(passes(&[], "/metrics") && passes(&["localhost"], "http://127.0.0.1:3001/metrics"));
        assert!(!passes(&["localhost", "evil.test"], "/metrics"));
        assert!(!passes(&["localhost"], "http://evil.test/metrics"));
    }
}
