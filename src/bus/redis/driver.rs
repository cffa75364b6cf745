//! The handle: what its user can ask of the driver.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::sync::watch;

use super::board::{Board, State};
use super::cluster::keep_map;
use super::config::{Config, Servers};
use super::error::CallError;
use super::events::{Events, events};
use super::fleet::{Fleet, Packed};
use super::lane::Answer;
use super::map::Map;
use super::place::{Place, Refresh};
use super::server::{Server, Shared, Task};
use super::slots::slot;

/// Connections to Redis, which end when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub struct Driver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fleet: Arc<Fleet>,
    _tasks: Vec<Task>,
}

impl Driver {
    /// Starts connecting, on the runtime that this is called in. What happens is told through [`Events`], which must be taken.
    pub fn start(config: Config) -> (Self, Events) {
        let (teller, events) = events();
        let board = Board::new();
        let shared = Shared { config: Arc::new(config), board: board.clone(), teller: teller.clone() };
        let (map, seeds) = match &shared.config.servers {
            Servers::One { address, database } => {
                let place = Place { address: address.clone(), database: *database, refresh: None };
                (Map::one(Server::start(place, &shared)), None)
            }
            Servers::Cluster(seeds) => (Map::default(), Some(seeds.clone())),
        };
        let refresh = seeds.is_some().then(Arc::<Refresh>::default);
        let fleet = Arc::new(Fleet {
            shared,
            map: ArcSwap::from_pointee(map),
            wishes: Mutex::default(),
            refresh: refresh.clone(),
            drawn: watch::Sender::new(0),
        });
        let mut tasks = vec![Task(tokio::spawn(async move { _ = board.announce(teller).await }))];
        if let (Some(seeds), Some(refresh)) = (seeds, refresh) {
            tasks.push(Task(tokio::spawn(keep_map(fleet.clone(), refresh, seeds))));
        }
        (Driver(Arc::new(Inner { fleet, _tasks: tasks })), events)
    }

    /// Sends one command and waits for its answer. In a cluster it goes to the server that has `key`, which should be the
    /// command's own first key.
    ///
    /// It waits at most twice as long as an answer may take: for room, and for the answer.
    ///
    /// # Errors
    /// See [`CallError`]. While the server is away they come at once.
    pub async fn call(&self, key: &[u8], command: &Cmd) -> Result<Value, CallError> {
        let packed = Packed { slot: slot(key), bytes: command.get_packed_command().into() };
        self.0.fleet.run(vec![packed]).await.pop().unwrap_or(Err(CallError::Lost))
    }

    /// Sends commands, each with the key that says where to, without waiting for one before the next. Those of one server
    /// are written together and carried out in order.
    ///
    /// Returns an answer for each, in their order. One that failed has not kept the later ones from being carried out.
    pub async fn pipeline<'a>(&self, commands: impl IntoIterator<Item = (&'a [u8], &'a Cmd)>) -> Vec<Answer> {
        let packed = commands
            .into_iter()
            .map(|(key, command)| Packed { slot: slot(key), bytes: command.get_packed_command().into() });
        self.0.fleet.run(packed.collect()).await
    }

    /// Publishes messages, each to a channel, as [`Driver::pipeline`] does commands.
    ///
    /// Returns for each how many connections it reached: of the server in standalone, of the shard in a cluster.
    pub async fn publish<'a>(
        &self,
        messages: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<Result<u64, CallError>> {
        let name = if self.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
        let packed = messages.into_iter().map(|(channel, payload)| {
            let mut command = Cmd::with_capacity(3, name.len() + channel.len() + payload.len());
            command.arg(name).arg(channel).arg(payload);
            Packed { slot: slot(channel.as_bytes()), bytes: command.get_packed_command().into() }
        });
        let answers = self.0.fleet.run(packed.collect()).await;
        let reached = |answer| match answer {
            Value::Int(number) => u64::try_from(number).unwrap_or_default(),
            _ => 0,
        };
        answers.into_iter().map(|answer| answer.map(reached)).collect()
    }

    /// Wants a channel from now on, whatever happens to the connections. [`Event::Subscribed`](super::Event::Subscribed)
    /// says from when on it is heard. Does nothing if it is wanted already.
    pub fn subscribe(&self, channel: &str) {
        let mut wishes = self.0.fleet.wishes.lock();
        if !wishes.contains(channel) {
            let channel: Arc<str> = channel.into();
            wishes.insert(channel.clone());
            if let Some(owner) = self.0.fleet.map.load().owner(slot(channel.as_bytes())) {
                owner.desk.want(channel);
            }
        }
    }

    /// Wants it no more. A message that is queued already still comes.
    pub fn unsubscribe(&self, channel: &str) {
        let mut wishes = self.0.fleet.wishes.lock();
        if let Some(channel) = wishes.take(channel)
            && let Some(owner) = self.0.fleet.map.load().owner(slot(channel.as_bytes()))
        {
            owner.desk.forget(&channel);
        }
    }

    /// How the connections are.
    pub fn state(&self) -> State {
        self.0.fleet.shared.board.state()
    }

    /// Whether channels are sharded, and keys of different slots may be on different servers.
    pub fn is_cluster(&self) -> bool {
        matches!(self.0.fleet.shared.config.servers, Servers::Cluster(_))
    }
}
