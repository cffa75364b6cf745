//! Wires everything: listeners, edge, protocol library, admission, event path; and takes it down again.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use socketioxide::{ParserConfig, SocketIo, SocketIoBuilder, TransportType};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tower::util::{BoxCloneSyncService, MapResponseLayer};
use tower::{Layer, Service, ServiceExt};

use crate::bus;
use crate::bus::control::{Control, Means};
use crate::bus::nodes::Nodes;
use crate::bus::redis::Events;
use crate::config::Problems;
use crate::config::bus::Driver;
use crate::config::policy::{Policy, Server as ServerPolicy};
use crate::connect::admission::Admission;
use crate::connect::token::Verifier;
use crate::connect::users::Users;
use crate::decision_log::DecisionLog;
use crate::edge::accept::{Connections, Port, accept};
use crate::edge::caps::Caps;
use crate::edge::front::{Front, Protocol};
use crate::edge::tls::Tls;
use crate::edition::{Current, Edition};
use crate::event::now::Now;
use crate::event::pipeline::{Pipeline, Stage};
use crate::internal::live::{self, Live};
use crate::internal::playground::{Mint, Playground};
use crate::internal::series::Series;
use crate::internal::{self, Operations};
use crate::link::revoke::Revoker;
use crate::link::session::{ADMISSION_DEADLINE, PollingCloser, Sessions};
use crate::metrics::{CloseReason, Metrics};
use crate::namespace;
use crate::namespace::entry::EventPath;
use crate::nodejs::NodeJs;
use crate::process::{descriptor_limit, descriptors_for_clients};
use crate::publish;
use crate::relay::bus::{Alone, Bus};
use crate::relay::chronicle::Chronicle;
use crate::relay::coalesce::Coalescer;
use crate::relay::later::Later;
use crate::relay::local::Rooms;
use crate::reload::{Origin, Reloader, Trigger};
use crate::revocation::Revocations;
use crate::survey::Surveyor;

/// How often deadlines are looked at; a token's end is acted on within a second of it.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// Sweeps between two clean-ups of rate limits, which forget keys nobody uses: every ten seconds.
const SWEEPS_PER_CLEANUP: u32 = 40;

/// How often revocations that have nothing left to do are forgotten. They do no harm until then.
const FORGET_EVERY: Duration = Duration::from_secs(10);

/// How often the drain closes its next few connections.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// What is kept of `drain.deadline` for taking leave of other nodes, or half of it where that is less. Where Redis answers it takes
/// a few milliseconds.
const LEAVE_WITHIN: Duration = Duration::from_secs(4);

/// Packets that may wait for one client in the library. Bytes are what is bounded (`limits.slow_reader`); this only has
/// to be more than that many bytes can be packets of.
const LIBRARY_QUEUE: usize = 8192;

/// Above anything that may be queued under any policy, or a poll response that fills up to it loses a packet at the upgrade. A
/// size in the configuration is at most 1 GiB. What bodies may have is limited before the library sees them.
const MAX_PAYLOAD: u64 = 16 << 30;

/// The WebSocket read buffer of one connection. Events are small; a larger message grows it while it is read.
const READ_BUFFER: usize = 256;

/// How much longer than the session's own deadline the library waits for CONNECT: the former says why it closes.
const LIBRARY_GRACE: Duration = Duration::from_secs(1);

/// A sidecar before it listens.
pub struct Builder {
    policy: Arc<Policy>,
    origin: Option<Origin>,
    stages: Vec<Box<dyn Stage>>,
    mint: Option<Mint>,
}

/// A sidecar that is bound and about to serve.
pub struct Server {
    front: Arc<Front>,
    sessions: Arc<Sessions>,
    coalescer: Arc<Coalescer>,
    later: Arc<Later>,
    bus: Arc<dyn Bus>,
    control: Option<Arc<Control>>,
    current: Arc<Current>,
    live: Arc<Live>,
    log: Arc<DecisionLog>,
    reloader: Option<Arc<Reloader>>,
    public: SocketAddr,
    internal: SocketAddr,
    playground: bool,
    accepting: JoinHandle<std::convert::Infallible>,
    // Aborted with the server.
    _tasks: Vec<Owned>,
}

