//! What carries changes to other nodes, as those who relay and admit see it. [`Alone`] is a node without others.
//!
//! Members of this node are told first and never wait for it: what is given to it is theirs already.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::change::Change;

/// Something that a bus does in its own time, within bounds of its own.
pub type Doing<'b, T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'b>>;

/// How the connections to other nodes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There are no other nodes.
    Alone,
    /// They have not stood yet.
    Connecting,
    /// They stand.
    Up,
    /// They have stood, and do not now.
    Away,
}

impl State {
    /// The word for it in answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Alone => "none",
            State::Connecting => "connecting",
            State::Up => "up",
            State::Away => "away",
        }
    }
}

/// Tells other nodes what this one relays.
pub trait Bus: Send + Sync + 'static {
    /// Whether there may be other nodes.
    fn is_on(&self) -> bool;

    /// Takes a change for the members of other nodes. Those of this one have it in their queues, or are about to under the
    /// lock that the caller holds; changes of one sender come in the order in which they were sent, and where
    /// `relay.meta` is on all come in the order of the history. Never blocks, and nothing the caller could do follows from what
    /// becomes of it.
    fn publish(&self, change: &Change);

    /// A room has its first member. Called under the lock of all rooms: it only takes note.
    fn opened(&self, room: &Arc<str>);

    /// A room's last member has left. Called as [`Bus::opened`] is.
    fn closed(&self, room: &Arc<str>);

    /// Waits until what other nodes tell these rooms would be heard, if that can be. Whoever is to join them does so soon after.
    fn reach<'b>(&'b self, rooms: &'b [Arc<str>]) -> Doing<'b>;

    /// The place of what was published last: 1, 2, 3…
    fn place(&self) -> u64;

    /// Waits until all that was published behind that place is out of this node's hands, if that can be. Returns whether it is.
    fn passed_on(&self, after: u64) -> Doing<'_, bool>;

    /// Hands over what still waits, and takes leave of the other nodes.
    fn leave(&self) -> Doing<'_>;

    /// How it is.
    fn state(&self) -> State;

    /// Brings every gauge up to date that is not kept as it changes.
    fn look(&self);
}

/// There are no other nodes.
#[derive(Debug)]
pub struct Alone;

impl Bus for Alone {
    fn is_on(&self) -> bool {
        false
    }

    fn publish(&self, _: &Change) {}

    fn opened(&self, _: &Arc<str>) {}

    fn closed(&self, _: &Arc<str>) {}

    fn reach<'b>(&'b self, _: &'b [Arc<str>]) -> Doing<'b> {
        Box::pin(ready(()))
    }

    fn place(&self) -> u64 {
        0
    }

    fn passed_on(&self, _: u64) -> Doing<'_, bool> {
        Box::pin(ready(true))
    }

    fn leave(&self) -> Doing<'_> {
        Box::pin(ready(()))
    }

    fn state(&self) -> State {
        State::Alone
    }

    fn look(&self) {}
}
