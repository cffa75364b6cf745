//! A policy and peers for tests and benchmarks of the event path: everything else goes through admission.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::bus::{Bus, Driver};
use crate::config::policy::*;
use crate::peer::{Peer, PeerId, Standing};

use super::now::Now;

/// 2026-03-01T12:00:00Z, the time of day at which the tests take place; seconds since the Unix epoch.
pub const NOON: u64 = 1_772_366_400;

/// The clocks at [`NOON`].
pub fn noon() -> Now {
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(NOON), steady: Instant::now() }
}

/// A verified peer of these teams, subject `ada`, at 192.0.2.1.
pub fn peer(teams: &[&str]) -> Peer {
    Peer {
        id: PeerId::next(),
        standing: Standing::Verified,
        subject: Some("ada".into()),
        teams: teams.iter().map(|&team| team.into()).collect(),
        roles: Box::default(),
        claims: None,
        chosen_team: None,
        filter: None,
        address: [192, 0, 2, 1].into(),
        expires_at: None,
    }
}

/// A peer that came in another way, that bears another subject, or that chose one of its teams at the handshake.
pub fn peer_of(standing: Standing, subject: Option<&str>, teams: &[&str], chosen: Option<&str>) -> Peer {
    let mut peer = peer(teams);
    peer.standing = standing;
    peer.subject = subject.map(Into::into);
    peer.chosen_team = chosen.and_then(|chosen| peer.teams.iter().find(|team| ***team == *chosen).cloned());
    peer
}

/// As many events a second, and at once.
pub fn per_second(count: u32) -> EventLimit {
    let count = std::num::NonZeroU32::new(count).unwrap_or(std::num::NonZeroU32::MIN);
    EventLimit { rate: Rate { count, per: Duration::from_secs(1), burst: count }, mode: Mode::Enforce }
}

/// A policy with the event `any`, of any payload, and `database-change`, typed, both with the team field `team`.
/// Rates are out of the way.
pub fn policy(edit: impl FnOnce(&mut Policy)) -> Policy {
    let second = Duration::from_secs(1);
    let plenty = per_second(1_000_000_000);
    let mut policy = Policy {
        hash: "".into(),
        effective: None,
        server: Server {
            listen: ([127, 0, 0, 1], 0).into(),
            path: "/socket.io/".into(),
            polling: true,
            websocket: true,
            allowed_origins: AllowedOrigins::Any,
            allow_missing_origin: true,
            trusted_proxies: Vec::new(),
            bind_sessions_to_address: false,
            tls: None,
        },
        internal: Internal {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_token_env: "FLOWGATE_ADMIN_TOKEN".into(),
            admin_token: None,
        },
        auth: Auth {
            mode: AuthMode::Required,
            token_from: vec![TokenSource::Auth],
            leeway: second,
            max_lifetime: second,
            refresh: false,
            issuers: Vec::new(),
            claims: ClaimPaths { subject: Vec::new(), teams: Vec::new(), roles: Vec::new() },
        },
        revocation: Revocation { store: None, capacity: 100 },
        rooms: Rooms { admit_without_team: false, send_to_all_teams: false, anonymous: None },
        limits: Limits {
            connections: ConnectionLimits {
                total: 100,
                per_ip: 100,
                per_user: 100,
                handshakes_per_ip: plenty.rate,
                handshakes_total: plenty.rate,
            },
            events: EventLimits {
                per_socket: plenty,
                per_user: plenty,
                per_address: plenty,
                per_team: plenty,
                on_limit: OnLimit::Refuse,
                disconnect_after: DisconnectAfter { refusals: 100, per: 60 * second, mode: Mode::Enforce },
            },
            payload: PayloadLimits { max_bytes: 16 << 10, hard_max_bytes: 64 << 10, max_depth: 8 },
            slow_reader: SlowReader { max_queued: 1 << 18, max_stall: second },
        },
        relay: Relay {
            coalesce: None,
            meta: false,
            resync_on_connect: false,
            history: None,
            store: Store::Memory,
        },
        refusal_detail: RefusalDetail::Full,
        events: [event("any", None), event("database-change", Some(typed()))]
            .map(|event| (event.name.clone(), Arc::new(event)))
            .into(),
        rules: Vec::new(),
        audience: Vec::new(),
        labels: ["any", "database-change"].map(|event| Label { event: event.into(), kind: "".into() }).into(),
        publish: Publish { clients: true, publishers: Vec::new() },
        bus: Bus {
            driver: Driver::None,
            node: "here".into(),
            max_queued: 8 << 20,
            required: false,
            hmac: Vec::new(),
            nodejs: None,
        },
        decision_log: None,
        watch: false,
        drain: Drain { spread: second, deadline: second },
    };
    edit(&mut policy);
    policy
}

