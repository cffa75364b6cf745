//! An edition: one policy and all that was made of it, immutable and swapped whole.
//!
//! Whoever decides something takes the edition in force once and decides the whole of it by that one, so that nothing is
//! ever judged by half of each of two.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use parking_lot::{RwLock, RwLockReadGuard};

use crate::config::Problem;
use crate::config::content::Change;
use crate::config::policy::Policy;
use crate::connect::admission::Admission;
use crate::connect::token::Refreshers;
use crate::event::pipeline::Pipeline;

/// One policy with its keys and its stages.
pub struct Edition {
    /// Counts the editions of this process, from one.
    pub number: u64,
    /// When it was put in force.
    pub since: SystemTime,
    /// Who asked for it, in words.
    pub wanted_by: &'static str,
    /// What it says.
    pub policy: Arc<Policy>,
    /// Decides on sockets.
    pub admission: Admission,
    /// Decides on events.
    pub pipeline: Pipeline,
    /// Keeps its fetched keys fresh.
    pub refreshers: Refreshers,
}

/// What an attempt to put another policy in force came to.
#[derive(Debug)]
pub enum Reloaded {
    /// Another is in force, for every live socket.
    Applied {
        /// The hash of the one before.
        before: Arc<str>,
        /// The hash of the one in force.
        after: Arc<str>,
        /// By what they differ; at least one.
        changes: Vec<Change>,
        /// What can be used but deserves a second look.
        warnings: Vec<Problem>,
        /// Sockets that were judged again.
        sockets: usize,
        /// Sockets among them that were closed, since they would not be let in any more.
        closed: usize,
    },
    /// What was read is what is in force.
    Unchanged {
        /// Its hash.
        policy: Arc<str>,
    },
    /// What was read cannot be used, and the one before stays.
    Refused {
        /// The hash of the one in force.
        policy: Arc<str>,
        /// Everything that is wrong; at least one.
        problems: Vec<Problem>,
    },
}

/// The edition in force.
pub struct Current {
    edition: ArcSwap<Edition>,
    /// Held by each event while it is decided and relayed, and by whoever puts another edition in force until all live sockets
    /// go by it.
    events: RwLock<()>,
}

/// The edition in force for one event. Until this is dropped there is no other.
pub struct Held<'c> {
    edition: Guard<Arc<Edition>>,
    _events: RwLockReadGuard<'c, ()>,
}

impl Deref for Held<'_> {
    type Target = Edition;

    fn deref(&self) -> &Edition {
        &self.edition
    }
}

impl Current {
    /// The first edition is in force.
    pub fn new(first: Edition) -> Arc<Self> {
        Arc::new(Current { edition: ArcSwap::from_pointee(first), events: RwLock::new(()) })
    }

    /// The edition in force, for something that is decided now.
    pub fn load(&self) -> Guard<Arc<Edition>> {
        self.edition.load()
    }

    /// The edition in force, for an event that is decided and relayed now. Hold it for nothing that waits.
    pub fn hold(&self) -> Held<'_> {
        let events = self.events.read();
        Held { edition: self.edition.load(), _events: events }
    }

    /// The edition in force, for something that takes its time.
    pub fn get(&self) -> Arc<Edition> {
        self.edition.load_full()
    }

    /// The policy in force, likewise.
    pub fn policy(&self) -> Arc<Policy> {
        self.edition.load().policy.clone()
    }

    /// Puts another edition in force, from this moment on, and has `follow` bring everybody up to it while no event is decided:
    /// so that an event that is judged by it finds its members where they are by it. Blocks for events that are being decided.
    pub fn replace<T>(&self, next: Arc<Edition>, follow: impl FnOnce() -> T) -> T {
        let _no_events = self.events.write();
        self.edition.store(next);
        follow()
    }
}
