//! What this node says to Socket.IO servers in Node.js, and hears from them and from their emitters ([`crate::bus::node_format`]
//! says how they write it).
//!
//! It stands before the bus among flowgate's own nodes and has connections of its own, so that a flood on Node's channels
//! delays nothing that flowgate's nodes say. Every node hears Node.js by itself: what comes from there is told to this
//! node's members and to nobody else. What this node relays goes both ways. [`sending`] and [`listening`] are its two tasks.
//!
//! Other than flowgate's own nodes, Node.js numbers nothing. So what is lost on the way is lost unnoticed, but for a connection that
//! broke; and what may have arrived is not sent again, since nobody there would know it for the same.

mod listening;
mod sending;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, futures::Notified};
use tokio::time::timeout;

use self::listening::Listener;
use self::sending::Outgoing;
use crate::bus::interest::Interest;
use crate::bus::node_format::{Channels, UID_PREFIX};
use crate::bus::nodes::Nodes;
use crate::bus::redis::{Config, Driver, Events, Phase};
use crate::config::bus::NodeJs as Settings;
use crate::config::policy::{HistoryBounds, Policy};
use crate::event_id::{EventId, Run};
use crate::metrics::{Metrics, NodeJsCounts};
use crate::namespace::entry::EventPath;
use crate::relay::bus::{Bus, Doing, State};
use crate::relay::change::Change;
use crate::relay::elsewhere::Read;
use crate::relay::extent::Extent;

/// How long an admission waits at most until its rooms' channels are listened to.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what waits is handed over at most when this node leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Node.js, and flowgate's own nodes behind it.
pub struct NodeJs {
    behind: Arc<Nodes>,
    channels: Channels,
    /// What this node is called in its messages.
    uid: String,
    driver: Driver,
    /// Held while the driver is told of a wish too, so that both want the same.
    interest: Mutex<Interest>,
    /// A channel is listened to that was not.
    confirmed: Notify,
    outgoing: Outgoing,
    counts: NodeJsCounts,
}

impl NodeJs {
    /// Starts connecting, on the current runtime. [`NodeJs::tasks`] is to be started with the events that come out. At most
    /// `max_queued` bytes wait for Redis.
    pub fn before(
        behind: Arc<Nodes>,
        settings: &Settings,
        config: Config,
        max_queued: usize,
        metrics: &Metrics,
    ) -> (Arc<Self>, Events) {
        let (driver, events) = Driver::start(config);
        let channels = Channels::new(&settings.key);
        driver.subscribe(channels.general());
        let nodejs = NodeJs {
            behind,
            channels,
            uid: format!("{UID_PREFIX}{}", EventId::next()),
            driver,
            interest: Mutex::default(),
            confirmed: Notify::new(),
            outgoing: Outgoing::new(max_queued),
            counts: metrics.nodejs.clone(),
        };
        (Arc::new(nodejs), events)
    }

    /// What is to run as long as this node does; `path` leads to its members.
    pub fn tasks(
        self: &Arc<Self>,
        events: Events,
        path: Arc<EventPath>,
    ) -> (impl Future<Output = ()> + use<>, impl Future<Output = ()> + use<>) {
        (Listener::new(self.clone(), path).run(events), sending::send(self.clone()))
    }

    /// Waits until the channels of these rooms are listened to.
    async fn listen(&self, rooms: &[Arc<str>]) {
        {
            let mut interest = self.interest.lock();
            for room in rooms {
                if interest.expected(room, Instant::now()) {
                    self.driver.subscribe(&self.channels.of_room(room));
                }
            }
        }
        let all = async {
            loop {
                let mut told = std::pin::pin!(self.confirmed.notified());
                // From here on it is told, unless it was confirmed meanwhile.
                Notified::enable(told.as_mut());
                let is_reached = {
                    let interest = self.interest.lock();
                    rooms.iter().all(|room| interest.is_reached(room))
                };
                if is_reached {
                    return;
                }
                told.await;
            }
        };
        if self.driver.state().phase == Phase::Up && timeout(PATIENCE, all).await.is_err() {
            tracing::debug!(
                "a room's channel of Node.js is not subscribed yet; its members are told to fetch everything when it is"
            );
        }
    }
}

impl Bus for NodeJs {
    fn is_on(&self) -> bool {
        true
    }

    fn publish(&self, change: &Change) -> Option<u64> {
        let number = self.behind.publish(change);
        let dropped = self.outgoing.put(change);
        self.counts.dropped.inc_by(dropped);
        number
    }

    fn opened(&self, room: &Arc<str>) {
        self.behind.opened(room);
        let mut interest = self.interest.lock();
        if interest.opened(room) {
            self.driver.subscribe(&self.channels.of_room(room));
        }
    }

    fn closed(&self, room: &Arc<str>) {
        self.behind.closed(room);
        self.interest.lock().closed(room, Instant::now());
    }

    fn reach<'b>(&'b self, rooms: &'b [Arc<str>]) -> Doing<'b> {
        Box::pin(async move {
            tokio::join!(self.behind.reach(rooms), self.listen(rooms));
        })
    }

    fn read<'b>(
        &'b self,
        extent: Extent,
        rooms: &'b [Arc<str>],
        began: u64,
        policy: &'b Policy,
    ) -> Doing<'b, Option<Read>> {
        self.behind.read(extent, rooms, began, policy)
    }

    fn keep(&self, bounds: Option<HistoryBounds>) {
        self.behind.keep(bounds);
    }

    fn is_deaf(&self) -> bool {
        self.behind.is_deaf()
    }

    fn run(&self) -> Run {
        self.behind.run()
    }

    fn place(&self) -> u64 {
        self.behind.place()
    }

    fn passed_on(&self, after: u64) -> Doing<'_, bool> {
        self.behind.passed_on(after)
    }

    fn leave(&self) -> Doing<'_> {
        Box::pin(async move {
            let hand_over = async {
                if timeout(LEAVE_WITHIN, self.outgoing.emptied()).await.is_err() {
                    let left = self.outgoing.len();
                    tracing::warn!(left, "leaves with changes that servers in Node.js have not heard");
                }
            };
            tokio::join!(self.behind.leave(), hand_over);
        })
    }

    fn state(&self) -> State {
        self.behind.state()
    }

    fn look(&self) {
        self.behind.look();
        self.counts.waiting_bytes.set(self.outgoing.bytes() as i64);
    }
}
