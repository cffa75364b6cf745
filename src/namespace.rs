//! The one Socket.IO namespace, `/`: from CONNECT to a registered peer, and its events ([`entry`]).

pub mod entry;

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::Value as Json;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide::{SocketIo, TransportType};

use self::entry::{EventEntry, EventPath};
use crate::connect::admission::{Admitted, Denied};
use crate::decision_log::{Kind, Outcome, Record, Who};
use crate::edition::Edition;
use crate::link::session::Session;
use crate::metrics::CloseReason;
use crate::peer::{Peer, Standing};
use crate::reject::Code;
use crate::relay::elsewhere::Read;
use crate::seat::Seat;

/// The reply to CONNECT is one packet; what it weighs does not matter, only that it is counted.
const CONNECT_REPLY_BYTES: usize = 0;

/// Serves the namespace `/` and no other.
pub fn serve(io: &SocketIo, path: Arc<EventPath>) {
    let entrance = Entrance { path: path.clone() };
    io.ns(
        "/",
        entrance.with(move |socket: SocketRef, auth: TryData<Json>| {
            let path = path.clone();
            async move { admit(&socket, auth.0.ok(), &path).await }
        }),
    );
}

/// What the client hears in `connect_error`: the code and nothing else.
#[derive(Debug)]
struct Refusal(Code);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Before CONNECT is answered: asks admission, and leaves what it says for the [`Entrance`].
async fn admit(socket: &Socket, auth: Option<Json>, path: &Arc<EventPath>) -> Result<(), Refusal> {
    // Every session's handshake request was given one by the edge.
    let Some(session) = session_of(socket) else { return Err(Refusal(Code::TokenInvalid)) };
    let (id, now) = (session.next_peer(), SystemTime::now());
    let edition = path.current.get();
    let admitted = edition.admission.admit(id, &session, auth.as_ref(), now).await;
    let read = match &admitted {
        Ok(admitted) if path.bus.is_on() => reach(admitted, &edition, path).await,
        _ => None,
    };
    match admitted.and_then(|admitted| seat(&session, admitted, read.as_ref(), &edition, path)) {
        Ok(seat) => {
            watch_disconnect(socket, seat.clone(), path.clone());
            socket.on_fallback(EventEntry::new(path.clone(), seat.clone()));
            socket.extensions.insert(Waiting(seat));
            Ok(())
        }
        Err(Denied::Final(code, why)) => {
            path.metrics.refused(code);
            record_denial(&session, code.as_str(), &why, path);
            tracing::info!(connection = %session.id(), address = %session.address(), code = code.as_str(), why, "refused");
            Err(Refusal(code))
        }
        Err(Denied::Later(reason, why)) => {
            let reason_label = reason.as_str();
            record_denial(&session, reason_label, &why, path);
            tracing::info!(connection = %session.id(), address = %session.address(), reason = reason_label, why, "turned away");
            leave(&session, reason).await
        }
    }
}

/// Waits until what other nodes tell the peer's rooms is heard here. Returns what it has missed by the history that all nodes
/// keep, if that has to be asked.
async fn reach(admitted: &Admitted, edition: &Edition, path: &EventPath) -> Option<Read> {
    let rooms = edition.admission.rooms(&admitted.peer);
    path.bus.reach(&rooms).await;
    let (extent, began) = path.chronicle.is_to_read(admitted.since.as_ref()?, &rooms)?;
    path.bus.read(extent, &rooms, began, &edition.policy).await
}

/// Seats a peer that `edition` has admitted. It joins, and is listened to, before CONNECT is answered: from the moment it
/// knows that it is in, it misses nothing and nothing of it is missed.
fn seat(
    session: &Arc<Session>,
    admitted: Admitted,
    read: Option<&Read>,
    edition: &Edition,
    path: &EventPath,
) -> Result<Arc<Seat>, Denied> {
    let seat = {
        // Another may have been put in force while keys were waited for. In the rooms of the one before it would hear what
        // this one keeps from it, so that none takes its place before it is seated.
        let held = path.current.hold();
        let admitted = match held.number == edition.number {
            true => admitted,
            false => held.admission.take_over(admitted, SystemTime::now())?,
        };
        Seat::new(path.current.clone(), &held, &path.chronicle, session, admitted, read)
    };
    // A walk through all sessions that began before it was seated has not found it.
    seat.follow().and_then(|()| seat.check_revoked()).map(|()| seat)
}

