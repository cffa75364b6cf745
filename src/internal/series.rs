//! `GET /api/series`: the last minutes in samples, for charts. One ring of fixed length, which one task fills.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::Uri;
use axum::response::Json;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::Operations;
use super::answer::{Declined, time};
use super::query::Query;
use crate::metrics::{CloseReason, Held, Metrics};
use crate::process::Load;
use crate::reject::Code;

/// How often [`Series::sample`] is to be called.
pub const EVERY: Duration = Duration::from_secs(5);

/// Minutes that are remembered, and that are answered with where nothing else is asked for.
const MOST_MINUTES: usize = 60;
const MINUTES: usize = 15;

const SAMPLES_A_MINUTE: usize = 60 / EVERY.as_secs() as usize;

/// What happened between two samples, and what was the case at the later one.
struct Sample {
    time: SystemTime,
    accepted: u64,
    deliveries: u64,
    admissions: u64,
    refusals: Box<[u64]>,
    closes: Box<[u64]>,
    pipeline: Held,
    relay: Held,
    sessions: i64,
    peers: i64,
    load: Option<Load>,
    /// Of one core.
    cpu: Option<f64>,
}

/// Counters as they were, from which the next sample is made.
#[derive(Default)]
struct Counters {
    accepted: u64,
    deliveries: u64,
    admissions: u64,
    refusals: Vec<u64>,
    closes: Vec<u64>,
    pipeline: Held,
    relay: Held,
    load: Option<Load>,
}

/// The samples of the last hour.
pub struct Series {
    inner: Mutex<Inner>,
}

struct Inner {
    ring: VecDeque<Sample>,
    before: Counters,
    at: Instant,
}

impl Counters {
    fn read(metrics: &Metrics) -> Self {
        Counters {
            accepted: metrics.events_accepted.get(),
            deliveries: metrics.deliveries.get(),
            admissions: metrics.admissions.get(),
            refusals: metrics.refusals_so_far().collect(),
            closes: metrics.closes_so_far().collect(),
            pipeline: metrics.pipeline_latency.held(),
            relay: metrics.relay_latency.held(),
            load: Load::read(),
        }
    }
}

impl Series {
    /// Nothing yet; the first sample is of what happens from now on.
    pub fn new(metrics: &Metrics) -> Self {
        let inner = Inner { ring: VecDeque::new(), before: Counters::read(metrics), at: Instant::now() };
        Series { inner: Mutex::new(inner) }
    }

    /// Adds a sample of what has happened since it was called last.
    pub fn sample(&self, metrics: &Metrics) {
        let (now, at) = (Counters::read(metrics), Instant::now());
        let mut inner = self.inner.lock();
        let before = &inner.before;
        let since =
            |now: &[u64], before: &[u64]| now.iter().zip(before).map(|(now, before)| now - before).collect();
        let seconds = at.saturating_duration_since(inner.at).as_secs_f64();
        let cpu = now.load.zip(before.load).filter(|_| seconds > 0.0);
        let sample = Sample {
            time: SystemTime::now(),
            accepted: now.accepted - before.accepted,
            deliveries: now.deliveries - before.deliveries,
            admissions: now.admissions - before.admissions,
            refusals: since(&now.refusals, &before.refusals),
            closes: since(&now.closes, &before.closes),
            pipeline: now.pipeline.since(&before.pipeline),
            relay: now.relay.since(&before.relay),
            sessions: metrics.sessions.get(),
            peers: metrics.peers.get(),
            load: now.load,
            cpu: cpu.map(|(now, before)| (now.cpu - before.cpu) / seconds),
        };
        if inner.ring.len() == MOST_MINUTES * SAMPLES_A_MINUTE {
            inner.ring.pop_front();
        }
        inner.ring.push_back(sample);
        (inner.before, inner.at) = (now, at);
    }

    /// The latest sample as it is shown, and how much of a core the process used in it.
    pub fn latest(&self) -> (Option<Value>, Option<f64>) {
        let inner = self.inner.lock();
        (inner.ring.back().map(Sample::shown), inner.ring.back().and_then(|sample| sample.cpu))
    }

