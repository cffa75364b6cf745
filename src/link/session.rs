//! One Engine.IO session: what the edge knows of it from the handshake request to its last byte.
//!
//! The library keeps the handshake request's parts for exactly as long as it keeps the session, and this lives in
//! their extensions. So whatever is freed by dropping a [`Session`] is freed on every path on which the library lets go.

use std::any::Any;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::inbound::Inbound;
use super::outlet::Outlet;
use super::tally::Tally;
use super::websocket::GOING_AWAY;
use crate::decision_log::allowance::Allowance;
use crate::decision_log::{DecisionLog, Who};
use crate::link::peak::Peak;
use crate::metrics::{CloseReason, Metrics};
use crate::peer::{Peer, PeerId};
use crate::revocation::Index;

/// A session on which nobody is admitted for that long is closed. An honest client's CONNECT follows the handshake at
/// once, which over a slow mobile link is a second or two; verifying it waits three for keys at most.
pub const ADMISSION_DEADLINE: Duration = Duration::from_secs(6);

/// CONNECT packets that one session may send; a stock client sends one.
const MAX_CONNECTS: u8 = 3;

/// What one session may have sent in packets and frames that are no events, beyond what was forgiven: each costs one, and
/// one more for each [`COSTLY`] bytes. An honest client answers a ping every 25 s and may send WebSocket pings of its own.
const MAX_OTHERS: u32 = 200;

/// Bytes that cost as much as a packet. Whatever is no event is short: a control frame has at most 125 (RFC 6455 §5.5).
const COSTLY: u64 = 1024;

/// How many of them each sweep forgives; at four sweeps a second, 20 a second.
const OTHERS_FORGIVEN: u32 = 5;

/// What carries a session now.
pub enum Carrier {
    /// HTTP requests, through the library.
    Polling,
    /// This connection, which is a WebSocket or about to become one.
    WebSocket(Arc<Outlet>),
    /// The WebSocket that it was, or was about to become, is gone.
    Gone,
}

/// Who is on a session.
enum Tenant {
    /// Nobody yet, or nobody any more.
    Nobody { since: Instant },
    /// An admitted peer. `until`: when its token is no longer honoured; `None` for peers without one.
    Peer { peer: Arc<Peer>, until: Option<SystemTime>, occupant: Weak<dyn Occupant> },
}

/// An admitted peer, as far as a session needs to know.
pub trait Occupant: Any + Send + Sync {
    /// Whether its token is one that these revoke.
    fn is_revoked_by(&self, these: &Index) -> bool;

    /// For whoever knows what it is.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Closes a polling session in the library, which has no call for it.
pub trait PollingCloser: Send + Sync {
    /// Closes the Engine.IO session `sid` as if its client had asked for it.
    fn close(&self, sid: String) -> JoinHandle<()>;
}

/// One Engine.IO session.
pub struct Session {
    id: PeerId,
    address: IpAddr,
    /// Seconds since 1970, which are enough for people and fit beside what is small.
    opened: u32,
    tally: Arc<Tally>,
    /// Held weakly: the connection's descriptor is freed with the connection, however long the library keeps the session.
    websocket: OnceLock<Weak<Outlet>>,
    /// Known for sessions that began with polling; a credential, so it is never printed.
    sid: OnceLock<String>,
    /// Boxed: it is there for a moment only, and the session for long.
    credentials: Mutex<Option<Box<HeaderMap>>>,
    connects: AtomicU8,
    had_peer: AtomicBool,
    /// Bytes have come on its WebSocket, and neither an end nor an error since.
    speaks: AtomicBool,
    /// Packets that were no events, less what the sweeps have forgiven.
    others: AtomicU32,
    tenant: Mutex<Tenant>,
    closing: OnceLock<CloseReason>,
    /// Why the next sweep is to close it.
    doomed: OnceLock<CloseReason>,
    lines: Allowance,
    sessions: Weak<Sessions>,
    held: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Session {
    /// The public number of the connection, in logs and pages.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The real client address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When it was opened, to the second.
    pub fn opened(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.opened.into())
    }

    /// What the library holds for this session.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// What carries it now.
    pub fn carrier(&self) -> Carrier {
        match self.websocket.get().map(Weak::upgrade) {
            None => Carrier::Polling,
            Some(Some(outlet)) if !outlet.is_closed() => Carrier::WebSocket(outlet),
            Some(_) => Carrier::Gone,
        }
    }

    /// Bytes of events that wait for its client, here and in the library.
    pub fn queued(&self) -> u64 {
        let ours = match self.carrier() {
            Carrier::WebSocket(outlet) => outlet.waiting() as u64,
            Carrier::Polling | Carrier::Gone => 0,
        };
        ours + self.tally.queued_bytes()
    }

