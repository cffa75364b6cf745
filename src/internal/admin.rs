//! Who may use the API: whoever brings the admin token, on loopback too.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Operations;
use super::answer::Declined;

/// Requests without the token that are answered as such at once, and how many more each second. Past it they are turned
/// away, and the log says nothing more of them. A right token is never turned away: whoever guesses must not be able to
/// keep an operator out, and no rate makes a short token safe.
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
const ATTEMPTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();

/// Asks for the admin token.
pub(super) struct Guard {
    operations: Arc<Operations>,
    attempts: DefaultDirectRateLimiter,
}

impl Guard {
    /// The guard of one process.
    pub fn new(operations: &Arc<Operations>) -> Arc<Self> {
        let quota = Quota::per_second(ATTEMPTS_PER_SECOND).allow_burst(ATTEMPTS_AT_ONCE);
        Arc::new(Guard { operations: operations.clone(), attempts: RateLimiter::direct(quota) })
    }

    fn judge(&self, headers: &HeaderMap) -> Result<(), Declined> {
        let policy = (self.operations.policy)();
        let internal = &policy.internal;
        let Some(token) = &internal.admin_token else {
            let message = format!(
                "the API is closed: set the environment variable {} to a token of at least 16 bytes where flowgate \
                 starts",
                internal.admin_token_env
            );
            return Err(Declined::new(StatusCode::FORBIDDEN, "admin_disabled", message));
        };
        if bearer(headers).is_some_and(|presented| token.is(presented)) {
            return Ok(());
        }
        self.operations.metrics.admin_unauthorized.inc();
        if let Err(until) = self.attempts.check() {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let message = "too many requests without the admin token; come back after the given seconds";
            let declined = Declined::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
            return Err(declined.retry_after(wait));
        }
        tracing::warn!("a request to the API without the admin token");
        let message = "this needs the admin token: Authorization: Bearer …";
        Err(Declined::new(StatusCode::UNAUTHORIZED, "unauthorized", message).asking_for_a_token())
    }
}

/// Lets a request pass that brings the admin token.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(declined) => declined.into_response(),
    }
}

/// The one token of `Authorization: Bearer …`, whose scheme may be in any case (RFC 9110 §11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let found = |values: &[&str]| {
            let header = |value: &&str| (header::AUTHORIZATION, value.parse().unwrap());
            let headers: HeaderMap = values.iter().map(header).collect();
            bearer(&headers).map(|token| String::from_utf8(token.to_vec()).unwrap())
        };
        for value in ["Bearer secret", "bearer secret", "BEARER   secret "] {
            assert_eq!(found(&[value]).as_deref(), Some("secret"), "{value}");
        }
        for values in
            [&[][..], &["Bearer"], &["Basic secret"], &["secret"], &["Bearer secret", "Bearer secret"]]
        {
            assert_eq!(found(values), None, "{values:?}");
        }
    }
}
