//! What one run of one scenario on one server measured.

use std::ops::{Index, IndexMut};

/// A measured quantity; each is a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Server CPU microseconds for each event delivered to one recipient.
    CpuPerDelivery,
    /// The same of the server with one worker thread, where one with more is measured.
    OneThreadCpu,
    /// The CPU for each delivery with more worker threads, as a multiple of that with one.
    ThreadsRatio,
    /// Server CPU microseconds for each event received from a sender (relayed or refused).
    CpuPerEvent,
    /// The part of the node that events are sent to in [`Self::CpuPerEvent`], where there are several.
    SendingCpu,
    /// The same of a server without a bus, where nobody listens elsewhere.
    AloneCpu,
    /// What the bus adds to the cost of an event on the sending node: the difference of the two.
    BusCpu,
    /// The part of a node that only hears of the events from the bus.
    ReceivingCpu,
    /// The part of the Redis between them.
    RedisCpu,
    /// Events delivered to one recipient, each second.
    DeliveriesPerSecond,
    /// Events that the server refused while they disturbed others, each second.
    RefusedPerSecond,
    /// The median latency of the phase in which nothing disturbs, in milliseconds.
    QuietP50,
    /// The 99th percentile of the same.
    QuietP99,
    /// The median time from the sender's write to the read of a recipient on the same node, where there are others, in milliseconds.
    LocalP50,
    /// The 99th percentile of the same.
    LocalP99,
    /// Median time from the sender's write to a recipient's read, on the other node where there are two, in milliseconds.
    LatencyP50,
    /// 99th percentile of the same, in milliseconds.
    LatencyP99,
    /// The 99th percentile while something disturbs, as a multiple of the quiet one.
    LatencyRatio,
    /// Server CPU microseconds for each handshake: opened and admitted, or also turned away in a flood of them.
    HandshakeCpu,
    /// Handshakes of a flood that the server admitted.
    Admitted,
    /// Growth of the server's peak resident memory in a flood, in MB of 1,048,576 bytes.
    PeakGrowth,
    /// Growth of the server's resident memory for each idle connection, in KB of 1,024 bytes.
    IdleKilobytes,
    /// Share of one core that the server used while nobody watched it, in percent.
    UnwatchedBusy,
    /// What an open admin page added to that, in percent of a core.
    PageBusy,
    /// The server's resident memory before the load, settled, in MB.
    MegabytesBefore,
    /// The same once the load is over.
    MegabytesAfter,
    /// The latter as a multiple of the former.
    MemoryRatio,
    /// Share of one core that the server used, in percent.
    ServerBusy,
    /// Share of one core that the load generator used, in percent.
    LoadBusy,
    /// Deliveries that never came.
    Lost,
}

impl Measure {
    /// Every measure, in the table's order.
    pub const ALL: [Self; 30] = [
        Self::CpuPerDelivery,
        Self::OneThreadCpu,
        Self::ThreadsRatio,
        Self::CpuPerEvent,
        Self::SendingCpu,
        Self::AloneCpu,
        Self::BusCpu,
        Self::ReceivingCpu,
        Self::RedisCpu,
        Self::DeliveriesPerSecond,
        Self::RefusedPerSecond,
        Self::QuietP50,
        Self::QuietP99,
        Self::LocalP50,
        Self::LocalP99,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::LatencyRatio,
        Self::HandshakeCpu,
        Self::Admitted,
        Self::PeakGrowth,
        Self::IdleKilobytes,
        Self::UnwatchedBusy,
        Self::PageBusy,
        Self::MegabytesBefore,
        Self::MegabytesAfter,
        Self::MemoryRatio,
        Self::ServerBusy,
        Self::LoadBusy,
        Self::Lost,
    ];

