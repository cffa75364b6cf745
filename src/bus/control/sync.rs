//! Revocations of all nodes: what this node knows goes to Redis, what is there comes here, and nothing is lost on the way.
//!
//! Whoever changes something writes it to Redis and says so on the control channel; whoever hears that reads it there. Beside that
//! each node looks every few seconds whether something has changed that it has not heard of, and then reads all; so it does when
//! Redis comes back, which may have forgotten what this node knows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::CurrentPolicy;
use super::ledger::{Entry, Ledger};
use super::words::{MOST_IDS, Word};
use crate::bus::nodes::Nodes;
use crate::bus::redis::CallError;
use crate::link::revoke::Revoker;
use crate::revocation::{Lifetimes, RevocationId, Shared};

/// Wishes that may wait. One more is not taken; what it was about is found with the next look at all.
pub const MOST_WAITING: usize = 64;

/// How often it is asked whether something has changed that this node has not heard of.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often all is read though nothing has changed: what has ended is taken out then.
const READ_ALL_EVERY: Duration = Duration::from_secs(600);

/// Entries that cannot be read and are written anew at one look: two nodes with different secrets would write all of them
/// again and again.
const MENDED_AT_ONCE: usize = 1000;

/// What the task is asked for.
pub enum Wish {
    /// These have been changed on this node. Says whether other nodes will hear of it.
    Share(Vec<RevocationId>, oneshot::Sender<bool>),
    /// Another node says that these have changed, for this number's time.
    Look(Vec<RevocationId>, u64),
    /// Redis is there, for the first time or again.
    ReadAll,
}

/// The task.
pub struct Sync {
    pub ledger: Ledger,
    pub revoker: Arc<Revoker>,
    pub policy: CurrentPolicy,
    pub nodes: Arc<Nodes>,
    /// The number of changes that this node knows of, if it knows all of them.
    pub seen: Option<u64>,
    /// How many entries could not be read the last time.
    pub unreadable: usize,
    /// Whether entries that are not signed with the first secret have been signed anew.
    pub is_signed: bool,
}

impl Sync {
    /// Runs for as long as somebody may wish for something.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read_all, mut is_told) = (Instant::now(), false);
        loop {
            let done = tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(Wish::Share(ids, told)) => {
                        let done = self.share(ids).await;
                        // Who has asked may not wait any more.
                        let _ = told.send(done.is_ok());
                        done
                    }
                    Some(Wish::Look(ids, count)) => self.look_at(&ids, count).await,
                    Some(Wish::ReadAll) => {
                        self.seen = None;
                        self.look().await
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    if read_all.elapsed() >= READ_ALL_EVERY {
                        (self.seen, read_all) = (None, Instant::now());
                    }
                    self.look().await
                }
            };
            match done {
                Ok(()) => is_told = false,
                Err(error) => {
                    self.seen = None;
                    // That Redis is away is said elsewhere, and all is read when it is back.
                    if let (CallError::Refused(_), false) = (&error, is_told) {
                        is_told = true;
                        tracing::error!(%error, "revocations are not shared with other nodes");
                    }
                }
            }
        }
    }

    /// Writes what is known of these, and has the other nodes look.
    async fn share(&mut self, ids: Vec<RevocationId>) -> Result<(), CallError> {
        let known = self.known(Some(&ids));
        let count = self.ledger.write(&known).await?;
        self.note(count);
        self.say(ids, count).await
    }

    /// Reads these.
    async fn look_at(&mut self, ids: &[RevocationId], count: u64) -> Result<(), CallError> {
        if self.seen == Some(count) {
            return Ok(());
        }
        let entries = self.ledger.of(ids).await?;
        self.adopt(entries.into_iter().filter_map(readable).collect()).await;
        // Where none is named, all is to be read.
        if !ids.is_empty() {
            self.note(count);
        }
        Ok(())
    }

    /// Reads all, if there is something that this node does not know of.
    async fn look(&mut self) -> Result<(), CallError> {
        let count = self.ledger.count().await?;
        if self.seen == Some(count) {
            return Ok(());
        }
        let (mut there, mut to_write, mut ended, mut cursor) = (HashSet::new(), Vec::new(), Vec::new(), 0);
        let (mut unreadable, mut mended) = (0, 0);
        loop {
            let (next, entries) = self.ledger.page(cursor).await?;
            let now = SystemTime::now();
            let mut theirs = Vec::new();
            for entry in entries {
                match entry {
                    Entry::Known(known, _) if known.is_over(now) => ended.push(known.id),
                    Entry::Known(known, is_ours) => {
                        there.insert(known.id);
                        if !is_ours && !self.is_signed {
                            to_write.push(known.id);
                        }
                        theirs.push(*known);
                    }
                    Entry::Unreadable(id) => {
                        unreadable += 1;
                        let is_known = !self.known(Some(&[id])).is_empty();
                        mended += usize::from(is_known);
                        // As if it were as it should be.
                        if is_known && mended > MENDED_AT_ONCE {
                            there.insert(id);
                        }
                    }
                }
            }
            self.adopt(theirs.clone()).await;
            to_write.extend(self.says_more(&theirs));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        if unreadable != self.unreadable {
            self.unreadable = unreadable;
            tracing::warn!(
                unreadable,
                "entries about revocations in Redis are damaged, or from somebody without this node's secret"
            );
        }
        let mine = self.known(None);
        to_write.extend(mine.iter().map(|one| one.id).filter(|id| !there.contains(id)));
        self.ledger.forget(&ended).await?;
        self.seen = Some(count);
        if !to_write.is_empty() {
            to_write.sort_unstable();
            to_write.dedup();
            let known = self.known(Some(&to_write));
            let count = self.ledger.write(&known).await?;
            self.note(count);
            if to_write.len() > MOST_IDS {
                to_write.clear();
            }
            self.say(to_write, count).await?;
        }
        self.is_signed = true;
        Ok(())
    }

    async fn say(&self, ids: Vec<RevocationId>, count: u64) -> Result<(), CallError> {
        super::say(&self.nodes, &Word::Revocations { ids, count }).await.ok_or(CallError::Lost)
    }

    /// A change was made that this node knows of.
    fn note(&mut self, count: u64) {
        // Unless there was one before it that this node does not know of.
        if self.seen.is_some_and(|seen| count == seen + 1) {
            self.seen = Some(count);
        }
    }

    /// Of which of these this node knows more.
    fn says_more(&self, theirs: &[Shared]) -> Vec<RevocationId> {
        let ids: Vec<RevocationId> = theirs.iter().map(|known| known.id).collect();
        let mine: HashMap<_, _> = self.known(Some(&ids)).into_iter().map(|mine| (mine.id, mine)).collect();
        let more = theirs
            .iter()
            .filter(|theirs| mine.get(&theirs.id).is_some_and(|mine| theirs.with(mine) != **theirs));
        more.map(|known| known.id).collect()
    }

    fn known(&self, ids: Option<&[RevocationId]>) -> Vec<Shared> {
        self.revoker.revocations().known(ids, &Lifetimes::of(&(self.policy)().auth))
    }

    async fn adopt(&self, theirs: Vec<Shared>) {
        if !theirs.is_empty() {
            self.revoker.adopt(theirs, (self.policy)()).await;
        }
    }
}

fn readable(entry: Entry) -> Option<Shared> {
    match entry {
        Entry::Known(known, _) => Some(*known),
        Entry::Unreadable(_) => None,
    }
}
