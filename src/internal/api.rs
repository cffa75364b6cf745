//! Everything below `/api/`, behind the admin token.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use super::admin::{self, Guard};
use super::{
    Operations, answer, connections, disconnect, live, nodes, observed, openapi, policy, reload, revocations,
    series, session, status, teams,
};

/// The API's routes. What is asked without the token is not even told whether there is such a path.
pub(super) fn router(operations: &Arc<Operations>) -> Router<Arc<Operations>> {
    let guard = Guard::new(operations);
    Router::new()
        .route("/status", get(status::status))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", get(connections::one).delete(disconnect::one))
        .route("/disconnect", post(disconnect::several))
        .route("/live", get(live::live))
        .route("/openapi.json", get(openapi::document))
        .route("/nodes", get(nodes::list))
        .route("/teams", get(teams::list))
        .route("/series", get(series::series))
        .route("/observed", get(observed::report))
        .route("/policy", get(policy::policy))
        .merge(revocations::routes())
        .route("/reload", post(reload::reload))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(guard.clone(), admin::check))
        // Where the token itself is brought, or nothing yet.
        .merge(session::routes(guard))
        .layer(middleware::map_response(keep_nothing))
}

/// What is answered here is for who asked, and for now.
async fn keep_nothing(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
