//! Closing connections: one, or those of a user, a team or an address.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Operations;
use super::answer::Declined;
use super::body::{self, JsonBody};
use super::connections::{find, no_such};
use super::path_name::PathName;
use crate::bus::control::{Answer, Control, NotAsked};
use crate::link::disconnect::{
    Disconnect, LONGEST_NAME, LONGEST_REASON, Target, close, disconnect, is_reason, network, note, said,
};

/// Bytes of a body that has nothing else than a reason.
const MOST_BYTES: usize = 4 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    user: Option<String>,
    team: Option<String>,
    address: Option<String>,
    reason: Option<String>,
    /// Only those that are connected to this node.
    here: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: Option<String>,
}

/// Whose connections are wanted.
fn target(wanted: &Wanted) -> Result<Target, Declined> {
    let named = |name: &str| match name.len() {
        1..=LONGEST_NAME => Ok(name.into()),
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

/// Closes all of one user, team or address, on every node unless only this one is meant.
pub(super) async fn several(
    State(operations): State<Arc<Operations>>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Declined> {
    let wanted: Wanted = object(body)?;
    let target = target(&wanted)?;
    let reason = reason(wanted.reason)?.map(Into::into);
    let everywhere = !wanted.here.unwrap_or(false);
    let what = Disconnect { target, reason };
    // In a task of its own: whoever asked may leave in the middle of it.
    let closing = tokio::spawn(async move {
        let here = disconnect(&operations.sessions, &operations.log, &what, None);
        let Some(control) = operations.control.as_ref().filter(|_| everywhere) else {
            return json!({ "closed": here.await });
        };
        // The others begin at once too.
        let (here, elsewhere) = tokio::join!(here, control.disconnect(what.clone()));
        shown(here as u64, control, elsewhere)
    });
    let ended = closing.await.map_err(|_| {
        let message = "it did not come to an end; see the log";
        Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    });
    Ok(Json(ended?))
}

/// How many were closed, and where.
fn shown(here: u64, control: &Control, answers: Result<Vec<Answer>, NotAsked>) -> Value {
    let (own, name) = control.own();
    let warning = match &answers {
        Err(NotAsked::Away) => Some("Redis is away, so other nodes were not asked"),
        Err(NotAsked::Busy) => Some("too much is being asked of other nodes already, so they were not asked"),
        Ok(answers) if answers.iter().any(|answer| answer.said.is_none()) => {
            Some("not every node has answered in time; those may still do it")
        }
        Ok(_) => None,
    };
    let answers = answers.unwrap_or_default();
    let total = here + answers.iter().filter_map(|answer| answer.said).sum::<u64>();
    let own = json!({ "node": &**name, "run": own.to_string(), "closed": here });
    let others = answers.iter().map(
        |answer| json!({ "node": &*answer.name, "run": answer.origin.to_string(), "closed": answer.said }),
    );
    let nodes: Vec<Value> = [own].into_iter().chain(others).collect();
    let mut shown = json!({ "closed": total, "nodes": nodes });
    if let Some(warning) = warning {
        shown["warning"] = warning.into();
    }
    shown
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
    note(
        &operations.log,
        "disconnect",
        Some(said(&format!("connection {name}"), reason.as_deref())),
        Some(1),
    );
    Ok(Json(json!({ "closed": 1 })))
}

fn reason(reason: Option<String>) -> Result<Option<String>, Declined> {
    match reason.filter(|reason| !reason.is_empty()) {
        Some(reason) if !is_reason(&reason) => {
            Err(invalid(format!("reason is one line of at most {LONGEST_REASON} bytes")))
        }
        reason => Ok(reason),
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
