//! Where events come in from the protocol library, and where their answers leave.

mod refresh;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, MessageHandler, Value};
use socketioxide::socket::Socket;

use crate::config::policy::RefusalDetail;
use crate::connect::admission::Denied;
use crate::decision_log::{DecisionLog, Who};
use crate::edition::{Current, Edition};
use crate::event::pipeline::Labels;
use crate::event::sender::AfterRefusal;
use crate::event::{Decision, EventId, Now, Refused, Sender, record};
use crate::metrics::{CloseReason, LATENCY_OF_ONE_IN, Metrics};
use crate::peer::{Peer, Standing};
use crate::reject::{Code, Reject};
use crate::relay::bus::Bus;
use crate::relay::change::{Change, Key};
use crate::relay::chronicle::Chronicle;
use crate::relay::coalesce::Coalescer;
use crate::relay::frame::Frame;
use crate::relay::held::Hearers;
use crate::relay::later::Later;
use crate::relay::local::Rooms;
use crate::seat::Seat;

/// What all sockets' events pass through.
pub struct EventPath {
    /// Decides.
    pub current: Arc<Current>,
    /// Relays.
    pub rooms: Arc<Rooms>,
    /// Numbers and keeps what is relayed, where the policy says so.
    pub chronicle: Arc<Chronicle>,
    /// Carries what is relayed to other nodes.
    pub bus: Arc<dyn Bus>,
    /// Holds back for a moment what is to be relayed, where the policy says so.
    pub coalescer: Arc<Coalescer>,
    /// Holds back for longer what is over its sender's rate, where the policy says so.
    pub later: Arc<Later>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Writes down.
    pub log: Arc<DecisionLog>,
}

impl EventPath {
    /// Relays what was decided on: at once, or at the end of the window. `peer` sent it, and hears it too with `echo`. Returns to
    /// how many, where that is known already.
    pub fn relay(
        &self,
        peer: &Peer,
        id: EventId,
        decision: &Decision<'_>,
        echo: bool,
        now: Now,
    ) -> Option<usize> {
        if self.coalescer.is_on() {
            self.coalescer.hold(change(peer, id, decision, echo), now.steady);
            return None;
        }
        if self.chronicle.is_wanted() {
            let change = change(peer, id, decision, echo);
            return Some(self.chronicle.tell(&change, Hearers::of(&change)));
        }
        let frame = Frame::new(decision.emit, &decision.payload);
        let except = (!echo).then(|| peer.id());
        let frames = decision.teams.iter().map(|team| (*team, &frame));
        Some(self.rooms.broadcast(frames, Some(&decision.topic), except, ()))
    }
}

/// The event as something that may wait, or be kept.
pub(crate) fn change(peer: &Peer, id: EventId, decision: &Decision<'_>, echo: bool) -> Change {
    let payload: Arc<str> = decision.payload.as_ref().into();
    let teams = decision.teams.iter().copied().cloned().collect();
    let key = Key::new(decision.name, teams, &decision.topic, &payload);
    let key = if peer.standing() == Standing::Publisher { key.published() } else { key };
    Change {
        key: Arc::new(key),
        emit: decision.emit.clone(),
        payload,
        id,
        sender: peer.id(),
        actor: peer.subject.clone(),
        echo,
    }
}

/// One socket's events. The library calls it from the task that reads the connection, so events are handled in the
/// order in which they arrived; a closure would run in a task of its own and swap them.
pub struct EventEntry {
    path: Arc<EventPath>,
    seat: Arc<Seat>,
}

/// What refusals are counted under that come before the pipeline.
const STAGE: &str = "entry";

/// Distinguishes this handler from the library's own for closures.
pub struct Inline;

impl EventEntry {
    /// The events of who sits there.
    pub fn new(path: Arc<EventPath>, seat: Arc<Seat>) -> Self {
        EventEntry { path, seat }
    }

