//! Writes out what broadcasts queued, at the end of the tick, in slices.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::room::{GroupNumber, Room};
use super::round::Due;
use crate::link::feed::Batch;
use crate::link::outlet::{Offer, Outlet};
use crate::metrics::CloseReason;

/// Outlets written to before others get a turn: at about 8 µs a write, a quarter of a millisecond.
pub(super) const SLICE: usize = 32;

/// Outlets that wait before a second worker helps: eight milliseconds of writes. For fewer, waking it costs more than it
/// saves, and both cores' caches would hold the same connections.
const SHARED_FROM: usize = 1024;

/// Outlets that hold frames which nobody is writing yet.
pub struct Flusher {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wanted: Notify,
}

/// What is to be written takes turns, a slice each: a large room does not hold up small ones that come after it.
#[derive(Default)]
struct Waiting {
    turns: VecDeque<Turn>,
    /// Outlets in all of them, or about so many.
    outlets: usize,
}

enum Turn {
    /// Outlets with frames of their own.
    Outlets(Vec<Arc<Outlet>>),
    /// What is left of a round in a room's group: so many followers.
    Room(Arc<Room>, GroupNumber, usize),
}

impl Turn {
    fn len(&self) -> usize {
        match self {
            Turn::Outlets(outlets) => outlets.len(),
            Turn::Room(.., followers) => *followers,
        }
    }
}

impl Flusher {
    /// Starts the tasks that flush, one for each worker of the current runtime. They end when this is dropped.
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let workers = Handle::current().metrics().num_workers();
        let tasks = (0..workers).map(|_| tokio::spawn(flush(shared.clone()))).collect();
        Flusher { shared, tasks }
    }

    /// Has these outlets written at the end of the tick. Leaves `outlets` empty.
    pub fn want(&self, outlets: &mut Vec<Arc<Outlet>>) {
        if !outlets.is_empty() {
            self.shared.push(Turn::Outlets(std::mem::take(outlets)));
        }
    }

    /// Has what was published to a group's followers at `now` written at the end of the tick, or here and now: when they are few
    /// and nothing else is to be expected, or when the feed is full. `few` is what is left of the writes that one broadcast may
    /// do itself, over all of its groups.
    pub fn want_room(
        &self,
        room: &Arc<Room>,
        group: GroupNumber,
        now: Instant,
        is_full: bool,
        few: &mut usize,
    ) {
        let (due, followers) = room.due(group, now, *few);
        if due == Due::Now {
            *few = few.saturating_sub(followers);
        }
        match due {
            Due::Round if !is_full => self.shared.push(Turn::Room(room.clone(), group, followers)),
            Due::UnderWay if !is_full => {}
            Due::Round | Due::Now | Due::UnderWay => loop {
                let left = write_room(room, group, SLICE).left;
                if left == 0 {
                    break;
                }
                if !is_full {
                    self.shared.push(Turn::Room(room.clone(), group, left));
                    break;
                }
            },
        }
    }
}

impl Shared {
    fn push(&self, turn: Turn) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.turns.is_empty();
        waiting.push(turn);
        drop(waiting);
        if was_empty {
            self.wanted.notify_one();
        }
    }

    /// Writes to the next [`SLICE`] outlets. Returns whether more wait.
    fn write_slice(&self) -> bool {
        let mut budget = SLICE;
        while budget > 0 {
            let Some(turn) = self.waiting.lock().pop() else { return false };
            match turn {
                Turn::Outlets(mut outlets) => {
                    let rest = outlets.split_off(outlets.len().min(budget));
                    if !rest.is_empty() {
                        self.waiting.lock().push(Turn::Outlets(rest));
                    }
                    budget -= outlets.len();
                    outlets.iter().for_each(|outlet| outlet.flush());
                }
                Turn::Room(room, group, _) => {
                    let written = write_room(&room, group, budget);
                    budget = budget.saturating_sub(written.outlets.max(1));
                    if written.left > 0 {
                        self.waiting.lock().push(Turn::Room(room, group, written.left));
                    }
                }
            }
        }
        let left = self.waiting.lock().outlets;
        if left >= SHARED_FROM {
            self.wanted.notify_one();
        }
        left > 0
    }
}

impl Waiting {
    fn push(&mut self, turn: Turn) {
        self.outlets += turn.len();
        self.turns.push_back(turn);
    }

    fn pop(&mut self) -> Option<Turn> {
        let turn = self.turns.pop_front()?;
        self.outlets -= turn.len();
        Some(turn)
    }
}

/// What a slice of a round came to.
struct Written {
    outlets: usize,
    /// Followers whose turn is still to come.
    left: usize,
}

/// Writes to the next followers of a group, `most` of them at most.
fn write_room(room: &Room, group: GroupNumber, most: usize) -> Written {
    let Some(slice) = room.claim(group, most) else { return Written { outlets: 0, left: 0 } };
    let frames = slice.batch.as_ref().map(Batch::slices).unwrap_or_default();
    for outlet in &slice.outlets {
        if outlet.take(slice.course.feed(), slice.batch.as_ref(), &frames) == Offer::Overflow
            && let Some(session) = outlet.session().and_then(Weak::upgrade)
        {
            // Nobody waits for it: a broadcast must not hang on one member.
            drop(session.close(CloseReason::SlowReader));
        }
    }
    Written { outlets: slice.outlets.len(), left: room.wrote(group, &slice) }
}

async fn flush(shared: Arc<Shared>) {
    loop {
        shared.wanted.notified().await;
        loop {
            // Events that are ready now are heard first, so that their frames share one write per member; and between two
            // slices, so that nobody waits for the whole of a large room.
            tokio::task::yield_now().await;
            // What comes when nothing is left is told of.
            if !shared.write_slice() {
                break;
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
