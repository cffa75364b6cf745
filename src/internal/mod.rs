//! The operators' port: health and metrics. Nothing of it is reachable on the public port.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::metrics::Metrics;

/// What the operators' pages look at.
pub struct Operations {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Why the process should get no new traffic, if anything speaks against it.
    pub not_ready: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// Brings gauges up to date that are not kept as they change.
    pub refresh: Box<dyn Fn() + Send + Sync>,
    /// Whether the listener is bound to loopback: then the `Host` header must name this machine.
    pub loopback: bool,
}

/// The routes.
pub fn router(operations: Operations) -> Router {
    let operations = Arc::new(operations);
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(operations.clone(), check_host))
        .with_state(operations)
}

/// The process runs and answers.
async fn live() -> Json<serde_json::Value> {
    Json(json!({ "live": true }))
}

/// Whether it should get traffic, and if not, why.
async fn ready(State(operations): State<Arc<Operations>>) -> Response {
    match (operations.not_ready)() {
        None => Json(json!({ "ready": true })).into_response(),
        Some(why) => {
            let body = Json(json!({ "ready": false, "why": why }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}

async fn metrics(State(operations): State<Arc<Operations>>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (operations.refresh)();
    match operations.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "code": "not_found" }))).into_response()
}

/// A page in an operator's browser can make it call any name that resolves to loopback (DNS rebinding), but not with
/// another `Host` than that name.
async fn check_host(State(operations): State<Arc<Operations>>, request: Request, next: Next) -> Response {
    if operations.loopback && !names_this_machine(request.headers(), request.uri()) {
        return (StatusCode::FORBIDDEN, Json(json!({ "code": "host" }))).into_response();
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
