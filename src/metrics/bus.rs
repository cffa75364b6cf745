//! What is counted of the bus. All of it is zero where a node is alone.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Latency, OutcomeLabel, ReasonLabel, counter, gauge, latency};

/// The bus's counters.
#[derive(Clone, Debug)]
pub struct BusCounts {
    /// 1 while all connections to Redis stand.
    pub up: Gauge,
    /// How often they have come to stand.
    pub connects: Counter,
    /// Since when it is so, in seconds since 1970.
    pub since: Gauge,
    /// Changes given to it.
    pub published: Counter,
    /// Those that are not confirmed, and other messages.
    pub queued: Gauge,
    /// What they take up, roughly; bytes.
    pub queued_bytes: Gauge,
    /// From being given to it until Redis has confirmed it.
    pub confirm_latency: Latency,
    /// From another node's handing it to Redis until it is here, by the clocks of both.
    pub transit_latency: Latency,
    /// Messages that left something out.
    pub gaps: Counter,
    /// Other nodes that are there.
    pub nodes: Gauge,
    sent: Vec<Counter>,
    received: Vec<Counter>,
    refused: Vec<Counter>,
    resyncs: Vec<Counter>,
    channels: Family<StateLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// What has become of a change on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Redis has it.
    Confirmed,
    /// Too much waited.
    Dropped,
    /// Redis would not have it.
    Refused,
}

/// What has become of a message that came in and was listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Members were told.
    Delivered,
    /// It came before.
    Duplicate,
    /// This node sent it.
    Own,
    /// It is about nodes, not for members.
    Notice,
}

impl Sent {
    const LABELS: [&'static str; 3] = ["confirmed", "dropped", "refused"];
}

impl Received {
    const LABELS: [&'static str; 4] = ["delivered", "duplicate", "own", "notice"];
}

/// Why a message is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusRefusal {
    /// It is not in a version that this node reads, or in no form of flowgate's at all.
    Version,
    /// It is not signed, or not with a secret of this node's.
    Signature,
    /// It is larger than this node's policy lets events be.
    TooLarge,
    /// It is not what its version says, or its payload is no JSON.
    Malformed,
    /// Its payload is nested deeper than this node's policy lets events be.
    TooDeep,
    /// It names teams that there cannot be, or came on a channel where it does not belong.
    Team,
    /// It is relayed under a name that this node's policy does not have.
    UnknownEvent,
}

impl BusRefusal {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [BusRefusal] = &[
        BusRefusal::Version,
        BusRefusal::Signature,
        BusRefusal::TooLarge,
        BusRefusal::Malformed,
        BusRefusal::TooDeep,
        BusRefusal::Team,
        BusRefusal::UnknownEvent,
    ];

    /// The label in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            BusRefusal::Version => "version",
            BusRefusal::Signature => "signature",
            BusRefusal::TooLarge => "too_large",
            BusRefusal::Malformed => "malformed",
            BusRefusal::TooDeep => "too_deep",
            BusRefusal::Team => "team",
            BusRefusal::UnknownEvent => "unknown_event",
        }
    }
}

/// Why members may have missed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusReason {
    /// This node did not hear what others said to the team: its connection was lost.
    Interrupted,
    /// They were in the room before this node could hear what others said to it.
    Late,
    /// Something that another node had said was left out.
    Gap,
    /// Another node says that it could not pass on all that it had.
    Dropped,
    /// Another node died, perhaps with something that it had not passed on.
    NodeDied,
    /// Another node that was taken for dead was not, and was not heard.
    NodeBack,
    /// Something came that this node's policy does not let through.
    Refused,
}

impl BusReason {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [BusReason] = &[
        BusReason::Interrupted,
        BusReason::Late,
        BusReason::Gap,
        BusReason::Dropped,
        BusReason::NodeDied,
        BusReason::NodeBack,
        BusReason::Refused,
    ];

    /// The label in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            BusReason::Interrupted => "interrupted",
            BusReason::Late => "late",
            BusReason::Gap => "gap",
            BusReason::Dropped => "dropped",
            BusReason::NodeDied => "node_died",
            BusReason::NodeBack => "node_back",
            BusReason::Refused => "refused",
        }
    }
}

