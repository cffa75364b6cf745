//! `POST /api/publish`: the application's own server announces changes. Not behind the admin guard: each publisher has a token
//! of its own, which opens nothing else.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Operations;
use super::admin::bearer;
use super::answer::Declined;
use super::body;
use super::idempotency::{Answered, Before, Kept};
use crate::config::policy::Publisher;
use crate::event_id::EventId;
use crate::reject::{Code, Reject};

/// Events in one request.
const MOST_AT_ONCE: usize = 1000;

/// Events that are published before others get their turn.
const AT_ONCE: usize = 16;

/// Requests without a right token, as at the admin guard.
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// One event to publish.
#[derive(Debug)]
pub struct Publication {
    /// Its name; `None` where the policy has one only.
    pub event: Option<String>,
    /// Where to.
    pub teams: Vec<String>,
    /// What members hear; `None` for an event without a payload.
    pub payload: Option<Box<RawValue>>,
}

/// What became of it.
#[derive(Debug)]
pub enum Published {
    /// It is relayed.
    Accepted {
        /// As the log has it.
        id: EventId,
        /// The teams that it went to, each once.
        teams: Vec<Arc<str>>,
        /// How many sockets of this process hear it; `None` where it waits for the end of a window.
        recipients: Option<usize>,
    },
    /// It is not.
    Refused(Box<Reject>),
}

/// Relays an event of a publisher, or of whoever brings the admin token.
pub type Publish = Box<dyn Fn(Option<&Publisher>, &Publication) -> Published + Send + Sync>;

/// One publisher's answers; locked for as long as a request of its is carried out.
type KeptOfOne = Arc<tokio::sync::Mutex<Kept>>;

/// The door of publishers.
pub(super) struct Door {
    operations: Arc<Operations>,
    attempts: DefaultDirectRateLimiter,
    /// By publisher, so that none can meet, or push out, another's; the admin's under `None`.
    kept: Mutex<HashMap<Option<Arc<str>>, KeptOfOne>>,
}

/// An event as a request has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    event: Option<String>,
    team: Option<String>,
    teams: Option<Vec<String>>,
    payload: Option<Box<RawValue>>,
}

/// A request: one event, or a list of them under `events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    events: Option<Vec<Wanted>>,
    event: Option<String>,
    team: Option<String>,
    teams: Option<Vec<String>>,
    payload: Option<Box<RawValue>>,
}

impl Door {
    /// The door of one process.
    pub fn new(operations: &Arc<Operations>) -> Arc<Self> {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(ATTEMPTS_AT_ONCE);
        let attempts = RateLimiter::direct(quota);
        Arc::new(Door { operations: operations.clone(), attempts, kept: Mutex::default() })
    }

    fn kept_of(&self, publisher: Option<&Publisher>) -> KeptOfOne {
        let name = publisher.map(|publisher| publisher.name.clone());
        self.kept.lock().entry(name).or_default().clone()
    }

    /// Whose token this is; `None` for the admin's.
    fn publisher(&self, headers: &HeaderMap) -> Result<Option<Arc<Publisher>>, Declined> {
        let policy = (self.operations.policy)();
        let presented = bearer(headers);
        if let Some(presented) = presented {
            let holds =
                |publisher: &&Arc<Publisher>| publisher.tokens.iter().any(|token| token.is(presented));
            if let Some(publisher) = policy.publish.publishers.iter().find(holds) {
                return Ok(Some(publisher.clone()));
            }
            if policy.internal.admin_token.as_ref().is_some_and(|token| token.is(presented)) {
                return Ok(None);
            }
        }
        if policy.publish.publishers.is_empty() && policy.internal.admin_token.is_none() {
            let message = "nobody may publish: write [[publish.publishers]] into the policy";
            return Err(Declined::new(StatusCode::FORBIDDEN, "publish_disabled", message));
        }
        self.operations.metrics.admin_unauthorized.inc();
        if let Err(until) = self.attempts.check() {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let message = "too many requests without a publisher's token; come back after the given seconds";
            let declined = Declined::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
            return Err(declined.retry_after(wait));
        }
        tracing::warn!("a request to publish without a publisher's token");
        let message = "this needs a publisher's token: Authorization: Bearer …";
        Err(Declined::new(StatusCode::UNAUTHORIZED, "unauthorized", message).asking_for_a_token())
    }
}

