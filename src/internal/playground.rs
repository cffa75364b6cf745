//! The playground of `serve --dev`: a page with several clients at once, and the tokens that they connect with.
//!
//! Whoever may ask for tokens is anybody to the public port, so there is no playground but in development, on loopback,
//! and none but its own page may ask: the body is JSON, which no form sends, and a browser says where it comes from.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Operations;
use super::answer::Declined;
use super::page::{self, File, files};
use super::path_name::PathName;
use crate::config::policy::{AuthMode, EventPolicy, Policy, Presence, RefusalDetail, TypedPayload};

/// The page itself.
const PAGE: &File = &File { name: "playground.html", text: include_str!("page/playground.html") };

/// What it loads.
const FILES: &[File] = files![
    "codes.js",
    "design.css",
    "dom.js",
    "journal.js",
    "pane.js",
    "payload.js",
    "playground.css",
    "playground.js",
    "socket.io.LICENSE.txt",
    "socket.io.min.js",
];

/// What it links to, so that a newcomer reads on without a network.
const DOCS: &[File] = &[
    File { name: "clients.md", text: include_str!("../../docs/clients.md") },
    File { name: "policy.md", text: include_str!("../../docs/policy.md") },
    File { name: "protocol.md", text: include_str!("../../docs/protocol.md") },
    File { name: "tokens.md", text: include_str!("../../docs/tokens.md") },
];

/// A token that is asked for is about this long at most, with all its names.
const LONGEST_REQUEST: usize = 4096;

/// Names in a token: enough to play with.
const MOST_NAMES: usize = 8;
const LONGEST_NAME: usize = 64;

/// What the page needs of the process.
pub struct Playground {
    /// The public port, as a page on this machine writes it: `http://127.0.0.1:3000`.
    pub url: String,
    /// Makes tokens.
    pub mint: Mint,
}

/// Signs a token for somebody with the throw-away key; `None` where it cannot be signed.
pub type Mint = Box<dyn Fn(&Who) -> Option<String> + Send + Sync>;

/// Whom a token is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// The subject.
    pub user: String,
    /// The teams.
    pub teams: Vec<String>,
    /// The roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// The playground's routes.
pub(super) fn router() -> Router<Arc<Operations>> {
    Router::new()
        .route("/playground", get(index))
        .route("/playground/server", get(server))
        .route("/playground/token", post(token).layer(DefaultBodyLimit::max(LONGEST_REQUEST)))
        .route("/playground/docs/{name}", get(doc))
        .route("/playground/{name}", get(file))
}

async fn index(State(operations): State<Arc<Operations>>) -> Response {
    serve(&operations, Some(PAGE))
}

async fn file(State(operations): State<Arc<Operations>>, PathName(name): PathName) -> Response {
    serve(&operations, page::named(FILES, &name))
}

async fn doc(State(operations): State<Arc<Operations>>, PathName(name): PathName) -> Response {
    serve(&operations, page::named(DOCS, &name))
}

fn serve(operations: &Operations, file: Option<&File>) -> Response {
    let (Some(file), Some(playground)) = (file, &operations.playground) else {
        return super::answer::absent().into_response();
    };
    // The sockets go to the public port: polling by http, WebSocket by ws, or the same with an s.
    let socket = playground.url.replacen("http", "ws", 1);
    page::answer(file, &page::content_security_policy(&format!("{} {socket}", playground.url)))
}

/// What the page is about: where clients connect, and what the policy in force lets them send.
async fn server(State(operations): State<Arc<Operations>>) -> Response {
    let Some(playground) = &operations.playground else {
        return super::answer::absent().into_response();
    };
    let policy = (operations.policy)();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "url": playground.url,
        "path": policy.server.path,
        "open": policy.auth.mode == AuthMode::Off,
        "event": event(&policy),
        "maxBytes": policy.limits.payload.max_bytes,
        "burst": policy.limits.events.per_socket.rate.burst.get(),
        "explains": policy.refusal_detail == RefusalDetail::Full,
    }))
    .into_response()
}

/// The event that the page sends: PhotoFlow's, or where the policy has not got it the first by name.
fn event(policy: &Policy) -> Value {
    let first = || policy.events.values().min_by(|one, other| one.name.cmp(&other.name));
    let Some(event) = policy.events.get("database-change").or_else(first) else { return Value::Null };
    let EventPolicy { name, emit, echo, typed, team_field, .. } = &**event;
    let types = typed.as_ref().map(types).unwrap_or_default();
    json!({
        "name": **name, "emit": **emit, "echo": echo, "typed": typed.is_some(),
        "teamField": team_field.as_deref(), "types": types,
    })
}

