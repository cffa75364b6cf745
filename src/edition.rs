//! An edition: one policy and all that was made of it, immutable and swapped whole.
//!
//! Whoever decides something takes the edition in force once and decides the whole of it by that one, so that nothing is
//! ever judged by half of each of two.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::config::policy::Policy;
use crate::connect::admission::Admission;
use crate::connect::token::Refreshers;
use crate::event::pipeline::Pipeline;

/// One policy with its keys and its stages.
pub struct Edition {
    /// Counts the editions of this process, from one.
    pub number: u64,
    /// What it says.
    pub policy: Arc<Policy>,
    /// Decides on sockets.
    pub admission: Admission,
    /// Decides on events.
    pub pipeline: Pipeline,
    /// Keeps its fetched keys fresh.
    pub refreshers: Refreshers,
}

/// The edition in force.
pub struct Current(ArcSwap<Edition>);

impl Current {
    /// The first edition is in force.
    pub fn new(first: Edition) -> Arc<Self> {
        Arc::new(Current(ArcSwap::from_pointee(first)))
    }

    /// The edition in force, for something that is decided now.
    pub fn load(&self) -> Guard<Arc<Edition>> {
        self.0.load()
    }

    /// The edition in force, for something that takes its time.
    pub fn get(&self) -> Arc<Edition> {
        self.0.load_full()
    }

    /// The policy in force, likewise.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.load().policy.clone()
    }

    /// Puts another edition in force, from this moment on.
    pub fn replace(&self, next: Edition) {
        self.0.store(Arc::new(next));
    }
}
