//! What carries changes to other nodes, as those who relay and admit see it. [`Alone`] is a node without others.
//!
//! Members of this node are told first and never wait for it: what is given to it is theirs already.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::change::Change;

/// Something that a bus does in its own time, within bounds of its own.
pub type Doing<'b> = Pin<Box<dyn Future<Output = ()> + Send + 'b>>;

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

    /// Hands over what still waits, and takes leave of the other nodes.
    fn leave(&self) -> Doing<'_>;
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

    fn leave(&self) -> Doing<'_> {
        Box::pin(ready(()))
    }
}
