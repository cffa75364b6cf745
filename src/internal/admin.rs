//! Who may use the API: whoever brings the admin token, on loopback too, or the cookie that a page was given for it
//! ([`super::login`]).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Operations;
use super::answer::Declined;
use super::login::{self, Logins, Open};
use crate::config::admin_token::AdminToken;

/// Requests without the token that are answered as such at once, and how many more each second. Past it they are turned
/// away, and the log says nothing more of them. A right token is never turned away: whoever guesses must not be able to
/// keep an operator out, and no rate makes a short token safe.
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
const ATTEMPTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();

/// What a page proves with that it is not another page that makes the browser send the cookie.
const CSRF: &str = "x-flowgate-csrf";

/// Asks for the admin token.
pub(super) struct Guard {
    operations: Arc<Operations>,
    attempts: DefaultDirectRateLimiter,
    logins: Logins,
}

/// Who asks.
#[derive(Clone)]
pub(super) enum Caller {
    /// Whoever brought the token.
    Token,
    /// A page, by its cookie.
    Page(Open),
}

/// A request that may pass, for what outlives its beginning.
#[derive(Clone)]
pub(super) struct Admitted {
    guard: Arc<Guard>,
    caller: Caller,
}

impl Admitted {
    /// Whether it may still. A page that is open is not idle.
    pub fn is_still(&self) -> bool {
        match (&self.caller, self.guard.token()) {
            (Caller::Token, token) => token.is_ok(),
            (Caller::Page(open), Ok(token)) => self.guard.logins.is_open(open.id, &token, Instant::now()),
            (Caller::Page(_), Err(_)) => false,
        }
    }
}

impl Guard {
    /// The guard of one process.
    pub fn new(operations: &Arc<Operations>) -> Arc<Self> {
        let quota = Quota::per_second(ATTEMPTS_PER_SECOND).allow_burst(ATTEMPTS_AT_ONCE);
        Arc::new(Guard {
            operations: operations.clone(),
            attempts: RateLimiter::direct(quota),
            logins: Logins::default(),
        })
    }

    /// What the guarded acts on.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The sessions of pages.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// The admin token.
    ///
    /// # Errors
    /// There is none, so nobody may use the API.
    pub fn token(&self) -> Result<AdminToken, Declined> {
        let policy = (self.operations.policy)();
        let internal = &policy.internal;
        internal.admin_token.clone().ok_or_else(|| {
            let message = format!(
                "the API is closed: set the environment variable {} to a token of at least 16 bytes where flowgate \
                 starts",
                internal.admin_token_env
            );
            Declined::new(StatusCode::FORBIDDEN, "admin_disabled", message)
        })
    }

    /// Who this is, if anybody.
    pub fn recognise(&self, headers: &HeaderMap) -> Option<Caller> {
        let token = self.token().ok()?;
        // Whoever brings a token wants to be judged by that, whatever cookies a browser adds.
        if headers.contains_key(header::AUTHORIZATION) {
            return bearer(headers).filter(|presented| token.is(presented)).map(|_| Caller::Token);
        }
        self.logins.find(headers, &token, Instant::now()).map(Caller::Page)
    }

    fn judge(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Declined> {
        self.token()?;
        match self.recognise(headers) {
            Some(Caller::Page(open)) => {
                if !matches!(*method, Method::GET | Method::HEAD) {
                    self.check_page(&open, headers)?;
                }
                Ok(Caller::Page(open))
            }
            Some(Caller::Token) => Ok(Caller::Token),
            // Nobody guesses one, so that it is no attempt: a page was left open.
            None if !headers.contains_key(header::AUTHORIZATION) && login::has_cookie(headers) => {
                let message = "the session has ended; log in again";
                Err(Declined::new(StatusCode::UNAUTHORIZED, "session_ended", message).asking_for_a_token())
            }
            None => Err(self.count_attempt("this needs the admin token: Authorization: Bearer …")),
        }
    }

    /// Whether the page of this session asks for something that changes anything, and no other page.
    ///
    /// # Errors
    /// It may be another.
    pub fn check_page(&self, open: &Open, headers: &HeaderMap) -> Result<(), Declined> {
        let mut values = headers.get_all(CSRF).iter();
        let is_right = match (values.next(), values.next()) {
            (Some(only), None) => open.is_csrf(only.as_bytes()),
            _ => false,
        };
        if !is_right {
            let message =
                "with the cookie, this needs the header X-Flowgate-Csrf with what GET /api/session says";
            return Err(Declined::new(StatusCode::FORBIDDEN, "csrf", message));
        }
        self.check_origin(headers)
    }

    /// Whether a page of this host asks, or no page.
    ///
    /// # Errors
    /// A page of another.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), Declined> {
        if is_same_origin(headers) {
            return Ok(());
        }
        let message = "the page that asks is of another origin than this host";
        Err(Declined::new(StatusCode::FORBIDDEN, "origin", message))
    }

    /// What is answered to a token that is wrong, or none.
    pub fn count_attempt(&self, message: &'static str) -> Declined {
        self.operations.metrics.admin_unauthorized.inc();
        if let Err(until) = self.attempts.check() {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let message = "too many requests without the admin token; come back after the given seconds";
            let declined = Declined::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
            return declined.retry_after(wait);
        }
        tracing::warn!("a request to the API without the admin token");
        Declined::new(StatusCode::UNAUTHORIZED, "unauthorized", message).asking_for_a_token()
    }
}

/// Lets a request pass that brings the admin token, or a page's cookie.
pub(super) async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    match guard.judge(request.method(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(Admitted { guard, caller });
            next.run(request).await
        }
        Err(declined) => declined.into_response(),
    }
}

/// Whether `Origin`, if there is one (RFC 6454 §7), names the host that is asked.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(only), None) => only.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()),
        _ => return false,
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.as_ref().filter(|origin| origin.scheme().is_some()).and_then(Uri::authority);
    authority.zip(host).is_some_and(|(authority, host)| authority.as_str().eq_ignore_ascii_case(host))
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

    #[test]
    fn an_origin_is_the_host_or_another() {
        let is_same = |origins: &[&str], host: &str| {
            let mut headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            for origin in origins {
                headers.append(header::ORIGIN, origin.parse().unwrap());
            }
            is_same_origin(&headers)
        };
        let host = "127.0.0.1:3001";
        assert!(is_same(&[], host) && is_same(&["http://127.0.0.1:3001"], host));
        assert!(is_same(&["https://Admin.example"], "admin.example"));
        for other in [
            "http://127.0.0.1",
            "http://127.0.0.1:3000",
            "http://evil.test",
            "null",
            "127.0.0.1:3001",
            "",
            "file://",
        ] {
            assert!(!is_same(&[other], host), "{other}");
        }
        assert!(!is_same(&["http://127.0.0.1:3001", "http://evil.test"], host));
    }
}