    fn shown(&self, minutes: usize) -> Vec<Value> {
        let inner = self.inner.lock();
        let skipped = inner.ring.len().saturating_sub(minutes * SAMPLES_A_MINUTE);
        inner.ring.iter().skip(skipped).map(Sample::shown).collect()
    }
}

impl Sample {
    fn shown(&self) -> Value {
        let labelled =
            |labels: &mut dyn Iterator<Item = &'static str>, counts: &[u64]| -> Map<String, Value> {
                let some = labels.zip(counts).filter(|(_, count)| **count > 0);
                some.map(|(label, count)| (label.to_owned(), (*count).into())).collect()
            };
        let of_events = Code::ALL.iter().zip(&self.refusals).filter(|(code, _)| code.is_of_event());
        json!({
            "time": time(self.time),
            "eventsAccepted": self.accepted,
            "eventsRefused": of_events.map(|(_, count)| count).sum::<u64>(),
            "deliveries": self.deliveries,
            "admissions": self.admissions,
            "refusals": labelled(&mut Code::ALL.iter().map(|code| code.as_str()), &self.refusals),
            "closes": labelled(&mut CloseReason::ALL.iter().map(|reason| reason.as_str()), &self.closes),
            "pipelineMicros": micros(&self.pipeline),
            "relayMicros": micros(&self.relay),
            "sessions": self.sessions,
            "peers": self.peers,
            "residentBytes": self.load.map(|load| load.resident),
            "cpuShare": self.cpu.map(rounded),
        })
    }
}

fn micros(held: &Held) -> Value {
    let quantile = |share| held.quantile(share).map(|took| took.as_nanos() as f64 / 1000.0);
    match (quantile(0.5), quantile(0.99)) {
        (Some(half), Some(most)) => json!({ "p50": half, "p99": most }),
        _ => Value::Null,
    }
}

/// To a hundredth of a per cent.
pub(super) fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}

/// The samples of the last minutes, the oldest first.
pub(super) async fn series(
    State(operations): State<Arc<Operations>>,
    uri: Uri,
) -> Result<Json<Value>, Declined> {
    let minutes = Query::read(&uri, &["minutes"])?.number("minutes", MINUTES, MOST_MINUTES)?;
    let samples = operations.series.shown(minutes);
    Ok(Json(json!({ "everySeconds": EVERY.as_secs(), "samples": samples })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_what_happened_since_the_one_before() {
        let metrics = Metrics::new();
        metrics.deliveries.inc_by(7);
        let series = Series::new(&metrics);
        metrics.events_accepted.inc_by(3);
        metrics.refused(Code::UnknownType);
        metrics.refused(Code::Origin);
        metrics.closed(CloseReason::Heartbeat);
        metrics.relay_latency.observe(Duration::from_micros(3));
        series.sample(&metrics);
        metrics.deliveries.inc();
        series.sample(&metrics);
        let [first, second] = &series.shown(1)[..] else { panic!() };
        assert_eq!((&first["eventsAccepted"], &first["deliveries"]), (&3.into(), &0.into()));
        assert_eq!(first["refusals"], json!({ "unknown_type": 1, "origin": 1 }));
        assert_eq!(first["eventsRefused"], 1, "a page's origin is no event");
        assert_eq!(first["closes"], json!({ "heartbeat": 1 }));
        assert_eq!((&first["pipelineMicros"], first["relayMicros"]["p99"].is_f64()), (&Value::Null, true));
        assert_eq!((&second["eventsAccepted"], &second["deliveries"]), (&0.into(), &1.into()));
        assert_eq!((&second["refusals"], &second["relayMicros"]), (&json!({}), &Value::Null));
    }

    #[test]
    fn an_hour_is_kept_and_the_latest_minutes_are_answered() {
        let metrics = Metrics::new();
        let series = Series::new(&metrics);
        for _ in 0..MOST_MINUTES * SAMPLES_A_MINUTE + 5 {
            metrics.deliveries.inc();
            series.sample(&metrics);
        }
        assert_eq!(series.shown(MOST_MINUTES).len(), 720);
        assert_eq!(series.shown(1).len(), 12);
        assert_eq!(series.inner.lock().ring.len(), 720);
    }
}
