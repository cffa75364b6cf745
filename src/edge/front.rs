//! Every HTTP request on the public port, before the protocol library sees it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, RETRY_AFTER,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::caps::{Caps, TurnedAway};
use super::query::Query;
use super::{caps, handshake, origin, proxy};
use crate::config::policy::{Policy, TokenSource};
use crate::decision_log::{DecisionLog, Kind, Outcome, Record, Who};
use crate::edition::Current;
use crate::link::inbound::{SAMPLE, judge};
use crate::link::outlet::Outlet;
use crate::link::session::{Session, Sessions};
use crate::link::tally::RECORD_SEPARATOR;
use crate::metrics::Metrics;
use crate::peer::AddressKey;
use crate::reject::Code;

/// The protocol library, as the edge calls it.
pub type Protocol = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

/// What a request is answered with: every body is whole and small.
pub type Answer = Response<Full<Bytes>>;

/// A request body that has not arrived by then never will; bodies are at most `limits.payload.hard_max_bytes`.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client that comes while the process goes down should wait: the next process needs a moment.
const DRAINING_RETRY: Duration = Duration::from_secs(2);

/// The public port's HTTP.
pub struct Front {
    current: Arc<Current>,
    caps: Arc<Caps>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    log: Arc<DecisionLog>,
    protocol: Protocol,
    draining: AtomicBool,
}

/// Why a request goes no further.
struct Turn {
    status: StatusCode,
    code: Code,
    retry_after: Option<Duration>,
    /// What is wrong, where the code alone does not say.
    why: Option<&'static str>,
    /// It spoke for a session, or was meant to.
    is_of_session: bool,
}

impl Turn {
    fn new(status: StatusCode, code: Code) -> Self {
        Turn { status, code, retry_after: None, why: None, is_of_session: false }
    }

    fn malformed(why: &'static str) -> Self {
        tracing::debug!(why, "malformed request");
        Turn { why: Some(why), ..Turn::new(StatusCode::BAD_REQUEST, Code::Malformed) }
    }
}

impl From<TurnedAway> for Turn {
    fn from(turned_away: TurnedAway) -> Self {
        let status = match turned_away.code {
            Code::Full => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        };
        Turn { retry_after: Some(turned_away.retry_after), ..Turn::new(status, turned_away.code) }
    }
}

