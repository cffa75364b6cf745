//! What flowgate says of itself: the series of its internal port (OpenMetrics text).

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use super::target::Target;
use super::wire::Wire;

/// What must be nothing once everybody has left.
pub const MUST_VANISH: [&str; 6] = [
    "flowgate_sessions",
    "flowgate_peers",
    "flowgate_rooms",
    "flowgate_members",
    "flowgate_connections",
    "flowgate_connection_keys",
];
/// What is forgotten some time later, when no rate has to be remembered.
pub const MUST_FADE: &str = "flowgate_rate_limit_keys";
/// What must be what it was before anybody came.
pub const MUST_RETURN: [&str; 2] = ["flowgate_runtime_tasks", "process_open_fds"];
/// What shows that the mix did what it says: refusals by code, and closes by reason, of which there must be some.
pub const MUST_HAPPEN: [(&str, &[&str]); 2] = [
    (
        "flowgate_refusals_total",
        &[
            "rate_limited",
            "unknown_type",
            "unknown_event",
            "missing_field",
            "unknown_field",
            "invalid_payload",
            "stale_timestamp",
            "future_timestamp",
            "too_large",
            "too_deep",
            "token_missing",
            "token_invalid",
            "token_expired",
            "malformed",
            "origin",
            "not_found",
            "too_many_requests",
        ],
    ),
    (
        "flowgate_closes_total",
        &[
            "token_expired",
            "slow_reader",
            "refusals",
            "not_admitted",
            "connect_flood",
            "inbound_budget",
            "bad_packet",
            "client",
        ],
    ),
];

/// All series at one moment, by name and labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gauges(BTreeMap<String, f64>);

impl Gauges {
    /// Reads them.
    ///
    /// # Errors
    /// When the internal port does not answer with 200.
    pub async fn read(target: &Target) -> io::Result<Self> {
        let mut wire = Wire::dial(target.internal, Ipv4Addr::LOCALHOST, None).await?;
        let host = target.internal;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        wire.write(request.as_bytes()).await?;
        let answer = wire.answer().await?;
        match answer.status {
            200 => Ok(Self::parse(&answer.body)),
            status => Err(io::Error::other(format!("/metrics was answered {status}"))),
        }
    }

    /// Reads the text of `/metrics`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// The value of a series, `None` when flowgate does not expose it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// The labels' values and the counts of one family, largest first, without those that are nothing.
    #[must_use]
    pub fn family(&self, name: &str) -> Vec<(&str, f64)> {
        let label = |series: &'_ str| -> Option<(usize, usize)> {
            let labels = series.strip_prefix(name)?.strip_prefix('{')?;
            let start = series.len() - labels.len() + labels.find('"')? + 1;
            Some((start, start + series[start..].find('"')?))
        };
        let counted = self.0.iter().filter(|(_, count)| **count > 0.0);
        let mut family: Vec<_> = counted
            .filter_map(|(series, &count)| label(series).map(|(start, end)| (&series[start..end], count)))
            .collect();
        family.sort_by(|one, other| other.1.total_cmp(&one.1));
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_with_and_without_labels() {
        let text = "# TYPE flowgate_closes counter\nflowgate_closes_total{reason=\"client\"} 3\n\
                    flowgate_closes_total{reason=\"heartbeat\"} 7\nflowgate_closes_total{reason=\"draining\"} 0\n\
                    flowgate_rooms 22\n# EOF\n";
        let gauges = Gauges::parse(text);
        assert_eq!((gauges.get("flowgate_rooms"), gauges.get("flowgate_peers")), (Some(22.0), None));
        assert_eq!(gauges.family("flowgate_closes_total"), [("heartbeat", 7.0), ("client", 3.0)]);
    }
}
