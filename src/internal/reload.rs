//! `POST /api/reload`: takes the configuration in as it is now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Operations;
use super::answer::Declined;
use crate::config::Problem;
use crate::edition::Reloaded;

/// 200 when what was read is in force, changed or not; 422 with all problems when the old policy stays.
pub(super) async fn reload(State(operations): State<Arc<Operations>>) -> Response {
    let Some(reload) = &operations.reload else {
        let message = "the policy was given by the program that flowgate is part of, and there is nothing to read again";
        return Declined::new(StatusCode::CONFLICT, "nothing_to_reload", message).into_response();
    };
    // In a task of its own: whoever asked may leave in the middle of it.
    match tokio::spawn(reload()).await {
        Ok(reloaded) => answer(&reloaded),
        Err(_) => {
            let message = "the reload did not come to an end; see the log";
            Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
        }
    }
}

fn answer(reloaded: &Reloaded) -> Response {
    match reloaded {
        Reloaded::Applied { before, after, changes, warnings, sockets, closed } => Json(json!({
            "outcome": "applied",
            "before": **before,
            "policy": **after,
            "changes": changes,
            "warnings": all(warnings),
            "sockets": sockets,
            "closed": closed,
        }))
        .into_response(),
        Reloaded::Unchanged { policy } => {
            Json(json!({ "outcome": "unchanged", "policy": **policy })).into_response()
        }
        Reloaded::Refused { policy, problems } => {
            let body = Json(json!({
                "outcome": "refused",
                "code": "bad_configuration",
                "message": "the configuration is not used, and the old policy stays",
                "policy": **policy,
                "problems": all(problems),
            }));
            (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
        }
    }
}

fn all(problems: &[Problem]) -> Vec<Value> {
    let one = |problem: &Problem| json!({ "origin": problem.origin, "key": problem.key, "text": problem.to_string() });
    problems.iter().map(one).collect()
}