/// Closes the transport and only then ends the CONNECT, whose refusal nobody is left to hear: a client that heard one
/// would not come back.
async fn leave(session: &Session, reason: CloseReason) -> Result<(), Refusal> {
    if let Some(closed) = session.close(reason) {
        // The task only fails when the runtime goes down, and the session with it.
        let _ = closed.await;
    }
    Err(Refusal(Code::TooManyRequests))
}

fn session_of(socket: &Socket) -> Option<Arc<Session>> {
    socket.req_parts().extensions.get::<Arc<Session>>().cloned()
}

/// The seat of an admitted peer between the middleware and the handler, which the library calls in one go. The socket's
/// event handler holds it from then on, and the library drops that with the socket, on every path.
#[derive(Clone)]
struct Waiting(Arc<Seat>);

/// After CONNECT was answered: registers the peer. It runs at once, in the task that answered; a closure would run in a
/// task of its own, and the peer could send before it is in its rooms.
#[derive(Clone)]
struct Entrance {
    path: Arc<EventPath>,
}

/// Distinguishes this handler from the library's own for closures.
struct AtOnce;

impl ConnectHandler<LocalAdapter, AtOnce> for Entrance {
    fn call(&self, socket: Arc<Socket>, _auth: Option<Value>) {
        let Some(Waiting(seat)) = socket.extensions.remove::<Waiting>() else { return };
        let Some(session) = session_of(&socket) else { return };
        session.tally().give(CONNECT_REPLY_BYTES);
        self.path.rooms.enter(seat.member(), &socket);
        self.path.metrics.admissions.inc();
        let peer = seat.taken().sender().peer().clone();
        if peer.standing() == Standing::Anonymous {
            self.path.metrics.observed_tokenless.inc();
        }
        self.log_admission(peer, &socket);
    }
}

impl Entrance {
    fn log_admission(&self, peer: Arc<Peer>, socket: &Socket) {
        let transport = socket.transport_type();
        tracing::info!(
            connection = %peer.id(),
            address = %peer.address(),
            subject = peer.subject(),
            teams = peer.teams().len(),
            ?transport,
            "admitted"
        );
        if self.path.log.is_on() {
            let transport = match transport {
                TransportType::Polling => "polling",
                TransportType::Websocket => "websocket",
            };
            self.path.log.write(Record {
                outcome: Some(Outcome::Accepted),
                transport: Some(transport),
                ..Record::new(Kind::Admission, Who::Peer(peer), SystemTime::now())
            });
        }
    }
}

/// Has the decision log say why somebody was not let in.
fn record_denial(session: &Session, code: &'static str, why: &str, path: &EventPath) {
    if path.log.may_refuse(session.lines(), session.id(), session.address(), Instant::now()) {
        path.log.write(Record {
            outcome: Some(Outcome::Refused),
            code: Some(code),
            why: Some(why.into()),
            ..Record::new(Kind::Admission, session.who(), SystemTime::now())
        });
    }
}

/// Counts the end of a peer, and says why it came.
///
/// Called before CONNECT is answered: a client may be closed for what it sends right after the answer, before the
/// [`Entrance`] has run, and the library calls nobody who asks to be told later.
fn watch_disconnect(socket: &Socket, seat: Arc<Seat>, path: Arc<EventPath>) {
    socket.on_disconnect(async move |reason: DisconnectReason| {
        let session = seat.session();
        let closed_here = session.as_ref().and_then(|session| session.closing());
        let reason = closed_here.unwrap_or_else(|| {
            let reason = protocol_reason(reason, session.is_some_and(|session| session.is_speaking()));
            path.metrics.closed(reason);
            path.log.closed(reason, || Who::Peer(seat.taken().sender().peer().clone()));
            reason
        });
        tracing::info!(connection = %seat.member().id(), reason = reason.as_str(), "disconnected");
    });
}

fn protocol_reason(reason: DisconnectReason, is_speaking: bool) -> CloseReason {
    match reason {
        DisconnectReason::PacketParsingError | DisconnectReason::MultipleHttpPollingError => {
            CloseReason::BadPacket
        }
        // The library has one reason for what the WebSocket does not allow (a message over the limit, text that is no
        // UTF-8, a frame against the rules) and for a connection that is lost; only the latter has ended.
        DisconnectReason::TransportError if is_speaking => CloseReason::BadPacket,
        DisconnectReason::HeartbeatTimeout => CloseReason::Heartbeat,
        _ => CloseReason::Client,
    }
}