    /// Relays an event, or has it wait. Returns whether it waits for its sender's rate.
    fn pass_on(
        &self,
        sender: &Sender,
        id: EventId,
        decision: &mut Decision<'_>,
        edition: &Edition,
        now: Now,
        decided: Option<Instant>,
    ) -> Result<bool, Refused> {
        let Some(over) = decision.over.clone() else {
            self.path.later.let_go(sender.peer().id());
            self.relay(sender, id, decision, now, decided);
            return Ok(false);
        };
        self.path.later.hold(change(sender.peer(), id, decision, decision.echo), now.steady, |place| {
            edition.pipeline.wait(sender, decision, place, id, now)
        })?;
        self.path.metrics.events_accepted.inc();
        tracing::trace!(connection = %sender.peer().id(), event = %id, "waits for its sender's rate");
        if self.path.log.is_on() && self.may_have_line(sender, now) {
            self.path.log.write(record::folded(who(sender), id, decision, &over, now));
        }
        Ok(true)
    }

    /// `decided`: when that was, where it is measured how long relaying takes.
    fn relay(
        &self,
        sender: &Sender,
        id: EventId,
        decision: &Decision<'_>,
        now: Now,
        decided: Option<Instant>,
    ) {
        self.path.metrics.events_accepted.inc();
        let heard = self.path.relay(sender.peer(), id, decision, decision.echo, now);
        if let (Some(decided), Some(_)) = (decided, heard) {
            self.path.metrics.relay_latency.observe(decided.elapsed());
        }
        tracing::trace!(connection = %sender.peer().id(), event = %id, heard, "relayed");
        self.record_relay(sender, id, decision, heard, now);
    }

    fn refuse(
        &self,
        sender: &Sender,
        id: EventId,
        refused: &Refused,
        value: &Value,
        edition: &Edition,
        now: Now,
    ) {
        self.path.metrics.refused(refused.reject.code);
        tracing::debug!(
            connection = %sender.peer().id(),
            event = %id,
            code = refused.reject.code.as_str(),
            stage = refused.stage,
            rule = refused.reject.rule.as_deref(),
            "event refused"
        );
        if self.path.log.is_on() {
            self.record_refusal(sender, id, refused, value, edition, now);
        }
        self.after_refusal(sender, id, now);
    }

    /// Counts it against `limits.events.disconnect_after`.
    fn after_refusal(&self, sender: &Sender, id: EventId, now: Now) {
        match sender.note_refusal(now) {
            AfterRefusal::Stay => {}
            AfterRefusal::WouldClose => {
                self.path.metrics.observed_closes.inc();
                tracing::info!(
                    connection = %sender.peer().id(),
                    event = %id,
                    rule = "limits.events.disconnect_after",
                    "would have closed a connection"
                );
            }
            AfterRefusal::Close => {
                if let Some(session) = self.seat.session() {
                    session.doom(CloseReason::Refusals);
                }
            }
        }
    }

    /// Writes down what checks that only observe would have refused; of what nothing speaks against, a sample. To how many it
    /// went is not known of what waits.
    fn record_relay(
        &self,
        sender: &Sender,
        id: EventId,
        decision: &Decision<'_>,
        heard: Option<usize>,
        now: Now,
    ) {
        let log = &self.path.log;
        if decision.observed.is_empty() {
            if log.samples(id) {
                log.write(record::accepted(who(sender), id, decision, heard, now));
            }
        } else if log.is_on() && self.may_have_line(sender, now) {
            for refused in &decision.observed {
                log.write(record::observed(who(sender), id, decision, refused, heard, now));
            }
        }
    }

    /// Whether the decision log may have one line more about what is wrong with this connection's events.
    fn may_have_line(&self, sender: &Sender, now: Now) -> bool {
        let Some(session) = self.seat.session() else { return false };
        let peer = sender.peer();
        self.path.log.may_refuse(session.lines(), peer.id(), peer.address(), now.steady)
    }

    /// Writes it down, if this connection may have one line more.
    fn record_refusal(
        &self,
        sender: &Sender,
        id: EventId,
        refused: &Refused,
        value: &Value,
        edition: &Edition,
        now: Now,
    ) {
        if !self.may_have_line(sender, now) {
            return;
        }
        let labels = match value {
            Value::Str(text, _) => edition.pipeline.labels(text, refused.stage),
            Value::Bytes(_) => Labels::default(),
        };
        self.path.log.write(record::refused(who(sender), id, refused, labels, now));
    }

    /// By the policy in force the sender may not stay. Its connection is closed once the answer is on its way.
    #[cold]
    fn gone(&self, denied: &Denied) -> Refused {
        if let Some(session) = self.seat.session() {
            session.doom(denied.close_reason());
        }
        let reject = Reject::new(Code::NotAllowed, "you are not admitted any more; connect again");
        Refused { reject, stage: STAGE }
    }