/// One event, heard under its name with a `d` behind it, with the team field `team`.
pub fn event(name: &str, typed: Option<TypedPayload>) -> EventPolicy {
    let rule = |key: &str| -> Arc<str> { format!("events.{name}{key}").into() };
    EventPolicy {
        name: name.into(),
        emit: format!("{name}d").into(),
        echo: true,
        typed,
        team_field: Some("team".into()),
        rules: EventRules {
            event: rule(""),
            types: rule(".types"),
            task_id: rule(".task_id"),
            timestamp: rule(".timestamp"),
            fields: rule(".fields"),
            unknown_fields: rule(".unknown_fields"),
            team_field: rule(".team_field"),
        },
        label: usize::from(name != "any"),
    }
}

/// The types `task-created` (no id), `task-updated` (id required) and `comment-*` (id optional); no further fields.
pub fn typed() -> TypedPayload {
    let minute = Duration::from_secs(60);
    let presence = |task_id| TypePolicy { task_id, rules: None, label: 1, schema: None };
    TypedPayload {
        validation: Mode::Enforce,
        schemas: false,
        unknown_fields: UnknownFields::Reject,
        timestamp: TimestampPolicy { presence: Presence::Optional, max_age: 5 * minute, max_ahead: minute },
        task_id: TaskIdPolicy { integer: true, string: true, max_length: 64 },
        fields: Default::default(),
        exact_types: [
            ("task-created".into(), presence(Presence::Forbidden)),
            ("task-updated".into(), presence(Presence::Required)),
        ]
        .into(),
        glob_types: vec![(Glob::new("comment-*"), presence(Presence::Optional))],
        replay: None,
        undeclared: None,
    }
}

#[cfg(test)]
pub use for_tests::*;

#[cfg(test)]
mod for_tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::event::pipeline::{Decision, Pipeline, Refused, Stage};
    use crate::event::sender::Sender;
    use crate::event_id::EventId;

    /// A pipeline and one sender of the team `red`, at noon.
    pub struct World {
        /// The pipeline.
        pub pipeline: Pipeline,
        /// The sender of [`World::decide`].
        pub sender: Sender,
        /// Noon.
        pub now: Now,
    }

    impl World {
        /// With the sample policy, edited.
        pub fn new(edit: impl FnOnce(&mut Policy)) -> Self {
            Self::with_plugins(edit, Vec::new())
        }

        /// With stages of an embedder.
        pub fn with_plugins(edit: impl FnOnce(&mut Policy), plugins: Vec<Box<dyn Stage>>) -> Self {
            let now = noon();
            let pipeline = Pipeline::new(Arc::new(policy(edit)), plugins, now);
            let sender = pipeline.sender(Arc::new(peer(&["red"])), now);
            World { pipeline, sender, now }
        }

        /// Another sender.
        pub fn sender(&self, peer: Peer) -> Sender {
            self.pipeline.sender(Arc::new(peer), self.now)
        }

        /// What becomes of the first sender's event at noon.
        pub fn decide<'e>(&'e self, text: &'e str) -> Result<Decision<'e>, Refused> {
            self.pipeline.decide(&self.sender, text, EventId::next(), self.now)
        }
    }

    /// Replaces the event `database-change`'s typed payload.
    pub fn with_typed(edit: impl FnOnce(&mut TypedPayload)) -> impl FnOnce(&mut Policy) {
        |policy| {
            let mut payload = typed();
            edit(&mut payload);
            policy.events.insert("database-change".into(), Arc::new(event("database-change", Some(payload))));
        }
    }

    /// Any JSON value, a few levels deep.
    pub fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            r#"[\[\]{}",\\:]{0,6}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(r#"[a-c"\\{\[]{0,3}"#, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
