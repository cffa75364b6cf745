//! What is counted. Every label comes from a fixed set, so no client can make a series.

mod bus;
mod latency;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::bus::{BusCounts, BusReason, BusRefusal, Received, Sent};
pub use self::latency::{Held, Latency};
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
    /// An operator closed it.
    Admin,
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
        CloseReason::Admin,
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
            CloseReason::Admin => "admin",
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabel {
    key: &'static str,
}

/// Latencies are measured of one event in so many: reading the clock twice more costs what a stage does.
pub const LATENCY_OF_ONE_IN: u64 = 8;

/// What became of events. Their labels are names that the policy gives.
#[derive(Clone, Debug, Default)]
pub struct EventCounters {
    /// By rule.
    pub rules: RuleCounters,
    events: Family<EventLabels, Counter>,
    observed: Family<ObservedLabels, Counter>,
    stages: Family<StageLabels, Counter>,
    limits: Family<KeyLabel, Counter>,
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

    /// How many events of one label passed that would have been refused with this code; `None` where none could.
    pub fn observed_so_far(&self, label: &Label, code: Code) -> Option<u64> {
        let labels =
            ObservedLabels { event: label.event.clone(), r#type: label.kind.clone(), code: code.as_str() };
        self.observed.get(&labels).map(|counter| counter.get())
    }

    /// Events of one label that passed and would have been refused with this code.
    pub fn observed(&self, label: &Label, code: Code) -> Counter {
        let labels =
            ObservedLabels { event: label.event.clone(), r#type: label.kind.clone(), code: code.as_str() };
        self.observed.get_or_create(&labels).clone()
    }

    /// Events that a stage refused with this code.
    pub fn refused_at(&self, stage: &'static str, code: Code) -> Counter {
        self.stages.get_or_create(&StageLabels { stage, code: code.as_str() }).clone()
    }

    /// Events that had spent the budget which this key of the policy gives, whether it is enforced or observed.
    pub fn over_limit(&self, key: &'static str) -> Counter {
        self.limits.get_or_create(&KeyLabel { key }).clone()
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

/// What a reload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// Another policy is in force.
    Applied,
    /// Something was wrong with what was read, and the old policy stays.
    Refused,
    /// What was read is what is in force.
    Unchanged,
}

impl ReloadOutcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: &'static [ReloadOutcome] =
        &[ReloadOutcome::Applied, ReloadOutcome::Refused, ReloadOutcome::Unchanged];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReloadOutcome::Applied => "applied",
            ReloadOutcome::Refused => "refused",
            ReloadOutcome::Unchanged => "unchanged",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HashLabel {
    hash: String,
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

/// Why a client is told to fetch everything anew: when it comes in, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResyncReason {
    /// It does not say how far it has heard, and `relay.resync_on_connect` is on.
    Connect,
    /// It says that it has heard nothing yet.
    NothingHeard,
    /// What it has heard last is not known here: the process is another, or has forgotten it.
    Unknown,
    /// Something after that is not kept any more.
    TooOld,
    /// It has missed more than can wait for it.
    TooMuch,
    /// It may have missed something that other nodes relayed.
    Missed,
}

impl ResyncReason {
    /// Every reason, in the order of declaration.
    pub const ALL: &'static [ResyncReason] = &[
        ResyncReason::Connect,
        ResyncReason::NothingHeard,
        ResyncReason::Unknown,
        ResyncReason::TooOld,
        ResyncReason::TooMuch,
        ResyncReason::Missed,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResyncReason::Connect => "connect",
            ResyncReason::NothingHeard => "nothing_heard",
            ResyncReason::Unknown => "unknown",
            ResyncReason::TooOld => "too_old",
            ResyncReason::TooMuch => "too_much",
            ResyncReason::Missed => "missed",
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublisherLabels {
    publisher: String,
    outcome: &'static str,
}

/// What became of what backends published. Publishers are named in the policy.
#[derive(Clone, Debug, Default)]
pub struct PublishCounters(Family<PublisherLabels, Counter>);

impl PublishCounters {
    /// Counts one event of this publisher.
    pub fn count(&self, publisher: &str, accepted: bool) {
        let outcome = if accepted { "accepted" } else { "refused" };
        self.0.get_or_create(&PublisherLabels { publisher: publisher.to_owned(), outcome }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeJsLabels {
    outcome: &'static str,
}

/// What became of what servers in Node.js said, and of what they were told.
#[derive(Clone, Debug)]
pub struct NodeJsCounts {
    /// Their broadcasts that were relayed here.
    pub relayed: Counter,
    /// Their broadcasts, and whatever else came on their channels, that were refused.
    pub refused: Counter,
    /// Their broadcasts to rooms in which nobody is here.
    pub elsewhere: Counter,
    /// Changes that Redis has taken for them.
    pub sent: Counter,
    /// Changes that Redis may not have taken, or has refused.
    pub lost: Counter,
    /// Changes that were dropped because too much waited for Redis.
    pub dropped: Counter,
    /// Changes that JavaScript has no value for.
    pub unwritable: Counter,
    /// What waits for Redis.
    pub waiting_bytes: Gauge,
}

impl NodeJsCounts {
    fn register(registry: &mut Registry) -> Self {
        let (heard, told) =
            (Family::<NodeJsLabels, Counter>::default(), Family::<NodeJsLabels, Counter>::default());
        registry.register("nodejs_heard", "Messages on the channels of Node.js by outcome", heard.clone());
        registry.register("nodejs_told", "Changes for servers in Node.js by outcome", told.clone());
        let heard = |outcome| heard.get_or_create(&NodeJsLabels { outcome }).clone();
        let told = |outcome| told.get_or_create(&NodeJsLabels { outcome }).clone();
        NodeJsCounts {
            relayed: heard("relayed"),
            refused: heard("refused"),
            elsewhere: heard("elsewhere"),
            sent: told("sent"),
            lost: told("lost"),
            dropped: told("dropped"),
            unwritable: told("unwritable"),
            waiting_bytes: gauge(
                registry,
                "nodejs_waiting_bytes",
                "What waits for Redis to be told to Node.js",
            ),
        }
    }
}

/// Bytes on the wire of the public port: encrypted ones where TLS is in the process.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Read from clients, after what a proxy says of a connection.
    pub received: Counter,
    /// Taken by the kernel, for clients.
    pub sent: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    state: &'static str,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabel {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    why: &'static str,
}

/// What is not kept as it changes, but looked at for a scrape.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    sessions: Family<SessionLabels, Gauge>,
    limits: Family<KeyLabel, Gauge>,
    not_ready: Family<WhyLabel, Gauge>,
    key_age: Family<IssuerLabel, Gauge<f64, AtomicU64>>,
    has_keys: Family<IssuerLabel, Gauge>,
    /// Bytes that wait for clients, all together.
    pub queued: Gauge,
    /// Bytes that wait for the client for whom most do.
    pub queued_most: Gauge,
    /// The most that has waited for one client in the last minute or two.
    pub queued_peak: Gauge,
    /// Tasks that wait for a worker of the runtime, beside those in workers' own queues.
    pub runtime_queue: Gauge,
    /// Workers of the runtime.
    pub runtime_workers: Gauge,
    /// Seconds that workers were busy, all together.
    pub runtime_busy: Gauge<f64, AtomicU64>,
}

/// Why the process should get no new traffic. The labels of a metric, and what `/ready` says.
pub const NOT_READY: [&str; 3] = ["draining", "no keys to verify tokens with", "cut off from Redis"];

impl Surveyed {
    /// Sessions of this state (`admitted`, `waiting`) and transport (`polling`, `websocket`).
    pub fn sessions(&self, state: &'static str, transport: &'static str, number: usize) {
        self.sessions.get_or_create(&SessionLabels { state, transport }).set(number as i64);
    }

    /// What a key of the policy limits something to.
    pub fn limit(&self, key: &'static str, most: u64) {
        self.limits.get_or_create(&KeyLabel { key }).set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// Whether this, one of [`NOT_READY`], keeps the process from being ready.
    pub fn not_ready(&self, why: &'static str, is_so: bool) {
        self.not_ready.get_or_create(&WhyLabel { why }).set(i64::from(is_so));
    }

    /// Whether tokens of this issuer can be verified, and how old the keys are that were fetched for it.
    pub fn keys(&self, issuer: &str, has_keys: bool, age: Option<Duration>) {
        let label = IssuerLabel { issuer: issuer.to_owned() };
        self.has_keys.get_or_create(&label).set(i64::from(has_keys));
        if let Some(age) = age {
            self.key_age.get_or_create(&label).set(age.as_secs_f64());
        }
    }

    /// Forgets issuers, which another policy may not have.
    pub fn forget_issuers(&self) {
        self.has_keys.clear();
        self.key_age.clear();
    }

    fn register(&self, registry: &mut Registry) {
        let Surveyed { sessions, limits, not_ready, key_age, has_keys, .. } = self.clone();
        registry.register("session_states", "Live Engine.IO sessions by state and transport", sessions);
        registry.register("limit", "What the policy in force limits something to by key", limits);
        registry.register("not_ready", "1 for each reason that keeps it from being ready", not_ready);
        registry.register("keys_age_seconds", "Age of fetched keys by issuer", key_age);
        registry.register("keys_present", "1 where tokens can be verified by issuer", has_keys);
        registry.register("queued_bytes", "Bytes that wait for clients", self.queued.clone());
        let help = "Bytes that wait for the client for whom most do";
        registry.register("queued_bytes_most", help, self.queued_most.clone());
        let help = "Most bytes that have waited for one client in the last minute or two";
        registry.register("queued_bytes_peak", help, self.queued_peak.clone());
        registry.register("runtime_workers", "Workers of the runtime", self.runtime_workers.clone());
        let help = "Tasks that wait for any worker";
        registry.register("runtime_queue", help, self.runtime_queue.clone());
        let help = "Seconds that workers were busy, together, since the start";
        registry.register("runtime_busy_seconds", help, self.runtime_busy.clone());
    }
}

/// The process's counters. Looking one up is an index into an array.
pub struct Metrics {
    registry: Registry,
    refusals: Vec<Counter>,
    closes: Vec<Counter>,
    withheld: Vec<Counter>,
    resyncs: Vec<Counter>,
    /// Events replayed to clients that came back.
    pub replayed: Counter,
    /// Events that are kept for such clients.
    pub history_events: Gauge,
    /// What those take up, roughly; bytes.
    pub history_bytes: Gauge,
    /// Connections that `limits.events.disconnect_after` would have closed, were it enforced.
    pub observed_closes: Counter,
    /// What became of events, by the policy's names.
    pub events: EventCounters,
    /// What audience rules decided.
    pub audience: AudienceCounters,
    /// Sockets that `auth.mode = "optional"` let in without a token.
    pub observed_tokenless: Counter,
    decision_drops: Vec<Counter>,
    reloads: Vec<Counter>,
    policy_info: Family<HashLabel, Gauge>,
    policy_since: Gauge,
    /// Whether the last reload left the process with the policy that its files hold: 1, or 0.
    policy_current: Gauge,
    /// Whether all nodes that are there act by one policy; 1 on a node that is alone.
    pub bus_policies_agree: Gauge,
    /// Lines written into the decision log.
    pub decision_lines: Counter,
    /// Sockets admitted.
    pub admissions: Counter,
    /// Newer tokens taken on live sockets.
    pub refreshes: Counter,
    /// Events relayed, or held to be.
    pub events_accepted: Counter,
    /// Accepted events that wait for the end of a window (`relay.coalesce`).
    pub held_by_window: HeldCounts,
    /// Accepted events that wait for their sender's rate (`limits.events.on_limit`).
    pub held_by_limit: HeldCounts,
    /// Copies of events handed to members.
    pub deliveries: Counter,
    /// What backends published.
    pub published: PublishCounters,
    /// What was said to servers in Node.js, and by them.
    pub nodejs: NodeJsCounts,
    /// Bytes on the wire.
    pub traffic: Arc<Traffic>,
    /// What became of what nodes tell each other.
    pub bus: BusCounts,
    /// What is looked at for a scrape.
    pub surveyed: Surveyed,
    /// From an event's arrival until it is decided on; of one in [`LATENCY_OF_ONE_IN`].
    pub pipeline_latency: Latency,
    /// From there until every member's queue has it; of one in as many.
    pub relay_latency: Latency,
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
    /// Events that the replay guard remembers, each in each of its teams.
    pub replay_keys: Gauge,
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
        registry.register("event_refusals", "Refused events by stage and code", events.stages.clone());
        registry.register("over_limit", "Events over a rate limit by its key", events.limits.clone());
        let audience = AudienceCounters::default();
        let help = "Peers that an audience rule judged, in each of their teams, by rule and outcome";
        registry.register("audience", help, audience.peers.clone());
        let help = "Deliveries that an audience rule withheld, or would have, by rule";
        registry.register("audience_withheld", help, audience.withheld.clone());
        let withheld = Family::<ReasonLabel, Counter>::default();
        registry.register("withheld", "Deliveries withheld by reason", withheld.clone());
        let resyncs = Family::<ReasonLabel, Counter>::default();
        registry.register(
            "resyncs",
            "Clients told to fetch everything anew when they came in by reason",
            resyncs.clone(),
        );
        let by_resync =
            |reason: &ResyncReason| resyncs.get_or_create(&ReasonLabel { reason: reason.as_str() }).clone();
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
        let published = PublishCounters::default();
        let help = "Events that backends published by publisher and outcome";
        registry.register("published", help, published.0.clone());
        let traffic = Traffic::default();
        registry.register("received_bytes", "Bytes read from clients", traffic.received.clone());
        registry.register("sent_bytes", "Bytes written to clients", traffic.sent.clone());
        let surveyed = Surveyed::default();
        surveyed.register(registry);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "What runs", build);
        let reloads = Family::<OutcomeLabel, Counter>::default();
        registry.register("policy_reloads", "Attempts to take another policy in by outcome", reloads.clone());
        let by_outcome = |outcome: &ReloadOutcome| {
            reloads.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).clone()
        };
        let policy_info = Family::<HashLabel, Gauge>::default();
        registry.register("policy_info", "The policy in force, by its hash", policy_info.clone());
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
            resyncs: ResyncReason::ALL.iter().map(by_resync).collect(),
            replayed: counter(registry, "replayed_events", "Events replayed to clients that came back"),
            history_events: gauge(registry, "history_events", "Events kept for clients that come back"),
            history_bytes: gauge(registry, "history_bytes", "What those events take up, roughly"),
            observed_closes: observed_closes
                .get_or_create(&ReasonLabel { reason: CloseReason::Refusals.as_str() })
                .clone(),
            observed_tokenless: observed_admissions
                .get_or_create(&CodeLabel { code: Code::TokenMissing.as_str() })
                .clone(),
            events,
            audience,
            reloads: ReloadOutcome::ALL.iter().map(by_outcome).collect(),
            policy_info,
            policy_since: gauge(
                registry,
                "policy_timestamp_seconds",
                "When the policy in force was put in force, in seconds since 1970",
            ),
            policy_current: gauge(
                registry,
                "policy_current",
                "1 unless the last reload was refused, so that what the files say is not what is in force",
            ),
            bus_policies_agree: {
                let help = "1 while all nodes that are there act by one policy";
                let agree = gauge(registry, "bus_policies_agree", help);
                agree.set(1);
                agree
            },
            decision_drops: DroppedLine::ALL.iter().map(by_drop).collect(),
            decision_lines: counter(registry, "decision_log_lines", "Lines written into the decision log"),
            admissions: counter(registry, "admissions", "Sockets admitted"),
            refreshes: counter(registry, "refreshes", "Newer tokens taken on live sockets"),
            events_accepted: counter(registry, "events_accepted", "Events relayed, or held to be"),
            held_by_window: held("window"),
            held_by_limit: held("limit"),
            deliveries: counter(registry, "deliveries", "Copies of events handed to members"),
            published,
            nodejs: NodeJsCounts::register(registry),
            traffic: Arc::new(traffic),
            bus: BusCounts::new(registry),
            surveyed,
            pipeline_latency: latency(
                registry,
                "pipeline_seconds",
                "From an event's arrival until it is decided on, of one event in eight",
            ),
            relay_latency: latency(
                registry,
                "relay_seconds",
                "From a decision until every member's queue has the event, of one event in eight",
            ),
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
            replay_keys: gauge(registry, "replay_keys", "Events remembered so that no replay passes"),
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

    /// How often each code was refused with, in the order of [`Code::ALL`].
    pub fn refusals_so_far(&self) -> impl Iterator<Item = u64> {
        self.refusals.iter().map(Counter::get)
    }

    /// How often each reason closed, in the order of [`CloseReason::ALL`].
    pub fn closes_so_far(&self) -> impl Iterator<Item = u64> {
        self.closes.iter().map(Counter::get)
    }

    /// Counts so many deliveries that were withheld, or would have been.
    pub fn withheld(&self, reason: WithheldReason, deliveries: u64) {
        self.withheld[reason as usize].inc_by(deliveries);
    }

    /// Counts clients that are told to fetch everything anew.
    pub fn resynced(&self, reason: ResyncReason, clients: u64) {
        self.resyncs[reason as usize].inc_by(clients);
    }

    /// Counts lines that the decision log lacks.
    pub fn decision_dropped(&self, reason: DroppedLine, lines: u64) {
        self.decision_drops[reason as usize].inc_by(lines);
    }

    /// Says which policy is in force since `now`, in the place of the one `before`.
    pub fn policy_in_force(&self, before: &str, policy: &str, now: SystemTime) {
        let label = |hash: &str| HashLabel { hash: hash.to_owned() };
        self.policy_info.get_or_create(&label(policy)).set(1);
        if before != policy {
            self.policy_info.remove(&label(before));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.policy_since.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        self.policy_current.set(1);
    }

    /// Whether the last reload left the process with the policy that its files hold.
    pub fn policy_is_current(&self) -> bool {
        self.policy_current.get() == 1
    }

    /// Counts what a reload came to.
    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads[outcome as usize].inc();
        self.policy_current.set(i64::from(outcome != ReloadOutcome::Refused));
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
        if let Some(start) = usage.started {
            put("process_start_time_seconds", "When it was started, in Unix time", &ConstGauge::new(start))?;
        }
        put("process_threads", "Threads", &integer(usage.threads))?;
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

fn latency(registry: &mut Registry, name: &str, help: &str) -> Latency {
    let latency = Latency::default();
    registry.register(name, help, latency.clone());
    latency
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
        for (at, reason) in ResyncReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
            metrics.resynced(*reason, 1);
        }
        let text = metrics.render().unwrap();
        let closes = CloseReason::ALL.iter().map(|reason| ("closes", reason.as_str(), 1));
        let withheld = WithheldReason::ALL.iter().map(|reason| ("withheld", reason.as_str(), 2));
        let resyncs = ResyncReason::ALL.iter().map(|reason| ("resyncs", reason.as_str(), 1));
        for (family, reason, count) in closes.chain(withheld).chain(resyncs) {
            let line = format!("flowgate_{family}_total{{reason=\"{reason}\"}} {count}");
            assert!(text.contains(&line), "{line} in\n{text}");
        }
    }
}
