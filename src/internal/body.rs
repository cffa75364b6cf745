//! A request's body: bounded in bytes and time, then read as JSON.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::answer::Declined;
use crate::unique_json;

/// A thousand revocations of ordinary length fit.
const MOST_BYTES: usize = 1 << 20;

/// Operators' tools send what they have at once.
const WITHIN: Duration = Duration::from_secs(10);

/// A body of JSON, whatever `Content-Type` calls it: only who brings the admin token comes here, and no page can.
pub(super) struct JsonBody(pub Value);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Declined;

    async fn from_request(request: Request, _: &S) -> Result<Self, Declined> {
        let bytes = read(request.into_body()).await?;
        unique_json::read(&bytes).map(JsonBody).map_err(|error| {
            let message = format!("the body is not JSON in which each key stands once: {error}");
            Declined::new(StatusCode::BAD_REQUEST, "malformed", message)
        })
    }
}

/// The whole of it.
pub(super) async fn read(body: Body) -> Result<Bytes, Declined> {
    match tokio::time::timeout(WITHIN, Limited::new(body, MOST_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {MOST_BYTES} bytes");
            Err(Declined::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Ok(Err(_)) => Err(Declined::new(StatusCode::BAD_REQUEST, "malformed", "the body did not come whole")),
        Err(_) => {
            Err(Declined::new(StatusCode::REQUEST_TIMEOUT, "malformed", "the body did not come in time"))
        }
    }
}