/// A task that ends with its owner.
struct Owned(AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Builder {
    /// A sidecar that acts on this policy.
    pub fn new(policy: Policy) -> Self {
        Builder { policy: Arc::new(policy), origin: None, stages: Vec::new(), mint: None }
    }

    /// Lets it take other policies in, read again from where this one came; without it there is no reload.
    #[must_use]
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Adds a stage of the embedder's own, which runs after authorization, in the order of these calls.
    #[must_use]
    pub fn stage(mut self, stage: impl Stage) -> Self {
        self.stages.push(Box::new(stage));
        self
    }

    /// Serves the playground on the internal port, if that is bound to loopback: for development. Whoever reaches that port
    /// has tokens of its own choosing signed by `mint`.
    #[must_use]
    pub fn playground(mut self, mint: Mint) -> Self {
        self.mint = Some(mint);
        self
    }

    /// Binds both listeners and starts serving, on the current tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be bound; a file of the policy's that cannot be used, as [`Problems`].
    pub async fn bind(self) -> anyhow::Result<Server> {
        let policy = self.policy;
        let public = listen(policy.server.listen, "server.listen").await?;
        let internal = listen(policy.internal.listen, "internal.listen").await?;
        let metrics = Arc::new(Metrics::new());
        metrics.policy_in_force(&policy.hash, &policy.hash, SystemTime::now());
        let log = Arc::new(DecisionLog::new(policy.decision_log.as_ref(), metrics.clone())?);
        let (bus, nodes) = nodes(&policy, &metrics)?;
        let nodejs = nodes.as_ref().map(|(nodes, _)| nodejs(&policy, nodes, &metrics)).transpose()?.flatten();
        let bus = nodejs.as_ref().map_or(bus, |(nodejs, _)| nodejs.clone());
        let rooms = Rooms::new(metrics.clone(), bus.clone());
        let chronicle = Chronicle::new(rooms.clone(), metrics.clone(), bus.clone());
        chronicle.set(&policy.relay);
        let coalescer = Coalescer::new(chronicle.clone(), &metrics);
        coalescer.set(policy.relay.coalesce).await;
        let later = Later::new(coalescer.clone(), &metrics);
        let sessions = Sessions::new(metrics.clone(), log.clone());
        let kept = policy.revocation.store.as_ref();
        let revocations = Arc::new(Revocations::open(kept).map_err(|problem| Problems(vec![problem]))?);
        let revoker = Revoker::new(revocations.clone(), sessions.clone(), log.clone());
        let for_clients = descriptor_limit().map(descriptors_for_clients);
        let caps = Caps::new(&policy.limits.connections, for_clients);
        let verifier = Verifier::new(&policy.auth)?;
        let refreshers = verifier.start();
        let current = Current::new(Edition {
            number: 1,
            since: SystemTime::now(),
            wanted_by: "the start",
            admission: Admission::new(
                policy.clone(),
                verifier,
                Arc::<Users>::default(),
                revocations,
                &metrics.audience,
            ),
            pipeline: Pipeline::counting(policy.clone(), self.stages, Now::read(), &metrics.events),
            refreshers,
            policy: policy.clone(),
        });
        let path = Arc::new(EventPath {
            current: current.clone(),
            rooms,
            chronicle: chronicle.clone(),
            bus: bus.clone(),
            coalescer: coalescer.clone(),
            later: later.clone(),
            metrics: metrics.clone(),
            log: log.clone(),
        });
        let protocol = protocol(&policy, &path);
        sessions
            .set_closer(Box::new(Closer { protocol: protocol.clone(), path: policy.server.path.clone() }));
        let front = Arc::new(Front::new(
            current.clone(),
            caps.clone(),
            sessions.clone(),
            metrics.clone(),
            log.clone(),
            protocol,
        ));
        let (public_addr, internal_addr) = (public.local_addr()?, internal.local_addr()?);
        let connections = Arc::<Connections>::default();
        let tls = policy.server.tls.as_ref().map(Tls::new).transpose()?.map(Arc::new);
        let port = Port {
            front: front.clone(),
            connections: connections.clone(),
            caps: caps.clone(),
            tls: tls.clone(),
        };
        let reloader =
            self.origin.map(|origin| Reloader::new(path.clone(), sessions.clone(), caps.clone(), origin));
        let loopback = internal_addr.ip().is_loopback();
        let scheme = scheme(&policy);
        let mint = self.mint.filter(|_| loopback);
        let playground = mint.map(|mint| Playground { url: url(scheme, public_addr), mint });
        let has_playground = playground.is_some();
        let control = nodes.as_ref().map(|(nodes, _)| control(nodes, &policy, &revoker, &sessions, &path));
        let operations = operations(&front, &caps, &sessions, &path, &revoker, reloader.clone(), loopback);
        let operations = Arc::new(Operations { playground, control: control.clone(), ..operations });
        let live = operations.live.clone();
        let of_members = path.clone();
        // Nothing can fail any more.
        tracing::info!(policy = %policy.hash, "the policy in force");
        let mut tasks = vec![
            owned(serve_internal(internal, operations.clone())),
            owned(live::keep_time(operations)),
            owned(forget_revocations(current.clone(), revoker)),
            owned(sweep(sessions.clone(), connections, caps, path)),
            owned(coalescer.clone().run()),
            owned(later.clone().run()),
        ];
        if let (Some((nodes, events)), Some(control)) = (nodes, &control) {
            tasks.extend(bus::tasks(&nodes, events, current.clone(), chronicle, control).map(owned));
        }
        if let Some((nodejs, events)) = nodejs {
            let (listening, sending) = nodejs.tasks(events, of_members);
            tasks.extend([owned(listening), owned(sending)]);
        }
        tasks.extend(tls.map(|tls| owned(tls.follow_files())));
        tasks.extend(reloader.clone().map(|reloader| owned(reloader.watch())));
        let server = Server {
            public: public_addr,
            internal: internal_addr,
            playground: has_playground,
            accepting: tokio::spawn(accept(public, Arc::new(port))),
            _tasks: tasks,
            front,
            sessions,
            coalescer,
            later,
            bus,
            control,
            current,
            live,
            log,
            reloader,
        };
        Ok(server)
    }
}

impl Server {
    /// Where the public port listens.
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// What the public port speaks: `http`, or `https` where TLS is in the process.
    pub fn scheme(&self) -> &'static str {
        scheme(&self.current.policy())
    }

    /// How a client on this machine writes the public port's address.
    pub fn url(&self) -> String {
        url(self.scheme(), self.public)
    }

    /// Where the playground is, if there is one.
    pub fn playground_url(&self) -> Option<String> {
        self.playground.then(|| format!("{}/playground", url("http", self.internal)))
    }

    /// What takes another policy in, where the [`Builder`] was told an origin.
    pub fn reloader(&self) -> Option<&Arc<Reloader>> {
        self.reloader.as_ref()
    }

    /// Where the operators' port listens.
    pub fn internal_addr(&self) -> SocketAddr {
        self.internal
    }

    /// Serves until `shutdown` ends, then drains: new sessions are turned away, connections are closed over
    /// `drain.spread`, and it returns when the last is gone or `drain.deadline` has passed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.front.start_draining();
        self.live.end();
        tracing::info!(sessions = self.sessions.len(), "draining");
        let drain = self.current.policy().drain;
        let gone_by = tokio::time::Instant::now() + drain.deadline;
        let for_leave = if self.bus.is_on() { LEAVE_WITHIN.min(drain.deadline / 2) } else { Duration::ZERO };
        let drained = tokio::time::timeout_at(gone_by - for_leave, self.drain(drain.spread)).await;
        match drained {
            Ok(()) => tracing::info!("drained"),
            Err(_) => tracing::warn!(sessions = self.sessions.len(), "drain deadline passed; leaving anyway"),
        }
        // What was accepted goes out whatever has become of the connections.
        if tokio::time::timeout_at(gone_by, self.take_leave()).await.is_err() {
            tracing::warn!("drain deadline passed before other nodes had everything; their members fetch it");
        }
        self.log.finish().await;
    }

    async fn take_leave(&self) {
        let of_control = async {
            if let Some(control) = &self.control {
                control.leave().await;
            }
        };
        tokio::join!(of_control, self.bus.leave());
    }

    async fn drain(&self, spread: Duration) {
        // What waits goes while there is somebody to hear it, and what still comes waits no more.
        let waited = self.later.finish();
        if waited || self.coalescer.is_on() {
            self.coalescer.set(None).await;
            // Who polls has its answer made in a task of its own.
            tokio::time::sleep(DRAIN_STEP).await;
        }
        let all = self.sessions.snapshot();
        let steps = (spread.as_millis() / DRAIN_STEP.as_millis()).max(1) as usize;
        for step in all.chunks(all.len().div_ceil(steps).max(1)) {
            for session in step {
                drop(session.close(CloseReason::Draining));
            }
            tokio::time::sleep(DRAIN_STEP).await;
        }
        drop(all);
        while !self.sessions.is_empty() {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What concerns all nodes and no team.
fn control(
    nodes: &Arc<Nodes>,
    policy: &Policy,
    revoker: &Arc<Revoker>,
    sessions: &Arc<Sessions>,
    path: &Arc<EventPath>,
) -> Arc<Control> {
    let current = path.current.clone();
    let prefix = match &policy.bus.driver {
        Driver::Redis(redis) => redis.prefix.clone(),
        Driver::None => Arc::default(),
    };
    Control::start(Means {
        nodes: nodes.clone(),
        prefix,
        policy: Arc::new(move || current.policy()),
        revoker: revoker.clone(),
        sessions: sessions.clone(),
        rooms: path.rooms.clone(),
        log: path.log.clone(),
        metrics: path.metrics.clone(),
    })
}

/// This node among others, and what the connections to them tell.
type Among = (Arc<Nodes>, Events);

/// What leads to other nodes; and what its tasks want, where there may be any.
fn nodes(policy: &Policy, metrics: &Metrics) -> anyhow::Result<(Arc<dyn Bus>, Option<Among>)> {
    let Driver::Redis(redis) = &policy.bus.driver else { return Ok((Arc::new(Alone), None)) };
    let config = bus::settings::driver(redis).map_err(|fault| anyhow!("bus.redis: {fault}"))?;
    let (nodes, events) = Nodes::new(&policy.bus, &policy.relay, &redis.prefix, config, metrics);
    Ok((nodes.clone(), Some((nodes, events))))
}

/// What stands before them where servers in Node.js are told too.
fn nodejs(
    policy: &Policy,
    nodes: &Arc<Nodes>,
    metrics: &Metrics,
) -> anyhow::Result<Option<(Arc<NodeJs>, Events)>> {
    let (Some(settings), Driver::Redis(redis)) = (&policy.bus.nodejs, &policy.bus.driver) else {
        return Ok(None);
    };
    let config = bus::settings::driver(redis).map_err(|fault| anyhow!("bus.redis: {fault}"))?;
    Ok(Some(NodeJs::before(nodes.clone(), settings, config, policy.bus.max_queued, metrics)))
}

fn scheme(policy: &Policy) -> &'static str {
    if policy.server.tls.is_some() { "https" } else { "http" }
}

/// The address as a client on this machine writes it: where every address is listened on, this machine's own is one.
fn url(scheme: &str, address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("{scheme}://localhost:{}", address.port()),
        false => format!("{scheme}://{address}"),
    }
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let mend = match error.kind() {
            ErrorKind::AddrInUse => "another process uses it; choose another port",
            ErrorKind::AddrNotAvailable => {
                "this machine has no such address; write 0.0.0.0 for all that it has"
            }
            ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose another",
            _ => "choose another address or port",
        };
        anyhow!("{key}: cannot listen on {address}: {error}; {mend}")
    })
}

