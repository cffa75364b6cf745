//! This node among others, as those who relay and admit see it: everything here only takes note, and three tasks do the rest
//! ([`super::sending`], [`super::listening`], [`super::pulse`]).

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::channel::{Channel, Channels};
use super::envelope::{Body, Origin};
use super::interest::Interest;
use super::outbox::Outbox;
use super::redis::{CallError, Config, Driver, Events, Phase};
use super::resync::{Owed, Reason};
use super::roster::Roster;
use super::seal::Seal;
use super::sharing::Sharing;
use crate::config::bus::Bus as Settings;
use crate::config::policy::{HistoryBounds, Policy, Relay, Store};
use crate::event_id::Run;
use crate::metrics::{BusCounts, Metrics, Sent};
use crate::relay::bus::{Bus, Doing, State};
use crate::relay::change::Change;
use crate::relay::elsewhere::Read;
use crate::relay::extent::Extent;

/// How long an admission waits until its rooms are reached, and a publisher until its events are confirmed.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what waits is handed over when this node leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// This node, and what leads to the others.
pub struct Nodes {
    /// This run of it.
    pub origin: Origin,
    /// What it is called.
    pub name: Arc<str>,
    pub(super) channels: Channels,
    pub(super) seal: Seal,
    pub(super) config: Config,
    /// Put in another's place where this node does not hear itself over it.
    pub(super) driver: ArcSwap<Driver>,
    pub(super) outbox: Mutex<Outbox>,
    /// There is something in the outbox.
    pub(super) has_mail: Notify,
    /// Something has left the outbox.
    pub(super) has_passed: watch::Sender<()>,
    /// The connections have come to stand.
    pub(super) is_back: Notify,
    /// Somebody may not know yet that this node is there.
    pub(super) has_company: Notify,
    /// Also held while the driver is told of it, so that both want the same.
    pub(super) interest: Mutex<Interest>,
    pub(super) roster: Mutex<Roster>,
    /// The teams that are to be told to fetch everything, which the listening task does.
    pub(super) owed: Mutex<Owed>,
    /// The history that all nodes keep, if they do.
    pub(super) sharing: Option<Sharing>,
    pub(super) has_left: AtomicBool,
    pub(super) counts: BusCounts,
}

impl Nodes {
    /// Starts connecting, on the current runtime. The tasks are to be started with what comes out.
    pub fn new(
        settings: &Settings,
        relay: &Relay,
        prefix: &str,
        config: Config,
        metrics: &Metrics,
    ) -> (Arc<Self>, Events) {
        let (driver, events) = Driver::start(config.clone());
        let origin = origin();
        let channels = Channels::new(prefix);
        driver.subscribe(&channels.name(Channel::Control));
        let kept = relay.history.filter(|_| relay.store == Store::Redis);
        let outbox = Outbox::new(settings.max_queued);
        let nodes = Nodes {
            origin,
            name: settings.node.clone(),
            channels,
            seal: Seal::new(settings.hmac.iter().map(|secret| secret.expose())),
            config,
            driver: ArcSwap::from_pointee(driver),
            outbox: Mutex::new(if kept.is_some() { outbox.in_order() } else { outbox }),
            has_mail: Notify::new(),
            has_passed: watch::Sender::new(()),
            is_back: Notify::new(),
            has_company: Notify::new(),
            interest: Mutex::default(),
            roster: Mutex::new(Roster::new(origin)),
            owed: Mutex::default(),
            sharing: kept.map(|bounds| Sharing::new(prefix, origin.into(), bounds)),
            has_left: AtomicBool::new(false),
            counts: metrics.bus.clone(),
        };
        (Arc::new(nodes), events)
    }

    /// Says something to all nodes.
    ///
    /// # Errors
    /// Redis does not have it, or nobody knows.
    pub(super) async fn say(&self, body: &Body) -> Result<(), CallError> {
        let channel = self.channels.name(Channel::Control);
        let message = body.sealed(&channel, &self.seal);
        let driver = self.driver.load_full();
        driver.publish([(&*channel, &*message)]).await.pop().unwrap_or(Err(CallError::Lost)).map(|_| ())
    }

    /// Has the members of these teams told to fetch everything, once things have settled: together with whatever else they may
    /// have missed.
    pub fn owe(&self, teams: &[Arc<str>], reason: Reason) {
        let (mut owed, now) = (self.owed.lock(), Instant::now());
        teams.iter().for_each(|team| owed.owe(team, reason, now));
    }

    fn subscribe(&self, team: &str) {
        self.driver.load().subscribe(&self.channels.name(Channel::Team(team)));
    }

    async fn wait_until_empty(&self) {
        let mut passed = self.has_passed.subscribe();
        while !self.outbox.lock().is_empty() {
            // The sender is this node's own.
            let _ = passed.changed().await;
        }
    }
}

