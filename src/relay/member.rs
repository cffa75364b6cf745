//! One member of a room, and how a frame reaches it.

use std::sync::{Arc, Weak};

use socketioxide::socket::Socket;

use super::frame::Frame;
use crate::link::outlet::{Offer, Outlet};
use crate::link::session::{Carrier, Session};
use crate::metrics::CloseReason;
use crate::peer::PeerId;

/// One admitted socket, as rooms know it. It keeps nothing alive: the library owns socket and session.
pub struct Member {
    id: PeerId,
    session: Weak<Session>,
    socket: Weak<Socket>,
    max_queued: u64,
}

impl Member {
    /// The peer it is.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// A member that has just been admitted; `max_queued` bounds what may wait for it while it polls.
    pub fn new(id: PeerId, session: &Arc<Session>, socket: &Arc<Socket>, max_queued: usize) -> Arc<Self> {
        let max_queued = max_queued as u64;
        Arc::new(Member { id, session: Arc::downgrade(session), socket: Arc::downgrade(socket), max_queued })
    }

    /// Hands the frame over, in order behind everything handed over before, or closes the connection: nothing is
    /// dropped silently. Returns whether it was handed over.
    pub fn deliver(&self, frame: &Frame, round: &mut Round) -> bool {
        let Some(session) = self.session.upgrade() else { return false };
        let give = || session.tally().give(frame.packet_len());
        let carrier = session.carrier();
        let offer = match &carrier {
            Carrier::WebSocket(outlet) => outlet.offer(frame.websocket(), || self.is_websocket(round), give),
            Carrier::Polling => {
                give();
                Offer::Library
            }
            Carrier::Gone => Offer::Closed,
        };
        let closed = match offer {
            Offer::Queued => None,
            Offer::NeedsFlush => {
                if let Carrier::WebSocket(outlet) = carrier {
                    round.to_flush.push(outlet);
                }
                None
            }
            Offer::Library => self.deliver_through_library(&session, frame, round).err(),
            Offer::Overflow => Some(CloseReason::SlowReader),
            Offer::Closed => return false,
        };
        if let Some(reason) = closed {
            // Nobody waits for it: a broadcast must not hang on one member.
            drop(session.close(reason));
        }
        closed.is_none()
    }

    /// Members that poll, or are in the middle of an upgrade.
    fn deliver_through_library(
        &self,
        session: &Session,
        frame: &Frame,
        round: &mut Round,
    ) -> Result<(), CloseReason> {
        if session.tally().queued_bytes() > self.max_queued {
            return Err(CloseReason::SlowReader);
        }
        let socket = self.socket(round).ok_or(CloseReason::SendFailed)?;
        let payload = frame.raw().ok_or(CloseReason::SendFailed)?;
        socket.emit(frame.emit(), payload).map_err(|_| CloseReason::SendFailed)
    }

    fn is_websocket(&self, round: &mut Round) -> bool {
        let socket = self.socket(round);
        socket.is_some_and(|socket| socket.transport_type() == socketioxide::TransportType::Websocket)
    }

    fn socket(&self, round: &mut Round) -> Option<Arc<Socket>> {
        let socket = self.socket.upgrade()?;
        round.sockets.push(socket.clone());
        Some(socket)
    }
}

/// What one broadcast gathers.
#[derive(Default)]
pub struct Round {
    /// Outlets that were idle and hold a frame now.
    pub to_flush: Vec<Arc<Outlet>>,
    /// Sockets that were used, kept until the rooms are unlocked: dropping the last reference to one leaves its rooms.
    sockets: Vec<Arc<Socket>>,
}
