//! What is looked at for a scrape of the metrics, rather than kept as it changes.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::RuntimeMetrics;

use crate::config::policy::Policy;
use crate::edge::caps::Caps;
use crate::edge::front::Front;
use crate::edition::Current;
use crate::link::revoke::Revoker;
use crate::link::session::Sessions;
use crate::metrics::{Metrics, NOT_READY};
use crate::relay::bus::{Bus, State};

/// Looks at one process.
pub struct Surveyor {
    /// The policy in force, with its keys and budgets.
    pub current: Arc<Current>,
    /// The caps of the public port.
    pub caps: Arc<Caps>,
    /// The door of the public port.
    pub front: Arc<Front>,
    /// Live sessions.
    pub sessions: Arc<Sessions>,
    /// What has been revoked.
    pub revoker: Arc<Revoker>,
    /// What leads to other nodes.
    pub bus: Arc<dyn Bus>,
    /// The runtime that all of it runs on.
    pub runtime: RuntimeMetrics,
    /// Where it is written down.
    pub metrics: Arc<Metrics>,
}

impl Surveyor {
    /// Brings every gauge up to date that is not kept as it changes. Looks at each session once.
    pub fn look(&self) {
        let metrics = &self.metrics;
        let edition = self.current.load();
        let keys = edition.pipeline.remembered();
        metrics.rate_limit_keys.set((keys.users + keys.addresses + keys.teams) as i64);
        metrics.replay_keys.set(edition.pipeline.replays() as i64);
        metrics.connections.set(i64::from(self.caps.open_connections()));
        metrics.connection_keys.set((self.caps.addresses() + edition.admission.users().len()) as i64);
        metrics.revocations.set(self.revoker.revocations().len() as i64);
        self.bus.look();
        self.look_at_sessions();
        self.look_at_keys();
        self.look_at_runtime();
        self.look_at_limits(&edition.policy);
        for why in NOT_READY {
            metrics.surveyed.not_ready(why, self.not_ready() == Some(why));
        }
    }

    /// Why the process should get no new traffic, one of [`NOT_READY`], if anything speaks against it.
    pub fn not_ready(&self) -> Option<&'static str> {
        let [draining, no_keys, cut_off] = NOT_READY;
        let edition = self.current.load();
        if self.front.is_draining() {
            Some(draining)
        } else if !edition.admission.verifier().has_keys() {
            Some(no_keys)
        } else if edition.policy.bus.required && self.bus.state() != State::Up {
            Some(cut_off)
        } else {
            None
        }
    }

    fn look_at_sessions(&self) {
        let (surveyed, found) = (&self.metrics.surveyed, self.sessions.survey(Instant::now()));
        for (at, state) in ["waiting", "admitted"].into_iter().enumerate() {
            surveyed.sessions(state, "websocket", found.websocket[at]);
            surveyed.sessions(state, "polling", found.polling[at]);
        }
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        surveyed.queued.set(bytes(found.queued));
        surveyed.queued_most.set(bytes(found.queued_most));
        surveyed.queued_peak.set(bytes(found.queued_peak));
    }

    fn look_at_keys(&self) {
        let surveyed = &self.metrics.surveyed;
        surveyed.forget_issuers();
        for health in self.current.load().admission.verifier().key_health() {
            surveyed.keys(&health.issuer, health.has_keys, health.age);
        }
    }

    fn look_at_runtime(&self) {
        let (metrics, runtime) = (&self.metrics, &self.runtime);
        let workers = runtime.num_workers();
        let busy: f64 =
            (0..workers).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64()).sum();
        metrics.runtime_tasks.set(runtime.num_alive_tasks() as i64);
        metrics.surveyed.runtime_workers.set(workers as i64);
        metrics.surveyed.runtime_queue.set(runtime.global_queue_depth() as i64);
        metrics.surveyed.runtime_busy.set(busy);
    }

    fn look_at_limits(&self, policy: &Policy) {
        let (surveyed, connections) = (&self.metrics.surveyed, &policy.limits.connections);
        surveyed.limit("limits.connections.total", connections.total.into());
        surveyed.limit("limits.connections.per_ip", connections.per_ip.into());
        surveyed.limit("limits.connections.per_user", connections.per_user.into());
        surveyed.limit("limits.slow_reader.max_queued", policy.limits.slow_reader.max_queued as u64);
    }
}
