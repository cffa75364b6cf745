//! The accept loop: TCP connections in, HTTP requests to the [`Front`].

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};

use super::caps::Caps;
use super::front::Front;
use super::proxy_protocol::{self, Introduced, Opening};
use super::tls::Tls;
use super::{origin, proxy};
use crate::link::inbound_io::InboundIo;
use crate::link::outlet::{Outlet, UNACKNOWLEDGED_TIMEOUT};
use crate::link::outlet_io::OutletIo;
use crate::link::plaintext::Plaintext;
use crate::reject::Code;

/// A request head that has not arrived by then never will; it is also how long an idle kept-alive connection stays. The
/// stages before it, a PROXY header and the TLS handshake, have as long each.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// A stock client sends about ten headers, a browser behind proxies about thirty.
const MAX_HEADERS: usize = 64;

/// Request line and headers together; tokens in cookies or `Authorization` are at most half of it.
const MAX_HEAD: usize = 16 * 1024;

/// How long to wait after a failed accept, doubled up to [`MAX_BACKOFF`]: out of descriptors, the next one fails too.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The connections of one listener, for the sweep.
#[derive(Default)]
pub struct Connections(Mutex<Vec<Weak<Outlet>>>);

impl Connections {
    fn add(&self, outlet: &Arc<Outlet>) {
        self.0.lock().push(Arc::downgrade(outlet));
    }

    /// Forgets the closed and kills the stalled, whatever they carry.
    pub fn sweep(&self, now: Instant) {
        self.0.lock().retain(|outlet| {
            let Some(outlet) = outlet.upgrade() else { return false };
            // A WebSocket's session is swept by its table, which knows the reason; this catches HTTP connections.
            if outlet.is_stalled(now) {
                outlet.kill();
            }
            !outlet.is_closed()
        });
    }
}

/// What every connection of the public port needs.
pub struct Port {
    /// Answers its requests.
    pub front: Arc<Front>,
    /// Knows it for as long as it is open.
    pub connections: Arc<Connections>,
    /// Counts them.
    pub caps: Arc<Caps>,
    /// Encrypts it, where `server.tls` says so.
    pub tls: Option<Arc<Tls>>,
}

/// Accepts until the future is dropped; then every connection that is still plain HTTP is dropped with it.
pub async fn accept(listener: TcpListener, port: Arc<Port>) -> Infallible {
    let mut tasks = JoinSet::new();
    let mut backoff = MIN_BACKOFF;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, remote)) => {
                    backoff = MIN_BACKOFF;
                    if let Err(error) = prepare(&tcp, &port) {
                        tracing::debug!(%error, "connection closed before it was served");
                        continue;
                    }
                    tasks.spawn(port.clone().serve(tcp, remote));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Errors of the connection that was about to be accepted, rather than of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn prepare(tcp: &TcpStream, port: &Port) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    // Else the kernel lets megabytes grow for a peer that does not read, beside what waits here.
    socket.set_send_buffer_size(port.front.policy().limits.slow_reader.max_queued)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))
}

impl Port {
    /// Serves one connection until it closes or becomes a WebSocket.
    async fn serve(self: Arc<Self>, tcp: TcpStream, remote: SocketAddr) {
        let policy = self.front.policy();
        if !proxy::is_trusted(remote.ip(), &policy.server.trusted_proxies) {
            let Some(outlet) = self.outlet(tcp, remote) else { return };
            let io = Opening::unintroduced(OutletIo::new(outlet.clone()), remote.ip());
            return self.serve_opening(io, outlet).await;
        }
        // Boxed, like every stage that few connections have: the others' tasks are not larger for it.
        if let Some((tcp, introduced)) = Box::pin(self.introduce(tcp, remote)).await {
            let Some(outlet) = self.outlet(tcp, introduced.source.unwrap_or(remote)) else { return };
            let io = Opening::introduced(OutletIo::new(outlet.clone()), introduced.read_ahead);
            self.serve_opening(io, outlet).await;
        }
    }

    /// `None` closes a connection that is one too many, in total or of its address.
    fn outlet(&self, tcp: TcpStream, remote: SocketAddr) -> Option<Arc<Outlet>> {
        let policy = self.front.policy();
        let is_proxy = proxy::is_trusted(remote.ip(), &policy.server.trusted_proxies);
        let Some(place) = self.caps.connection(remote.ip(), is_proxy) else {
            self.front.metrics().refused(Code::TooManyConnections);
            return None;
        };
        let traffic = self.front.metrics().traffic.clone();
        let outlet = Outlet::new(tcp, remote, policy.limits.slow_reader, traffic, Box::new(place));
        self.connections.add(&outlet);
        Some(outlet)
    }

    /// What a trusted proxy says of the connection; `None` closes it.
    async fn introduce(&self, mut tcp: TcpStream, remote: SocketAddr) -> Option<(TcpStream, Introduced)> {
        match tokio::time::timeout(HEAD_DEADLINE, proxy_protocol::read(&mut tcp)).await {
            Ok(Ok(introduced)) => Some((tcp, introduced)),
            Ok(Err(error)) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    self.front.metrics().refused(Code::Malformed);
                    tracing::info!(%remote, why = %error, "malformed PROXY protocol header from a trusted proxy");
                }
                None
            }
            // A proxy that opens connections in advance is no fault.
            Err(_) => None,
        }
    }

    async fn serve_opening(&self, io: Opening, outlet: Arc<Outlet>) {
        match &self.tls {
            None => self.serve_http(io, outlet).await,
            Some(tls) => Box::pin(self.serve_tls(tls, io, outlet)).await,
        }
    }

    async fn serve_tls(&self, tls: &Tls, io: Opening, outlet: Arc<Outlet>) {
        outlet.encrypt();
        match tokio::time::timeout(HEAD_DEADLINE, tls.accept(io)).await {
            Ok(Ok(stream)) => self.serve_http(Plaintext::new(stream, outlet.clone()), outlet).await,
            Ok(Err(error)) => self.refuse_tls(&outlet, &error),
            Err(_) => self.refuse_tls(&outlet, &"it took too long"),
        }
    }

    fn refuse_tls(&self, outlet: &Outlet, why: &dyn Display) {
        self.front.metrics().refused(Code::TlsHandshake);
        tracing::debug!(remote = %outlet.remote(), %why, "no TLS connection");
    }

    async fn serve_http(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        outlet: Arc<Outlet>,
    ) {
        let (front, looked_at) = (self.front.clone(), outlet.clone());
        let answer = service_fn(move |request| {
            let (front, outlet) = (front.clone(), outlet.clone());
            // A connection may outlive a policy, so each request goes by the one in force when it comes.
            let policy = front.policy();
            let cors = origin::cors(policy.clone());
            cors.layer(service_fn(move |request| {
                let (policy, front, outlet) = (policy.clone(), front.clone(), outlet.clone());
                async move { Ok::<_, Infallible>(front.answer(&policy, outlet, request).await) }
            }))
            .oneshot(request)
        });
        let service = TowerToHyperService::new(answer);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_DEADLINE)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(InboundIo::new(io, looked_at)), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::trace!(%error, "connection ended");
        }
    }
}