    /// Whether somebody is admitted on it.
    pub fn is_admitted(&self) -> bool {
        matches!(&*self.tenant.lock(), Tenant::Peer { .. })
    }

    /// Whether it has been a WebSocket from its first request on.
    pub fn began_as_websocket(&self) -> bool {
        self.sid.get().is_none()
    }

    /// Binds the connection on which this session asks for a WebSocket; `false` if it has asked before, which no
    /// stock client does.
    pub fn bind_websocket(self: &Arc<Self>, outlet: &Arc<Outlet>) -> bool {
        if self.websocket.set(Arc::downgrade(outlet)).is_err() {
            return false;
        }
        outlet.bind(self);
        true
    }

    /// Notes that its client sent something on its WebSocket; `false`, that the connection has ended.
    pub fn note_speaking(&self, speaks: bool) {
        self.speaks.store(speaks, Ordering::Release);
    }

    /// Whether its client has sent something on its WebSocket, and the connection has not ended since.
    pub fn is_speaking(&self) -> bool {
        self.speaks.load(Ordering::Acquire)
    }

    /// Counts a packet or frame of so many bytes that its client sent, and closes it when that is too much or what no client
    /// of this server sends.
    pub fn saw(&self, inbound: Inbound, bytes: u64) {
        let cost = u32::try_from(bytes / COSTLY).map_or(MAX_OTHERS, |more| more.min(MAX_OTHERS)) + 1;
        let reason = match inbound {
            Inbound::Event => return,
            Inbound::Connect if self.connects.fetch_add(1, Ordering::AcqRel) < MAX_CONNECTS => return,
            Inbound::Other if self.others.fetch_add(cost, Ordering::AcqRel) + cost <= MAX_OTHERS => return,
            Inbound::Connect => CloseReason::ConnectFlood,
            Inbound::Other => CloseReason::InboundBudget,
            Inbound::Forbidden => CloseReason::BadPacket,
        };
        // Nobody waits for it: this runs while the client's bytes are read.
        drop(self.close(reason));
    }

    /// The handshake's headers that may carry a token. Taken once, so that a token is not kept for the session's life;
    /// a second CONNECT in the same session must bring its token in `auth`.
    pub fn take_credentials(&self) -> HeaderMap {
        self.credentials.lock().take().map(|headers| *headers).unwrap_or_default()
    }

    /// The number of the peer that a CONNECT asks to admit.
    ///
    /// The first peer has the connection's own number. One that follows it has another: what the first held may be freed
    /// only after the second has come in, and must not be taken for the second's.
    pub fn next_peer(&self) -> PeerId {
        if self.had_peer.swap(true, Ordering::AcqRel) { PeerId::next() } else { self.id }
    }

    /// A peer was admitted; `until` is when its token is no longer honoured, `None` for never.
    pub fn admitted(&self, peer: Arc<Peer>, until: Option<SystemTime>, occupant: Weak<dyn Occupant>) {
        *self.tenant.lock() = Tenant::Peer { peer, until, occupant };
    }

    /// The peer on it is this from now on, of the same number, and its token is honoured until then.
    pub fn judged_again(&self, new: &Arc<Peer>, until: Option<SystemTime>) {
        match &mut *self.tenant.lock() {
            Tenant::Peer { peer, until: before, .. } if peer.id() == new.id() => {
                (*peer, *before) = (new.clone(), until);
            }
            _ => {}
        }
    }

    /// Who is on it, for what may change for a live socket.
    pub fn occupant(&self) -> Option<Arc<dyn Occupant>> {
        match &*self.tenant.lock() {
            Tenant::Peer { occupant, .. } => occupant.upgrade(),
            Tenant::Nobody { .. } => None,
        }
    }

    /// That peer left the namespace; the session may try again for a while.
    pub fn left(&self, id: PeerId) {
        let mut tenant = self.tenant.lock();
        if matches!(&*tenant, Tenant::Peer { peer, .. } if peer.id() == id) {
            *tenant = Tenant::Nobody { since: Instant::now() };
        }
        drop(tenant);
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.log.settle_last(&self.lines, id);
        }
    }

    /// Who is on it, for the decision log.
    pub fn who(&self) -> Who {
        match &*self.tenant.lock() {
            Tenant::Peer { peer, .. } => Who::Peer(peer.clone()),
            Tenant::Nobody { .. } => Who::Stranger(self.id, self.address),
        }
    }

    /// How many lines of the decision log may be about what was refused to it.
    pub fn lines(&self) -> &Allowance {
        &self.lines
    }

