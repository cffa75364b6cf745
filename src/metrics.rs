//! What is counted. Every label comes from a fixed set, so no client can make a series.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::config::policy::Label;
use crate::process::{Usage, descriptor_limit};
use crate::reject::Code;

/// Why a connection was closed, from this side or by the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// `exp` and the leeway have passed.
    TokenExpired,
    /// By the policy in force it would not have been admitted.
    PolicyChanged,
    /// Its token was revoked.
    TokenRevoked,
    /// The process is going down.
    Draining,
    /// The peer does not read what waits for it.
    SlowReader,
    /// A packet could not be handed to the peer.
    SendFailed,
    /// More refused events than `limits.events.disconnect_after`.
    Refusals,
    /// The subject already has `limits.connections.per_user` sockets.
    UserCap,
    /// No key is there to verify with; the client is to come back.
    KeysUnavailable,
    /// Nobody was admitted in time.
    NotAdmitted,
    /// CONNECT was sent too often.
    ConnectFlood,
    /// Too many packets that are no events.
    InboundBudget,
    /// A packet that the protocol does not allow: binary, oversize, broken.
    BadPacket,
    /// The client did not answer pings.
    Heartbeat,
    /// The client closed, or its network did.
    Client,
}

impl CloseReason {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [CloseReason] = &[
        CloseReason::TokenExpired,
        CloseReason::PolicyChanged,
        CloseReason::TokenRevoked,
        CloseReason::Draining,
        CloseReason::SlowReader,
        CloseReason::SendFailed,
        CloseReason::Refusals,
        CloseReason::UserCap,
        CloseReason::KeysUnavailable,
        CloseReason::NotAdmitted,
        CloseReason::ConnectFlood,
        CloseReason::InboundBudget,
        CloseReason::BadPacket,
        CloseReason::Heartbeat,
        CloseReason::Client,
    ];

    /// The label in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            CloseReason::TokenExpired => "token_expired",
            CloseReason::PolicyChanged => "policy_changed",
            CloseReason::TokenRevoked => "token_revoked",
            CloseReason::Draining => "draining",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::SendFailed => "send_failed",
            CloseReason::Refusals => "refusals",
            CloseReason::UserCap => "user_cap",
            CloseReason::KeysUnavailable => "keys_unavailable",
            CloseReason::NotAdmitted => "not_admitted",
            CloseReason::ConnectFlood => "connect_flood",
            CloseReason::InboundBudget => "inbound_budget",
            CloseReason::BadPacket => "bad_packet",
            CloseReason::Heartbeat => "heartbeat",
            CloseReason::Client => "client",
        }
    }
}

impl CloseReason {
    /// The configuration's key that spoke, where one did.
    pub const fn rule(self) -> Option<&'static str> {
        match self {
            CloseReason::Draining => Some("drain"),
            CloseReason::SlowReader => Some("limits.slow_reader"),
            CloseReason::Refusals => Some("limits.events.disconnect_after"),
            CloseReason::UserCap => Some("limits.connections.per_user"),
            _ => None,
        }
    }
}

/// Why the decision log lacks a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedLine {
    /// The writer did not keep up.
    Queue,
    /// The file could not be written.
    Unwritable,
    /// One connection, or one address, has had its share of them.
    Suppressed,
}

impl DroppedLine {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [DroppedLine] =
        &[DroppedLine::Queue, DroppedLine::Unwritable, DroppedLine::Suppressed];

