//! Revocations: tokens that are not honoured any more, though they verify and have not expired.
//!
//! In reading order: `entry` is one revocation; `lifetimes` says how long it must be kept; `written` is its JSON, and
//! what somebody wants; `index` finds those that hold for a token; `store` keeps them across restarts; `shared` is what nodes
//! tell each other of one. [`Revocations`] is all of it. Whoever is connected with such a token is closed by [`crate::link::revoke`].

mod entry;
mod index;
mod lifetimes;
mod shared;
mod store;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::config::Problem;
use crate::config::policy::{Policy, RevocationStore};

pub use entry::{Revocation, RevocationId, Target, Token};
pub use index::Index;
pub use lifetimes::Lifetimes;
pub use shared::Shared;
use shared::Undone;
pub use store::StoreError;
use store::{Change, Store};
pub use written::{LONGEST_REASON, Wanted, Written};

/// Undoings that are remembered for other nodes, some hundred bytes each.
const MOST_UNDONE: usize = 100_000;

/// The revocations of one process.
pub struct Revocations {
    index: RwLock<Index>,
    /// How many there are. While there are none, a token is asked about without a lock.
    count: AtomicUsize,
    /// Held while a change is made, so that changes come one after the other; `None` inside keeps them in memory only.
    /// Never taken by who only asks.
    changing: Mutex<Option<Store>>,
    is_kept: bool,
    /// Those that were undone, for other nodes; `None` where there are none to tell. Changed by who holds `changing`.
    undone: Mutex<Option<BTreeMap<RevocationId, Undone>>>,
}

/// What has come of what other nodes know.
#[derive(Debug, Default)]
pub struct Merged {
    /// Those that hold now and did not, or say more than before.
    pub revoked: Vec<Arc<Revocation>>,
    /// Those that hold no more.
    pub undone: Vec<Arc<Revocation>>,
    /// How many were not taken, since there may be no more.
    pub left_out: usize,
    /// Why they do not outlive the process, if they should and do not. They count all the same.
    pub not_kept: Option<StoreError>,
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// As many as there may be. None is forgotten for another.
    #[error("there are {0} revocations and revocation.capacity allows no more; undo some, or raise it")]
    Full(usize),
    /// What is wanted cannot be.
    #[error("{0}")]
    Wanted(String),
    /// It could not be made durable.
    #[error("revocation.store: {0}; {mend}", mend = .0.mend())]
    Store(#[from] StoreError),
}

impl Refused {
    /// The stable code, for answers and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::Full(_) => "too_many_revocations",
            Refused::Wanted(_) => "invalid_revocation",
            Refused::Store(StoreError::Full(_)) => "store_full",
            Refused::Store(_) => "store_failed",
        }
    }
}

impl Revocations {
    /// In memory only.
    pub fn in_memory() -> Self {
        Revocations {
            index: RwLock::default(),
            count: AtomicUsize::new(0),
            changing: Mutex::new(None),
            is_kept: false,
            undone: Mutex::new(None),
        }
    }

    /// Those of this store, which is made where there is none; in memory only without one. There may be more in it than
    /// `revocation.capacity`; then no more are taken. Blocks.
    ///
    /// # Errors
    /// A store that cannot be used, as a fault of the configuration.
    pub fn open(kept: Option<&RevocationStore>) -> Result<Self, Problem> {
        let Some(RevocationStore { path, origin }) = kept else { return Ok(Revocations::in_memory()) };
        let (store, kept) = Store::open(path).map_err(|error| Problem {
            origin: origin.clone(),
            key: "revocation.store".into(),
            found: format!("{}: {error}", path.display()),
            mend: error.mend().into(),
            did_you_mean: None,
        })?;
        let revocations =
            Revocations { changing: Mutex::new(Some(store)), is_kept: true, ..Revocations::in_memory() };
        revocations.count_in(&Change { add: kept.into_iter().map(Arc::new).collect(), remove: Vec::new() });
        Ok(revocations)
    }