    /// What carries it, in a word; `None` where nothing does any more.
    pub fn transport(&self) -> Option<&'static str> {
        match self.carrier() {
            _ if self.closing().is_some() => None,
            Carrier::Polling => Some("polling"),
            Carrier::WebSocket(_) => Some("websocket"),
            Carrier::Gone => None,
        }
    }

    /// Why it was closed from this side, once it was.
    pub fn closing(&self) -> Option<CloseReason> {
        self.closing.get().copied()
    }

    /// Closes the transport, so that a stock client reconnects and can bring a fresh token. The first reason counts.
    ///
    /// The handle, where there is one, ends when the library has let go of a polling session.
    pub fn close(&self, reason: CloseReason) -> Option<JoinHandle<()>> {
        self.closing.set(reason).ok()?;
        let sessions = self.sessions.upgrade()?;
        sessions.release(self);
        sessions.metrics.closed(reason);
        sessions.log.closed(reason, || self.who());
        tracing::debug!(connection = %self.id, reason = reason.as_str(), "closing");
        if let Carrier::WebSocket(outlet) = self.carrier() {
            match reason {
                CloseReason::SlowReader | CloseReason::SendFailed => outlet.abort(),
                // Stock clients take it as a closed transport and come back.
                _ => outlet.close(GOING_AWAY),
            }
        }
        sessions.close_polling(self)
    }

    /// Forgives some of what it sent that was no event.
    fn forgive(&self) {
        let forgiven = |others: u32| Some(others.saturating_sub(OTHERS_FORGIVEN));
        // The closure always gives a value.
        let _ = self.others.fetch_update(Ordering::AcqRel, Ordering::Acquire, forgiven);
    }

    /// Has the next sweep close it: until then answers that are on their way can leave.
    pub fn doom(&self, reason: CloseReason) {
        // The first reason counts.
        let _ = self.doomed.set(reason);
    }

    /// What is overdue, if anything is.
    fn overdue(&self, now: Instant, wall: SystemTime) -> Option<CloseReason> {
        if let Some(reason) = self.doomed.get() {
            return Some(*reason);
        }
        match &*self.tenant.lock() {
            Tenant::Nobody { since } => {
                let waited = now.saturating_duration_since(*since);
                (waited >= ADMISSION_DEADLINE).then_some(CloseReason::NotAdmitted)
            }
            Tenant::Peer { until, .. } => {
                until.is_some_and(|until| wall >= until).then_some(CloseReason::TokenExpired)
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sessions) = self.sessions.upgrade() {
            sessions.release(self);
        }
    }
}

/// Every live session of the process.
pub struct Sessions {
    all: Mutex<HashMap<PeerId, Weak<Session>>>,
    by_sid: Mutex<HashMap<String, Weak<Session>>>,
    closer: OnceLock<Box<dyn PollingCloser>>,
    metrics: Arc<Metrics>,
    log: Arc<DecisionLog>,
    peak: Mutex<Peak>,
}

/// What a look at all sessions tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Sessions on a WebSocket: those that nobody is admitted on, and the others.
    pub websocket: [usize; 2],
    /// Sessions that poll, likewise.
    pub polling: [usize; 2],
    /// Bytes that wait for clients.
    pub queued: u64,
    /// Bytes that wait for the one for whom most do.
    pub queued_most: u64,
    /// The most that has waited for one in the last minute or two.
    pub queued_peak: u64,
}

