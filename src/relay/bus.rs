//! What carries changes to other nodes, as those who relay and admit see it. [`Alone`] is a node without others.
//!
//! Members of this node are told first and never wait for it: what is given to it is theirs already.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::change::Change;
use super::elsewhere::Read;
use super::extent::Extent;
use crate::config::policy::{HistoryBounds, Policy};
use crate::event_id::Run;

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
    ///
    /// Returns its number among all that this node publishes, if it is published; later ones have higher numbers.
    fn publish(&self, change: &Change) -> Option<u64>;

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

    /// Reads what somebody has missed that had come so far and is to join these rooms by this policy, in the history that all nodes
    /// keep; and waits until this node has heard all that was read. `began` is passed on. `None` where there is no such history,
    /// or it does not say.
    fn read<'b>(
        &'b self,
        extent: Extent,
        rooms: &'b [Arc<str>],
        began: u64,
        policy: &'b Policy,
    ) -> Doing<'b, Option<Read>>;

    /// Keeps so much in that history from now on.
    fn keep(&self, bounds: Option<HistoryBounds>);

    /// Whether members here may miss what others say to their rooms, so that what they hear does not say how far they have come in
    /// that history. Called under the lock of this node's own.
    fn is_deaf(&self) -> bool;

    /// Which run of which node this is.
    fn run(&self) -> Run;

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

    fn publish(&self, _: &Change) -> Option<u64> {
        None
    }

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

    fn read<'b>(&'b self, _: Extent, _: &'b [Arc<str>], _: u64, _: &'b Policy) -> Doing<'b, Option<Read>> {
        Box::pin(ready(None))
    }

    fn keep(&self, _: Option<HistoryBounds>) {}

    fn is_deaf(&self) -> bool {
        false
    }

    fn run(&self) -> Run {
        Run::this()
    }

    fn leave(&self) -> Doing<'_> {
        Box::pin(ready(()))
    }

    fn state(&self) -> State {
        State::Alone
    }

    fn look(&self) {}
}
