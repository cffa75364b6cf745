//! What the operators' port answers when it does not do what was asked: always JSON with a stable code and a sentence.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

/// A request that is not carried out.
#[derive(Debug)]
pub struct Declined {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Declined {
    /// With a status, a code that never changes, and a sentence for whoever asked. The sentence holds no secret.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Declined { status, code, message: message.into(), header: None }
    }

    /// Says how to prove who one is (RFC 6750 §3).
    #[must_use]
    pub fn asking_for_a_token(mut self) -> Self {
        self.header = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flowgate\"")));
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        // Rounded up: who comes a moment early is turned away again.
        self.header = Some((header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1)));
        self
    }
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        let body = Json(json!({ "code": self.code, "message": self.message }));
        let mut answer = (self.status, body).into_response();
        answer.headers_mut().extend(self.header);
        answer
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn time(time: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    // It fails only for formats that ask for what a time does not have.
    OffsetDateTime::from(time).format(&format).unwrap_or_default()
}

/// No such path.
pub(super) async fn not_found() -> Declined {
    absent()
}

/// What is answered where there is nothing.
pub(super) fn absent() -> Declined {
    Declined::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

/// A path that knows other methods only, which the `Allow` header names.
pub(super) async fn method_not_allowed() -> Declined {
    let message = "this path knows other methods only; see the Allow header";
    Declined::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
