//! The task that hears what servers and emitters in Node.js say, and tells members of it. Where something may have been missed,
//! it has them told to fetch everything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::NodeJs;
use crate::bus::interest::Confirmed;
use crate::bus::node_format::{Address, Broadcast, Unreadable, read};
use crate::bus::redis::{Event, Events};
use crate::bus::resync::Reason;
use crate::config::policy::Policy;
use crate::decision_log::Who;
use crate::event::pipeline::{Labels, NODEJS};
use crate::event::{EventId, Now, Refused, record};
use crate::internal::publish::Published;
use crate::namespace::entry::EventPath;
use crate::publish;
use crate::reject::{Code, Reject};

/// How often it looks which channels nobody needs any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What it takes to listen.
pub(super) struct Listener {
    nodejs: Arc<NodeJs>,
    path: Arc<EventPath>,
    /// What was published to several rooms, or to none, may not have been heard.
    general_was_interrupted: bool,
}

impl Listener {
    pub fn new(nodejs: Arc<NodeJs>, path: Arc<EventPath>) -> Self {
        Listener { nodejs, path, general_was_interrupted: false }
    }

    /// Listens for as long as it is polled.
    pub async fn run(mut self, mut events: Events) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event),
                    // The driver is this node's own, and is there as long as this is.
                    None => return,
                },
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Up => tracing::info!("the connections to Redis for Node.js stand"),
            Event::Down { why } => tracing::warn!(%why, "a connection to Redis for Node.js is gone"),
            Event::Subscribed { channel } => self.subscribed(&channel),
            Event::Interrupted { channels } => self.interrupted(&channels),
            Event::Message { channel, payload } => self.message(&channel, &payload),
        }
    }

    fn subscribed(&mut self, channel: &str) {
        match self.nodejs.channels.address(channel) {
            Some(Address::General) if std::mem::take(&mut self.general_was_interrupted) => {
                let teams: Vec<_> = self.nodejs.interest.lock().with_members().cloned().collect();
                self.path.chronicle.hears_from_now(&teams);
                self.nodejs.behind.owe(&teams, Reason::Interrupted);
            }
            Some(Address::General) | None => {}
            Some(Address::Room(room)) => {
                let team = self.nodejs.interest.lock().name(room).cloned();
                let Some(team) = team else { return };
                // Before it is confirmed, since nobody is let in for it until then.
                self.path.chronicle.hears_from_now(std::slice::from_ref(&team));
                let confirmed = self.nodejs.interest.lock().confirmed(&team);
                match confirmed {
                    Confirmed::Known | Confirmed::Empty => {}
                    Confirmed::Late => self.nodejs.behind.owe(&[team], Reason::Late),
                    Confirmed::Again => self.nodejs.behind.owe(&[team], Reason::Interrupted),
                }
                self.nodejs.confirmed.notify_waiters();
            }
        }
    }

    fn interrupted(&mut self, channels: &[Arc<str>]) {
        // Their members are told when it is heard again: before, they would miss what comes meanwhile.
        let mut interest = self.nodejs.interest.lock();
        for channel in channels {
            match self.nodejs.channels.address(channel) {
                Some(Address::General) => self.general_was_interrupted = true,
                Some(Address::Room(room)) => _ = interest.interrupted(room),
                None => {}
            }
        }
    }

    fn look(&self) {
        let now = Instant::now();
        // Held over both, so that whoever wants it again meanwhile comes after.
        let mut interest = self.nodejs.interest.lock();
        while let Some(room) = interest.give_up(now) {
            self.nodejs.driver.unsubscribe(&self.nodejs.channels.of_room(&room));
        }
    }

    fn message(&self, channel: &str, message: &[u8]) {
        let Some(address) = self.nodejs.channels.address(channel) else { return };
        let policy = self.path.current.policy();
        match self.judge(&policy, address, message) {
            Ok(true) => _ = self.nodejs.counts.relayed.inc(),
            Ok(false) => {}
            Err(Refusal::Here(reject)) => self.refuse(reject),
            Err(Refusal::Published) => _ = self.nodejs.counts.refused.inc(),
        }
    }

    /// Has a message relayed that may be. Returns whether it was.
    fn judge(&self, policy: &Policy, address: Address<'_>, message: &[u8]) -> Result<bool, Refusal> {
        let Some(settings) = &policy.bus.nodejs else { return Ok(false) };
        if message.len() > policy.limits.payload.hard_max_bytes {
            let why = "the message is larger than an event may be";
            return Err(Reject::new(Code::TooLarge, why).rule("limits.payload.hard_max_bytes").into());
        }
        let Some(broadcast) = read(message, address).map_err(unreadable)? else { return Ok(false) };
        let mut named = policy.events.iter().filter(|(_, event)| *event.emit == *broadcast.event);
        let Some((name, _)) = named.next() else {
            return Err(
                Reject::new(Code::UnknownEvent, "no event of the policy is heard under this name").into()
            );
        };
        let teams = self.teams(&broadcast, settings.everyone)?;
        if teams.is_empty() {
            self.nodejs.counts.elsewhere.inc();
            return Ok(false);
        }
        match publish::hear(&self.path, &settings.publisher, name, &broadcast.arguments, teams) {
            Published::Accepted { id, recipients, .. } => {
                tracing::trace!(uid = broadcast.uid, event = %id, recipients, "relayed from Node.js");
                Ok(true)
            }
            Published::Refused(reject) => {
                tracing::debug!(
                    uid = broadcast.uid,
                    code = reject.code.as_str(),
                    rule = reject.rule.as_deref(),
                    "what Node.js announced is refused"
                );
                Err(Refusal::Published)
            }
        }
    }

    /// The teams that it is for whose channels are listened to here, each once.
    fn teams(&self, broadcast: &Broadcast<'_>, everyone: bool) -> Result<Box<[Arc<str>]>, Refusal> {
        let interest = self.nodejs.interest.lock();
        if broadcast.except.iter().any(|room| interest.name(room).is_some()) {
            let why = "a team that has members here is excepted, which cannot be done";
            return Err(Reject::new(Code::NoRoom, why).field("except").into());
        }
        if !broadcast.rooms.is_empty() {
            let here = broadcast.rooms.iter().filter_map(|room| interest.name(room));
            let mut teams: Vec<Arc<str>> = here.cloned().collect();
            teams.sort_unstable();
            teams.dedup();
            return Ok(teams.into());
        }
        if !everyone {
            let why = "it is for no room in particular";
            return Err(Reject::new(Code::NoRoom, why).field("rooms").rule("bus.nodejs.everyone").into());
        }
        Ok(interest.with_members().cloned().collect())
    }

    /// Counts and writes down what did not come so far as to be judged as an event.
    fn refuse(&self, reject: Reject) {
        self.nodejs.counts.refused.inc();
        self.path.metrics.refused(reject.code);
        let refused = Refused { reject, stage: NODEJS };
        let edition = self.path.current.hold();
        edition.pipeline.count_refused(&refused);
        tracing::debug!(
            code = refused.reject.code.as_str(),
            why = refused.reject.message,
            "a message of Node.js is refused"
        );
        if let (true, Some(settings)) = (self.path.log.is_on(), &edition.policy.bus.nodejs) {
            let who = Who::Publisher(settings.publisher.name.clone());
            let line = record::refused(who, EventId::next(), &refused, Labels::default(), Now::read());
            self.path.log.write(line);
        }
    }
}

/// Why nothing is relayed.
enum Refusal {
    /// Before it was judged as an event.
    Here(Reject),
    /// As an event, and counted and written down as such.
    Published,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Refusal::Here(reject)
    }
}

fn unreadable(why: Unreadable) -> Reject {
    match why {
        Unreadable::NoMessagePack => Reject::new(Code::InvalidPayload, "it is no MessagePack"),
        Unreadable::NoBroadcast(why) => Reject::new(Code::InvalidPayload, why),
        Unreadable::Namespace => Reject::new(Code::NoRoom, "it is for another namespace than /"),
        Unreadable::Binary => Reject::new(Code::InvalidPayload, "binary payloads are not relayed"),
        Unreadable::TooDeep => Reject::new(Code::TooDeep, "it is nested deeper than a message may be"),
        Unreadable::TooManyRooms => Reject::new(Code::NoRoom, "it names more rooms than a message may"),
    }
}
