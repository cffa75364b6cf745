//! Buckets that several sockets share, by key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bucket::Bucket;

/// Buckets by key, each held by the senders that use it. The lock is taken once per sender, never per event.
///
/// A bucket that nobody holds is kept until it has filled again, so that reconnecting does not renew a budget. How many
/// are kept is bounded: past `capacity` the idle buckets nearest to full are forgotten, which costs least of what they
/// remember. Buckets in use are never forgotten; admission bounds them.
pub struct Registry<K> {
    capacity: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    buckets: HashMap<K, Arc<Bucket>>,
    /// How many buckets there may be before room is made.
    crowded: usize,
}

impl<K: Clone + Eq + Hash> Registry<K> {
    /// An empty registry that keeps about `capacity` buckets.
    pub fn new(capacity: usize) -> Self {
        Registry { capacity, state: Mutex::new(State { buckets: HashMap::new(), crowded: capacity }) }
    }

    /// The bucket of `key`, a new and full one if there is none.
    pub fn get(&self, key: &K, now: u64) -> Arc<Bucket> {
        let mut state = self.state.lock();
        if let Some(bucket) = state.buckets.get(key) {
            return bucket.clone();
        }
        if state.buckets.len() >= state.crowded {
            state.make_room(self.capacity, now);
        }
        let bucket = Arc::<Bucket>::default();
        state.buckets.insert(key.clone(), bucket.clone());
        bucket
    }

    /// Forgets the buckets that nobody holds and that are full at `now`.
    pub fn sweep(&self, now: u64) {
        let mut state = self.state.lock();
        state.forget_full(now);
        state.crowded = self.capacity.max(state.buckets.len());
        let spare = 2 * state.buckets.len();
        state.buckets.shrink_to(spare);
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.state.lock().buckets.len()
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn forget_full(&mut self, now: u64) {
        self.buckets.retain(|_, bucket| !is_idle(bucket) || bucket.full_at() > now);
    }

    /// Frees an eighth of the capacity at once, so that a stream of new keys pays for a look at all of them only now and then.
    fn make_room(&mut self, capacity: usize, now: u64) {
        let slack = capacity / 8 + 1;
        self.forget_full(now);
        let surplus = (self.buckets.len() + slack).saturating_sub(capacity);
        let mut idle: Vec<u64> =
            self.buckets.values().filter(|bucket| is_idle(bucket)).map(|bucket| bucket.full_at()).collect();
        if surplus > 0 && !idle.is_empty() {
            let last = surplus.min(idle.len()) - 1;
            let (_, &mut bound, _) = idle.select_nth_unstable(last);
            let mut left = last + 1;
            self.buckets.retain(|_, bucket| {
                let forget = left > 0 && is_idle(bucket) && bucket.full_at() <= bound;
                left -= usize::from(forget);
                !forget
            });
        }
        self.crowded = capacity.max(self.buckets.len() + slack);
    }
}

/// Whether only the registry holds it. New holders come through the registry's lock, so `true` stays true under it.
fn is_idle(bucket: &Arc<Bucket>) -> bool {
    Arc::strong_count(bucket) == 1
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::Quota;

    use super::super::bucket::quota;
    use super::*;
    use crate::config::policy::Rate;

    const SECOND: u64 = 1_000_000_000;

    /// One token a second, ten at most.
    fn slow() -> Quota {
        let ten = NonZeroU32::new(10).unwrap();
        quota(Rate { count: NonZeroU32::MIN, per: Duration::from_secs(1), burst: ten })
    }

    fn spend(registry: &Registry<u32>, key: u32, tokens: usize) {
        let bucket = registry.get(&key, 0);
        for _ in 0..tokens {
            bucket.take(slow(), 0).unwrap();
        }
    }

    #[test]
    fn a_budget_outlives_its_holder_until_it_is_full() {
        let registry = Registry::new(10);
        spend(&registry, 1, 10);
        registry.sweep(9 * SECOND);
        assert_eq!(registry.len(), 1);
        assert!(registry.get(&1, 0).take(slow(), 0).is_err());
        registry.sweep(10 * SECOND);
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn a_bucket_in_use_is_never_forgotten() {
        let registry = Registry::new(2);
        let held: Vec<_> = (0..20).map(|key| registry.get(&key, 0)).collect();
        registry.sweep(u64::MAX);
        assert_eq!(registry.len(), 20);
        for (key, bucket) in (0..).zip(&held) {
            assert!(Arc::ptr_eq(bucket, &registry.get(&key, 0)));
        }
        drop(held);
        registry.sweep(u64::MAX);
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn a_crowd_pushes_out_what_is_nearest_to_full() {
        let registry = Registry::new(16);
        for key in 0..16 {
            spend(&registry, key, if key < 13 { 9 } else { 2 });
        }
        registry.get(&99, 0);
        let remembered = |key: u32| registry.state.lock().buckets.contains_key(&key);
        assert!((0..13).all(remembered));
        assert!(!(13..16).any(remembered));
        assert!(registry.len() <= 16);
    }

    #[test]
    fn a_stream_of_new_keys_stays_bounded() {
        let registry = Registry::new(64);
        for key in 0..10_000 {
            spend(&registry, key, 1 + key as usize % 10);
            assert!(registry.len() <= 64);
        }
    }
}
