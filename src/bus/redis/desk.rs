//! Which channels are wanted of one server, and which of these wishes its connection has not looked at yet.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Wishes for one subscription connection. Changed by whoever has them, at any time; looked at by the connection when it
/// can. A channel stands once in each set however often the wish has changed, so it is as large as what is wanted.
#[derive(Debug, Default)]
pub(super) struct Desk {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wishes {
    wanted: HashSet<Arc<str>>,
    /// Those that the connection is to look at.
    open: HashSet<Arc<str>>,
    /// Those that this server does not serve at the moment; looked at again after the map was drawn anew.
    deferred: HashSet<Arc<str>>,
}

impl Desk {
    /// Wants a channel.
    pub(super) fn want(&self, channel: Arc<str>) {
        let mut wishes = self.wishes.lock();
        if wishes.wanted.insert(channel.clone()) {
            wishes.open.insert(channel);
            drop(wishes);
            self.changed.notify_one();
        }
    }

    /// Wants it no more.
    pub(super) fn forget(&self, channel: &Arc<str>) {
        let mut wishes = self.wishes.lock();
        if wishes.wanted.remove(channel) {
            wishes.deferred.remove(channel);
            wishes.open.insert(channel.clone());
            drop(wishes);
            self.changed.notify_one();
        }
    }

    /// Sets a wish aside until [`Desk::retry`].
    pub(super) fn defer(&self, channel: &Arc<str>) {
        let mut wishes = self.wishes.lock();
        if wishes.wanted.contains(channel) {
            wishes.deferred.insert(channel.clone());
        }
    }

    /// Opens what was set aside.
    pub(super) fn retry(&self) {
        let mut wishes = self.wishes.lock();
        if !wishes.deferred.is_empty() {
            let deferred = std::mem::take(&mut wishes.deferred);
            wishes.open.extend(deferred);
            drop(wishes);
            self.changed.notify_one();
        }
    }

    /// Opens every wish: the connection is new.
    pub(super) fn reopen(&self) {
        let mut wishes = self.wishes.lock();
        wishes.deferred.clear();
        wishes.open = wishes.wanted.clone();
    }

    /// Some open wishes, at most `most`, as channels and whether they are wanted.
    pub(super) fn take(&self, most: usize) -> Vec<(Arc<str>, bool)> {
        let mut wishes = self.wishes.lock();
        let some: Vec<_> = wishes.open.iter().take(most).cloned().collect();
        let judged = some.into_iter().map(|channel| {
            wishes.open.remove(&channel);
            let is_wanted = wishes.wanted.contains(&channel);
            (channel, is_wanted)
        });
        judged.collect()
    }

    /// Calls `then` if the channel is wanted, before anybody can change that.
    pub(super) fn if_wanted(&self, channel: &Arc<str>, then: impl FnOnce()) -> bool {
        let wishes = self.wishes.lock();
        let is_wanted = wishes.wanted.contains(channel);
        if is_wanted {
            then();
        }
        is_wanted
    }

    /// Returns when there may be something to take. May be given up at any time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn taken(desk: &Desk) -> Vec<(String, bool)> {
        let mut taken: Vec<_> =
            desk.take(10).into_iter().map(|(name, wanted)| (name.to_string(), wanted)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn wishes_are_a_set() {
        let desk = Desk::default();
        desk.want("a".into());
        desk.want("a".into());
        desk.want("b".into());
        desk.forget(&"b".into());
        desk.forget(&"never wanted".into());
        assert!(desk.changed().now_or_never().is_some());
        assert_eq!(taken(&desk), [("a".into(), true), ("b".into(), false)]);
        assert!(taken(&desk).is_empty());
        desk.want("a".into());
        assert!(taken(&desk).is_empty(), "nothing has changed");
        assert!(desk.changed().now_or_never().is_none());
    }

    #[test]
    fn a_wish_taken_back_and_renewed_is_looked_at_again() {
        let desk = Desk::default();
        desk.want("a".into());
        assert_eq!(taken(&desk), [("a".into(), true)]);
        desk.forget(&"a".into());
        desk.want("a".into());
        assert_eq!(taken(&desk), [("a".into(), true)]);
    }

    #[test]
    fn what_is_set_aside_comes_back_if_it_is_wanted_still() {
        let desk = Desk::default();
        desk.want("a".into());
        desk.want("b".into());
        taken(&desk);
        desk.defer(&"a".into());
        desk.defer(&"b".into());
        desk.defer(&"never wanted".into());
        desk.forget(&"b".into());
        assert_eq!(taken(&desk), [("b".into(), false)]);
        desk.retry();
        assert_eq!(taken(&desk), [("a".into(), true)]);
        desk.reopen();
        assert_eq!(taken(&desk), [("a".into(), true)]);
    }

    #[test]
    fn few_are_taken_at_once() {
        let desk = Desk::default();
        (0..5).for_each(|number| desk.want(number.to_string().into()));
        assert_eq!(
            [desk.take(2).len(), desk.take(2).len(), desk.take(2).len(), desk.take(2).len()],
            [2, 2, 1, 0]
        );
    }
}