fn owned(task: impl Future<Output = ()> + Send + 'static) -> Owned {
    Owned(tokio::spawn(task).abort_handle())
}

/// The protocol library, every limit of it set.
fn protocol(policy: &Policy, path: &Arc<EventPath>) -> Protocol {
    let hard_max = policy.limits.payload.hard_max_bytes;
    let builder = SocketIo::builder()
        .req_path(policy.server.path.trim_end_matches('/').to_owned())
        .max_buffer_size(LIBRARY_QUEUE)
        .max_payload(MAX_PAYLOAD)
        .ws_read_buffer_size(READ_BUFFER)
        .ws_max_message_size(hard_max)
        .ws_max_frame_size(hard_max)
        .connect_timeout(ADMISSION_DEADLINE + LIBRARY_GRACE)
        // Binary is off: a packet that announces attachments closes the connection.
        .with_parser(ParserConfig::common().max_incoming_binaries(0).max_incoming_binary_buf_size(0));
    let (service, io) = transports(builder, &policy.server).build_svc();
    namespace::serve(&io, path.clone());
    let with_plain_body = MapResponseLayer::new(|answer: Response<_>| answer.map(Body::new));
    BoxCloneSyncService::new(with_plain_body.layer(service))
}

fn transports(builder: SocketIoBuilder, server: &ServerPolicy) -> SocketIoBuilder {
    match (server.polling, server.websocket) {
        (true, false) => builder.transports([TransportType::Polling]),
        (false, true) => builder.transports([TransportType::Websocket]),
        _ => builder.transports([TransportType::Polling, TransportType::Websocket]),
    }
}

