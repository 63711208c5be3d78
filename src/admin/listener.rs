//! Accepts the operator's connections and bounds what each of them may take: few at once, none for ever.

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
use super::reply::{self, Reply};
use super::service::Service;
use crate::descriptors::AcceptFailures;
use crate::shutdown::{Drain, Tasks};

/// Connections that are kept from one request to the next.
const MAX_KEPT: usize = 56;

/// Connections that are answered once and closed, while [`MAX_KEPT`] are kept: probes find a place whoever else is
/// there.
const MAX_ANSWERED_ONCE: usize = 8;

/// Connections that have not sent a byte yet; the oldest one gives way to the next.
const MAX_NEW: usize = 8;

/// Connections of the operator that may be open at once.
pub const MAX_CONNECTIONS: usize = MAX_KEPT + MAX_ANSWERED_ONCE + MAX_NEW;

/// For the first byte of a connection, and for all of one that is answered once but its answer.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(2);

/// To receive a request's head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most header lines of a request.
const MAX_HEADERS: usize = 64;

/// A connection older than this ends after the request it is at, so that one whose peer reads nothing cannot keep its
/// place.
const MAX_LIFETIME: Duration = Duration::from_secs(300);

/// How long the last request of a connection may take to be answered.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// How long accepting pauses after it failed, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the operator on `listener` until `stop` begins; connections run in `tasks`.
///
/// `stop` is not [`Admin::drain`]: the operator must see that usher drains, so this listener outlives the public one.
/// Begin it when the rest has ended.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, tasks: Tasks, stop: Drain) {
    // An address that cannot be told counts as one that others can reach.
    let exposed = !listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let service = Arc::new(Service::new(admin, tasks.clone(), stop.clone(), exposed));
    let places = Places { kept: Arc::new(Semaphore::new(MAX_KEPT)), once: Arc::new(Semaphore::new(MAX_ANSWERED_ONCE)) };
    tokio::select! {
        () = stop.begun() => {}
        () = accept(&listener, &service, &tasks, &places, &stop) => {}
    }
}

/// The places for connections that have sent something.
#[derive(Debug, Clone)]
struct Places {
    kept: Arc<Semaphore>,
    once: Arc<Semaphore>,
}

/// The place of a connection; given back when it is dropped.
#[derive(Debug)]
enum Place {
    Kept { _permit: OwnedSemaphorePermit },
    Once { _permit: OwnedSemaphorePermit },
}

impl Places {
    /// A place for a connection that has begun to send, if there is one.
    fn take(&self) -> Option<Place> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let kept = take(&self.kept).map(|permit| Place::Kept { _permit: permit });
        kept.or_else(|| take(&self.once).map(|permit| Place::Once { _permit: permit }))
    }
}

/// Accepts connections for ever; cancelled between two of them, it loses none that it has accepted.
async fn accept(listener: &TcpListener, service: &Arc<Service>, tasks: &Tasks, places: &Places, stop: &Drain) {
    // A sender for each connection that has not sent a byte: dropped, the connection is closed.
    let mut new: VecDeque<oneshot::Sender<Infallible>> = VecDeque::new();
    let mut failures = AcceptFailures::new("admin.listen");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                new.retain(|waits| !waits.is_closed());
                let is_full = new.len() == MAX_NEW;
                if is_full {
                    new.pop_front();
                }
                let (waits, closed) = oneshot::channel();
                new.push_back(waits);
                tasks.spawn(admit(stream, Arc::clone(service), places.clone(), closed, stop.clone()));
                if is_full {
                    // The oldest is closed before another one is accepted: a flood takes no more descriptors than are
                    // kept for this listener.
                    yield_now().await;
                }
            }
            Err(error) => {
                failures.failed(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits for a connection's first byte, and serves it if there is a place for it then.
async fn admit(
    stream: TcpStream,
    service: Arc<Service>,
    places: Places,
    closed: oneshot::Receiver<Infallible>,
    stop: Drain,
) {
    let mut first = [0];
    let began = tokio::select! {
        began = timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)) => matches!(began, Ok(Ok(1))),
        _given_up = closed => false,
        () = stop.begun() => false,
    };
    match places.take().filter(|_| began) {
        Some(place @ Place::Kept { .. }) => converse(stream, service, place, stop).await,
        Some(place @ Place::Once { .. }) => answer_once(stream, service, place).await,
        None => tracing::debug!(began, "an admin connection was closed before it was answered"),
    }
}

/// Answers the first request of a connection in its `place`, and closes it.
async fn answer_once(stream: TcpStream, service: Arc<Service>, place: Place) {
    let connection = server(FIRST_BYTE_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(answering(service)));
    match timeout(FIRST_BYTE_TIMEOUT + LAST_ANSWER, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke"),
        Err(_elapsed) => tracing::debug!("an admin connection took too long"),
    }
    drop(place);
}

/// The service of one connection.
fn answering(service: Arc<Service>) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Result<Reply, Infallible>> {
    move |request| {
        let service = Arc::clone(&service);
        async move { Ok(reply::dated(service.answer(request).await)) }.boxed()
    }
}

fn server(head_timeout: Duration) -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    server
}

/// Answers the requests of one connection, which holds its `place` until it ends.
async fn converse(stream: TcpStream, service: Arc<Service>, place: Place, stop: Drain) {
    let _place = place;
    let connection = server(HEAD_TIMEOUT).serve_connection(TokioIo::new(stream), service_fn(answering(service)));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = stop.begun() => Err(()),
        () = sleep(MAX_LIFETIME) => Err(()),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(()) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke");
    }
}