    fn close(&self, reason: CloseReason) {
        if let Some(session) = self.seat.session() {
            // Nobody waits for it: this runs inside the connection's own task.
            drop(session.close(reason));
        }
    }
}

impl MessageHandler<LocalAdapter, Inline> for EventEntry {
    fn call(&self, socket: Arc<Socket>, mut value: Value, ack: Option<i64>) {
        let (id, now) = (EventId::next(), Now::read());
        let edition = self.path.current.hold();
        let mut taken = self.seat.taken();
        let Ok(acks) = AckSender::from_message_parts(&socket, &mut value, &ack);
        let answer = |answer: &Answer<'_>| {
            // A client that asks for answers and does not collect them loses its connection, not its answers.
            if ack.is_some() && acks.send(answer).is_err() {
                self.close(CloseReason::SendFailed);
            }
        };
        let may_stay = taken.follow(&edition, &self.seat);
        if edition.policy.auth.refresh
            && may_stay.is_ok()
            && let Value::Str(text, None) = &value
            && refresh::is_meant(text)
        {
            let asked = refresh::Asked { socket: Arc::downgrade(&socket), ack };
            return self.refresh(&edition, &mut taken, text, asked, id, now);
        }
        let sender = taken.sender();
        let decided = match (&value, may_stay) {
            (_, Err(denied)) => Err(self.gone(&denied)),
            (Value::Str(text, None), Ok(())) => edition.pipeline.decide(sender, text, id, now),
            _ => Err(binary(&edition, sender, now)),
        };
        let measured = id.is_one_in(LATENCY_OF_ONE_IN).then(Instant::now);
        if let Some(measured) = measured {
            self.path.metrics.pipeline_latency.observe(measured.saturating_duration_since(now.steady));
        }
        // The echo is queued before the answer is, unless it waits for its equals.
        match decided
            .and_then(|mut decision| self.pass_on(sender, id, &mut decision, &edition, now, measured))
        {
            Ok(folded) => answer(&Answer::accepted(&id.to_string(), folded)),
            Err(refused) => {
                self.refuse(sender, id, &refused, &value, &edition, now);
                answer(&Answer::refused(&refused.reject, edition.policy.refusal_detail));
            }
        }
    }
}

/// The library has been told to take no attachments, so this is a second lock on that door.
#[cold]
fn binary(edition: &Edition, sender: &Sender, now: Now) -> Refused {
    let charged = edition.pipeline.charge(sender, now);
    charged.err().unwrap_or_else(|| Refused {
        reject: Reject::new(Code::InvalidPayload, "binary payloads are not relayed"),
        stage: STAGE,
    })
}

/// Whom the decision log names.
fn who(sender: &Sender) -> Who {
    Who::Peer(sender.peer().clone())
}

/// What an acknowledgement says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl<'a> Answer<'a> {
    /// That a token was taken, which ends then: milliseconds since 1970.
    fn refreshed(expires_at: u64) -> Self {
        Answer { id: None, expires_at: Some(expires_at), ..Self::accepted("", false) }
    }

    /// That it was accepted, under this id; and whether it waits for its sender's rate.
    pub(crate) fn accepted(id: &'a str, folded: bool) -> Self {
        Answer {
            ok: true,
            id: Some(id),
            expires_at: None,
            folded: folded.then_some(true),
            code: None,
            retry_after_ms: None,
            message: None,
            rule: None,
            field: None,
        }
    }

    /// Why it was refused, in as much detail as the policy tells clients.
    pub(crate) fn refused(reject: &'a Reject, detail: RefusalDetail) -> Self {
        let full = detail == RefusalDetail::Full;
        Answer {
            ok: false,
            id: None,
            expires_at: None,
            folded: None,
            code: Some(reject.code.as_str()),
            // Rounded up: an event that is sent again a moment early is refused again.
            retry_after_ms: reject.retry_after.map(|wait| wait.as_millis() as u64 + 1),
            message: full.then_some(reject.message),
            rule: reject.rule.as_deref().filter(|_| full),
            field: reject.field.as_deref().filter(|_| full),
        }
    }
}
