//! A worker: a thread with its own runtime, connections, and pool of connections to upstream. Workers share no socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::FutureExt;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::handshake::{self, FailedHandshake};
use super::lingering_close::LingeringClose;
use super::prefixed_stream::PrefixedStream;
use super::socket::{ConnectionState, GuardedReply, TimeoutStream, Timeouts};
use crate::broker::Broker;
use crate::gateway::{Batch, Caller, ConnectionPermit, FastConnection, FastPath, FastPathEnd, Gateway, Limits, Shared};
use crate::shutdown::{Phase, Tasks};
use crate::tls::{Certificate, TlsError};
use crate::upstream::{self, Local, Remote, Upstream};

/// A worker polls for new events after this many polls of its tasks, if no task is ready before. tokio's default of 61
/// is meant for tasks that do everything in one poll; a trigger takes three polls, one per stage.
const EVENT_INTERVAL: u32 = 183;

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: StdStream,
    pub(super) peer: SocketAddr,
    /// Counts it among `limits.max_connections`.
    pub(super) permit: Arc<ConnectionPermit>,
}

/// What a worker needs to start.
#[derive(Debug, Clone)]
pub(super) struct WorkerSetup {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: upstream::Options,
    /// The embedded broker, if it is upstream.
    pub(super) broker: Option<Arc<Broker>>,
    /// Whether triggers may take the fast path.
    pub(super) fast_path: bool,
    pub(super) certificate: Option<Arc<Certificate>>,
    /// The tasks that drive connections to upstream; they end with the worker's pool.
    pub(super) pools: Tasks,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Gives connections to the worker; once it is dropped, the worker takes no more.
    pub(super) sockets: mpsc::Sender<Accepted>,
    /// Dropping it ends the worker, whatever still runs there.
    stop: oneshot::Sender<Infallible>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts worker number `index`.
    ///
    /// # Errors
    /// If upstream's options cannot be used, or the system gives no thread or runtime.
    pub(super) fn start(index: usize, options: WorkerSetup) -> Result<Self, WorkerError> {
        let upstream = match options.broker {
            Some(broker) => Upstream::Local(Local::new(broker, options.upstream.timeout)),
            None => Upstream::Remote(Remote::new(&options.upstream, options.pools.clone())?),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()
            .map_err(WorkerError::Runtime)?;
        let (sockets, arrivals) = mpsc::channel(1024);
        let (stop, stopped) = oneshot::channel();
        let gateway = Gateway { shared: Arc::clone(&options.shared), upstream };
        let batch = match &gateway.upstream {
            Upstream::Remote(remote) if options.fast_path => {
                Some(Arc::new(Batch::new(Arc::clone(&options.shared), remote.host().clone())))
            }
            Upstream::Remote(_) | Upstream::Local(_) => None,
        };
        let setup = ConnectionSetup { certificate: options.certificate, batch };
        let thread = std::thread::Builder::new()
            .name(format!("usher-worker-{index}"))
            .spawn(move || {
                runtime.block_on(work(gateway, setup, arrivals, stopped));
                // Ends all tasks, and does not wait for a look-up of a name, which may take longer than the end may.
                runtime.shutdown_background();
            })
            .map_err(WorkerError::Thread)?;
        Ok(Self { sockets, stop, thread })
    }

    /// Ends the worker and waits for its thread.
    pub(super) fn end(self) {
        let Self { sockets, stop, thread } = self;
        drop(sockets);
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Upstream's address cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No runtime.
    #[error("a worker's runtime could not be made")]
    Runtime(#[source] std::io::Error),
    /// No thread.
    #[error("a worker's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// The limits on the heads of a connection's requests.
#[derive(Debug, Clone, Copy)]
struct HeadLimits {
    max_head: usize,
    max_headers: usize,
}

/// What a worker needs to serve a connection.
#[derive(Debug, Clone)]
struct ConnectionSetup {
    certificate: Option<Arc<Certificate>>,
    /// Where triggers on the fast path are decided, if it may be used.
    batch: Option<Arc<Batch>>,
}

async fn work(
    gateway: Gateway,
    setup: ConnectionSetup,
    mut arrivals: mpsc::Receiver<Accepted>,
    stopped: oneshot::Receiver<Infallible>,
) {
    let (tasks, upstream) = (gateway.shared.tasks.clone(), gateway.upstream.clone());
    let serving = async {
        while let Some(accepted) = arrivals.recv().await {
            let _detached = tasks.spawn(serve_connection(gateway.clone(), setup.clone(), accepted));
        }
        gateway.upstream.retire();
        drop(gateway);
        let _dropped = stopped.await;
    };
    tokio::select! {
        () = serving => {}
        () = upstream.run() => {}
    }
}

/// Serves one connection until it ends or is switched to WebSocket; the relay keeps its permit then.
async fn serve_connection(gateway: Gateway, setup: ConnectionSetup, accepted: Accepted) {
    let Accepted { stream, peer, permit } = accepted;
    let caller = Caller { ip: peer.ip(), connection: permit };
    let stream = match stream
        .set_nonblocking(true)
        .and_then(|()| stream.set_nodelay(true))
        .and_then(|()| TcpStream::from_std(stream))
    {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%peer, %error, "a connection was gone before it was served"),
    };
    let served = async {
        let head_timeout = gateway.shared.routing.load().limits.head_timeout;
        match &setup.certificate {
            None => serve(&gateway, stream, &caller, &setup).await,
            Some(certificate) => match handshake::accept(certificate, stream, head_timeout).await {
                // Boxed: a connection without TLS needs no memory for it.
                Ok(stream) => Box::pin(serve(&gateway, stream, &caller, &setup)).await,
                Err(FailedHandshake { reason, error }) => {
                    gateway.shared.metrics.handshake_failure(reason);
                    tracing::debug!(%peer, ?reason, error, "a TLS handshake failed");
                }
            },
        }
    };
    // In this order: a request that has come is read before the connection is evicted.
    tokio::select! {
        biased;
        () = served => {}
        () = caller.connection.evicted() => tracing::debug!(%peer, "a connection was closed to make room for another one"),
    }
}

async fn serve<T>(gateway: &Gateway, mut stream: T, caller: &Caller, setup: &ConnectionSetup)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The present ones: a reload changes those of new connections.
    let (limits, deadlines) = {
        let routing = gateway.shared.routing.load();
        let Limits { max_head, max_headers, head_timeout, idle_timeout, .. } = routing.limits;
        (HeadLimits { max_head, max_headers }, Timeouts { head: head_timeout, idle: idle_timeout })
    };
    // Boxed, so that a connection that has left the fast path keeps no memory for it, and that a trigger on it does not
    // touch the code of the other path.
    let read = match (&gateway.upstream, &setup.batch) {
        (Upstream::Remote(remote), Some(batch)) => {
            let path = FastPath { shared: &gateway.shared, upstream: remote, batch };
            let timeouts = (deadlines.head, deadlines.idle);
            match FastConnection::new(path, timeouts, &mut stream, caller).run().boxed().await {
                FastPathEnd::Closed => return,
                FastPathEnd::LastReplyWritten => return close(&mut stream, caller).await,
                FastPathEnd::OtherShape(read) => read,
            }
        }
        (Upstream::Remote(_) | Upstream::Local(_), _) => Bytes::new(),
    };
    let stream = PrefixedStream::new(read, stream);
    let state = Arc::new(ConnectionState::new(Arc::clone(&caller.connection)));
    let socket = TokioIo::new(TimeoutStream::new(stream, Arc::clone(&state), deadlines));
    let service = service_fn(|request| {
        let guard = state.begin_request();
        async {
            let response = gateway.answer(request, caller).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                guard.set_switched();
            }
            Ok::<_, Infallible>(response.map(|reply| GuardedReply::new(reply, guard)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .preserve_header_case(true)
        .max_headers(limits.max_headers)
        // The bound on the buffer alone would allow a larger head that comes in one piece, for one read may exceed it.
        .max_header_size(limits.max_head)
        .max_buf_size(limits.max_head)
        .serve_connection(socket, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = gateway.shared.drain.reached(Phase::Draining) => {
            state.end_if_idle();
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %caller.ip, %error, "a connection ended in error");
    }
}

/// Closes a connection whose last answer is written.
async fn close(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), caller: &Caller) {
    let mut lingering_close = LingeringClose::default();
    if let Err(error) = poll_fn(|context| lingering_close.poll(stream, context)).await {
        tracing::debug!(peer = %caller.ip, %error, "a connection was gone before it was closed");
    }
}
