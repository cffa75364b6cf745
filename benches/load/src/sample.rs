//! What one run of one scenario on one server measured.

use std::ops::{Index, IndexMut};

/// A measured quantity; each is a column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Server CPU microseconds for each event delivered to one recipient.
    CpuPerDelivery,
    /// Server CPU microseconds for each event received from a sender (relayed or refused).
    CpuPerEvent,
    /// Events delivered to one recipient, each second.
    DeliveriesPerSecond,
    /// Median time from the sender's write to a recipient's read, in milliseconds.
    LatencyP50,
    /// 99th percentile of the same, in milliseconds.
    LatencyP99,
    /// Server CPU microseconds for each connection opened and admitted.
    HandshakeCpu,
    /// Growth of the server's resident memory for each idle connection, in KB of 1,024 bytes.
    IdleKilobytes,
    /// Share of one core that the server used, in percent.
    ServerBusy,
    /// Share of one core that the load generator used, in percent.
    LoadBusy,
    /// Deliveries that never came.
    Lost,
}

impl Measure {
    /// Every measure, in the table's order.
    pub const ALL: [Self; 10] = [
        Self::CpuPerDelivery,
        Self::CpuPerEvent,
        Self::DeliveriesPerSecond,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::HandshakeCpu,
        Self::IdleKilobytes,
        Self::ServerBusy,
        Self::LoadBusy,
        Self::Lost,
    ];

    /// The column's head in a table.
    #[must_use]
    pub fn head(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "µs/delivery",
            Self::CpuPerEvent => "µs/event",
            Self::DeliveriesPerSecond => "deliveries/s",
            Self::LatencyP50 => "p50 ms",
            Self::LatencyP99 => "p99 ms",
            Self::HandshakeCpu => "µs/handshake",
            Self::IdleKilobytes => "KB/conn",
            Self::ServerBusy => "server %",
            Self::LoadBusy => "load %",
            Self::Lost => "lost",
        }
    }

    /// The key in JSON.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "cpu_us_per_delivery",
            Self::CpuPerEvent => "cpu_us_per_event",
            Self::DeliveriesPerSecond => "deliveries_per_second",
            Self::LatencyP50 => "latency_p50_ms",
            Self::LatencyP99 => "latency_p99_ms",
            Self::HandshakeCpu => "cpu_us_per_handshake",
            Self::IdleKilobytes => "kb_per_idle_connection",
            Self::ServerBusy => "server_busy_percent",
            Self::LoadBusy => "load_busy_percent",
            Self::Lost => "lost_deliveries",
        }
    }

    /// Decimals that mean something.
    #[must_use]
    pub fn decimals(self) -> usize {
        match self {
            Self::CpuPerDelivery | Self::CpuPerEvent | Self::LatencyP50 | Self::LatencyP99 => 2,
            Self::HandshakeCpu | Self::IdleKilobytes => 1,
            Self::DeliveriesPerSecond | Self::ServerBusy | Self::LoadBusy | Self::Lost => 0,
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
        assert_eq!(sample[Measure::Lost], Some(9.0));
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
