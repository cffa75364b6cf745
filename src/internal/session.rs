//! `/api/session`: hands the admin token over once, for a cookie.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Operations;
use super::admin::{Caller, Guard};
use super::answer::{self, Declined, time};
use super::body;
use super::disconnect::invalid;
use super::login::{COOKIE, IDLE, Open};
use crate::link::disconnect::note;

/// A body that holds a token, which is at most 1 KiB.
const MOST_BYTES: usize = 4 << 10;

pub(super) fn routes(guard: Arc<Guard>) -> Router<Arc<Operations>> {
    let methods = get(tell).post(log_in).delete(log_out).fallback(answer::method_not_allowed);
    Router::new().route("/session", methods.with_state(guard))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    token: String,
}

/// Who asks, as far as a page has to know.
async fn tell(State(guard): State<Arc<Guard>>, request: Request) -> Result<Json<Value>, Declined> {
    guard.token()?;
    Ok(Json(match guard.recognise(request.headers()) {
        Some(Caller::Token) => json!({ "authenticated": true, "by": "token" }),
        Some(Caller::Page(open)) => shown(&open),
        None => json!({ "authenticated": false }),
    }))
}

fn shown(open: &Open) -> Value {
    json!({
        "authenticated": true,
        "by": "session",
        "csrf": open.csrf,
        "expires": time(open.expires),
        "idleSeconds": IDLE.as_secs(),
    })
}

async fn log_in(State(guard): State<Arc<Guard>>, request: Request) -> Result<Response, Declined> {
    let token = guard.token()?;
    guard.check_origin(request.headers())?;
    let is_secure = is_secure(request.headers());
    let body = body::read_json(request.into_body(), MOST_BYTES).await?;
    // What serde says is wrong may repeat what was read.
    let wanted = body.is_object().then(|| serde_json::from_value::<Wanted>(body).ok()).flatten();
    let message = "write {\"token\": …} with the admin token as text, and nothing else";
    let wanted = wanted.ok_or_else(|| invalid(message.into()))?;
    if !token.is(wanted.token.as_bytes()) {
        return Err(guard.count_attempt("this is not the admin token"));
    }
    let Some((cookie, open)) = guard.logins().open(&token, Instant::now()) else {
        let message = "the system has no random numbers";
        return Err(Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message));
    };
    tracing::info!("an operator has logged in");
    note(&guard.operations().log, "login", None, None);
    let mut answer = Json(shown(&open)).into_response();
    set_cookie(&mut answer, &cookie, "", is_secure);
    Ok(answer)
}

/// Ends the session of the cookie, if it is one.
async fn log_out(State(guard): State<Arc<Guard>>, request: Request) -> Result<Response, Declined> {
    guard.token()?;
    if let Some(Caller::Page(open)) = guard.recognise(request.headers()) {
        guard.check_page(&open, request.headers())?;
        guard.logins().close(open.id);
        tracing::info!("an operator has logged out");
        note(&guard.operations().log, "logout", None, None);
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut answer, "", "; Max-Age=0", is_secure(request.headers()));
    Ok(answer)
}

/// Whether it came over TLS, as the proxy in front says; this port itself has none. Whoever says so falsely only keeps their own
/// cookie from coming back.
fn is_secure(headers: &HeaderMap) -> bool {
    let proto = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok());
    proto.is_some_and(|proto| proto.split(',').next_back().is_some_and(|last| last.trim() == "https"))
}

fn set_cookie(answer: &mut Response, value: &str, more: &str, is_secure: bool) {
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    // What it is made of is all ASCII that a header may hold.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}
