//! `GET /api/openapi.json`: what the API takes and answers, for machines.

use axum::http::header;
use axum::response::IntoResponse;

/// `docs/openapi.json`, which tests hold to the routes.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");

/// The document as it is.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
