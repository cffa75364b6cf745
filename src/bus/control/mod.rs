//! What concerns all nodes and no team: who is there and by which policy, what is revoked, who is to be disconnected, and how
//! many members each team has everywhere.
//!
//! In reading order: [`words`] are what is said on the control channel; [`table`] says who is there; [`ledger`] is
//! where revocations are kept in Redis, and [`sync`] keeps them and this node's in step; [`asks`] waits for answers;
//! [`counts`] are the members. [`Control`] is all of it, for the server and for the operators' port.

mod asks;
mod counts;
mod done;
mod ledger;
mod sync;
mod table;
mod words;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use self::asks::{Answer, PATIENCE};
pub use self::counts::Elsewhere;
pub use self::table::{About, Node};

use self::asks::Asks;
use self::counts::Counts;
use self::done::Done;
use self::ledger::Ledger;
use self::sync::{Sync as Revocations, Wish};
use self::table::{Table, Turn};
pub use self::words::Word;
use super::envelope::{Body, Origin};
use super::nodes::Nodes;
use super::redis::CallError;
use crate::config::policy::Policy;
use crate::decision_log::DecisionLog;
use crate::link::disconnect::{Disconnect, disconnect};
use crate::link::revoke::Revoker;
use crate::link::session::Sessions;
use crate::metrics::Metrics;
use crate::relay::bus::{Bus, State};
use crate::relay::local::Rooms;
use crate::revocation::RevocationId;

/// Disconnections that other nodes have asked for and that wait. One more is not done, and who asked hears no answer.
const MOST_WAITING: usize = 64;

/// How long whoever revokes waits until other nodes can hear of it.
const SHARED_WITHIN: Duration = Duration::from_secs(2);

/// How long taking away what is this run's own may take; it ends by itself too.
const LEFT_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether all nodes act by one policy.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The policy in force.
pub type CurrentPolicy = Arc<dyn Fn() -> Arc<Policy> + Send + Sync>;

/// What this node does for the others, and asks of them.
pub struct Means {
    /// This node among the others.
    pub nodes: Arc<Nodes>,
    /// What the names of keys begin with.
    pub prefix: Arc<str>,
    /// The policy in force.
    pub policy: CurrentPolicy,
    /// What is revoked.
    pub revoker: Arc<Revoker>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// Who hears together.
    pub rooms: Arc<Rooms>,
    /// Where what is done is written down.
    pub log: Arc<DecisionLog>,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// What concerns all nodes. Its tasks end with it.
pub struct Control {
    nodes: Arc<Nodes>,
    since: SystemTime,
    policy: CurrentPolicy,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
    asks: Asks,
    done: Mutex<Done>,
    counts: Arc<Counts>,
    wishes: mpsc::Sender<Wish>,
    kicks: mpsc::Sender<Kick>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

/// A disconnection that another node asks for.
struct Kick {
    by: Origin,
    ask: u64,
    what: Disconnect,
}

/// Why other nodes were not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// Redis is away.
    Away,
    /// Too much is being asked already.
    Busy,
}

/// Has all nodes hear a word; `None` where Redis does not have it.
async fn say(nodes: &Nodes, word: &Word) -> Option<()> {
    nodes.say(&Body::word(nodes.origin, &word.written(), SystemTime::now())).await.ok()
}

impl Control {
    /// Starts what is done for other nodes, on the current runtime.
    pub fn start(means: Means) -> Arc<Self> {
        let Means { nodes, prefix, policy, revoker, sessions, rooms, log, metrics } = means;
        revoker.revocations().share();
        let (wishes, wished) = mpsc::channel(sync::MOST_WAITING);
        let (kicks, kicked) = mpsc::channel(MOST_WAITING);
        let counts = Arc::new(Counts::new(nodes.clone(), prefix.clone()));
        let revocations = Revocations {
            ledger: Ledger::new(nodes.clone(), &prefix),
            revoker,
            policy: policy.clone(),
            nodes: nodes.clone(),
            seen: None,
            unreadable: 0,
            is_signed: false,
        };
        let control = Arc::new(Control {
            nodes: nodes.clone(),
            since: SystemTime::now(),
            policy,
            metrics,
            table: Mutex::default(),
            asks: Asks::default(),
            done: Mutex::default(),
            counts: counts.clone(),
            wishes,
            kicks,
            tasks: Mutex::default(),
        });
        // They hold what they need, so that this is dropped when the server is.
        let weak = Arc::downgrade(&control);
        let names = {
            let weak = weak.clone();
            move |origin| weak.upgrade().map(|control| control.name_of(origin))
        };
        *control.tasks.lock() = vec![
            tokio::spawn(revocations.run(wished)).abort_handle(),
            tokio::spawn(kick(kicked, sessions, log, nodes, names)).abort_handle(),
            tokio::spawn(counts.write(rooms)).abort_handle(),
            tokio::spawn(look(weak)).abort_handle(),
        ];
        control
    }

