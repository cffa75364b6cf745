//! Closing connections: one, or those of a user, a team or an address.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Operations;
use super::answer::Declined;
use super::body::{self, JsonBody};
use super::connections::{find, network, no_such};
use super::path_name::PathName;
use crate::decision_log::{Kind, Outcome, Record, Who};
use crate::link::session::Session;
use crate::metrics::CloseReason;
use crate::peer::Peer;

/// Bytes of a reason; as long as that of a revocation.
const LONGEST_REASON: usize = 200;

/// Bytes of a user's or a team's name: no claim that is longer is accepted.
const LONGEST_NAME: usize = 256;

/// Bytes of a body that has nothing else than a reason.
const MOST_BYTES: usize = 4 << 10;

/// Connections that are looked at in one go; others have something to do too.
const AT_ONCE: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    user: Option<String>,
    team: Option<String>,
    address: Option<String>,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

/// Whose connections.
enum Target {
    User(String),
    Team(String),
    Address(IpNet),
}

impl Target {
    fn read(wanted: &Wanted) -> Result<Self, Declined> {
        let named = |name: &str| match name.len() {
            1..=LONGEST_NAME => Ok(name.to_owned()),
            _ => Err(invalid(format!("a name has 1 to {LONGEST_NAME} bytes"))),
        };
        match (&wanted.user, &wanted.team, &wanted.address) {
            (Some(user), None, None) => Ok(Target::User(named(user)?)),
            (None, Some(team), None) => Ok(Target::Team(named(team)?)),
            (None, None, Some(address)) => network(address)
                .map(Target::Address)
                .ok_or_else(|| invalid("address is an IP address, or a network such as 192.0.2.0/24".into())),
            _ => Err(invalid("write exactly one of user, team and address".into())),
        }
    }

    fn is(&self, session: &Session) -> bool {
        let of_peer = |is: &dyn Fn(&Peer) -> bool| match session.who() {
            Who::Peer(peer) => is(&peer),
            _ => false,
        };
        match self {
            Target::User(user) => of_peer(&|peer| peer.subject() == Some(user)),
            Target::Team(team) => of_peer(&|peer| peer.teams().iter().any(|held| **held == **team)),
            Target::Address(network) => network.contains(&session.address().to_canonical()),
        }
    }

    fn said(&self) -> String {
        match self {
            Target::User(user) => format!("user {user}"),
            Target::Team(team) => format!("team {team}"),
            Target::Address(network) => format!("address {network}"),
        }
    }
}

/// Closes all of one user, team or address.
pub(super) async fn several(
    State(operations): State<Arc<Operations>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Declined> {
    let wanted: Wanted = object(body)?;
    let target = Target::read(&wanted)?;
    let reason = reason(wanted.reason)?;
    // In a task of its own: whoever asked may leave in the middle of it.
    let closing = tokio::spawn(async move {
        let mut closed = 0;
        for sessions in operations.sessions.snapshot().chunks(AT_ONCE) {
            for session in sessions.iter().filter(|session| target.is(session)) {
                closed += usize::from(close(session));
            }
            tokio::task::yield_now().await;
        }
        tracing::info!(what = target.said(), closed, "disconnected by an operator");
        note(&operations, "disconnect", Some(said(&target.said(), reason.as_deref())), Some(closed));
        closed
    });
    let ended = closing.await.map_err(|_| {
        let message = "it did not come to an end; see the log";
        Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    });
    Ok(Json(json!({ "closed": ended? })))
}

/// Closes one.
pub(super) async fn one(
    State(operations): State<Arc<Operations>>,
    PathName(name): PathName,
    body: Body,
) -> Result<Json<Value>, Declined> {
    let body = body::read(body, MOST_BYTES).await?;
    let why: Why = match &body[..] {
        [] => Why::default(),
        body => object(body::json(body)?)?,
    };
    let reason = reason(why.reason)?;
    let session = find(&operations, &name).ok_or_else(no_such)?;
    if session.transport().is_none() || !close(&session) {
        return Err(no_such());
    }
    tracing::info!(connection = name, "disconnected by an operator");
    note(&operations, "disconnect", Some(said(&format!("connection {name}"), reason.as_deref())), Some(1));
    Ok(Json(json!({ "closed": 1 })))
}

/// Whether it was open until now.
fn close(session: &Session) -> bool {
    let was_open = session.closing().is_none();
    // Nobody waits for it: one must not keep the others open.
    drop(session.close(CloseReason::Admin));
    was_open
}

fn said(what: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"))
}

fn reason(reason: Option<String>) -> Result<Option<String>, Declined> {
    let fits = |reason: &String| reason.len() <= LONGEST_REASON && !reason.chars().any(char::is_control);
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) if !fits(&reason) => {
            Err(invalid(format!("reason is one line of at most {LONGEST_REASON} bytes")))
        }
        reason => Ok(reason),
    }
}

/// Has the decision log say what an operator did.
pub(super) fn note(operations: &Operations, done: &'static str, why: Option<String>, closed: Option<usize>) {
    if operations.log.is_on() {
        operations.log.write(Record {
            outcome: Some(Outcome::Accepted),
            code: Some(done),
            why: why.map(Into::into),
            closed,
            ..Record::new(Kind::Admin, Who::Admin, SystemTime::now())
        });
    }
}

/// A body that is an object, as this type. What is not wanted is left out of it.
fn object<T: DeserializeOwned>(body: Value) -> Result<T, Declined> {
    if !body.as_object().is_some_and(|parts| parts.values().all(|part| !part.is_null())) {
        return Err(invalid("write an object without null".into()));
    }
    serde_json::from_value(body).map_err(|error| invalid(error.to_string()))
}

/// A body that asks for what cannot be.
pub(super) fn invalid(message: String) -> Declined {
    Declined::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}
