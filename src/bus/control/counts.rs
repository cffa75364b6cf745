//! How many members each team has on each node, in Redis: a hash for each node's run, from rooms to numbers.
//!
//! It is for people who look at teams, and is not signed. A node brings its own up to date every second, and keeps it from
//! ending; that of a node that is gone ends by itself, and nobody counts it meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, cmd, from_redis_value};
use tokio::time::{MissedTickBehavior, interval};

use crate::bus::envelope::Origin;
use crate::bus::nodes::Nodes;
use crate::bus::redis::{CallError, Phase};
use crate::relay::local::Rooms;

/// How often a node writes what has changed.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// Writes between two that keep the hash from ending.
const WRITES_PER_KEEP: u32 = 5;

/// How long the hash of a node lasts that is gone, in seconds.
const LASTS: u32 = 30;

/// Rooms that are written by one command, and read by one.
const AT_ONCE: usize = 1000;

/// Rooms of other nodes that are counted; of more it is said that they are not.
const MOST: usize = 500_000;

/// How long what was read counts for whoever looks next.
const FRESH: Duration = Duration::from_secs(1);

/// The numbers of all nodes.
pub struct Counts {
    nodes: Arc<Nodes>,
    prefix: Arc<str>,
    read: Mutex<Option<(Instant, Arc<Elsewhere>)>>,
}

/// The members on other nodes.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// By room.
    pub members: HashMap<Box<str>, u64>,
    /// Whether there were more rooms than are counted.
    pub is_cut: bool,
}

impl Counts {
    /// Those of all nodes with this prefix.
    pub fn new(nodes: Arc<Nodes>, prefix: Arc<str>) -> Self {
        Counts { nodes, prefix, read: Mutex::default() }
    }

    /// Keeps this node's own up to date, for as long as the server lives.
    pub async fn write(self: Arc<Self>, rooms: Arc<Rooms>) {
        let key = self.key(self.nodes.origin);
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_written, mut until_keep, mut is_told) = (false, 0, false);
        loop {
            ticks.tick().await;
            let changed = rooms.changed();
            if self.nodes.driver.load_full().state().phase != Phase::Up {
                is_written = false;
                continue;
            }
            let all = || rooms.named("").into_iter().map(|(name, room)| (name, room.len())).collect();
            let changed: Vec<(Arc<str>, usize)> = if is_written { changed } else { all() };
            let mut commands = Vec::new();
            if !is_written {
                commands.push(cmd("DEL").arg(&key).clone());
            }
            commands.extend(changed.chunks(AT_ONCE).flat_map(|changed| written(&key, changed)));
            until_keep = if is_written { until_keep } else { 0 };
            let is_to_keep = until_keep == 0 || !changed.is_empty();
            if is_to_keep {
                commands.push(cmd("EXPIRE").arg(&key).arg(LASTS).clone());
                until_keep = WRITES_PER_KEEP;
            }
            until_keep -= 1;
            let answers = self
                .nodes
                .driver
                .load_full()
                .pipeline(commands.iter().map(|command| (key.as_bytes(), command)))
                .await;
            is_written = answers.iter().all(Result::is_ok);
            let refused = answers.iter().find_map(|answer| answer.as_ref().err());
            if let (Some(error @ CallError::Refused(_)), false) = (refused, is_told) {
                is_told = true;
                tracing::error!(%error, "other nodes do not learn how many members teams have here");
            }
            // Redis may have lost it, as after a restart.
            let is_there = answers.into_iter().last().and_then(Result::ok).map(i64::from_redis_value);
            if is_to_keep && is_written && matches!(is_there, Some(Ok(0))) {
                is_written = rooms.named("").is_empty();
            }
        }
    }

    /// Takes this node's own away, when it leaves.
    pub async fn leave(&self) {
        let key = self.key(self.nodes.origin);
        if let Err(error) = self.nodes.driver.load_full().call(key.as_bytes(), cmd("DEL").arg(&key)).await {
            tracing::debug!(%error, "the numbers of members end by themselves");
        }
    }

    /// The members on these nodes, as they were a second ago or later.
    ///
    /// # Errors
    /// Redis's.
    pub async fn on(&self, nodes: &[Origin]) -> Result<Arc<Elsewhere>, CallError> {
        let fresh =
            self.read.lock().as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, read)| read.clone());
        if let Some(fresh) = fresh {
            return Ok(fresh);
        }
        let mut elsewhere = Elsewhere::default();
        for node in nodes {
            self.add(&self.key(*node), &mut elsewhere).await?;
        }
        let elsewhere = Arc::new(elsewhere);
        *self.read.lock() = Some((Instant::now(), elsewhere.clone()));
        Ok(elsewhere)
    }

    async fn add(&self, key: &str, elsewhere: &mut Elsewhere) -> Result<(), CallError> {
        // What comes twice counts once.
        let (mut of_node, mut cursor) = (HashMap::new(), 0_u64);
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(key).arg(cursor).arg("COUNT").arg(AT_ONCE);
            let page = self.nodes.driver.load_full().call(key.as_bytes(), &scan).await?;
            let (next, flat): (u64, Vec<Vec<u8>>) = from_redis_value(page).map_err(|_| CallError::Lost)?;
            for pair in flat.chunks_exact(2) {
                let (Ok(room), Ok(many)) = (std::str::from_utf8(&pair[0]), std::str::from_utf8(&pair[1]))
                else {
                    continue;
                };
                if elsewhere.members.len() + of_node.len() >= MOST {
                    elsewhere.is_cut = true;
                    break;
                }
                if let Ok(many) = many.parse::<u32>() {
                    of_node.insert(Box::<str>::from(room), u64::from(many));
                }
            }
            cursor = next;
            if cursor == 0 || elsewhere.is_cut {
                break;
            }
        }
        of_node.into_iter().for_each(|(room, many)| *elsewhere.members.entry(room).or_default() += many);
        Ok(())
    }

    fn key(&self, node: Origin) -> String {
        format!("{}:members:{node}", self.prefix)
    }
}

/// What brings the hash up to date about these rooms.
fn written(key: &str, changed: &[(Arc<str>, usize)]) -> Vec<Cmd> {
    let (mut set, mut remove) = (cmd("HSET"), cmd("HDEL"));
    set.arg(key);
    remove.arg(key);
    let (mut is_set, mut is_removed) = (false, false);
    for (room, many) in changed {
        if *many > 0 {
            set.arg(&**room).arg(*many);
            is_set = true;
        } else {
            remove.arg(&**room);
            is_removed = true;
        }
    }
    [(is_set, set), (is_removed, remove)]
        .into_iter()
        .filter_map(|(is_any, command)| is_any.then_some(command))
        .collect()
}
