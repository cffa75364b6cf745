//! The history that all nodes keep, as this node has to do with it: it hands its changes over to the [`streams`](super::streams),
//! reads what somebody has missed who comes from another node, and follows the time of Redis.
//!
//! Who comes from elsewhere is let in once this node has heard all that was read for it. A *barrier* says so: a channel of its own
//! that is subscribed after the read. Redis confirms it behind everything that it has sent before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::channel::Channel;
use super::envelope::{self, Message};
use super::listening::arrived;
use super::nodes::Nodes;
use super::outbox::Outgoing;
use super::redis::{CallError, Driver};
use super::streams::{Append, Streams, UNKNOWN_SCRIPT, found, ticked};
use crate::config::policy::{HistoryBounds, Policy};
use crate::event_id::Run;
use crate::peer::PeerId;
use crate::relay::chronicle::Chronicle;
use crate::relay::elsewhere::{Found, Read, Stamped, Unknown};
use crate::relay::extent::{Extent, Stamp};

/// How long somebody who comes from another node waits for what it has missed there. After that it is told to fetch everything.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits before it is looked again whether what it had heard on the other node is there, and twice that after each look.
const PAUSE: Duration = Duration::from_millis(20);

/// For how many it is read at once. The others have their turn within the time that they wait.
const MOST_READERS: usize = 64;

/// What is read for one; bytes. Whoever has missed more is told to fetch everything.
const MOST_BYTES: usize = 1 << 20;

/// How often this node asks which stamp the time has come to. Whoever leaves it can be told what it has missed, also where nothing is
/// published for as long as streams are kept.
const TICK: Duration = Duration::from_secs(10);

/// What one node has to do with the history of all.
pub struct Sharing {
    streams: Streams,
    bounds: Mutex<HistoryBounds>,
    run: Run,
    barriers: Mutex<HashMap<Arc<str>, oneshot::Sender<()>>>,
    numbers: AtomicU64,
    readers: Semaphore,
    /// The epoch that was heard of last.
    epoch: Mutex<Option<u32>>,
    /// Whether that is to end.
    ends: Mutex<bool>,
    is_to_tick: Notify,
    /// Who sends what comes from elsewhere, in logs.
    elsewhere: PeerId,
}

impl Sharing {
    /// That of the node of this run, with streams whose keys begin so.
    pub fn new(prefix: &str, run: Run, bounds: HistoryBounds) -> Self {
        Sharing {
            streams: Streams::new(prefix),
            bounds: Mutex::new(bounds),
            run,
            barriers: Mutex::default(),
            numbers: AtomicU64::new(0),
            readers: Semaphore::new(MOST_READERS),
            epoch: Mutex::default(),
            ends: Mutex::default(),
            is_to_tick: Notify::new(),
            elsewhere: PeerId::next(),
        }
    }

    /// Keeps so much from now on.
    pub fn set_bounds(&self, bounds: HistoryBounds) {
        *self.bounds.lock() = bounds;
    }

    /// The command that publishes and keeps a message to its teams. `after` is the number of the one that must have gone before.
    pub fn append(&self, outgoing: &Outgoing, after: u64, copies: &[(Arc<str>, Arc<str>, Vec<u8>)]) -> Cmd {
        let append = Append { origin: self.run, number: outgoing.number(), after, copies };
        self.streams.append(&append, &self.bounds.lock())
    }

    /// The command that ends the epoch: nobody who has been told something until now can be told by another node what it has missed.
    pub fn end_epoch(&self) -> Cmd {
        self.streams.tick(*self.epoch.lock(), &self.bounds.lock())
    }

    /// The key by which commands are sent.
    pub fn key(&self) -> String {
        self.streams.clock()
    }

    /// Makes the scripts known, if this says that they are not. Returns whether it is worth another try.
    pub async fn load(&self, driver: &Driver, error: &CallError) -> bool {
        if !matches!(error, CallError::Refused(refusal) if *refusal.code == *UNKNOWN_SCRIPT) {
            return false;
        }
        let (key, load) = (self.key(), Streams::load());
        let answers = driver.pipeline(load.iter().map(|command| (key.as_bytes(), command))).await;
        answers.iter().all(Result::is_ok)
    }

    async fn call(&self, driver: &Driver, command: &Cmd) -> Option<Value> {
        let key = self.key();
        match driver.call(key.as_bytes(), command).await {
            Err(error) if self.load(driver, &error).await => driver.call(key.as_bytes(), command).await.ok(),
            answer => answer.ok(),
        }
    }

    /// The connections have come to stand, perhaps with another Redis.
    pub fn is_back(&self) {
        self.is_to_tick.notify_one();
    }

    /// Something stamped so has come.
    pub fn heard(&self, stamp: Stamp) {
        *self.epoch.lock() = Some(stamp.epoch);
    }

    /// Something may have been lost that is in no stream: nobody can be told any more what it has missed. At once, if Redis is there.
    pub fn doubt_everything(&self) {
        *self.ends.lock() = true;
        self.is_to_tick.notify_one();
    }

