//! `GET /api/status`: the process and its policy in one look.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Json;
use serde_json::{Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::query::Query;
use super::series::rounded;
use crate::process::Load;

/// Everything that is one number, or one word.
pub(super) async fn status(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    Query::read(&uri, &[])?;
    (operations.refresh)();
    Ok(Json(shown(&operations)))
}

/// The same, without what has to be counted for it.
pub(super) fn shown(operations: &Operations) -> Value {
    let metrics = &operations.metrics;
    let edition = operations.current.load();
    let load = Load::read();
    let not_ready = (operations.not_ready)();
    let uptime = SystemTime::now().duration_since(operations.started).unwrap_or_default();
    let (_, cpu) = operations.series.latest();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started": time(operations.started),
        "uptimeSeconds": uptime.as_secs(),
        "ready": not_ready.is_none(),
        "notReady": not_ready,
        "policy": {
            "hash": &*edition.policy.hash,
            "edition": edition.number,
            "since": time(edition.since),
            "wantedBy": edition.wanted_by,
            "current": metrics.policy_is_current(),
        },
        "sessions": metrics.sessions.get(),
        "peers": metrics.peers.get(),
        "rooms": metrics.rooms.get(),
        "members": metrics.members.get(),
        "tcpConnections": metrics.connections.get(),
        "totals": {
            "admissions": metrics.admissions.get(),
            "eventsAccepted": metrics.events_accepted.get(),
            "deliveries": metrics.deliveries.get(),
            "refusals": metrics.refusals_so_far().sum::<u64>(),
            "closes": metrics.closes_so_far().sum::<u64>(),
        },
        "residentBytes": load.map(|load| load.resident),
        "cpuSeconds": load.map(|load| load.cpu),
        "cpuShare": cpu.map(rounded),
    })
}