impl BusCounts {
    /// Registers all of them.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let outcomes = |family: &Family<OutcomeLabel, Counter>, outcomes: &[&'static str]| {
            outcomes.iter().map(|outcome| family.get_or_create(&OutcomeLabel { outcome }).clone()).collect()
        };
        let reason = |family: &Family<ReasonLabel, Counter>, reason| {
            family.get_or_create(&ReasonLabel { reason }).clone()
        };
        let (sent, received) = (Family::default(), Family::default());
        let (refused, resyncs) = (Family::default(), Family::default());
        let counts = BusCounts {
            up: gauge(registry, "bus_up", "1 while all connections to Redis stand"),
            connects: counter(
                registry,
                "bus_connects",
                "How often the connections to Redis have come to stand",
            ),
            since: gauge(
                registry,
                "bus_state_timestamp_seconds",
                "When the connections to Redis last came or went, in seconds since 1970",
            ),
            published: counter(registry, "bus_published", "Changes given to the bus for other nodes"),
            queued: gauge(registry, "bus_queued", "Messages to other nodes that Redis has not confirmed"),
            queued_bytes: gauge(registry, "bus_queued_bytes", "What those take up, roughly"),
            confirm_latency: latency(
                registry,
                "bus_confirm_seconds",
                "From a change's being relayed here until Redis has confirmed it",
            ),
            transit_latency: latency(
                registry,
                "bus_transit_seconds",
                "From another node's handing a change to Redis until it is here, by both nodes' clocks",
            ),
            gaps: counter(registry, "bus_gaps", "Messages of other nodes before which one was missing"),
            nodes: gauge(registry, "bus_nodes", "Other nodes that are there"),
            sent: outcomes(&sent, &Sent::LABELS),
            received: outcomes(&received, &Received::LABELS),
            refused: BusRefusal::ALL.iter().map(|why| reason(&refused, why.as_str())).collect(),
            resyncs: BusReason::ALL.iter().map(|why| reason(&resyncs, why.as_str())).collect(),
            channels: Family::default(),
        };
        registry.register("bus_sent", "Changes for other nodes by what became of them", sent);
        registry.register("bus_received", "Messages of nodes by what became of them", received);
        registry.register("bus_refused", "Messages of nodes that were not listened to by reason", refused);
        let help = "Teams whose members were told to fetch everything by reason";
        registry.register("bus_resyncs", help, resyncs);
        let help = "Teams whose channel this node wants, and those that it listens to";
        registry.register("bus_channels", help, counts.channels.clone());
        counts.channels(0, 0);
        counts
    }

    /// Counts so many changes on their way out.
    pub fn sent(&self, what: Sent, changes: usize) {
        self.sent[what as usize].inc_by(changes as u64);
    }

    /// Counts a message that came in.
    pub fn received(&self, what: Received) {
        self.received[what as usize].inc();
    }

    /// Counts a message that was not listened to.
    pub fn refused(&self, why: BusRefusal) {
        self.refused[why as usize].inc();
    }

    /// Counts a team whose members were told to fetch everything.
    pub fn resynced(&self, why: BusReason) {
        self.resyncs[why as usize].inc();
    }

    /// How many channels are wanted, and how many of them are listened to.
    pub fn channels(&self, wanted: usize, confirmed: usize) {
        let set =
            |state, number: usize| self.channels.get_or_create(&StateLabel { state }).set(number as i64);
        set("wanted", wanted);
        set("confirmed", confirmed);
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Metrics;

    use super::*;

    #[test]
    fn every_outcome_and_reason_has_its_own_series() {
        let metrics = Metrics::new();
        let bus = &metrics.bus;
        [Sent::Confirmed, Sent::Dropped, Sent::Refused].into_iter().for_each(|what| bus.sent(what, 1));
        let received = [Received::Delivered, Received::Duplicate, Received::Own, Received::Notice];
        received.into_iter().for_each(|what| bus.received(what));
        BusRefusal::ALL.iter().for_each(|why| bus.refused(*why));
        BusReason::ALL.iter().for_each(|why| bus.resynced(*why));
        let text = metrics.render().unwrap();
        let is_one = |family: &str, label: &str, value: &str| {
            let line = format!("flowgate_bus_{family}_total{{{label}=\"{value}\"}} 1");
            assert!(text.contains(&line), "{line} in\n{text}");
        };
        Sent::LABELS.iter().for_each(|label| is_one("sent", "outcome", label));
        Received::LABELS.iter().for_each(|label| is_one("received", "outcome", label));
        BusRefusal::ALL.iter().for_each(|why| is_one("refused", "reason", why.as_str()));
        BusReason::ALL.iter().for_each(|why| is_one("resyncs", "reason", why.as_str()));
    }
}
