//! Which pages may connect: the same answer for polling, WebSocket and upgrade.
//!
//! CORS alone protects nothing here: a browser sends a WebSocket handshake to any host, and a "simple" POST too. So the
//! `Origin` header (RFC 6454) is checked on every request, and CORS only tells the browser what was decided.

use std::sync::Arc;
use std::time::Duration;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::policy::{AllowedOrigins, Policy, Server};

/// How long browsers may keep a preflight answer; they cap it themselves.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// Whether a request with these headers comes from where it may.
pub fn is_allowed(server: &Server, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).into_iter();
    match (origins.next(), origins.next()) {
        (None, _) => server.allow_missing_origin,
        (Some(origin), None) => is_listed(&server.allowed_origins, origin),
        // No browser sends two.
        (Some(_), Some(_)) => false,
    }
}

fn is_listed(allowed: &AllowedOrigins, origin: &HeaderValue) -> bool {
    match allowed {
        AllowedOrigins::Any => true,
        AllowedOrigins::List(list) => list.iter().any(|one| one.as_bytes() == origin.as_bytes()),
        AllowedOrigins::Loopback => is_loopback(origin),
    }
}

/// `http://localhost`, `http://127.0.0.1` or `http://[::1]`, at any port: `serve --dev` only.
fn is_loopback(origin: &HeaderValue) -> bool {
    let Ok(text) = origin.to_str() else { return false };
    let Some(authority) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]")
}

/// The CORS answers for browsers. Exact origins may send credentials (cookie tokens need it); `*` never may.
pub fn cors(policy: Arc<Policy>) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_AGE);
    match policy.server.allowed_origins {
        AllowedOrigins::Any => layer.allow_origin(tower_http::cors::Any),
        AllowedOrigins::List(_) | AllowedOrigins::Loopback => {
            let listed = move |origin: &HeaderValue, _: &_| is_listed(&policy.server.allowed_origins, origin);
            layer.allow_origin(AllowOrigin::predicate(listed)).allow_credentials(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(allowed: &AllowedOrigins, origin: &str) -> bool {
        is_listed(allowed, &HeaderValue::from_str(origin).unwrap())
    }

    #[test]
    fn origins_match_exactly() {
        let allowed = AllowedOrigins::List(vec!["https://app.example".into()]);
        assert!(listed(&allowed, "https://app.example"));
        for other in [
            "null",
            "https://app.example.evil.test",
            "https://evil.test/https://app.example",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example/",
            "https://APP.example",
            "",
        ] {
            assert!(!listed(&allowed, other), "{other}");
        }
        assert!(!listed(&AllowedOrigins::List(vec![]), "https://app.example"));
    }

    #[test]
    fn development_admits_loopback_pages_only() {
        for page in ["http://localhost:5173", "http://127.0.0.1", "https://localhost", "http://[::1]:80"] {
            assert!(listed(&AllowedOrigins::Loopback, page), "{page}");
        }
        for page in ["http://localhost.evil.test", "http://evil.test#localhost", "null", "file://localhost"] {
            assert!(!listed(&AllowedOrigins::Loopback, page), "{page}");
        }
    }
}
