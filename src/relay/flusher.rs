//! Writes out what broadcasts queued, once per tick.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::link::outlet::Outlet;

/// Outlets flushed before other tasks get a turn: at about 8 µs a write, 2 ms.
const SLICE: usize = 256;

/// Outlets that hold frames which nobody is writing yet.
pub struct Flusher {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    dirty: Mutex<Vec<Arc<Outlet>>>,
    wanted: Notify,
}

impl Flusher {
    /// Starts the task that flushes, on the current runtime. It ends when this is dropped.
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(flush(shared.clone()));
        Flusher { shared, task }
    }

    /// Has these outlets written at the end of the tick. Leaves `outlets` empty.
    pub fn want(&self, outlets: &mut Vec<Arc<Outlet>>) {
        if outlets.is_empty() {
            return;
        }
        let mut dirty = self.shared.dirty.lock();
        let was_empty = dirty.is_empty();
        dirty.append(outlets);
        drop(dirty);
        if was_empty {
            self.shared.wanted.notify_one();
        }
    }
}

async fn flush(shared: Arc<Shared>) {
    let mut batch = Vec::new();
    loop {
        shared.wanted.notified().await;
        // Events that are ready now join this batch, so that their frames share one write per member.
        tokio::task::yield_now().await;
        std::mem::swap(&mut batch, &mut *shared.dirty.lock());
        for (at, outlet) in batch.iter().enumerate() {
            outlet.flush();
            if at % SLICE == SLICE - 1 {
                tokio::task::yield_now().await;
            }
        }
        batch.clear();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