    /// What this node says of itself with each heartbeat.
    pub fn about(&self) -> About {
        About {
            version: env!("CARGO_PKG_VERSION").into(),
            policy: (*(self.policy)().hash).into(),
            connections: u64::try_from(self.metrics.sessions.get()).unwrap_or_default(),
            since: self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }

    /// Another node is there.
    pub fn alive(&self, origin: Origin, name: &str, about: About) {
        if origin != self.nodes.origin {
            self.table.lock().alive(origin, name, about, SystemTime::now());
        }
    }

    /// Another node has left, or died.
    pub fn gone(&self, origin: Origin) {
        self.table.lock().gone(origin);
    }

    /// Redis is there, for the first time or again.
    pub fn is_up(&self) {
        // Where so many wait already, a look at all follows in any case.
        let _ = self.wishes.try_send(Wish::ReadAll);
    }

    /// A node has said something. Never blocks.
    pub fn heard(&self, origin: Origin, text: &str) {
        if origin == self.nodes.origin {
            return;
        }
        match Word::read(text) {
            Some(Word::Revocations { ids, count }) => drop(self.wishes.try_send(Wish::Look(ids, count))),
            Some(Word::Disconnect { ask, what }) => {
                if !self.done.lock().is_new(origin, ask) {
                    tracing::warn!(%origin, "a disconnection that was done is asked for again; it is not done");
                } else if self.kicks.try_send(Kick { by: origin, ask, what }).is_err() {
                    tracing::warn!("too much is asked by other nodes; a disconnection is not done");
                }
            }
            Some(Word::Disconnected { to, ask, closed }) if to == self.nodes.origin => {
                self.asks.answered(ask, origin, closed);
            }
            Some(Word::Disconnected { .. }) => {}
            None => tracing::debug!(%origin, "a node says what this version does not understand"),
        }
    }

    /// Has other nodes hear of what was revoked or undone here. Returns whether they can; if not they do once Redis is back.
    pub async fn share(&self, ids: Vec<RevocationId>) -> bool {
        let (told, shared) = oneshot::channel();
        let shared = async {
            self.wishes.try_send(Wish::Share(ids, told)).ok()?;
            shared.await.ok()
        };
        timeout(SHARED_WITHIN, shared).await.ok().flatten().unwrap_or(false)
    }

    /// Has every other node close these, and waits a moment for what they say.
    ///
    /// # Errors
    /// See [`NotAsked`]; nobody has heard of it then.
    pub async fn disconnect(&self, what: Disconnect) -> Result<Vec<Answer>, NotAsked> {
        let of: Vec<_> = self.table.lock().all().map(|(origin, node)| (origin, node.name.clone())).collect();
        let open = self.asks.open().ok_or(NotAsked::Busy)?;
        let word = Word::Disconnect { ask: open.number, what };
        say(&self.nodes, &word).await.ok_or(NotAsked::Away)?;
        Ok(open.answers(of, PATIENCE).await)
    }

    /// This node's run, and what it is called.
    pub fn own(&self) -> (Origin, &Arc<str>) {
        (self.nodes.origin, &self.nodes.name)
    }

    /// The other nodes, those that are there.
    pub fn nodes(&self) -> Vec<(Origin, Node)> {
        self.table.lock().all().map(|(origin, node)| (origin, node.clone())).collect()
    }

    /// Whether all nodes act by the policy of this one.
    pub fn policies_agree(&self) -> bool {
        self.table.lock().agree(&(self.policy)().hash)
    }

    /// Whether Redis is there.
    pub fn is_connected(&self) -> bool {
        self.nodes.state() == State::Up
    }

    /// The members of rooms on other nodes.
    ///
    /// # Errors
    /// Redis's.
    pub async fn elsewhere(&self) -> Result<Arc<Elsewhere>, CallError> {
        if !self.is_connected() {
            return Err(CallError::Away);
        }
        let nodes: Vec<Origin> = self.table.lock().all().map(|(origin, _)| origin).collect();
        self.counts.on(&nodes).await
    }

    /// Takes away what is in Redis for this run only.
    pub async fn leave(&self) {
        // It would be written again.
        self.tasks.lock().iter().for_each(tokio::task::AbortHandle::abort);
        let _ = timeout(LEFT_WITHIN, self.counts.leave()).await;
    }

    fn name_of(&self, origin: Origin) -> String {
        let table = self.table.lock();
        let found = table.all().find(|(other, _)| *other == origin);
        found.map_or_else(|| origin.to_string(), |(_, node)| node.name.to_string())
    }

    fn look(&self) {
        let hash = (self.policy)().hash.clone();
        let mut table = self.table.lock();
        self.metrics.bus_policies_agree.set(i64::from(table.agree(&hash)));
        let turn = table.look(&hash, Instant::now());
        let others: Vec<String> =
            table.all().map(|(_, node)| format!("{} {}", node.name, node.about.policy)).collect();
        drop(table);
        match turn {
            Some(Turn::Differ) => tracing::warn!(
                policy = %hash,
                others = others.join(", "),
                "nodes have acted by different policies for a minute: who may do what depends on where one is connected"
            ),
            Some(Turn::Agree) => tracing::info!(policy = %hash, "all nodes act by one policy again"),
            None => {}
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// Closes what other nodes ask for, one after the other, and answers.
async fn kick(
    mut kicks: mpsc::Receiver<Kick>,
    sessions: Arc<Sessions>,
    log: Arc<DecisionLog>,
    nodes: Arc<Nodes>,
    name_of: impl Fn(Origin) -> Option<String>,
) {
    while let Some(Kick { by, ask, what }) = kicks.recv().await {
        let Some(name) = name_of(by) else { return };
        let closed = disconnect(&sessions, &log, &what, Some(&name)).await as u64;
        if say(&nodes, &Word::Disconnected { to: by, ask, closed }).await.is_none() {
            tracing::debug!("who asked for a disconnection is not answered");
        }
    }
}

/// Looks every second whether all nodes act by one policy.
async fn look(control: std::sync::Weak<Control>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(control) = control.upgrade() else { return };
        control.look();
    }
}
