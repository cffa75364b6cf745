//! The accept loop: TCP connections in, HTTP requests to the [`Front`].

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, service_fn};

use super::front::Front;
use super::origin;
use crate::link::outlet::{Outlet, UNACKNOWLEDGED_TIMEOUT};
use crate::link::outlet_io::OutletIo;

/// A request head that has not arrived by then never will; it is also how long an idle kept-alive connection stays.
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

/// Accepts until the future is dropped; then every connection that is still plain HTTP is dropped with it.
pub async fn accept(listener: TcpListener, front: Arc<Front>, connections: Arc<Connections>) -> Infallible {
    let mut tasks = JoinSet::new();
    let mut backoff = MIN_BACKOFF;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, remote)) => {
                    backoff = MIN_BACKOFF;
                    let outlet = Outlet::new(tcp, remote, front.policy().limits.slow_reader);
                    if let Err(error) = prepare(outlet.tcp()) {
                        tracing::debug!(%error, "connection closed before it was served");
                        continue;
                    }
                    connections.add(&outlet);
                    tasks.spawn(serve(outlet, front.clone()));
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

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))
}

/// Serves one connection until it closes or becomes a WebSocket.
async fn serve(outlet: Arc<Outlet>, front: Arc<Front>) {
    let io = TokioIo::new(OutletIo::new(outlet.clone()));
    let cors = origin::cors(&front.policy().server);
    let answer = service_fn(move |request| {
        let (front, outlet) = (front.clone(), outlet.clone());
        async move { Ok::<_, Infallible>(front.answer(outlet, request).await) }
    });
    let service = TowerToHyperService::new(ServiceBuilder::new().layer(cors).service(answer));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(io, service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}