/// Each type with what it says of the task id: names before globs, each by themselves in the order of their letters.
fn types(typed: &TypedPayload) -> Vec<Value> {
    let exact = typed.exact_types.iter().map(|(name, policy)| (false, &**name, policy));
    let globs = typed.glob_types.iter().map(|(glob, policy)| (true, glob.as_str(), policy));
    let mut all: Vec<_> = exact.chain(globs).collect();
    all.sort_unstable_by_key(|(is_glob, name, _)| (*is_glob, *name));
    let presence = |presence| match presence {
        Presence::Required => "required",
        Presence::Optional => "optional",
        Presence::Forbidden => "forbidden",
    };
    all.into_iter()
        .map(|(_, name, policy)| json!({ "match": name, "taskId": presence(policy.task_id) }))
        .collect()
}

/// Makes a token for the page.
async fn token(
    State(operations): State<Arc<Operations>>,
    headers: HeaderMap,
    who: Result<Json<Who>, JsonRejection>,
) -> Result<Json<Value>, Declined> {
    if !is_own_page(&headers) {
        let message = "only the playground's own page may ask for tokens";
        return Err(Declined::new(StatusCode::FORBIDDEN, "origin", message));
    }
    let Json(who) =
        who.map_err(|refused| Declined::new(refused.status(), "malformed", refused.body_text()))?;
    if !is_modest(&who) {
        let message = format!(
            "a user, teams and roles have 1 to {LONGEST_NAME} bytes each, and there are at most {MOST_NAMES} of either"
        );
        return Err(Declined::new(StatusCode::BAD_REQUEST, "malformed", message));
    }
    let minted = operations.playground.as_ref().and_then(|playground| (playground.mint)(&who));
    let token = minted.ok_or_else(|| {
        Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the token cannot be signed")
    })?;
    Ok(Json(json!({ "token": token })))
}

/// A browser names the page's origin with each POST. What sends none is no page.
fn is_own_page(headers: &HeaderMap) -> bool {
    let own = headers.get(header::HOST).map(|host| [b"http://", host.as_bytes()].concat());
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => own.is_some_and(|own| own == origin.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

fn is_modest(who: &Who) -> bool {
    let few = who.teams.len() <= MOST_NAMES && who.roles.len() <= MOST_NAMES;
    let mut names = std::iter::once(&who.user).chain(&who.teams).chain(&who.roles);
    few && names.all(|name| (1..=LONGEST_NAME).contains(&name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Code;

    #[test]
    fn every_code_has_its_sentence() {
        let text = page::named(FILES, "codes.js").unwrap().text;
        let absent: Vec<_> =
            Code::ALL.iter().filter(|code| !text.contains(&format!("\n  {}: ", code.as_str()))).collect();
        assert!(absent.is_empty(), "codes.js says nothing of {absent:?}");
    }

    #[test]
    fn the_page_is_whole_and_nothing_in_it_is_inline() {
        page::assert_whole(PAGE, "playground", FILES, DOCS);
    }

    #[test]
    fn only_its_own_page_asks_for_tokens() {
        let asks = |origins: &[&str]| {
            let host = (header::HOST, "127.0.0.1:3001".parse().unwrap());
            let origins = origins.iter().map(|origin| (header::ORIGIN, origin.parse().unwrap()));
            let mut headers = HeaderMap::from_iter([host]);
            for (name, value) in origins {
                headers.append(name, value);
            }
            is_own_page(&headers)
        };
        assert!(asks(&["http://127.0.0.1:3001"]) && asks(&[]));
        for other in [
            &["http://127.0.0.1:5173"][..],
            &["null"],
            &["http://evil.test"],
            &["https://127.0.0.1:3001"],
            &["http://127.0.0.1:3001", "http://evil.test"],
        ] {
            assert!(!asks(other), "{other:?}");
        }
    }

    #[test]
    fn names_are_few_and_short() {
        let who = |user: &str, teams: usize, roles: usize| Who {
            user: user.into(),
            teams: vec!["t".into(); teams],
            roles: vec!["r".into(); roles],
        };
        assert!(
            is_modest(&who("ann", MOST_NAMES, MOST_NAMES))
                && is_modest(&who(&"u".repeat(LONGEST_NAME), 0, 0))
        );
        for who in [who("", 1, 0), who(&"u".repeat(LONGEST_NAME + 1), 1, 0), who("u", 9, 0), who("u", 1, 9)] {
            assert!(!is_modest(&who), "{who:?}");
        }
    }
}
