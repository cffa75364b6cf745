//! The counters, for Prometheus and its like.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Operations;
use super::answer::Declined;

/// All series in OpenMetrics text.
pub(super) async fn metrics(State(operations): State<Arc<Operations>>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (operations.refresh)();
    match operations.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => {
            let message = "the metrics cannot be written as text";
            Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
        }
    }
}