    /// The label in metrics, and in the lines that stand for those that are missing.
    pub const fn as_str(self) -> &'static str {
        match self {
            DroppedLine::Queue => "queue",
            DroppedLine::Unwritable => "unwritable",
            DroppedLine::Suppressed => "suppressed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    rule: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: Arc<str>,
    r#type: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObservedLabels {
    event: Arc<str>,
    r#type: Arc<str>,
    code: &'static str,
}

/// What became of events. Their labels are names that the policy gives.
#[derive(Clone, Debug, Default)]
pub struct EventCounters {
    /// By rule.
    pub rules: RuleCounters,
    events: Family<EventLabels, Counter>,
    observed: Family<ObservedLabels, Counter>,
}

/// The counters of the events of one name and type.
#[derive(Clone, Debug)]
pub struct EventCounts {
    /// Relayed, and no check had anything against it.
    pub accepted: Counter,
    /// Relayed, though checks that are only observed would have refused it.
    pub observed: Counter,
    /// Refused.
    pub refused: Counter,
}

impl EventCounters {
    /// Those of one label, which begin at zero.
    pub fn of(&self, label: &Label) -> EventCounts {
        let counter = |outcome| {
            let labels = EventLabels { event: label.event.clone(), r#type: label.kind.clone(), outcome };
            self.events.get_or_create(&labels).clone()
        };
        EventCounts {
            accepted: counter("accepted"),
            observed: counter("observed"),
            refused: counter("refused"),
        }
    }

    /// Events of one label that passed and would have been refused with this code.
    pub fn observed(&self, label: &Label, code: Code) -> Counter {
        let labels =
            ObservedLabels { event: label.event.clone(), r#type: label.kind.clone(), code: code.as_str() };
        self.observed.get_or_create(&labels).clone()
    }
}

/// What became of the events that rules judged. Rules are named in the policy, so their names are a fixed set.
#[derive(Clone, Debug, Default)]
pub struct RuleCounters(Family<RuleLabels, Counter>);

/// The counters of one rule.
#[derive(Clone, Debug)]
pub struct RuleCounts {
    /// Events that it allowed.
    pub allowed: Counter,
    /// Events that it refused.
    pub refused: Counter,
    /// Events that it would have refused with `mode = "enforce"`.
    pub observed: Counter,
    /// Events on which it came to no answer. With `mode = "enforce"` they were refused.
    pub error: Counter,
}

impl RuleCounters {
    /// The counters of the rule of this name, which begin at zero.
    pub fn of(&self, rule: &str) -> RuleCounts {
        let counter = |outcome| {
            let labels = RuleLabels { rule: rule.to_owned(), outcome };
            self.0.get_or_create(&labels).clone()
        };
        RuleCounts {
            allowed: counter("allowed"),
            refused: counter("refused"),
            observed: counter("observed"),
            error: counter("error"),
        }
    }
}

/// Why a delivery was withheld from a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithheldReason {
    /// An audience rule does not let it hear the event's type in this team.
    Audience,
    /// Its own filter does not want it.
    Filter,
    /// Not withheld: an audience rule with `mode = "observe"` would have.
    Observed,
}

impl WithheldReason {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [WithheldReason] =
        &[WithheldReason::Audience, WithheldReason::Filter, WithheldReason::Observed];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            WithheldReason::Audience => "audience",
            WithheldReason::Filter => "filter",
            WithheldReason::Observed => "observed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: String,
}

/// What audience rules decided of peers, and what came of it. Rules are named in the policy, so their names are a fixed set.
#[derive(Clone, Debug, Default)]
pub struct AudienceCounters {
    peers: Family<RuleLabels, Counter>,
    withheld: Family<RuleLabel, Counter>,
}

/// The counters of one audience rule.
#[derive(Clone, Debug)]
pub struct AudienceCounts {
    /// Peers that it lets hear its types, each counted in each of its teams; in the others the same.
    pub hears: Counter,
    /// Peers from which it withholds them.
    pub withheld: Counter,
    /// Peers from which it would withhold them with `mode = "enforce"`.
    pub observed: Counter,
    /// Peers of which it came to no answer. With `mode = "enforce"` they do not hear its types.
    pub error: Counter,
    /// Deliveries that it withheld, or would have.
    pub deliveries: Counter,
}

impl AudienceCounters {
    /// The counters of the rule of this name, which begin at zero.
    pub fn of(&self, rule: &str) -> AudienceCounts {
        let peers = |outcome| {
            let labels = RuleLabels { rule: rule.to_owned(), outcome };
            self.peers.get_or_create(&labels).clone()
        };
        AudienceCounts {
            hears: peers("hears"),
            withheld: peers("withheld"),
            observed: peers("observed"),
            error: peers("error"),
            deliveries: self.withheld.get_or_create(&RuleLabel { rule: rule.to_owned() }).clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabel {
    by: &'static str,
}

/// What one of the places where accepted events may wait has held.
#[derive(Clone, Debug)]
pub struct HeldCounts {
    /// Events that were dropped because a later equal one took their place.
    pub folded: Counter,
    /// Events that wait now.
    pub waiting: Gauge,
}

/// The process's counters. Looking one up is an index into an array.
pub struct Metrics {
    registry: Registry,
    refusals: Vec<Counter>,
    closes: Vec<Counter>,
    withheld: Vec<Counter>,
    /// Connections that `limits.events.disconnect_after` would have closed, were it enforced.
    pub observed_closes: Counter,
    /// What became of events, by the policy's names.
    pub events: EventCounters,
    /// What audience rules decided.
    pub audience: AudienceCounters,
    /// Sockets that `auth.mode = "optional"` let in without a token.
    pub observed_tokenless: Counter,
    decision_drops: Vec<Counter>,
    /// Lines written into the decision log.
    pub decision_lines: Counter,
    /// Sockets admitted.
    pub admissions: Counter,
    /// Events relayed, or held to be.
    pub events_accepted: Counter,
    /// Accepted events that wait for the end of a window (`relay.coalesce`).
    pub held_by_window: HeldCounts,
    /// Copies of events handed to members.
    pub deliveries: Counter,
    /// Requests to the internal port's API without the admin token.
    pub admin_unauthorized: Counter,
    /// Live Engine.IO sessions.
    pub sessions: Gauge,
    /// Live admitted peers.
    pub peers: Gauge,
    /// Rooms with at least one member.
    pub rooms: Gauge,
    /// Members of all rooms together; a peer counts once in each of its rooms.
    pub members: Gauge,
    /// Open TCP connections of the public port.
    pub connections: Gauge,
    /// Addresses and users that are counted because they hold something.
    pub connection_keys: Gauge,
    /// Keys of rate limits that are remembered.
    pub rate_limit_keys: Gauge,
    /// Revocations that hold.
    pub revocations: Gauge,
    /// Tasks of the runtime that have not ended.
    pub runtime_tasks: Gauge,
}

impl Metrics {
    /// All at zero, each series already there.
    pub fn new() -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(Process));
        let registry = all.sub_registry_with_prefix("flowgate");
        let refusals = Family::<CodeLabel, Counter>::default();
        registry.register("refusals", "Refused handshakes, sockets and events by code", refusals.clone());
        let closes = Family::<ReasonLabel, Counter>::default();
        registry.register("closes", "Closed connections by reason", closes.clone());
        let observed_closes = Family::<ReasonLabel, Counter>::default();
        let help = "Connections that an observed limit would have closed by reason";
        registry.register("observed_closes", help, observed_closes.clone());
        let observed_admissions = Family::<CodeLabel, Counter>::default();
        let help = "Sockets that auth.mode \"required\" would have refused by code";
        registry.register("observed_admissions", help, observed_admissions.clone());
        let events = EventCounters::default();
        registry.register("rules", "Events that a rule judged by rule and outcome", events.rules.0.clone());
        registry.register("events", "Events by name, type and outcome", events.events.clone());
        let help = "Events that passed and that observed checks would have refused by name, type and code";
        registry.register("observed_events", help, events.observed.clone());
        let audience = AudienceCounters::default();
        let help = "Peers that an audience rule judged, in each of their teams, by rule and outcome";
        registry.register("audience", help, audience.peers.clone());
        let help = "Deliveries that an audience rule withheld, or would have, by rule";
        registry.register("audience_withheld", help, audience.withheld.clone());
        let withheld = Family::<ReasonLabel, Counter>::default();
        registry.register("withheld", "Deliveries withheld by reason", withheld.clone());
        let drops = Family::<ReasonLabel, Counter>::default();
        registry.register(
            "decision_log_dropped",
            "Lines that the decision log lacks by reason",
            drops.clone(),
        );
        let by_drop =
            |reason: &DroppedLine| drops.get_or_create(&ReasonLabel { reason: reason.as_str() }).clone();
        let folded = Family::<HeldLabel, Counter>::default();
        registry.register(
            "events_folded",
            "Accepted events whose place a later equal one took",
            folded.clone(),
        );
        let waiting = Family::<HeldLabel, Gauge>::default();
        registry.register("events_waiting", "Accepted events that wait to be relayed", waiting.clone());
        let held = |by| HeldCounts {
            folded: folded.get_or_create(&HeldLabel { by }).clone(),
            waiting: waiting.get_or_create(&HeldLabel { by }).clone(),
        };
        let by_code = |code: &Code| refusals.get_or_create(&CodeLabel { code: code.as_str() }).clone();
        let by_reason =
            |reason: &CloseReason| closes.get_or_create(&ReasonLabel { reason: reason.as_str() }).clone();
        let by_withheld = |reason: &WithheldReason| {
            withheld.get_or_create(&ReasonLabel { reason: reason.as_str() }).clone()
        };
        Metrics {
            refusals: Code::ALL.iter().map(by_code).collect(),
            closes: CloseReason::ALL.iter().map(by_reason).collect(),
            withheld: WithheldReason::ALL.iter().map(by_withheld).collect(),
            observed_closes: observed_closes
                .get_or_create(&ReasonLabel { reason: CloseReason::Refusals.as_str() })
                .clone(),
            observed_tokenless: observed_admissions
                .get_or_create(&CodeLabel { code: Code::TokenMissing.as_str() })
                .clone(),
            events,
            audience,
            decision_drops: DroppedLine::ALL.iter().map(by_drop).collect(),
            decision_lines: counter(registry, "decision_log_lines", "Lines written into the decision log"),
            admissions: counter(registry, "admissions", "Sockets admitted"),
            events_accepted: counter(registry, "events_accepted", "Events relayed, or held to be"),
            held_by_window: held("window"),
            deliveries: counter(registry, "deliveries", "Copies of events handed to members"),
            admin_unauthorized: counter(
                registry,
                "admin_unauthorized",
                "Requests to the API without the admin token",
            ),
            sessions: gauge(registry, "sessions", "Live Engine.IO sessions"),
            peers: gauge(registry, "peers", "Live admitted peers"),
            rooms: gauge(registry, "rooms", "Rooms with at least one member"),
            members: gauge(registry, "members", "Members of all rooms, each counted in each of its rooms"),
            connections: gauge(registry, "connections", "Open TCP connections of the public port"),
            connection_keys: gauge(
                registry,
                "connection_keys",
                "Addresses and users with connections, sessions or sockets",
            ),
            rate_limit_keys: gauge(registry, "rate_limit_keys", "Rate limit keys remembered"),
            revocations: gauge(registry, "revocations", "Revocations that hold"),
            runtime_tasks: gauge(registry, "runtime_tasks", "Tasks of the runtime that have not ended"),
            registry: all,
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, code: Code) {
        self.refusals[code.index()].inc();
    }

    /// Counts a closed connection.
    pub fn closed(&self, reason: CloseReason) {
        self.closes[reason as usize].inc();
    }

    /// Counts so many deliveries that were withheld, or would have been.
    pub fn withheld(&self, reason: WithheldReason, deliveries: u64) {
        self.withheld[reason as usize].inc_by(deliveries);
    }

    /// Counts lines that the decision log lacks.
    pub fn decision_dropped(&self, reason: DroppedLine, lines: u64) {
        self.decision_drops[reason as usize].inc_by(lines);
    }

    /// All series in OpenMetrics text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// What the process uses, under the names that every Prometheus client library gives it; read at each scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let mut put = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(encoder)
        };
        let Some(usage) = Usage::read() else { return Ok(()) };
        let integer = |number: u64| ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
        put("process_resident_memory_bytes", "Resident memory", &integer(usage.resident))?;
        put("process_cpu_seconds", "User and system CPU time", &ConstCounter::new(usage.cpu))?;
        put("process_open_fds", "Open descriptors", &integer(usage.descriptors))?;
        match descriptor_limit() {
            Some(limit) => put("process_max_fds", "Descriptors that may be open", &integer(limit)),
            None => Ok(()),
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter<u64, AtomicU64> {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_series() {
        let metrics = Metrics::new();
        for (at, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            metrics.closed(*reason);
        }
        for (at, reason) in WithheldReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            metrics.withheld(*reason, 2);
        }
        let text = metrics.render().unwrap();
        let closes = CloseReason::ALL.iter().map(|reason| ("closes", reason.as_str(), 1));
        let withheld = WithheldReason::ALL.iter().map(|reason| ("withheld", reason.as_str(), 2));
        for (family, reason, count) in closes.chain(withheld) {
            let line = format!("flowgate_{family}_total{{reason=\"{reason}\"}} {count}");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
    }
}
