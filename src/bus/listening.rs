//! The task that hears what other nodes say, and tells members of it; or, where something may have been missed, to fetch everything.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::channel::Channel;
use super::control::Control;
use super::envelope::{self, Envelope, Message, Numbered, Origin, PayloadLimits, Refusal, Shared};
use super::inbox::{Inbox, Verdict, to_one};
use super::interest::Confirmed;
use super::nodes::Nodes;
use super::redis::{Driver, Event, Events};
use super::resync::Reason;
use super::roster::Heard;
use super::streams;
use crate::config::policy::Policy;
use crate::edition::Current;
use crate::metrics::Received;
use crate::peer::PeerId;
use crate::relay::bus::{Bus as _, State};
use crate::relay::change::{Change, Key, Teams};
use crate::relay::chronicle::Chronicle;
use crate::relay::extent::{Passing, Stamp};

/// How often it looks who has died, which channels nobody needs any more, and whether it hears itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages that are heard in one go: less than a millisecond for rooms of a usual size.
const AT_ONCE: usize = 64;

/// Teams that are told together to fetch everything. A member of several of them is told once.
const TOLD_AT_ONCE: usize = 256;

/// How often a log line says of each reason that messages are not listened to, and that some are missing.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Looks between two new connections because this node does not hear itself: at first, and at most.
const PATIENCE: (u32, u32) = (1, 300);

/// What it takes to listen.
pub struct Listener {
    nodes: Arc<Nodes>,
    events: Events,
    current: Arc<Current>,
    chronicle: Arc<Chronicle>,
    control: Arc<Control>,
    inbox: Inbox,
    /// Who sends what comes from elsewhere, in logs.
    elsewhere: PeerId,
    /// When it was said last that messages are refused, by reason.
    said: [Option<Instant>; Refusal::ALL.len()],
    /// When it was said last that something of another node's is missing.
    said_missing: Option<Instant>,
    /// Looks that it leaves out before it connects anew, and how many it left out before the last time.
    patience: (u32, u32),
}

impl Listener {
    /// Tells the members of these rooms, by the policy in force.
    pub fn new(
        nodes: Arc<Nodes>,
        events: Events,
        current: Arc<Current>,
        chronicle: Arc<Chronicle>,
        control: Arc<Control>,
    ) -> Self {
        let inbox = Inbox::new(!nodes.driver.load().is_cluster());
        Listener {
            nodes,
            events,
            current,
            chronicle,
            control,
            inbox,
            elsewhere: PeerId::next(),
            said: [None; Refusal::ALL.len()],
            said_missing: None,
            patience: (0, PATIENCE.0),
        }
    }

