//! `GET /api/live`: what happens, as it happens, as Server-Sent Events (HTML Living Standard §9.2); and the task that keeps
//! time for it, for the series and for the teams' rates.
//!
//! One task makes each piece of news once, for all who listen, and none while nobody does.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Operations;
use super::admin::Admitted;
use super::answer::{Declined, time};
use super::query::Query;
use super::series::{self, rounded};
use crate::decision_log::Onlooker;
use crate::metrics::Metrics;
use crate::process::Load;
use crate::reject::Code;
use crate::relay::traffic;

/// How often there is a tick.
const TICK: Duration = Duration::from_secs(1);

/// Listeners at once, many more than operators.
const MOST_LISTENERS: usize = 16;

/// Pieces of news that wait for one listener, and in what it has not read.
const WAITING: usize = 16;

/// Whoever takes nothing for so long is not there any more.
const STALL: Duration = Duration::from_secs(10);

/// When the next one is to try that found no place.
const COME_BACK: Duration = Duration::from_secs(4);

/// Who listens.
pub struct Live {
    places: Arc<Semaphore>,
    news: broadcast::Sender<News>,
    has_ended: AtomicBool,
}

#[derive(Clone)]
enum News {
    Event(Bytes),
    End,
}

impl Live {
    /// Nobody listens yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Live {
            places: Arc::new(Semaphore::new(MOST_LISTENERS)),
            news: broadcast::channel(WAITING).0,
            has_ended: AtomicBool::new(false),
        })
    }

    /// The process goes down: whoever listens is told, and nobody can any more.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        // Perhaps nobody listens.
        let _ = self.news.send(News::End);
    }

    fn tell(&self, event: &str, data: &Value) {
        let _ = self.news.send(News::Event(frame(event, &data.to_string())));
    }
}

/// Ends what hangs on a task when that ends, however it does.
struct EndsWith(Arc<Live>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Keeps time, for as long as the server lives.
pub async fn keep_time(operations: Arc<Operations>) {
    const TICKS_A_SAMPLE: u32 = (series::EVERY.as_secs() / TICK.as_secs()) as u32;
    // Both are looked at in one go.
    const _: () = assert!(series::EVERY.as_millis() == traffic::EVERY.as_millis());
    let live = operations.live.clone();
    let _ends = EndsWith(live.clone());
    let mut ticks = interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut until_sample) = (Totals::read(&operations.metrics), TICKS_A_SAMPLE);
    loop {
        ticks.tick().await;
        let (now, is_heard) = (Totals::read(&operations.metrics), live.news.receiver_count() > 0);
        if is_heard {
            live.tell("tick", &tick(&operations, &now, &before));
        }
        before = now;
        until_sample -= 1;
        if until_sample == 0 {
            until_sample = TICKS_A_SAMPLE;
            operations.series.sample(&operations.metrics);
            operations.rooms.traffic().sample();
            if let (true, (Some(sample), _)) = (is_heard, operations.series.latest()) {
                live.tell("sample", &sample);
            }
        }
    }
}

/// Counters that a tick tells the difference of.
struct Totals {
    accepted: u64,
    events_refused: u64,
    refusals: u64,
    deliveries: u64,
    admissions: u64,
    closes: u64,
}

impl Totals {
    fn read(metrics: &Metrics) -> Self {
        let refusals = || Code::ALL.iter().zip(metrics.refusals_so_far());
        Totals {
            accepted: metrics.events_accepted.get(),
            events_refused: refusals().filter(|(code, _)| code.is_of_event()).map(|(_, count)| count).sum(),
            refusals: refusals().map(|(_, count)| count).sum(),
            deliveries: metrics.deliveries.get(),
            admissions: metrics.admissions.get(),
            closes: metrics.closes_so_far().sum(),
        }
    }
}

fn tick(operations: &Operations, now: &Totals, before: &Totals) -> Value {
    let metrics = &operations.metrics;
    let not_ready = (operations.not_ready)();
    json!({
        "time": time(SystemTime::now()),
        "ready": not_ready.is_none(),
        "notReady": not_ready,
        "policy": &*operations.current.load().policy.hash,
        "sessions": metrics.sessions.get(),
        "peers": metrics.peers.get(),
        "rooms": metrics.rooms.get(),
        "eventsAccepted": now.accepted - before.accepted,
        "eventsRefused": now.events_refused - before.events_refused,
        "refusals": now.refusals - before.refusals,
        "deliveries": now.deliveries - before.deliveries,
        "admissions": now.admissions - before.admissions,
        "closes": now.closes - before.closes,
        "residentBytes": Load::read().map(|load| load.resident),
        "cpuShare": operations.series.latest().1.map(rounded),
    })
}

/// One event of the stream. The data is one line.
fn frame(event: &str, data: &str) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

/// A stream that does not end before the process, the session, or the listener does.
pub(super) async fn live(
    State(operations): State<Arc<Operations>>,
    Extension(admitted): Extension<Admitted>,
    uri: Uri,
) -> Result<Response, Declined> {
    Query::read(&uri, &[])?;
    let live = &operations.live;
    let place = live.places.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{MOST_LISTENERS} listen already");
        Declined::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners", message).retry_after(COME_BACK)
    })?;
    let news = live.news.subscribe();
    // After that, so that an end between the two is not missed.
    if live.has_ended.load(Ordering::Acquire) {
        let message = "the process is going down";
        return Err(
            Declined::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).retry_after(COME_BACK)
        );
    }
    let (frames, waiting) = mpsc::channel(WAITING);
    let listener = Listener { _place: place, news, onlooker: operations.log.look_on(), frames, admitted };
    tokio::spawn(listener.run());
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx would keep it back to fill its buffers.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::new(Stream(waiting))).into_response())
}

/// One who listens.
struct Listener {
    /// Free before the stream ends, so that whoever sees that can come again.
    _place: OwnedSemaphorePermit,
    news: broadcast::Receiver<News>,
    onlooker: Onlooker,
    frames: mpsc::Sender<Bytes>,
    admitted: Admitted,
}

impl Listener {
    async fn run(mut self) {
        let why = loop {
            let frame = tokio::select! {
                news = self.news.recv() => match news {
                    Ok(News::Event(frame)) => {
                        if !self.admitted.is_still() {
                            break "logged_out";
                        }
                        if !self.say_skipped().await {
                            return;
                        }
                        frame
                    }
                    Ok(News::End) | Err(RecvError::Closed) => break "draining",
                    // It has heard newer ones, or is about to.
                    Err(RecvError::Lagged(_)) => continue,
                },
                line = self.onlooker.next() => frame("decision", &line),
                () = self.frames.closed() => return,
            };
            if !self.send(frame).await {
                return;
            }
        };
        self.send(frame("end", &json!({ "why": why }).to_string())).await;
    }

    async fn say_skipped(&mut self) -> bool {
        match self.onlooker.skipped() {
            0 => true,
            skipped => self.send(frame("skipped", &json!({ "decisions": skipped }).to_string())).await,
        }
    }

    /// Whether it is still there.
    async fn send(&self, frame: Bytes) -> bool {
        matches!(timeout(STALL, self.frames.send(frame)).await, Ok(Ok(())))
    }
}

/// What is sent as it comes.
struct Stream(mpsc::Receiver<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}