impl Sessions {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>, log: Arc<DecisionLog>) -> Arc<Self> {
        Arc::new(Sessions {
            all: Mutex::default(),
            by_sid: Mutex::default(),
            closer: OnceLock::new(),
            metrics,
            log,
            peak: Mutex::default(),
        })
    }

    /// Says how polling sessions are closed, once the protocol service exists.
    pub fn set_closer(&self, closer: Box<dyn PollingCloser>) {
        // Set once, by the server that made both; a second call would change nothing.
        let _ = self.closer.set(closer);
    }

    /// Opens a session that keeps `held`, its place under the caps, for as long as it lives.
    pub fn open(
        self: &Arc<Self>,
        address: IpAddr,
        credentials: HeaderMap,
        held: Box<dyn Send + Sync>,
    ) -> Arc<Session> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let session = Arc::new(Session {
            id: PeerId::next(),
            address,
            opened: since_epoch.as_secs() as u32,
            tally: Arc::default(),
            websocket: OnceLock::new(),
            sid: OnceLock::new(),
            credentials: Mutex::new((!credentials.is_empty()).then(|| Box::new(credentials))),
            connects: AtomicU8::new(0),
            had_peer: AtomicBool::new(false),
            speaks: AtomicBool::new(false),
            others: AtomicU32::new(0),
            tenant: Mutex::new(Tenant::Nobody { since: Instant::now() }),
            closing: OnceLock::new(),
            doomed: OnceLock::new(),
            lines: Allowance::default(),
            sessions: Arc::downgrade(self),
            held: Mutex::new(Some(held)),
        });
        self.all.lock().insert(session.id, Arc::downgrade(&session));
        self.metrics.sessions.inc();
        session
    }

    /// Learns the Engine.IO session id of a session that began with polling.
    pub fn name(&self, session: &Arc<Session>, sid: String) {
        if session.sid.set(sid.clone()).is_ok() {
            self.by_sid.lock().insert(sid, Arc::downgrade(session));
        }
    }

    /// The session that a polling or upgrade request speaks for.
    pub fn find(&self, sid: &str) -> Option<Arc<Session>> {
        self.by_sid.lock().get(sid)?.upgrade()
    }

    /// Every session that is alive now.
    pub fn snapshot(&self) -> Vec<Arc<Session>> {
        self.all.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The session that has this number, or whose peer has.
    pub fn of(&self, id: PeerId) -> Option<Arc<Session>> {
        let by_number = self.all.lock().get(&id).and_then(Weak::upgrade);
        by_number.or_else(|| self.snapshot().into_iter().find(|session| session.who().id() == Some(id)))
    }

    /// How many sessions are alive.
    pub fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Whether no session is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes what is overdue: expired tokens, sessions that nobody was admitted on, readers that stopped reading.
    pub fn sweep(&self, now: Instant, wall: SystemTime) {
        let mut most = 0;
        for session in self.snapshot() {
            most = most.max(session.queued());
            session.forgive();
            self.settle(&session, now);
            let stalled = match session.carrier() {
                // The library may not have noticed, if it was about to become one.
                Carrier::Gone => {
                    self.release(&session);
                    drop(self.close_polling(&session));
                    continue;
                }
                Carrier::WebSocket(outlet) => outlet.is_stalled(now),
                Carrier::Polling => false,
            };
            let overdue = if stalled { Some(CloseReason::SlowReader) } else { session.overdue(now, wall) };
            if let Some(reason) = overdue {
                // Nobody waits for it: a sweep must not hang on one session.
                drop(session.close(reason));
            }
        }
        self.peak.lock().saw(most, now);
    }

    /// What a look at all of them tells.
    pub fn survey(&self, now: Instant) -> Survey {
        let mut survey = Survey::default();
        for session in self.snapshot() {
            let queued = session.queued();
            survey.queued += queued;
            survey.queued_most = survey.queued_most.max(queued);
            let state = usize::from(session.is_admitted());
            match session.carrier() {
                Carrier::WebSocket(_) => survey.websocket[state] += 1,
                Carrier::Polling => survey.polling[state] += 1,
                Carrier::Gone => {}
            }
        }
        let mut peak = self.peak.lock();
        peak.saw(survey.queued_most, now);
        survey.queued_peak = peak.at(now);
        survey
    }

    /// Closes every session whose token these revoke, and returns how many that were.
    pub fn close_revoked(&self, these: &Index) -> usize {
        let meant = |session: &&Arc<Session>| {
            session.closing().is_none() && session.occupant().is_some_and(|peer| peer.is_revoked_by(these))
        };
        let all = self.snapshot();
        // Nobody waits for any of them: one session must not keep the others open.
        all.iter().filter(meant).map(|session| drop(session.close(CloseReason::TokenRevoked))).count()
    }

    /// Has the decision log say which refusals of a session it has left out.
    fn settle(&self, session: &Session, now: Instant) {
        if self.log.is_on() {
            let id = match &*session.tenant.lock() {
                Tenant::Peer { peer, .. } => peer.id(),
                Tenant::Nobody { .. } => session.id,
            };
            self.log.settle(&session.lines, id, now);
        }
    }

    /// Has the library let go of a session that polls, or did when it last heard of it.
    fn close_polling(&self, session: &Session) -> Option<JoinHandle<()>> {
        Some(self.closer.get()?.close(session.sid.get()?.clone()))
    }

    /// Frees what a session holds, once. The library keeps a session that nobody was admitted on until its own deadline,
    /// also when its connection is long gone; its place is free before that.
    fn release(&self, session: &Session) {
        let Some(held) = session.held.lock().take() else { return };
        drop(held);
        self.all.lock().remove(&session.id);
        if let Some(sid) = session.sid.get() {
            self.by_sid.lock().remove(sid);
        }
        self.metrics.sessions.dec();
    }
}
