//! How long something takes, in fixed buckets: counting is two additions, and nothing is locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper ends of the buckets, in nanoseconds: from what an event costs when all is well to what a person notices.
const ENDS: [u64; 18] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
];

/// Those, and one for all that took longer.
const BUCKETS: usize = ENDS.len() + 1;

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct Latency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds.
    sum: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held([u64; BUCKETS]);

impl Latency {
    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = ENDS.partition_point(|end| *end < nanos);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        let mut held = Held::default();
        for (count, bucket) in held.0.iter_mut().zip(&self.0.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        held
    }
}

impl Held {
    /// What came after `before`.
    #[must_use]
    pub fn since(mut self, before: &Held) -> Held {
        for (count, before) in self.0.iter_mut().zip(&before.0) {
            *count = count.saturating_sub(*before);
        }
        self
    }

    /// What this share of it took at most, as evenly as the buckets can tell; `None` where there is nothing.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count: u64 = self.0.iter().sum();
        let wanted = share * count as f64;
        let mut below = 0;
        for (at, here) in self.0.iter().enumerate().filter(|(_, here)| **here > 0) {
            if (below + here) as f64 >= wanted {
                let begin = at.checked_sub(1).map_or(0, |before| ENDS[before]);
                // Of what is in the last one, only its beginning is known.
                let end = ENDS.get(at).copied().unwrap_or(begin);
                let part = ((wanted - below as f64) / *here as f64).clamp(0.0, 1.0);
                return Some(Duration::from_nanos(begin + ((end - begin) as f64 * part) as u64));
            }
            below += here;
        }
        None
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let held = self.held();
        let ends = ENDS.iter().map(|end| Duration::from_nanos(*end).as_secs_f64());
        let buckets: Vec<_> = ends.chain([f64::INFINITY]).zip(held.0).collect();
        let sum = Duration::from_nanos(self.0.sum.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, held.0.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_lie_where_the_buckets_say() {
        let latency = Latency::default();
        assert_eq!(latency.held().quantile(0.5), None);
        let micros = |micros| Duration::from_micros(micros);
        (0..90).for_each(|_| latency.observe(micros(3)));
        (0..10).for_each(|_| latency.observe(micros(700)));
        let held = latency.held();
        let half = held.quantile(0.5).unwrap();
        assert!(half > Duration::from_nanos(2_500) && half <= micros(5), "{half:?}");
        let most = held.quantile(0.99).unwrap();
        assert!(most > micros(500) && most <= micros(1000), "{most:?}");
        assert_eq!(latency.held().since(&held).quantile(0.99), None);
        latency.observe(Duration::from_secs(60));
        let after = latency.held().since(&held);
        assert_eq!(
            after.quantile(0.5),
            Some(Duration::from_secs(1)),
            "what is longer is said to be that long"
        );
    }

    proptest! {
        #[test]
        fn a_quantile_is_never_in_another_bucket_than_what_it_stands_for(
            mut took in prop::collection::vec(0_u64..2_000_000_000, 1..100),
            share in 0.01_f64..1.0,
        ) {
            let latency = Latency::default();
            took.iter().for_each(|nanos| latency.observe(Duration::from_nanos(*nanos)));
            took.sort_unstable();
            let rank = (share * took.len() as f64).ceil() as usize;
            let exact = took[rank.max(1) - 1];
            let said = latency.held().quantile(share).unwrap().as_nanos() as u64;
            let end = |nanos: u64| ENDS.partition_point(|end| *end < nanos);
            // The last bucket is said by where it begins.
            prop_assert!(said <= ENDS[17] && (end(said) == end(exact).min(17) || said == ENDS[end(exact).max(1) - 1]), "{said} for {exact}");
        }
    }
}