impl Front {
    /// The front of `protocol`.
    pub fn new(
        current: Arc<Current>,
        caps: Arc<Caps>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        log: Arc<DecisionLog>,
        protocol: Protocol,
    ) -> Self {
        Front { current, caps, sessions, metrics, log, protocol, draining: AtomicBool::new(false) }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.current.policy()
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// From now on no session is opened.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Answers one request that came in on `outlet`, by this policy.
    pub async fn answer(&self, policy: &Policy, outlet: Arc<Outlet>, request: Request<Incoming>) -> Answer {
        // Only for the log, since the request is gone by the time that it is refused.
        let address = self.log.is_on().then(|| client_address(policy, &outlet, request.headers()));
        match self.pass(policy, outlet, request).await {
            Ok(answer) => answer,
            Err(turn) => {
                self.metrics.refused(turn.code);
                if let Some(address) = address {
                    self.record(&turn, address);
                }
                refusal(&turn)
            }
        }
    }

    /// Has the decision log say that a handshake was turned away, and why. What the request said has no place there.
    fn record(&self, turn: &Turn, address: IpAddr) {
        if !turn.is_of_session && self.log.may_turn_away(address, Instant::now()) {
            self.log.write(Record {
                outcome: Some(Outcome::Refused),
                code: Some(turn.code.as_str()),
                why: turn.why.map(Into::into),
                ..Record::new(Kind::Handshake, Who::Address(address), SystemTime::now())
            });
        }
    }

    async fn pass(
        &self,
        policy: &Policy,
        outlet: Arc<Outlet>,
        request: Request<Incoming>,
    ) -> Result<Answer, Turn> {
        let server = &policy.server;
        if request.uri().path().trim_end_matches('/') != server.path.trim_end_matches('/') {
            return Err(Turn::new(StatusCode::NOT_FOUND, Code::NotFound));
        }
        if !origin::is_allowed(server, request.headers()) {
            return Err(Turn::new(StatusCode::FORBIDDEN, Code::Origin));
        }
        let (mut parts, body) = request.into_parts();
        let query_text = parts.uri.query().map(str::to_owned);
        let query = Query::parse(query_text.as_deref()).map_err(Turn::malformed)?;
        if (query.is_websocket && !server.websocket) || (!query.is_websocket && !server.polling) {
            return Err(Turn::malformed("transport is switched off"));
        }
        if query.is_websocket {
            check_upgrade(&parts).map_err(Turn::malformed)?;
            if !outlet.head_ended() {
                return Err(Turn::malformed("bytes follow an upgrade that has not been answered"));
            }
        }
        match query.sid {
            None if parts.method != Method::GET => Err(Turn::malformed("a session is opened with GET")),
            None => self.open(policy, outlet, &mut parts, &query).await,
            Some(sid) => {
                let answered = self.speak(policy, sid, outlet, &mut parts, &query, body).await;
                answered.map_err(|turn| Turn { is_of_session: true, ..turn })
            }
        }
    }

    /// A request that speaks for a session.
    async fn speak(
        &self,
        policy: &Policy,
        sid: &str,
        outlet: Arc<Outlet>,
        parts: &mut request::Parts,
        query: &Query<'_>,
        body: Incoming,
    ) -> Result<Answer, Turn> {
        let session = self.sessions.find(sid).ok_or_else(|| Turn::malformed("unknown session"))?;
        if session.closing().is_some() {
            return Err(Turn::malformed("session is closed"));
        }
        if policy.server.bind_sessions_to_address
            && AddressKey::from(client_address(policy, &outlet, &parts.headers)) != session.address().into()
        {
            // Answered like an unknown one: it does not say that there is such a session.
            return Err(Turn::malformed("session of another address"));
        }
        match (query.is_websocket, &parts.method) {
            (true, _) => self.upgrade(policy, &session, &outlet, parts, query).await,
            (false, &Method::GET) => self.poll(policy, &session, parts, query).await,
            (false, &Method::POST) => self.post(policy, &session, parts, query, body).await,
            (false, _) => Err(Turn::malformed("polling uses GET and POST")),
        }
    }

    /// A new session, by polling or straight on a WebSocket.
    async fn open(
        &self,
        policy: &Policy,
        outlet: Arc<Outlet>,
        parts: &mut request::Parts,
        query: &Query<'_>,
    ) -> Result<Answer, Turn> {
        if self.is_draining() {
            let code = Code::Draining;
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let retry_after = Some(DRAINING_RETRY + caps::jitter());
            return Err(Turn { retry_after, ..Turn::new(status, code) });
        }
        let address = client_address(policy, &outlet, &parts.headers);
        let is_proxy = proxy::is_trusted(address, &policy.server.trusted_proxies);
        let slot = self.caps.take(address, is_proxy)?;
        let session = self.sessions.open(address, credentials(policy, &parts.headers), Box::new(slot));
        if query.is_websocket {
            session.bind_websocket(&outlet);
        }
        let mut inner = inner_request(policy, parts, query, Bytes::new())?;
        inner.extensions_mut().insert(session.clone());
        let answer = self.call(inner).await?;
        if query.is_websocket || answer.status() != StatusCode::OK {
            return Ok(answer);
        }
        let limit = policy.limits.payload.hard_max_bytes;
        Ok(handshake::complete(answer, limit, |sid| self.sessions.name(&session, sid)).await)
    }

    async fn upgrade(
        &self,
        policy: &Policy,
        session: &Arc<Session>,
        outlet: &Arc<Outlet>,
        parts: &mut request::Parts,
        query: &Query<'_>,
    ) -> Result<Answer, Turn> {
        if !session.bind_websocket(outlet) {
            return Err(Turn::malformed("the session has asked for a WebSocket before"));
        }
        self.call(inner_request(policy, parts, query, Bytes::new())?).await
    }

    async fn poll(
        &self,
        policy: &Policy,
        session: &Arc<Session>,
        parts: &mut request::Parts,
        query: &Query<'_>,
    ) -> Result<Answer, Turn> {
        let answer = self.call(inner_request(policy, parts, query, Bytes::new())?).await?;
        let (head, body) = answer.into_parts();
        let body = collect(body).await;
        session.tally().wrote_poll_body(&body);
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn post(
        &self,
        policy: &Policy,
        session: &Session,
        parts: &mut request::Parts,
        query: &Query<'_>,
        body: Incoming,
    ) -> Result<Answer, Turn> {
        let body = read_body(policy, &parts.headers, body).await?;
        for packet in body.split(|byte| *byte == RECORD_SEPARATOR) {
            session.saw(judge(&packet[..packet.len().min(SAMPLE)]), packet.len() as u64);
        }
        if session.closing().is_some() {
            return Err(Turn::malformed("the session sent what it may not, or too much"));
        }
        self.call(inner_request(policy, parts, query, body)?).await
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Answer, Turn> {
        let answer = match self.protocol.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (head, body) = answer.into_parts();
        Ok(Response::from_parts(head, Full::new(collect(body).await)))
    }
}

/// Who the request comes from, behind trusted proxies.
fn client_address(policy: &Policy, outlet: &Outlet, headers: &HeaderMap) -> IpAddr {
    proxy::client_address(outlet.remote().ip(), headers, &policy.server.trusted_proxies)
}

/// The whole body, refused before it is buffered when it says that it is too large, and while it is when it is.
async fn read_body(policy: &Policy, headers: &HeaderMap, body: Incoming) -> Result<Bytes, Turn> {
    let limit = policy.limits.payload.hard_max_bytes;
    let too_large = || Turn::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge);
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let whole = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, limit).collect()).await;
    match whole {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Turn::malformed("the body broke off")),
        Err(_) => Err(Turn::new(StatusCode::REQUEST_TIMEOUT, Code::Malformed)),
    }
}

