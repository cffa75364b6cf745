//! Which names the operators' port answers to.

use std::net::IpAddr;
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
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.or_else(|| uri.authority().map(|authority| authority.as_str())) else {
        return true;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
        for host in ["localhost", "localhost:3001", "127.0.0.1:3001", "[::1]:3001", "127.9.9.9"] {
            assert!(passes(host), "{host}");
        }
        for host in ["evil.test", "localhost.evil.test", "10.0.0.1:3001", "127.0.0.1.evil.test", "a b"] {
            assert!(!passes(host), "{host}");
        }
    }
}
