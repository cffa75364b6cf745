//! Everything below `/api/`, behind the admin token.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use super::admin::{self, Guard};
use super::{Operations, answer, connections, observed, policy, reload, revocations, series, status, teams};

/// The API's routes. What is asked without the token is not even told whether there is such a path.
pub(super) fn router(operations: &Arc<Operations>) -> Router<Arc<Operations>> {
    Router::new()
        .route("/status", get(status::status))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", get(connections::one))
        .route("/teams", get(teams::list))
        .route("/series", get(series::series))
        .route("/observed", get(observed::report))
        .route("/policy", get(policy::policy))
        .merge(revocations::routes())
        .route("/reload", post(reload::reload))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(Guard::new(operations), admin::check))
}
