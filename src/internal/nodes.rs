//! `GET /api/nodes`: the nodes that share their teams, and whether all act by one policy.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::Uri;
use axum::response::Json;
use serde_json::{Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::query::Query;
use crate::bus::control::Node;
use crate::bus::envelope::Origin;

/// All of them, this one first. A node that is alone says so of itself.
pub(super) async fn list(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    Query::read(&uri, &[])?;
    let policy = (operations.policy)();
    let control = operations.control.as_ref();
    let own = json!({
        "node": &*policy.bus.node,
        "run": control.map(|control| control.own().0.to_string()),
        "self": true,
        "version": env!("CARGO_PKG_VERSION"),
        "policy": &*policy.hash,
        "since": time(operations.started),
        "connections": operations.metrics.sessions.get(),
        "heard": Value::Null,
    });
    let others = control.map(|control| control.nodes()).unwrap_or_default();
    let nodes: Vec<Value> = [own].into_iter().chain(others.iter().map(other)).collect();
    Ok(Json(json!({
        "bus": operations.bus.state().as_str(),
        "nodes": nodes,
        "policiesAgree": control.is_none_or(|control| control.policies_agree()),
    })))
}

fn other((origin, node): &(Origin, Node)) -> Value {
    let about = &node.about;
    json!({
        "node": &*node.name,
        "run": origin.to_string(),
        "self": false,
        "version": &*about.version,
        "policy": &*about.policy,
        "since": time(second(about.since)),
        "connections": about.connections,
        "heard": time(node.heard),
    })
}

/// This many seconds after 1970 began; what cannot be written as a date is that beginning.
fn second(seconds: u64) -> SystemTime {
    /// The end of the year 9999.
    const LAST: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(if seconds > LAST { 0 } else { seconds })
}
