//! `GET /api/observed`: what checks that only observe would have refused, were they enforced.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Json;
use serde_json::{Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::query::Query;
use super::series::rounded;
use crate::config::policy::Mode;
use crate::reject::Code;

/// Shares of all events of a type, since the start of the process: the most first.
pub(super) async fn report(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    Query::read(&uri, &[])?;
    let (policy, metrics) = (operations.current.policy(), &operations.metrics);
    let mut events = Vec::new();
    for label in &policy.labels {
        let counts = metrics.events.of(label);
        let all = counts.accepted.get() + counts.observed.get() + counts.refused.get();
        for code in Code::ALL {
            if let Some(count) = metrics.events.observed_so_far(label, *code) {
                events.push((
                    share(count, all),
                    json!({
                        "event": &*label.event,
                        "type": &*label.kind,
                        "code": code.as_str(),
                        "events": count,
                        "of": all,
                        "share": share(count, all),
                    }),
                ));
            }
        }
    }
    events.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let observed = policy.rules.iter().filter(|rule| rule.mode == Mode::Observe);
    let rules = observed.map(|rule| {
        let counts = metrics.events.rules.of(&rule.name);
        let (observed, errors) = (counts.observed.get(), counts.error.get());
        let all = counts.allowed.get() + observed + errors + counts.refused.get();
        json!({ "rule": &*rule.name, "events": observed, "errors": errors, "of": all, "share": share(observed, all) })
    });
    let observed = policy.audience.iter().filter(|rule| rule.mode == Mode::Observe);
    let audience = observed.map(|rule| {
        let counts = metrics.audience.of(&rule.name);
        json!({ "rule": &*rule.name, "peers": counts.observed.get(), "deliveries": counts.deliveries.get() })
    });
    Ok(Json(json!({
        "since": time(operations.started),
        "events": events.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "audience": audience.collect::<Vec<_>>(),
        "closes": metrics.observed_closes.get(),
        "withoutToken": metrics.observed_tokenless.get(),
    })))
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { rounded(part as f64 / all as f64) }
}
