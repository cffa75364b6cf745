//! Whether the process lives, whether it should get traffic, and what it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Operations;

/// The process runs and answers.
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(json!({ "live": true }))
}

/// Whether it should get traffic, and if not, why; by which policy it goes; and how what leads to other nodes is. A node that serves
/// only its own clients is better than none, so that is no reason to send them away unless `bus.required` says so.
pub(super) async fn ready(State(operations): State<Arc<Operations>>) -> Response {
    let not_ready = (operations.not_ready)();
    let mut body = json!({ "ready": not_ready.is_none(), "policy": &*(operations.policy)().hash });
    if let Some(why) = not_ready {
        body["why"] = why.into();
    }
    if operations.bus.is_on() {
        body["bus"] = operations.bus.state().as_str().into();
    }
    let status = if not_ready.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(body)).into_response()
}

/// Name and version.
pub(super) async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
