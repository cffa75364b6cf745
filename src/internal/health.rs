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

/// Whether it should get traffic, and if not, why; and by which policy it goes.
pub(super) async fn ready(State(operations): State<Arc<Operations>>) -> Response {
    let policy = (operations.policy)().hash.clone();
    match (operations.not_ready)() {
        None => Json(json!({ "ready": true, "policy": &*policy })).into_response(),
        Some(why) => {
            let body = Json(json!({ "ready": false, "why": why, "policy": &*policy }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Name and version.
pub(super) async fn version() -> Json<serde_json::Value> {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
