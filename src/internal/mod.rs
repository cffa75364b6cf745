//! The operators' port: health, metrics, the API and pages. Nothing of it is reachable on the public port.
//!
//! Every request must name this machine ([`host`]). Health and metrics are for whoever reaches the port; everything
//! below `/api/` needs the admin token ([`admin`]), or the cookie that the admin page ([`admin_page`]) is given for it. The
//! playground is there in development only ([`playground`]).

mod admin;
mod admin_page;
mod answer;
mod api;
mod body;
mod connections;
mod disconnect;
mod health;
mod host;
mod idempotency;
pub mod live;
mod login;
mod nodes;
mod observed;
mod openapi;
mod page;
mod path_name;
pub mod playground;
mod policy;
pub mod publish;
mod query;
mod reload;
mod revocations;
mod scrape;
pub mod series;
mod session;
mod status;
mod teams;

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{get, post};

use self::live::Live;
use self::playground::Playground;
use self::series::Series;
use crate::bus::control::Control;
use crate::config::policy::Policy;
use crate::decision_log::DecisionLog;
use crate::edition::{Current, Reloaded};
use crate::link::revoke::Revoker;
use crate::link::session::Sessions;
use crate::metrics::Metrics;
use crate::relay::bus::Bus;
use crate::relay::local::Rooms;

/// Reads the configuration again, and puts it in force if it can be.
pub type Reload = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Reloaded> + Send>> + Send + Sync>;

/// What the operators' port looks at and acts on.
pub struct Operations {
    /// The policy in force, the admin token in it.
    pub policy: Box<dyn Fn() -> Arc<Policy> + Send + Sync>,
    /// The edition in force.
    pub current: Arc<Current>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// Who hears together.
    pub rooms: Arc<Rooms>,
    /// What leads to other nodes.
    pub bus: Arc<dyn Bus>,
    /// The last hour.
    pub series: Arc<Series>,
    /// Who listens to what happens.
    pub live: Arc<Live>,
    /// Where decisions, and what operators do, are written down.
    pub log: Arc<DecisionLog>,
    /// When the process began to serve.
    pub started: SystemTime,
    /// Revokes, and closes who is revoked.
    pub revoker: Arc<Revoker>,
    /// Relays what backends publish.
    pub publish: publish::Publish,
    /// The other nodes, where there may be any.
    pub control: Option<Arc<Control>>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Why the process should get no new traffic, if anything speaks against it.
    pub not_ready: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// Brings gauges up to date that are not kept as they change.
    pub refresh: Box<dyn Fn() + Send + Sync>,
    /// Takes another policy in, where there is something to read one from.
    pub reload: Option<Reload>,
    /// Whether the listener is bound to loopback: then the `Host` header must name this machine.
    pub loopback: bool,
    /// What the playground needs, where there is one.
    pub playground: Option<Playground>,
}

/// The routes.
pub fn router(operations: Arc<Operations>) -> Router {
    let playground = operations.playground.as_ref().map(|_| playground::router());
    // Whoever writes no path is a person, and means the page.
    let front = if playground.is_some() { "/playground" } else { "/admin" };
    Router::new()
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/version", get(health::version))
        .route("/metrics", get(scrape::metrics))
        .route("/api/publish", post(publish::publish).with_state(publish::Door::new(&operations)))
        .nest("/api", api::router(&operations))
        .route("/", get(async move || Redirect::to(front)))
        .merge(admin_page::router())
        .merge(playground.unwrap_or_default())
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn_with_state(operations.clone(), host::check))
        .with_state(operations)
}