/// Publishes one event or several, each judged by itself.
pub(super) async fn publish(State(door): State<Arc<Door>>, headers: HeaderMap, body: Body) -> Response {
    match receive(&door, &headers, body).await {
        Ok(answered) => answered.into_response(),
        Err(declined) => declined.into_response(),
    }
}

async fn receive(door: &Arc<Door>, headers: &HeaderMap, body: Body) -> Result<Answered, Declined> {
    door.publisher(headers)?;
    let text = body::read(body, body::MOST_BYTES).await?;
    // The body may take its time, and whose token this was then may be nobody's now.
    let publisher = door.publisher(headers)?;
    let key = idempotency_key(headers)?.map(str::to_owned);
    let door = door.clone();
    // In a task of its own: a client that hangs up in the middle does not leave it half done.
    let task = tokio::spawn(async move { carry_out(&door, publisher.as_deref(), key, &text).await });
    task.await.unwrap_or_else(|_| {
        let message = "it broke off in the middle";
        Err(Declined::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
    })
}

async fn carry_out(
    door: &Door,
    publisher: Option<&Publisher>,
    key: Option<String>,
    text: &[u8],
) -> Result<Answered, Declined> {
    let Some(key) = key else { return answer(door, publisher, text).await };
    let kept = door.kept_of(publisher);
    // Held to the end, so that the same request a second time at once waits for the first one's answer.
    let mut kept = kept.lock().await;
    match kept.before(&key, text) {
        Before::Nothing => {}
        Before::Same(answered) => return Ok(answered.again()),
        Before::Another => {
            let message =
                "this Idempotency-Key came with another body before; use a new one for each request";
            return Err(Declined::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", message));
        }
    }
    let answered = answer(door, publisher, text).await?;
    // What only passes may be tried again under the same key.
    if answered.status != StatusCode::TOO_MANY_REQUESTS {
        kept.keep(key, text, answered.clone());
    }
    Ok(answered)
}

async fn answer(door: &Door, publisher: Option<&Publisher>, text: &[u8]) -> Result<Answered, Declined> {
    let (publications, is_list) = read(text)?;
    let mut published: Vec<Published> = Vec::with_capacity(publications.len());
    let before = door.operations.bus.place();
    for (at, publication) in publications.iter().enumerate() {
        if at % AT_ONCE == AT_ONCE - 1 {
            // Members are written to, and others are heard, in between.
            tokio::task::yield_now().await;
        }
        published.push((door.operations.publish)(publisher, publication));
    }
    let bus = passed_on(door, before, &published).await;
    if let ([only], false) = (&published[..], is_list) {
        let mut body = shown(only);
        body.as_object_mut().zip(bus).map(|(body, bus)| body.insert("bus".into(), bus.into()));
        return Ok(Answered::new(status(only), body));
    }
    let accepted = published.iter().filter(|one| matches!(one, Published::Accepted { .. })).count();
    let mut body = json!({
        "accepted": accepted,
        "refused": published.len() - accepted,
        "results": published.iter().map(shown).collect::<Vec<_>>(),
    });
    if let Some(bus) = bus {
        body["bus"] = bus.into();
    }
    Ok(Answered::new(StatusCode::OK, body))
}

/// Whether what was accepted is on its way to other nodes; `None` where nothing was, or where there are none. What waits for the end
/// of a window is not yet.
async fn passed_on(door: &Door, before: u64, published: &[Published]) -> Option<&'static str> {
    let accepted = |one: &Published| match one {
        Published::Accepted { recipients, .. } => Some(recipients.is_some()),
        Published::Refused(_) => None,
    };
    let mut relayed = published.iter().filter_map(accepted).peekable();
    relayed.peek()?;
    let bus = &door.operations.bus;
    if !bus.is_on() {
        return None;
    }
    let is_confirmed = relayed.all(|is_relayed| is_relayed) && bus.passed_on(before).await;
    Some(if is_confirmed { "confirmed" } else { "pending" })
}

/// The events of a request, and whether it has a list of them.
fn read(text: &[u8]) -> Result<(Vec<Publication>, bool), Declined> {
    let malformed = |message: String| Declined::new(StatusCode::BAD_REQUEST, "malformed", message);
    let whole: Whole = serde_json::from_slice(text).map_err(|error| {
        malformed(format!(r#"write {{"team": …, "payload": …}}, or {{"events": [those]}}: {error}"#))
    })?;
    let Whole { events, event, team, teams, payload } = whole;
    let is_list = events.is_some();
    let wanted = match events {
        None => vec![Wanted { event, team, teams, payload }],
        Some(_) if event.is_some() || team.is_some() || teams.is_some() || payload.is_some() => {
            return Err(malformed("beside events nothing else may stand".into()));
        }
        Some(events) if events.is_empty() || events.len() > MOST_AT_ONCE => {
            return Err(malformed(format!("events holds 1 to {MOST_AT_ONCE} events")));
        }
        Some(events) => events,
    };
    let publication = |wanted: Wanted| match (wanted.team, wanted.teams) {
        (Some(_), Some(_)) => Err(malformed("write team or teams, not both".into())),
        (None, None) => Err(malformed("team, or teams, says where it goes".into())),
        (team, teams) => Ok(Publication {
            event: wanted.event,
            teams: teams.unwrap_or_else(|| team.into_iter().collect()),
            payload: wanted.payload,
        }),
    };
    Ok((wanted.into_iter().map(publication).collect::<Result<_, _>>()?, is_list))
}

/// Draft 7 of the IETF's "The Idempotency-Key HTTP Header Field" has a quoted string; most clients send it bare.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Declined> {
    const LONGEST: usize = 255;
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim_matches('"');
    if text.is_empty() || text.len() > LONGEST {
        let message = "Idempotency-Key is 1 to 255 visible characters";
        return Err(Declined::new(StatusCode::BAD_REQUEST, "malformed", message));
    }
    Ok(Some(text))
}

fn status(published: &Published) -> (StatusCode, Option<HeaderValue>) {
    let Published::Refused(reject) = published else { return (StatusCode::OK, None) };
    match reject.code {
        Code::RateLimited => {
            let seconds = reject.retry_after.map_or(1, |wait| wait.as_secs() + 1);
            (StatusCode::TOO_MANY_REQUESTS, Some(HeaderValue::from(seconds)))
        }
        Code::NotAllowed => (StatusCode::FORBIDDEN, None),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, None),
    }
}

/// One result. Who publishes is the operator's own, so a refusal says everything.
fn shown(published: &Published) -> Value {
    match published {
        Published::Accepted { id, teams, recipients } => json!({
            "ok": true,
            "id": id.to_string(),
            "teams": teams.iter().map(|team| &**team).collect::<Vec<_>>(),
            "recipients": recipients,
        }),
        Published::Refused(reject) => {
            let mut body = json!({ "ok": false, "code": reject.code.as_str(), "message": reject.message });
            let named = [("rule", &reject.rule), ("field", &reject.field)];
            for (key, name) in named.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
                body[key] = name.as_str().into();
            }
            if let Some(wait) = reject.retry_after {
                body["retryAfterMs"] = (wait.as_millis() as u64 + 1).into();
            }
            body
        }
    }
}

impl Answered {
    fn new(status: impl Into<Status>, body: Value) -> Self {
        let Status(status, retry_after) = status.into();
        Answered { status, retry_after, body: body.to_string().into(), is_again: false }
    }
}

/// A status, and when to come back.
struct Status(StatusCode, Option<HeaderValue>);

impl From<StatusCode> for Status {
    fn from(status: StatusCode) -> Self {
        Status(status, None)
    }
}

impl From<(StatusCode, Option<HeaderValue>)> for Status {
    fn from((status, retry_after): (StatusCode, Option<HeaderValue>)) -> Self {
        Status(status, retry_after)
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.retry_after.map(|seconds| (header::RETRY_AFTER, seconds)));
        if self.is_again {
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}