    /// A channel is subscribed. Returns whether it is a barrier's.
    pub fn subscribed(&self, channel: &str) -> bool {
        let barrier = self.barriers.lock().remove(channel);
        // Whoever waited may have gone.
        barrier.is_some_and(|barrier| barrier.send(()).is_ok())
    }

    /// The subscriptions were interrupted: who waits behind a barrier could have missed something.
    pub fn interrupted(&self) {
        self.barriers.lock().clear();
    }

    /// Waits until this node has heard all that Redis has sent it until now. `None` if it has perhaps not.
    async fn barrier(&self, nodes: &Nodes) -> Option<()> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name = nodes.channels.barrier(self.run, number);
        let (passes, passed) = oneshot::channel();
        self.barriers.lock().insert(name.clone(), passes);
        let driver = nodes.driver.load_full();
        driver.subscribe(&name);
        let _barrier = Barrier { sharing: self, driver, name };
        passed.await.ok()
    }

    async fn find(
        &self,
        nodes: &Nodes,
        extent: &Extent,
        teams: &[Arc<str>],
        policy: &Policy,
    ) -> Option<Found> {
        let driver = nodes.driver.load_full();
        let command = self.streams.read(extent, teams, self.run, MOST_BYTES);
        let answer = self.call(&driver, &command).await?;
        let limits = &policy.limits.payload;
        let limits = envelope::PayloadLimits { max_bytes: limits.max_bytes, max_depth: limits.max_depth };
        found(&answer, extent, teams, |team, message, stamp, origin, number| {
            let name = nodes.channels.name(Channel::Team(team));
            let body = envelope::unseal(&name, message, &nodes.seal, limits).ok()?;
            let envelope = envelope::read(Channel::Team(team), body, limits).ok()?;
            let Message::Change(shared) = envelope.message else { return None };
            let teams = shared.teams().iter().map(|team| Arc::from(&*team.0)).collect();
            let change = arrived(&shared, teams, policy, self.elsewhere)?;
            Some(Stamped { stamp, origin, number, change, at: shared.relayed_at() })
        })
    }

    /// See [`Bus::read`](crate::relay::bus::Bus::read).
    pub async fn read(
        &self,
        nodes: &Nodes,
        extent: Extent,
        rooms: &[Arc<str>],
        began: u64,
        policy: &Policy,
    ) -> Option<Read> {
        timeout(PATIENCE, self.read_whole(nodes, extent, rooms, began, policy)).await.ok().flatten()
    }

    async fn read_whole(
        &self,
        nodes: &Nodes,
        extent: Extent,
        rooms: &[Arc<str>],
        began: u64,
        policy: &Policy,
    ) -> Option<Read> {
        let _turn = self.readers.acquire().await.ok()?;
        let teams = nodes.interest.lock().reached(rooms)?;
        let mut pause = PAUSE;
        let read = loop {
            let dropped = nodes.outbox.lock().dropped()?;
            let found = self.find(nodes, &extent, &teams, policy).await?;
            // What was dropped meanwhile is in no stream, and what says so may not be yet.
            if nodes.outbox.lock().dropped() != Some(dropped) {
                return None;
            }
            match found.missed(extent, rooms, began) {
                Ok(read) => break read,
                Err(Unknown::Never) => return None,
                Err(Unknown::NotYet) => sleep(pause).await,
            }
            pause *= 2;
        };
        self.barrier(nodes).await?;
        Some(read)
    }

    async fn tick(&self, nodes: &Nodes) -> Option<Stamp> {
        let ends = std::mem::take(&mut *self.ends.lock());
        let epoch = if ends { *self.epoch.lock() } else { None };
        let command = self.streams.tick(epoch, &self.bounds.lock());
        let driver = nodes.driver.load_full();
        let stamp = self.call(&driver, &command).await.as_ref().and_then(ticked);
        let Some(stamp) = stamp else {
            *self.ends.lock() |= ends;
            return None;
        };
        self.heard(stamp);
        timeout(PATIENCE, self.barrier(nodes)).await.ok().flatten()?;
        Some(stamp)
    }
}

/// Follows the time of Redis for as long as it is polled.
pub async fn keep_time(nodes: Arc<Nodes>, chronicle: Arc<Chronicle>) {
    let Some(sharing) = &nodes.sharing else { return };
    loop {
        let stamp = sharing.tick(&nodes).await;
        if let Some(stamp) = stamp {
            chronicle.heard_all(stamp);
        }
        // Until it knows what time it is nobody who leaves this node can be told elsewhere what it has missed.
        let pause = if stamp.is_some() { TICK } else { PATIENCE };
        _ = timeout(pause, sharing.is_to_tick.notified()).await;
    }
}

/// A barrier, taken away when nobody waits behind it any more.
struct Barrier<'a> {
    sharing: &'a Sharing,
    driver: Arc<Driver>,
    name: Arc<str>,
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        self.sharing.barriers.lock().remove(&self.name);
        self.driver.unsubscribe(&self.name);
    }
}
