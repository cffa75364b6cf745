//! Everything below `/api/`, behind the admin token.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::post;

use super::admin::{self, Guard};
use super::{Operations, answer, reload, revocations};

/// The API's routes. What is asked without the token is not even told whether there is such a path.
pub(super) fn router(operations: &Arc<Operations>) -> Router<Arc<Operations>> {
    Router::new()
        .merge(revocations::routes())
        .route("/reload", post(reload::reload))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(Guard::new(operations), admin::check))
}
