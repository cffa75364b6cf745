//! Watching the files that a policy was made of.
//!
//! They are looked at again and again, by content. That sees what every way of replacing a file comes to (an editor's
//! rename, a mounted folder whose link is moved, a file that is written in place), on every kind of file system, and
//! a few small files cost nothing to read.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Reloader, Trigger};
use crate::config::content::Look;

/// How often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the files have to be the same before they are read: who changes several is not done with the first.
const SETTLED: Duration = Duration::from_millis(200);

impl Reloader {
    /// Reloads whenever the files have changed, where the policy in force says so; for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.path.current.load().policy.watch && self.have_changed().await {
                self.reload(Trigger::File).await;
            }
        }
    }

    /// Whether the files are others than they were when they were read last; said when they stay as they are.
    async fn have_changed(&self) -> bool {
        let Some(mut now) = self.look().await else { return false };
        loop {
            if now == self.seen.lock().look {
                return false;
            }
            sleep(SETTLED).await;
            let Some(later) = self.look().await else { return false };
            if later == now {
                return true;
            }
            now = later;
        }
    }

    /// `None` when the runtime ends.
    async fn look(&self) -> Option<Look> {
        let (paths, named) = (self.sources.paths.clone(), self.seen.lock().named.clone());
        spawn_blocking(move || Look::at(&paths, &named)).await.ok()
    }
}