    /// Whether they outlive the process.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, which no change is made to meanwhile.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read()
    }

    /// One that holds for this token, if any does.
    pub fn find(&self, token: &Token<'_>, now: SystemTime) -> Option<Arc<Revocation>> {
        if self.is_empty() {
            return None;
        }
        self.index.read().find(token, now).cloned()
    }

    /// The one of this id.
    pub fn get(&self, id: RevocationId) -> Option<Arc<Revocation>> {
        self.index.read().get(id).cloned()
    }

    /// At most `most` of them, the oldest first, from behind this one on.
    pub fn page(&self, after: Option<RevocationId>, most: usize) -> Vec<Arc<Revocation>> {
        self.index.read().after(after).take(most).cloned().collect()
    }

    /// Makes all that is wanted count, or none of it, and returns what says so in the same order; `true` with those that
    /// are new. What could be said by one that is there widens that one. Blocks until the store has it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn add(
        &self,
        wanted: Vec<Wanted>,
        now: SystemTime,
        policy: &Policy,
    ) -> Result<Vec<(Arc<Revocation>, bool)>, Refused> {
        let lifetimes = Lifetimes::of(&policy.auth);
        let mut changing = self.changing.lock();
        let mut made: Vec<(Arc<Revocation>, bool)> = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let id = self.new_id(now, &made);
            let one = wanted.check(id, now, &lifetimes).map_err(Refused::Wanted)?;
            // What stands further down may be like what stands further up.
            let above = made.iter().rev().find(|(other, _)| other.is_like(&one)).cloned();
            let like = above.or_else(|| Some((self.index.read().like(&one).cloned()?, false)));
            made.push(match like {
                Some((like, is_new)) => (Arc::new(like.with(&one)), is_new),
                None => (Arc::new(one), true),
            });
        }
        let mut add: Vec<Arc<Revocation>> = Vec::with_capacity(made.len());
        for (one, _) in made.iter().rev() {
            // The last of its id says all.
            if add.iter().all(|other| other.id != one.id) {
                add.push(one.clone());
            }
        }
        let more = add.iter().filter(|one| self.get(one.id).is_none()).count();
        let mut remove = Vec::new();
        if self.len() + more > policy.revocation.capacity {
            remove = self.index.read().ended(now, &lifetimes);
            remove.retain(|id| add.iter().all(|one| one.id != *id));
        }
        if more > 0 && self.len() - remove.len() + more > policy.revocation.capacity {
            return Err(Refused::Full(self.len()));
        }
        self.make(&mut changing, &Change { add, remove })?;
        Ok(made)
    }

    /// Undoes one; `None` where there is none of this id. Blocks until the store has forgotten it.
    ///
    /// # Errors
    /// See [`StoreError`]; it holds on then.
    pub fn undo(
        &self,
        id: RevocationId,
        now: SystemTime,
        lifetimes: &Lifetimes,
    ) -> Result<Option<Arc<Revocation>>, StoreError> {
        let mut changing = self.changing.lock();
        let Some(revocation) = self.get(id) else { return Ok(None) };
        self.make(&mut changing, &Change { add: Vec::new(), remove: vec![id] })?;
        self.note_undone(id, Undone::of(&revocation, now, lifetimes));
        Ok(Some(revocation))
    }

    /// Whether what is undone is remembered.
    pub fn is_shared(&self) -> bool {
        self.undone.lock().is_some()
    }

    /// Remembers from now on what is undone, since other nodes have to hear of it.
    pub fn share(&self) {
        self.undone.lock().get_or_insert_default();
    }

    /// What this node knows: of these, or of all. In no order.
    pub fn known(&self, ids: Option<&[RevocationId]>, lifetimes: &Lifetimes) -> Vec<Shared> {
        let undone = self.undone.lock();
        let index = self.index.read();
        let undoing = |id: RevocationId| undone.as_ref().and_then(|undone| undone.get(&id).copied());
        let known = |id: RevocationId| match (index.get(id), undoing(id)) {
            (Some(revocation), undone) => Some(Shared::holding(revocation, undone, lifetimes)),
            (None, Some(undone)) => Some(Shared::undone(id, undone)),
            (None, None) => None,
        };
        match ids {
            Some(ids) => ids.iter().filter_map(|id| known(*id)).collect(),
            None => {
                let holding = index.after(None).map(|revocation| revocation.id);
                let gone = undone.iter().flatten().map(|(id, _)| *id).filter(|id| index.get(*id).is_none());
                holding.chain(gone).filter_map(known).collect()
            }
        }
    }

    /// Takes what other nodes know; what they know of one that nothing is known of here counts as it is. What the store does
    /// not take counts all the same, since the others have it. Blocks.
    pub fn merge(&self, theirs: Vec<Shared>, now: SystemTime, policy: &Policy) -> Merged {
        let lifetimes = Lifetimes::of(&policy.auth);
        let mut changing = self.changing.lock();
        let (mut merged, mut change, mut new) = (Merged::default(), Change::default(), 0);
        for theirs in theirs.into_iter().filter(|theirs| !theirs.is_over(now)) {
            let id = theirs.id;
            let mine = self.known(Some(&[id]), &lifetimes);
            let both = mine.first().map_or_else(|| theirs.clone(), |mine| mine.with(&theirs));
            if let Some(undone) = both.undoing() {
                self.note_undone(id, undone);
            }
            let mine = self.get(id);
            match both.holds() {
                // What has ended by this node's own policy would be forgotten at once.
                Some(revocation) if mine.is_some() || lifetimes.end(revocation) > now => {
                    if mine.as_deref() == Some(revocation) {
                        continue;
                    }
                    let is_new = usize::from(mine.is_none());
                    if self.len() + new + is_new > policy.revocation.capacity.max(self.len()) {
                        merged.left_out += 1;
                        continue;
                    }
                    new += is_new;
                    let revocation = Arc::new(revocation.clone());
                    change.add.push(revocation.clone());
                    merged.revoked.push(revocation);
                }
                Some(_) => {}
                None => {
                    if let Some(mine) = mine {
                        change.remove.push(id);
                        merged.undone.push(mine);
                    }
                }
            }
        }
        if change.add.is_empty() && change.remove.is_empty() {
            return merged;
        }
        if let Some(store) = &mut *changing {
            merged.not_kept = store.write(&change, &self.index.read()).err();
        }
        self.count_in(&change);
        merged
    }

    /// Remembers an undoing, if there is somebody to tell.
    fn note_undone(&self, id: RevocationId, undone: Undone) {
        if let Some(all) = &mut *self.undone.lock() {
            all.insert(id, undone);
            if all.len() > MOST_UNDONE {
                // The oldest revocations end first.
                all.pop_first();
            }
        }
    }

    /// Forgets those that have nothing left to do. Blocks where there are any.
    ///
    /// # Errors
    /// See [`StoreError`]; they are tried again.
    pub fn forget_ended(&self, now: SystemTime, lifetimes: &Lifetimes) -> Result<(), StoreError> {
        let mut changing = self.changing.lock();
        if let Some(undone) = &mut *self.undone.lock() {
            undone.retain(|_, undone| !undone.is_over(now));
        }
        let remove = self.index.read().ended(now, lifetimes);
        if remove.is_empty() {
            return Ok(());
        }
        self.make(&mut changing, &Change { add: Vec::new(), remove })
    }

    /// First in the store, then here.
    fn make(&self, store: &mut Option<Store>, change: &Change) -> Result<(), StoreError> {
        if let Some(store) = store {
            store.write(change, &self.index.read())?;
        }
        self.count_in(change);
        Ok(())
    }

    fn count_in(&self, change: &Change) {
        let mut index = self.index.write();
        change.add.iter().for_each(|revocation| index.add(revocation.clone()));
        change.remove.iter().for_each(|id| drop(index.remove(*id)));
        self.count.store(index.len(), Ordering::Release);
    }

    /// An id that none has: not here, and not among those that are about to be made.
    fn new_id(&self, now: SystemTime, others: &[(Arc<Revocation>, bool)]) -> RevocationId {
        let index = self.index.read();
        let is_free =
            |id: &RevocationId| index.get(*id).is_none() && others.iter().all(|(other, _)| other.id != *id);
        let mut random = [0; 4];
        // Without randomness the ids are still different from each other.
        let _ = getrandom::fill(&mut random);
        let first = u32::from_le_bytes(random);
        (0..1 << 20)
            .map(|more| RevocationId::at(now, first.wrapping_add(more)))
            .find(is_free)
            .unwrap_or_else(|| RevocationId::at(now, first))
    }
}

#[cfg(test)]
mod tests;