    /// The column's head in a table.
    #[must_use]
    pub fn head(self) -> &'static str {
        self.description().0
    }

    /// The key in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        self.description().1
    }

    /// Decimals that mean something.
    #[must_use]
    pub fn decimals(self) -> usize {
        self.description().2
    }

    fn description(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::CpuPerDelivery => ("µs/delivery", "cpu_us_per_delivery", 2),
            Self::OneThreadCpu => ("1 thread's", "one_thread_cpu_us_per_delivery", 2),
            Self::ThreadsRatio => ("× 1 thread", "cpu_to_one_thread", 2),
            Self::CpuPerEvent => ("µs/event", "cpu_us_per_event", 2),
            Self::SendingCpu => ("sender µs", "sending_node_cpu_us_per_event", 1),
            Self::AloneCpu => ("alone µs", "lone_node_cpu_us_per_event", 1),
            Self::BusCpu => ("bus +µs", "bus_cpu_us_per_event", 1),
            Self::ReceivingCpu => ("receiver µs", "receiving_node_cpu_us_per_event", 1),
            Self::RedisCpu => ("Redis µs", "redis_cpu_us_per_event", 1),
            Self::LocalP50 => ("own p50", "same_node_latency_p50_ms", 2),
            Self::LocalP99 => ("own p99", "same_node_latency_p99_ms", 2),
            Self::DeliveriesPerSecond => ("deliveries/s", "deliveries_per_second", 0),
            Self::RefusedPerSecond => ("refused/s", "refused_per_second", 0),
            Self::QuietP50 => ("quiet p50", "quiet_latency_p50_ms", 2),
            Self::QuietP99 => ("quiet p99", "quiet_latency_p99_ms", 2),
            Self::LatencyP50 => ("p50 ms", "latency_p50_ms", 2),
            Self::LatencyP99 => ("p99 ms", "latency_p99_ms", 2),
            Self::LatencyRatio => ("× quiet p99", "latency_p99_to_quiet", 2),
            Self::HandshakeCpu => ("µs/handshake", "cpu_us_per_handshake", 1),
            Self::Admitted => ("admitted", "admitted_handshakes", 0),
            Self::PeakGrowth => ("peak +MB", "peak_growth_mb", 1),
            Self::IdleKilobytes => ("KB/conn", "kb_per_idle_connection", 1),
            Self::UnwatchedBusy => ("idle %", "unwatched_busy_percent", 2),
            Self::PageBusy => ("page +%", "admin_page_busy_percent", 2),
            Self::MegabytesBefore => ("MB before", "resident_mb_before", 1),
            Self::MegabytesAfter => ("MB after", "resident_mb_after", 1),
            Self::MemoryRatio => ("× before", "resident_to_before", 2),
            Self::ServerBusy => ("server %", "server_busy_percent", 0),
            Self::LoadBusy => ("load %", "load_busy_percent", 0),
            Self::Lost => ("lost", "lost_deliveries", 0),
        }
    }
}

/// The measures that one run took; the others stay empty.
#[derive(Debug, Clone, Default)]
pub struct Sample([Option<f64>; Measure::ALL.len()]);

impl Index<Measure> for Sample {
    type Output = Option<f64>;

    fn index(&self, measure: Measure) -> &Option<f64> {
        &self.0[measure as usize]
    }
}

impl IndexMut<Measure> for Sample {
    fn index_mut(&mut self, measure: Measure) -> &mut Option<f64> {
        &mut self.0[measure as usize]
    }
}

impl Sample {
    /// The `later` measure as a multiple of the `earlier` one, when both were taken.
    #[must_use]
    pub fn ratio(&self, later: Measure, earlier: Measure) -> Option<f64> {
        Some(self[later]? / self[earlier]?)
    }
}

/// The median, or `None` of nothing.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_its_own_place() {
        let mut sample = Sample::default();
        for (index, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(sample[measure], None);
            sample[measure] = Some(index as f64);
        }
        assert_eq!(sample[Measure::Lost], Some((Measure::ALL.len() - 1) as f64));
    }

    #[test]
    fn a_ratio_needs_both_of_its_measures() {
        let mut sample = Sample::default();
        sample[Measure::LatencyP99] = Some(3.0);
        assert_eq!(sample.ratio(Measure::LatencyP99, Measure::QuietP99), None);
        sample[Measure::QuietP99] = Some(2.0);
        assert_eq!(sample.ratio(Measure::LatencyP99, Measure::QuietP99), Some(1.5));
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
