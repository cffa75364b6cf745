//! Writes out what broadcasts queued, at the end of the tick, in slices.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::link::outlet::Outlet;

/// Outlets flushed before others get a turn: at about 8 µs a write, a quarter of a millisecond.
const SLICE: usize = 32;

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
    dirty: Mutex<Dirty<Arc<Outlet>>>,
    wanted: Notify,
}

/// Broadcasts take turns, a slice each: a large room's does not hold up those of small rooms that come after it.
struct Dirty<T> {
    broadcasts: VecDeque<Vec<T>>,
    /// Outlets in all of them.
    len: usize,
}

impl<T> Default for Dirty<T> {
    fn default() -> Self {
        Dirty { broadcasts: VecDeque::new(), len: 0 }
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
        if outlets.is_empty() {
            return;
        }
        let mut dirty = self.shared.dirty.lock();
        let was_empty = dirty.len == 0;
        dirty.add(outlets);
        drop(dirty);
        if was_empty {
            self.shared.wanted.notify_one();
        }
    }
}

impl<T> Dirty<T> {
    fn add(&mut self, outlets: &mut Vec<T>) {
        self.len += outlets.len();
        match self.broadcasts.back_mut() {
            // Small broadcasts share a turn.
            Some(last) if last.len() + outlets.len() <= SLICE => last.append(outlets),
            _ => self.broadcasts.push_back(std::mem::take(outlets)),
        }
    }

    /// Moves the next outlets into `slice`, [`SLICE`] of them at most. What is left of a broadcast goes behind the others.
    fn take(&mut self, slice: &mut Vec<T>) {
        while slice.len() < SLICE {
            let Some(mut broadcast) = self.broadcasts.pop_front() else { break };
            let left = broadcast.len().saturating_sub(SLICE - slice.len());
            slice.extend(broadcast.drain(left..));
            if !broadcast.is_empty() {
                self.broadcasts.push_back(broadcast);
            }
        }
        self.len -= slice.len();
    }
}

impl Shared {
    /// Takes the next slice into `slice`, which is empty. Returns how much is left; where it is much, another worker helps.
    fn take(&self, slice: &mut Vec<Arc<Outlet>>) -> usize {
        let mut dirty = self.dirty.lock();
        dirty.take(slice);
        let left = dirty.len;
        drop(dirty);
        if left >= SHARED_FROM {
            self.wanted.notify_one();
        }
        left
    }
}

async fn flush(shared: Arc<Shared>) {
    let mut slice = Vec::with_capacity(SLICE);
    loop {
        shared.wanted.notified().await;
        loop {
            // Events that are ready now are heard first, so that their frames share one write per member; and between two
            // slices, so that nobody waits for the whole of a large room.
            tokio::task::yield_now().await;
            let left = shared.take(&mut slice);
            slice.drain(..).for_each(|outlet| outlet.flush());
            // What comes when nothing is left is told of.
            if left == 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(dirty: &mut Dirty<u32>, count: usize) -> Vec<Vec<u32>> {
        let take = |_| {
            let mut slice = Vec::new();
            dirty.take(&mut slice);
            slice.sort_unstable();
            slice
        };
        (0..count).map(take).collect()
    }

    #[test]
    fn a_large_broadcast_is_sliced_and_a_small_one_gets_between() {
        let mut dirty = Dirty::default();
        dirty.add(&mut (0..100).collect());
        assert_eq!(slices(&mut dirty, 1), [(68..100).collect::<Vec<_>>()]);
        dirty.add(&mut vec![200, 201]);
        let after = slices(&mut dirty, 4);
        assert_eq!(after[0], (36..68).collect::<Vec<_>>());
        assert_eq!(after[1], [(6..36).collect::<Vec<_>>(), vec![200, 201]].concat());
        assert_eq!(after[2], (0..6).collect::<Vec<_>>());
        assert_eq!(after[3], [0; 0]);
    }

    #[test]
    fn small_broadcasts_share_a_slice() {
        let mut dirty = Dirty::default();
        for first in (0..60).step_by(10) {
            dirty.add(&mut (first..first + 10).collect());
        }
        let slices = slices(&mut dirty, 3);
        assert_eq!(slices.iter().map(Vec::len).collect::<Vec<_>>(), [32, 28, 0]);
        assert_eq!(slices.concat().len(), 60);
    }
}