    /// Listens for as long as it is polled.
    pub async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Others owe too; that is seen with the next look at the latest.
            let due = self.nodes.owed.lock().next();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.hear_some(event).await,
                    None => self.connect_anew(),
                },
                _ = looks.tick() => self.look(),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => self.tell_owed().await,
            }
        }
    }

    /// Hears what is there, up to so much that others wait for their turn.
    async fn hear_some(&mut self, first: Event) {
        self.hear(first);
        for _ in 1..AT_ONCE {
            match self.events.try_recv() {
                Some(event) => self.hear(event),
                None => return,
            }
        }
        tokio::task::yield_now().await;
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Up => {
                tracing::info!(node = %self.nodes.name, "the connections to Redis stand");
                self.nodes.counts.connects.inc();
                self.nodes.is_back.notify_one();
                self.control.is_up();
                self.nodes.has_company.notify_one();
                if let Some(sharing) = &self.nodes.sharing {
                    sharing.is_back();
                }
            }
            Event::Down { why } => {
                tracing::warn!(%why, "a connection to Redis is gone; members of other nodes hear what is sent now when it is back");
            }
            Event::Subscribed { channel } => self.subscribed(&channel),
            Event::Interrupted { channels } => self.interrupted(&channels),
            Event::Message { channel, payload } => self.message(&channel, &payload),
        }
    }

    fn subscribed(&mut self, name: &str) {
        if self.nodes.sharing.as_ref().is_some_and(|sharing| sharing.subscribed(name)) {
            return;
        }
        let team = match self.nodes.channels.read(name) {
            Some(Channel::Team(team)) => team,
            Some(Channel::Control) => {
                self.nodes.roster.lock().listens_anew(Instant::now());
                return self.control.is_up();
            }
            None => return,
        };
        let known = {
            let interest = self.nodes.interest.lock();
            interest.name(team).filter(|team| !interest.is_reached(team)).cloned()
        };
        let Some(team) = known else { return };
        // Before it is confirmed, since nobody is let in for it until then: whoever is has everything from here on.
        self.inbox.listen(&team);
        let it = std::slice::from_ref(&team);
        self.chronicle.hears_from_now(it);
        self.chronicle.doubt(it);
        let confirmed = self.nodes.interest.lock().confirmed(&team);
        match confirmed {
            Confirmed::Known | Confirmed::Empty => self.chronicle.trust(it),
            Confirmed::Late => self.nodes.owe(it, Reason::Late),
            Confirmed::Again => self.nodes.owe(it, Reason::Interrupted),
        }
    }

    fn interrupted(&mut self, channels: &[Arc<str>]) {
        tracing::warn!(channels = channels.len(), "what other nodes say is not heard for a moment");
        if let Some(sharing) = &self.nodes.sharing {
            sharing.interrupted();
        }
        // Their members are told when it is heard again: before, they would miss what comes meanwhile.
        let mut interest = self.nodes.interest.lock();
        for name in channels {
            if let Some(Channel::Team(team)) = self.nodes.channels.read(name) {
                interest.interrupted(team);
            }
        }
    }

    fn message(&mut self, name: &str, message: &Bytes) {
        let nodes = self.nodes.clone();
        let (stamp, message) = streams::stamped(message);
        let message = &*message;
        if let (Some(sharing), Some(stamp)) = (&nodes.sharing, stamp) {
            sharing.heard(stamp);
        }
        let Some(channel) = nodes.channels.read(name) else { return };
        let current = self.current.clone();
        // For as long as it is judged and told, as any event.
        let edition = current.hold();
        let policy = &*edition.policy;
        let limits = &policy.limits.payload;
        let limits = PayloadLimits { max_bytes: limits.max_bytes, max_depth: limits.max_depth };
        let body = envelope::unseal(name, message, &nodes.seal, limits);
        match body.and_then(|body| envelope::read(channel, body, limits)) {
            Ok(envelope) if envelope.origin == nodes.origin => {
                self.own(&envelope);
                self.pass(stamp);
            }
            Ok(envelope) => match (envelope.message, channel) {
                (Message::Change(shared), Channel::Team(via)) => {
                    if let Ok(took) = SystemTime::now().duration_since(envelope.sent_at) {
                        nodes.counts.transit_latency.observe(took);
                    }
                    self.change(envelope.origin, via, &shared, policy, stamp);
                }
                (Message::Missed(Numbered(_, number)), Channel::Team(via)) => {
                    self.missed(envelope.origin, via, number);
                    self.pass(stamp);
                }
                (message, _) => self.notice(envelope.origin, &message),
            },
            Err(refusal) => {
                self.refuse(refusal, name);
                // Else it is a node's that holds by another policy or knows more than this one, and its members heard it.
                let is_a_strangers = matches!(refusal, Refusal::Version | Refusal::Signature);
                if let (Channel::Team(via), false) = (channel, is_a_strangers) {
                    self.owe(&[via.into()], Reason::Refused);
                }
            }
        }
    }

    /// Something stamped so was not told here: nobody is to hear it, or all have.
    fn pass(&self, stamp: Option<Stamp>) {
        if let (Some(stamp), Some(_)) = (stamp, &self.nodes.sharing) {
            self.chronicle.passed(Passing { stamp, is_whole: true });
        }
    }

    fn own(&mut self, envelope: &Envelope<'_>) {
        self.nodes.counts.received(Received::Own);
        if let Message::Alive(name, _) = &envelope.message {
            self.nodes.roster.lock().alive(envelope.origin, name, Instant::now());
            self.patience = (0, PATIENCE.0);
        }
    }

    fn change(
        &mut self,
        origin: Origin,
        via: &str,
        shared: &Shared<'_>,
        policy: &Policy,
        stamp: Option<Stamp>,
    ) {
        self.nodes.roster.lock().speaks(origin, Instant::now());
        let Some(Verdict { hear, heard, is_gap }) = self.inbox.take(origin, via, shared.teams()) else {
            self.pass(stamp);
            return self.nodes.counts.received(Received::Duplicate);
        };
        if is_gap {
            self.nodes.counts.gaps.inc();
            if is_to_be_said(&mut self.said_missing) {
                tracing::warn!(%origin, team = via, "a message of another node is missing");
            }
            self.owe(&[via.into()], Reason::Gap);
        }
        let is_whole = {
            let interest = self.nodes.interest.lock();
            let has_it = |team: &str| hear.iter().chain(&heard).any(|one| **one == *team);
            shared.teams().iter().all(|team| interest.name(&team.0).is_none() || has_it(&team.0))
        };
        let passing = stamp.filter(|_| self.nodes.sharing.is_some());
        let passing = passing.map(|stamp| Passing { stamp, is_whole });
        let Some(change) = arrived(shared, hear.clone(), policy, self.elsewhere) else {
            self.refuse(Refusal::UnknownEvent, via);
            self.owe(&hear, Reason::Refused);
            return self.pass(stamp);
        };
        let told = self.chronicle.hear(&change, &heard, passing);
        self.nodes.counts.received(Received::Delivered);
        tracing::trace!(%origin, event = %change.id, told, "relayed");
    }

    fn missed(&mut self, origin: Origin, via: &str, number: u64) {
        if self.inbox.take(origin, via, &to_one(via, number)).is_none() {
            return self.nodes.counts.received(Received::Duplicate);
        }
        self.nodes.counts.received(Received::Notice);
        if is_to_be_said(&mut self.said_missing) {
            tracing::warn!(%origin, team = via, "another node could not pass on all that it had");
        }
        self.owe(&[via.into()], Reason::Dropped);
    }

    fn notice(&mut self, origin: Origin, message: &Message<'_>) {
        self.nodes.counts.received(Received::Notice);
        let now = Instant::now();
        match message {
            Message::Alive(name, about) => {
                let (heard, is_known) = {
                    let mut roster = self.nodes.roster.lock();
                    (roster.alive(origin, name, now), roster.is_known(origin))
                };
                if let Some(about) = about.as_ref().filter(|_| is_known) {
                    self.control.alive(origin, name, about.clone());
                }
                match heard {
                    Heard::Known => {}
                    Heard::New => {
                        tracing::info!(node = %name, %origin, "another node is there");
                        // So that it knows of this one before either of them can die.
                        self.nodes.has_company.notify_one();
                    }
                    Heard::Back => {
                        tracing::warn!(node = %name, %origin, "a node is back that had fallen silent");
                        self.owe_all(Reason::NodeBack);
                    }
                }
            }
            Message::Goodbye => {
                self.control.gone(origin);
                let name = self.nodes.roster.lock().leaves(origin, now);
                if let Some(name) = name {
                    tracing::info!(node = %name, %origin, "another node has left");
                }
            }
            Message::MissedAnywhere => {
                tracing::warn!(%origin, "another node could not pass on all that it had");
                self.owe_all(Reason::Dropped);
            }
            Message::Word(text) => self.control.heard(origin, text),
            Message::Change(_) | Message::Missed(_) => {}
        }
    }

    fn refuse(&mut self, refusal: Refusal, name: &str) {
        self.nodes.counts.refused(refusal);
        if is_to_be_said(&mut self.said[refusal as usize]) {
            tracing::warn!(
                channel = name,
                reason = refusal.as_str(),
                "a message on the bus is not listened to"
            );
        }
    }

    /// The members of these teams may have missed something.
    fn owe(&mut self, teams: &[Arc<str>], reason: Reason) {
        // At once: whoever comes back in between is told when it comes in.
        self.chronicle.hears_from_now(teams);
        self.chronicle.doubt(teams);
        self.nodes.owe(teams, reason);
    }

    fn owe_all(&mut self, reason: Reason) {
        let (all, teams): (Vec<_>, Vec<_>) = {
            let interest = self.nodes.interest.lock();
            (interest.all().cloned().collect(), interest.with_members().cloned().collect())
        };
        // Those too whose last member has just left, and may come back.
        self.chronicle.hears_from_now(&all);
        self.owe(&teams, reason);
    }

    async fn tell_owed(&mut self) {
        let due = self.nodes.owed.lock().due(Instant::now());
        for some in due.chunks(TOLD_AT_ONCE) {
            let teams: Vec<Arc<str>> = some.iter().map(|(team, _)| team.clone()).collect();
            some.iter().for_each(|(_, reason)| self.nodes.counts.resynced(*reason));
            let told = {
                let edition = self.current.hold();
                self.chronicle.resync(&teams, &edition.policy)
            };
            tracing::info!(
                teams = teams.len(),
                told,
                "members are told to fetch everything, since they may have missed something"
            );
            tokio::task::yield_now().await;
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.give_up_channels(now);
        let (dead, has_forgotten, is_deaf) = {
            let mut roster = self.nodes.roster.lock();
            (roster.dead(now), roster.forget(now), roster.is_deaf())
        };
        for (origin, name) in &dead {
            tracing::warn!(node = %name, %origin, "another node has fallen silent without taking leave");
            self.control.gone(*origin);
        }
        if !dead.is_empty() {
            if let Some(sharing) = &self.nodes.sharing {
                // What it had told its members and nobody else is in no stream.
                sharing.doubt_everything();
            }
            self.owe_all(Reason::NodeDied);
        }
        if has_forgotten {
            let roster = self.nodes.roster.lock();
            self.inbox.retain(|origin| roster.is_known(origin));
        }
        // A connection that is gone comes back by itself, and not sooner for this.
        if is_deaf && self.nodes.state() == State::Up {
            self.be_deaf();
        }
    }

    fn give_up_channels(&mut self, now: Instant) {
        // Held over both, so that whoever wants it again meanwhile comes after.
        let mut interest = self.nodes.interest.lock();
        while let Some(team) = interest.give_up(now) {
            self.nodes.driver.load().unsubscribe(&self.nodes.channels.name(Channel::Team(&team)));
            self.inbox.ignore(&team);
        }
    }

    /// This node speaks and does not hear itself.
    fn be_deaf(&mut self) {
        if let Some(event) = self.events.try_recv() {
            // It may only be behind.
            return self.hear(event);
        }
        let (left, before) = &mut self.patience;
        if *left > 0 {
            *left -= 1;
            return;
        }
        (*left, *before) = (*before, (2 * *before).min(PATIENCE.1));
        tracing::warn!("this node does not hear itself through Redis; it connects anew");
        self.connect_anew();
    }

    /// Puts other connections in the place of those that there are.
    fn connect_anew(&mut self) {
        if let Some(sharing) = &self.nodes.sharing {
            sharing.interrupted();
        }
        let (driver, events) = Driver::start(self.nodes.config.clone());
        let mut interest = self.nodes.interest.lock();
        driver.subscribe(&self.nodes.channels.name(Channel::Control));
        let teams: Vec<Arc<str>> = interest.all().cloned().collect();
        for team in &teams {
            interest.interrupted(team);
            driver.subscribe(&self.nodes.channels.name(Channel::Team(team)));
        }
        self.nodes.driver.store(Arc::new(driver));
        drop(interest);
        self.nodes.roster.lock().listens_anew(Instant::now());
        self.events = events;
    }
}

/// Whether so much time has passed since it was said last. It is said now then.
fn is_to_be_said(said: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let is_due = said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
    if is_due {
        *said = Some(now);
    }
    is_due
}

/// What has arrived, for those of its teams that are to hear it. `None` if this policy has no event that is heard by its name.
pub(super) fn arrived(
    shared: &Shared<'_>,
    teams: Teams,
    policy: &Policy,
    elsewhere: PeerId,
) -> Option<Change> {
    let emit = policy.events.values().map(|event| &event.emit).find(|emit| ***emit == *shared.emit())?;
    let payload: Arc<str> = shared.payload().into();
    Some(Change {
        key: Arc::new(Key::new(&shared.event().into(), teams, &shared.topic(), &payload)),
        emit: emit.clone(),
        payload,
        id: shared.id()?,
        sender: elsewhere,
        actor: shared.actor().map(Into::into),
        echo: true,
    })
}
