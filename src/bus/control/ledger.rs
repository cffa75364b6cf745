//! What is known of revocations, in Redis: a hash with an entry for each id, and a count of its changes.
//!
//! ```text
//! PREFIX:{revocations}          ID -> SIGNATURE JSON
//! PREFIX:{revocations}:changes  17
//! ```
//!
//! Each entry is signed as messages are (`bus.hmac`), for its own place only. Nothing is read and written in one step: two nodes
//! that write the same entry at once both have what the other wrote as well, and whoever finds less there than it knows
//! writes it again.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};

use crate::bus::nodes::Nodes;
use crate::bus::redis::CallError;
use crate::revocation::{RevocationId, Shared};

/// Entries that are asked for in one go.
const PAGE: usize = 500;

/// Entries that are written by one command.
const WRITTEN_AT_ONCE: usize = 200;

/// The longest entry that is looked at, in bytes.
const LONGEST: usize = 8 << 10;

/// Stands where a signature would.
const UNSIGNED: &str = "-";

/// Where they are kept.
pub struct Ledger {
    nodes: Arc<Nodes>,
    entries: String,
    changes: String,
}

/// What stands there under one id.
#[derive(Debug)]
pub enum Entry {
    /// What is known, and whether this node would write it with the same signature.
    Known(Box<Shared>, bool),
    /// Something that none of the nodes has written, or in a form that this version does not know.
    Unreadable(RevocationId),
}

impl Ledger {
    /// Those of all nodes with this prefix.
    pub fn new(nodes: Arc<Nodes>, prefix: &str) -> Self {
        let entries = format!("{prefix}:{{revocations}}");
        Ledger { nodes, changes: format!("{entries}:changes"), entries }
    }

    /// How often anything has changed there.
    ///
    /// # Errors
    /// Redis's.
    pub async fn count(&self) -> Result<u64, CallError> {
        let count: Option<u64> = self.ask(cmd("GET").arg(&self.changes)).await?;
        Ok(count.unwrap_or_default())
    }

    /// A page of all entries, and what to ask for the next with; 0 begins, and is what the last has. Some may come twice.
    ///
    /// # Errors
    /// Redis's.
    pub async fn page(&self, cursor: u64) -> Result<(u64, Vec<Entry>), CallError> {
        let mut scan = cmd("HSCAN");
        scan.arg(&self.entries).arg(cursor).arg("COUNT").arg(PAGE);
        let (next, flat): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
        let entries = flat.chunks_exact(2).filter_map(|pair| {
            let id = RevocationId::parse(std::str::from_utf8(&pair[0]).ok()?)?;
            Some(self.read(id, &pair[1]))
        });
        Ok((next, entries.collect()))
    }

    /// What is known of these.
    ///
    /// # Errors
    /// Redis's.
    pub async fn of(&self, ids: &[RevocationId]) -> Result<Vec<Entry>, CallError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE) {
            let mut get = cmd("HMGET");
            get.arg(&self.entries);
            for id in ids {
                get.arg(id.to_string());
            }
            let values: Vec<Option<Vec<u8>>> = self.ask(&get).await?;
            let values = std::iter::zip(ids, values);
            found.extend(values.filter_map(|(id, value)| Some(self.read(*id, &value?))));
        }
        Ok(found)
    }

    /// Writes these, and counts it as one change. Returns how many changes there have been.
    ///
    /// # Errors
    /// Redis's; some may have been written.
    pub async fn write(&self, known: &[Shared]) -> Result<u64, CallError> {
        let commands = known.chunks(WRITTEN_AT_ONCE).map(|known| {
            let mut set = cmd("HSET");
            set.arg(&self.entries);
            for one in known {
                set.arg(one.id.to_string()).arg(self.written(one));
            }
            set
        });
        self.change(commands).await
    }

    /// Takes these out, which nobody needs to know any more. No node has to look for that.
    ///
    /// # Errors
    /// Redis's.
    pub async fn forget(&self, ids: &[RevocationId]) -> Result<(), CallError> {
        for ids in ids.chunks(WRITTEN_AT_ONCE) {
            let mut remove = cmd("HDEL");
            remove.arg(&self.entries);
            for id in ids {
                remove.arg(id.to_string());
            }
            self.call(&remove).await?;
        }
        Ok(())
    }

    async fn change(&self, commands: impl Iterator<Item = Cmd>) -> Result<u64, CallError> {
        for command in commands {
            self.call(&command).await?;
        }
        self.ask(cmd("INCR").arg(&self.changes)).await
    }

    async fn call(&self, command: &Cmd) -> Result<Value, CallError> {
        self.nodes.driver.load_full().call(self.entries.as_bytes(), command).await
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CallError> {
        let answer: Value = self.call(command).await?;
        // What is no such value was put there by somebody else.
        from_redis_value(answer).map_err(|_| CallError::Lost)
    }

    fn written(&self, known: &Shared) -> String {
        // Texts, numbers and nothing that could fail.
        let json = serde_json::to_string(known).unwrap_or_default();
        let signature = self.nodes.seal.sign(&self.place(known.id), json.as_bytes());
        format!("{} {json}", signature.as_deref().unwrap_or(UNSIGNED))
    }

    fn read(&self, id: RevocationId, value: &[u8]) -> Entry {
        let known = || {
            let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= LONGEST)?;
            let (signature, json) = text.split_once(' ')?;
            if !self.nodes.seal.is_valid(signature, &self.place(id), json.as_bytes()) {
                return None;
            }
            let known: Shared = serde_json::from_str(json).ok().filter(|known: &Shared| known.id == id)?;
            let own = self.nodes.seal.sign(&self.place(id), json.as_bytes());
            Some(Entry::Known(Box::new(known), own.is_none_or(|own| own == signature)))
        };
        known().unwrap_or(Entry::Unreadable(id))
    }

    /// What a signature is for, so that no entry can be put into another's place.
    fn place(&self, id: RevocationId) -> String {
        format!("{} {id}", self.entries)
    }
}
