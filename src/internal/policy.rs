//! `GET /api/policy`: every setting that counts, and where it came from.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Json;
use serde_json::{Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::query::Query;

/// As `flowgate config show --json` says it: settings name where secrets are, and hold none.
pub(super) async fn policy(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    Query::read(&uri, &[])?;
    let edition = operations.current.get();
    let Some(effective) = &edition.policy.effective else {
        let message = "the policy was made by the program that flowgate is part of, not read from settings";
        return Err(Declined::new(StatusCode::NOT_FOUND, "no_settings", message));
    };
    Ok(Json(json!({
        "hash": &*edition.policy.hash,
        "edition": edition.number,
        "since": time(edition.since),
        "settings": effective.to_json(),
    })))
}