/// This process's run; of a second bus in it, which an embedder may have, one of its own.
fn origin() -> Origin {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if !IS_TAKEN.swap(true, Ordering::Relaxed) {
        return Run::this().into();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Origin(RandomState::new().hash_one(since))
}

impl Bus for Nodes {
    fn is_on(&self) -> bool {
        true
    }

    fn publish(&self, change: &Change) -> Option<u64> {
        let (dropped, number) = {
            let mut outbox = self.outbox.lock();
            (outbox.put(change.clone(), SystemTime::now(), Instant::now()), outbox.latest())
        };
        self.has_mail.notify_one();
        self.counts.published.inc();
        if dropped > 0 {
            self.counts.sent(Sent::Dropped, dropped);
        }
        Some(number)
    }

    fn opened(&self, room: &Arc<str>) {
        let mut interest = self.interest.lock();
        if interest.opened(room) {
            self.subscribe(room);
        }
    }

    fn closed(&self, room: &Arc<str>) {
        self.interest.lock().closed(room, Instant::now());
    }

    fn reach<'b>(&'b self, rooms: &'b [Arc<str>]) -> Doing<'b> {
        Box::pin(async move {
            {
                let mut interest = self.interest.lock();
                for room in rooms {
                    if interest.expected(room, Instant::now()) {
                        self.subscribe(room);
                    }
                }
            }
            if self.state() != State::Up {
                return;
            }
            let all = async {
                for room in rooms {
                    let waiting = self.interest.lock().waiting(room);
                    let Some(waiting) = waiting else { continue };
                    let mut told = pin!(waiting.notified());
                    // From here on it is told, unless it was confirmed meanwhile.
                    told.as_mut().enable();
                    if !self.interest.lock().is_reached(room) {
                        told.await;
                    }
                }
            };
            if timeout(PATIENCE, all).await.is_err() {
                tracing::debug!(
                    "a room's channel is not subscribed yet; its members are told to fetch everything when it is"
                );
            }
        })
    }

    fn read<'b>(
        &'b self,
        extent: Extent,
        rooms: &'b [Arc<str>],
        began: u64,
        policy: &'b Policy,
    ) -> Doing<'b, Option<Read>> {
        Box::pin(async move {
            let sharing = self.sharing.as_ref().filter(|_| self.state() == State::Up)?;
            sharing.read(self, extent, rooms, began, policy).await
        })
    }

    fn keep(&self, bounds: Option<HistoryBounds>) {
        if let (Some(sharing), Some(bounds)) = (&self.sharing, bounds) {
            sharing.set_bounds(bounds);
        }
    }

    fn is_deaf(&self) -> bool {
        self.sharing.is_some() && self.interest.lock().is_deaf()
    }

    fn run(&self) -> Run {
        self.origin.into()
    }

    fn place(&self) -> u64 {
        self.outbox.lock().latest()
    }

    fn passed_on(&self, after: u64) -> Doing<'_, bool> {
        Box::pin(async move {
            let mut passed = self.has_passed.subscribe();
            let upto = self.place();
            let all = async {
                loop {
                    if let Some(is_through) = self.outbox.lock().is_through(after, upto) {
                        return is_through;
                    }
                    if passed.changed().await.is_err() {
                        return false;
                    }
                }
            };
            timeout(PATIENCE, all).await.unwrap_or(false)
        })
    }

    fn leave(&self) -> Doing<'_> {
        Box::pin(async move {
            let is_flushed = timeout(LEAVE_WITHIN, self.wait_until_empty()).await.is_ok();
            self.has_left.store(true, Ordering::Release);
            if !is_flushed {
                // Without a goodbye the others take it for dead, and tell their members to fetch everything.
                let left = self.outbox.lock().len();
                return tracing::warn!(
                    left,
                    "leaves with changes that other nodes have not heard; their members fetch everything"
                );
            }
            let goodbye = Body::goodbye(self.origin, SystemTime::now());
            if !matches!(timeout(LEAVE_WITHIN, self.say(&goodbye)).await, Ok(Ok(()))) {
                tracing::warn!("could not take leave of the other nodes; their members fetch everything");
            }
        })
    }

    fn state(&self) -> State {
        match self.driver.load().state().phase {
            Phase::Connecting => State::Connecting,
            Phase::Up => State::Up,
            Phase::Away => State::Away,
        }
    }

    fn look(&self) {
        let (queued, bytes) = {
            let outbox = self.outbox.lock();
            (outbox.len(), outbox.bytes())
        };
        let (wanted, confirmed) = self.interest.lock().len();
        let counts = &self.counts;
        counts.queued.set(queued as i64);
        counts.queued_bytes.set(bytes as i64);
        counts.channels(wanted, confirmed);
        counts.nodes.set(self.roster.lock().here().count() as i64);
        let state = self.driver.load().state();
        counts.up.set(i64::from(state.phase == Phase::Up));
        let since = SystemTime::now() - state.since.elapsed();
        counts.since.set(since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64);
    }
}
