//! The name in a path of the operators' port.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::answer::Declined;

/// The one name that a route's path holds, decoded. What cannot be decoded is declined as everything else is, in JSON.
pub(super) struct PathName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = Declined;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Declined> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| PathName(name)).map_err(|_| {
            let message = "the path is not UTF-8 once its percent-encoding is undone";
            Declined::new(StatusCode::BAD_REQUEST, "malformed", message)
        })
    }
}