/// Closes a polling session by posting an Engine.IO close packet in its client's name.
struct Closer {
    protocol: Protocol,
    path: String,
}

impl PollingCloser for Closer {
    fn close(&self, sid: String) -> JoinHandle<()> {
        const CLOSE_PACKET: &[u8] = b"1";
        let mut protocol = self.protocol.clone();
        let mut request = Request::new(Full::new(Bytes::from_static(CLOSE_PACKET)));
        *request.method_mut() = Method::POST;
        let uri = format!("{}?EIO=4&transport=polling&sid={sid}", self.path);
        tokio::spawn(async move {
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
                let Ok(protocol) = protocol.ready().await;
                let Ok(_) = protocol.call(request).await;
            }
        })
    }
}

/// What operators look at and act on.
fn operations(
    front: &Arc<Front>,
    caps: &Arc<Caps>,
    sessions: &Arc<Sessions>,
    path: &Arc<EventPath>,
    revoker: &Arc<Revoker>,
    reloader: Option<Arc<Reloader>>,
    loopback: bool,
) -> Operations {
    let in_force = path.current.clone();
    let surveyor = Arc::new(Surveyor {
        current: path.current.clone(),
        caps: caps.clone(),
        front: front.clone(),
        sessions: sessions.clone(),
        revoker: revoker.clone(),
        bus: path.bus.clone(),
        runtime: Handle::current().metrics(),
        metrics: path.metrics.clone(),
    });
    let ready = surveyor.clone();
    let published = path.clone();
    Operations {
        policy: Box::new(move || in_force.policy()),
        started: path.current.load().since,
        current: path.current.clone(),
        sessions: sessions.clone(),
        rooms: path.rooms.clone(),
        bus: path.bus.clone(),
        series: Arc::new(Series::new(&path.metrics)),
        live: Live::new(),
        log: path.log.clone(),
        revoker: revoker.clone(),
        control: None,
        loopback,
        playground: None,
        publish: Box::new(move |publisher, publication| publish::publish(&published, publisher, publication)),
        metrics: path.metrics.clone(),
        refresh: Box::new(move || surveyor.look()),
        not_ready: Box::new(move || ready.not_ready()),
        reload: reloader.map(|reloader| -> internal::Reload {
            Box::new(move || {
                let reloader = reloader.clone();
                Box::pin(async move { reloader.reload(Trigger::Api).await })
            })
        }),
    }
}

async fn serve_internal(listener: TcpListener, operations: Arc<Operations>) {
    if let Err(error) = axum::serve(listener, internal::router(operations)).await {
        tracing::error!(%error, "the internal port has failed");
    }
}

/// Forgets revocations that have nothing left to do, for as long as the server lives.
async fn forget_revocations(current: Arc<Current>, revoker: Arc<Revoker>) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        revoker.forget_ended(current.policy()).await;
    }
}

/// Looks at every deadline there is, for as long as the server lives.
async fn sweep(
    sessions: Arc<Sessions>,
    connections: Arc<Connections>,
    caps: Arc<Caps>,
    path: Arc<EventPath>,
) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut until_cleanup = SWEEPS_PER_CLEANUP;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        sessions.sweep(now, SystemTime::now());
        path.log.settle_addresses();
        connections.sweep(now);
        until_cleanup -= 1;
        if until_cleanup == 0 {
            until_cleanup = SWEEPS_PER_CLEANUP;
            caps.sweep();
            path.chronicle.sweep(now);
            path.current.load().pipeline.sweep(Now::read());
        }
    }
}
