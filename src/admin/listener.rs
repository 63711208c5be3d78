//! Accepts the operator's connections, with bounds on their number and their lifetime.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Admin;
use super::record::LongAnswer;
use super::reply::{self, Reply};
use super::service::Service;
use crate::descriptors::Acceptor;
use crate::shutdown::{Drain, Phase, Tasks};

/// The largest number of keep-alive connections.
const MAX_KEEP_ALIVE: usize = 56;

/// The largest number of connections that are closed after one answer, while there are [`MAX_KEEP_ALIVE`] others:
/// health probes are answered even if clients occupy all keep-alive connections.
const MAX_SINGLE_REQUEST: usize = 8;

/// The largest number of connections that have not sent a byte yet. The next one replaces the oldest.
const MAX_NEW: usize = 8;

/// The largest number of open connections of the listener.
pub const MAX_CONNECTIONS: usize = MAX_KEEP_ALIVE + MAX_SINGLE_REQUEST + MAX_NEW;

/// The time for the first byte of a connection, and for the request of a single-request connection.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(2);

/// The time to receive the head of a request, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The largest number of header lines of a request.
const MAX_HEADERS: usize = 64;

/// A connection older than this is closed after its current request, so that a client that reads nothing cannot occupy
/// it for longer. A recording lasts as long as its client reads it.
const MAX_LIFETIME: Duration = Duration::from_secs(300);

/// The time to answer the last request of a connection.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the operator on `listener` until `stop` begins; connections run in `tasks`.
///
/// `stop` is not [`Admin::drain`], and has the last phase alone: the operator must see that usher drains, so this
/// listener has to run until all other parts have ended.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, tasks: Tasks, stop: Drain) {
    // An unknown address counts as reachable from other hosts.
    let exposed = !listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let service = Arc::new(Service::new(admin, tasks.clone(), stop.clone(), exposed));
    let limits = ConnectionLimits {
        keep_alive: Arc::new(Semaphore::new(MAX_KEEP_ALIVE)),
        single_request: Arc::new(Semaphore::new(MAX_SINGLE_REQUEST)),
    };
    tokio::select! {
        () = stop.reached(Phase::Draining) => {}
        () = accept(Acceptor::new(listener, "admin.listen"), &service, &tasks, &limits, &stop) => {}
    }
}

/// The limits of connections that have begun to send.
#[derive(Debug, Clone)]
struct ConnectionLimits {
    keep_alive: Arc<Semaphore>,
    single_request: Arc<Semaphore>,
}

/// A connection's share of the limits, which its drop releases.
#[derive(Debug)]
enum ConnectionPermit {
    KeepAlive { _permit: OwnedSemaphorePermit },
    SingleRequest { _permit: OwnedSemaphorePermit },
}

impl ConnectionLimits {
    /// A permit for a connection that has begun to send, if there is one.
    fn acquire(&self) -> Option<ConnectionPermit> {
        let acquire = |limit: &Arc<Semaphore>| Arc::clone(limit).try_acquire_owned().ok();
        let keep_alive = acquire(&self.keep_alive).map(|permit| ConnectionPermit::KeepAlive { _permit: permit });
        keep_alive
            .or_else(|| acquire(&self.single_request).map(|permit| ConnectionPermit::SingleRequest { _permit: permit }))
    }
}

/// Accepts connections. Never returns.
///
/// # Cancel safety
/// Dropping the future loses no accepted connection.
async fn accept(
    mut acceptor: Acceptor,
    service: &Arc<Service>,
    tasks: &Tasks,
    limits: &ConnectionLimits,
    stop: &Drain,
) {
    // A sender for each connection that has not sent a byte. Dropping the sender closes the connection.
    let mut new: VecDeque<oneshot::Sender<Infallible>> = VecDeque::new();
    loop {
        let (stream, _) = acceptor.accept().await;
        new.retain(|waiting| !waiting.is_closed());
        let is_full = new.len() == MAX_NEW;
        if is_full {
            new.pop_front();
        }
        let (waiting, closed) = oneshot::channel();
        new.push_back(waiting);
        tasks.spawn(admit(stream, Arc::clone(service), limits.clone(), closed, stop.clone()));
        if is_full {
            // Lets the oldest close before the next accept: a flood of connections uses no more descriptors than are
            // reserved for this listener.
            yield_now().await;
        }
    }
}

/// Waits for the first byte of a connection, and serves the connection if the limits allow it.
async fn admit(
    stream: TcpStream,
    service: Arc<Service>,
    limits: ConnectionLimits,
    closed: oneshot::Receiver<Infallible>,
    stop: Drain,
) {
    let mut first = [0];
    let began = tokio::select! {
        began = timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)) => matches!(began, Ok(Ok(1))),
        _replaced = closed => false,
        () = stop.reached(Phase::Draining) => false,
    };
    match limits.acquire().filter(|_| began) {
        Some(permit @ ConnectionPermit::KeepAlive { .. }) => serve_keep_alive(stream, service, permit, stop).await,
        Some(permit @ ConnectionPermit::SingleRequest { .. }) => serve_single_request(stream, service, permit).await,
        None => tracing::debug!(began, "an admin connection was closed before it was answered"),
    }
}

/// Answers the first request of a connection and closes it. Releases `permit` at the end.
async fn serve_single_request(stream: TcpStream, service: Arc<Service>, permit: ConnectionPermit) {
    let connection = server(FIRST_BYTE_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answering(service, Arc::default())));
    match timeout(FIRST_BYTE_TIMEOUT + LAST_ANSWER_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
        Err(_elapsed) => tracing::debug!("an admin connection took too long"),
    }
    drop(permit);
}

/// The service of one connection.
fn answering(
    service: Arc<Service>,
    long: Arc<LongAnswer>,
) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Result<Reply, Infallible>> {
    move |request| {
        let (service, long) = (Arc::clone(&service), Arc::clone(&long));
        async move { Ok(reply::dated(service.answer(request, &long).await)) }.boxed()
    }
}

fn server(head_timeout: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    server
}

/// Ends with the lifetime of a connection, and not before its long answer does.
async fn lifetime(long: &LongAnswer) {
    sleep(MAX_LIFETIME).await;
    while long.is_read() {
        sleep(LAST_ANSWER_TIMEOUT).await;
    }
}

/// Answers the requests of a connection until it ends. Releases `permit` at the end.
async fn serve_keep_alive(stream: TcpStream, service: Arc<Service>, permit: ConnectionPermit, stop: Drain) {
    let _permit = permit;
    let long = Arc::new(LongAnswer::default());
    let answering = answering(service, Arc::clone(&long));
    let connection = server(HEAD_TIMEOUT).serve_connection(TokioIo::new(stream), service_fn(answering));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = stop.reached(Phase::Draining) => Err(()),
        () = lifetime(&long) => Err(()),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(()) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke");
    }
}
