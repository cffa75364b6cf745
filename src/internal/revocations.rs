//! `/api/revocations`: revoke, list, undo.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::Value;

use super::Operations;
use super::answer::Declined;
use super::body::JsonBody;
use super::path_name::PathName;
use crate::revocation::{Lifetimes, Refused, RevocationId, StoreError, Wanted, Written};

/// Revocations in one request.
const MOST_AT_ONCE: usize = 1000;

/// Revocations in one answer, where nothing else is asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new()
        .route("/revocations", get(list).post(revoke))
        .route("/revocations/{id}", get(one).delete(undo))
}

/// Said wherever revocations are shown that a restart forgets.
const NOT_KEPT: &str = "not kept across restarts: revocation.store names no file";

#[derive(Serialize)]
struct Revoked {
    revocations: Vec<Written>,
    /// Live sockets that were closed for it.
    closed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

/// What other nodes do not hear of before Redis is back.
const NOT_SHARED: &str = "other nodes have not heard of it, and do once Redis is back";

/// What deserves a second look where nothing is wrong with what is known.
fn warning(operations: &Operations) -> Option<&'static str> {
    let is_in_redis = operations.control.as_ref().is_some_and(|control| control.is_connected());
    (!operations.revoker.revocations().is_kept() && !is_in_redis).then_some(NOT_KEPT)
}

/// Has other nodes hear of what was changed. Returns what is to be said of that.
async fn share(operations: &Operations, ids: Vec<RevocationId>) -> Option<&'static str> {
    match &operations.control {
        Some(control) if !control.share(ids).await => Some(NOT_SHARED),
        _ => warning(operations),
    }
}

/// One or several, all or nothing.
async fn revoke(
    State(operations): State<Arc<Operations>>,
    JsonBody(body): JsonBody,
) -> Result<Response, Declined> {
    let wanted = match body {
        Value::Array(wanted) => wanted,
        wanted => vec![wanted],
    };
    if wanted.is_empty() || wanted.len() > MOST_AT_ONCE {
        return Err(invalid(format!("write one revocation, or a list of 1 to {MOST_AT_ONCE}")));
    }
    let read = |wanted| serde_json::from_value::<Wanted>(wanted).map_err(|error| invalid(error.to_string()));
    let wanted = wanted.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let policy = (operations.policy)();
    let lifetimes = Lifetimes::of(&policy.auth);
    let revoked = operations.revoker.revoke(wanted, policy).await.map_err(declined)?;
    let is_new = revoked.revocations.iter().any(|(_, is_new)| *is_new);
    let revocations =
        revoked.revocations.iter().map(|(one, _)| Written::for_people(one, &lifetimes)).collect();
    let ids = revoked.revocations.iter().map(|(one, _)| one.id).collect();
    let warning = share(&operations, ids).await;
    let body = Json(Revoked { revocations, closed: revoked.closed, warning });
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, body).into_response())
}

#[derive(Serialize)]
struct Page {
    revocations: Vec<Written>,
    /// What to write as `after` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<RevocationId>,
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

async fn list(State(operations): State<Arc<Operations>>, uri: Uri) -> Result<Json<Page>, Declined> {
    let (mut limit, mut after) = (PAGE, None);
    for (key, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match &*key {
            "limit" => {
                limit =
                    value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(
                        || invalid(format!("limit is a whole number from 1 to {LARGEST_PAGE}")),
                    )?;
            }
            "after" => {
                after = Some(id(&value).ok_or_else(|| invalid("after is the id of a revocation".into()))?)
            }
            _ => return Err(invalid("the query may hold limit and after, and nothing else".into())),
        }
    }
    let revocations = operations.revoker.revocations();
    let lifetimes = Lifetimes::of(&(operations.policy)().auth);
    // One more than is shown tells whether there is more.
    let mut found = revocations.page(after, limit + 1);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    Ok(Json(Page {
        next: found.last().map(|last| last.id).filter(|_| !is_last),
        revocations: found.iter().map(|one| Written::for_people(one, &lifetimes)).collect(),
        total: revocations.len(),
        warning: warning(&operations),
    }))
}

async fn one(
    State(operations): State<Arc<Operations>>,
    PathName(name): PathName,
) -> Result<Json<Written>, Declined> {
    let found = id(&name).and_then(|id| operations.revoker.revocations().get(id)).ok_or_else(no_such)?;
    Ok(Json(Written::for_people(&found, &Lifetimes::of(&(operations.policy)().auth))))
}

async fn undo(
    State(operations): State<Arc<Operations>>,
    PathName(name): PathName,
) -> Result<StatusCode, Declined> {
    let id = id(&name).ok_or_else(no_such)?;
    let undone = operations.revoker.undo(id, (operations.policy)()).await.map_err(declined)?;
    undone.ok_or_else(no_such)?;
    // Whoever undoes it can do no more about it: it is told when Redis is back.
    share(&operations, vec![id]).await;
    Ok(StatusCode::NO_CONTENT)
}

fn id(text: &str) -> Option<RevocationId> {
    RevocationId::parse(text)
}

fn invalid(message: String) -> Declined {
    Declined::new(StatusCode::BAD_REQUEST, "invalid_revocation", message)
}

fn no_such() -> Declined {
    Declined::new(StatusCode::NOT_FOUND, "not_found", "there is no revocation of this id")
}

fn declined(refused: Refused) -> Declined {
    let status = match &refused {
        Refused::Wanted(_) => StatusCode::BAD_REQUEST,
        Refused::Full(_) => StatusCode::CONFLICT,
        Refused::Store(StoreError::Full(_)) => StatusCode::INSUFFICIENT_STORAGE,
        Refused::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Declined::new(status, refused.code(), refused.to_string())
}