/// A request for the library with what it needs and no more. It keeps the parts of the opening request for the
/// session's whole life, and each value in them is a slice of hyper's 16 KB head buffer; these are copies.
fn inner_request(
    policy: &Policy,
    parts: &mut request::Parts,
    query: &Query<'_>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Turn> {
    let transport = if query.is_websocket { "websocket" } else { "polling" };
    let sid = query.sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
    let uri = format!("{}?EIO=4&transport={transport}{sid}", policy.server.path);
    let uri = Uri::try_from(uri).map_err(|_| Turn::malformed("sid is not a session id"))?;
    let mut inner = Request::new(Full::new(body));
    *inner.method_mut() = parts.method.clone();
    *inner.uri_mut() = uri;
    // Only one of the two is ever there; by default the first takes the room of six.
    *inner.headers_mut() = HeaderMap::with_capacity(1);
    for name in [CONTENT_TYPE, SEC_WEBSOCKET_KEY] {
        let copy = parts.headers.get(&name).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        if let Some(value) = copy {
            inner.headers_mut().insert(name, value);
        }
    }
    if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
        inner.extensions_mut().insert(upgrade);
    }
    Ok(inner)
}

/// Copies of the headers in which policy looks for a token.
fn credentials(policy: &Policy, headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for source in &policy.auth.token_from {
        let name = match source {
            TokenSource::Auth => continue,
            TokenSource::Header => AUTHORIZATION,
            TokenSource::Cookie(_) => COOKIE,
        };
        if kept.contains_key(&name) {
            continue;
        }
        for value in headers.get_all(&name) {
            if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
                kept.append(name.clone(), copy);
            }
        }
    }
    kept
}

/// The whole of a body that is already in memory, so reading it cannot fail.
pub(super) async fn collect<B: http_body::Body>(body: B) -> Bytes {
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

/// The opening handshake of RFC 6455 §4.2.1, which the library reads only the key of.
fn check_upgrade(parts: &request::Parts) -> Result<(), &'static str> {
    let has_token = |name, token: &str| {
        parts
            .headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
    };
    if parts.method != Method::GET {
        return Err("a WebSocket is opened with GET");
    }
    // Without it hyper cannot hand the connection over, and the session would wait for a WebSocket for ever.
    if parts.version != Version::HTTP_11 || parts.extensions.get::<OnUpgrade>().is_none() {
        return Err("a WebSocket is opened over HTTP/1.1");
    }
    if !has_token(UPGRADE, "websocket") || !has_token(CONNECTION, "upgrade") {
        return Err("not an upgrade to WebSocket");
    }
    if parts.headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("Sec-WebSocket-Version must be 13");
    }
    // 16 bytes in base64.
    if parts.headers.get(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        return Err("Sec-WebSocket-Key must be 16 bytes in base64");
    }
    Ok(())
}

/// A short JSON body with the code, and when to come back.
fn refusal(turn: &Turn) -> Answer {
    let mut answer =
        Response::new(Full::new(Bytes::from(format!("{{\"code\":\"{}\"}}", turn.code.as_str()))));
    *answer.status_mut() = turn.status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = turn.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if turn.status == StatusCode::PAYLOAD_TOO_LARGE || turn.status == StatusCode::REQUEST_TIMEOUT {
        // The rest of the body is not read.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// What `Retry-After` says of a wait. Rounded up: one that comes a moment early is turned away again. And never nothing, though
/// the wait may have ended while its answer was written: everybody would come back at once.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_nothing() {
        let millis = [0, 1, 999, 1000, 1001, 3000];
        assert_eq!(millis.map(|wait| whole_seconds(Duration::from_millis(wait))), [1, 1, 1, 1, 2, 3]);
    }
}
