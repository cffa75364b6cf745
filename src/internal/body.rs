//! A request's body: bounded in bytes and time, then read as JSON.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::answer::Declined;
use crate::unique_json;

/// A thousand revocations, or events, of ordinary length fit.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// Operators' tools send what they have at once.
const WITHIN: Duration = Duration::from_secs(10);

/// A body of JSON, whatever `Content-Type` calls it: only who brings the admin token comes here, or a page that knows what
/// no other page can.
pub(super) struct JsonBody(pub Value);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Declined;

    async fn from_request(request: Request, _: &S) -> Result<Self, Declined> {
        read_json(request.into_body(), MOST_BYTES).await.map(JsonBody)
    }
}

/// A body of JSON, of at most so many bytes.
///
/// # Errors
/// It is longer, does not come in time, or is none.
pub(super) async fn read_json(body: Body, most: usize) -> Result<Value, Declined> {
    json(&read(body, most).await?)
}

/// What this is as JSON.
///
/// # Errors
/// It is none.
pub(super) fn json(bytes: &[u8]) -> Result<Value, Declined> {
    unique_json::read(bytes).map_err(|error| {
        let message = format!("the body is not JSON in which each key stands once: {error}");
        Declined::new(StatusCode::BAD_REQUEST, "malformed", message)
    })
}

/// A body of at most so many bytes, which may be none.
///
/// # Errors
/// It is longer, or does not come whole or in time.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Declined> {
    match tokio::time::timeout(WITHIN, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {most} bytes");
            Err(Declined::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Ok(Err(_)) => Err(Declined::new(StatusCode::BAD_REQUEST, "malformed", "the body did not come whole")),
        Err(_) => {
            Err(Declined::new(StatusCode::REQUEST_TIMEOUT, "malformed", "the body did not come in time"))
        }
    }
}
