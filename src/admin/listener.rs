//! Accepts the operator's connections and bounds what each of them may take: few at once, none for ever.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::Admin;
use super::service::Service;
use crate::shutdown::{Drain, Tasks};

/// Connections open at once. The next one takes the place of one that has sent nothing yet, or waits in the listener's queue.
const MAX_CONNECTIONS: usize = 64;

/// Of them, those that are kept for more than one request. The other places are for connections that just came: a probe is answered at any time.
const MAX_KEPT: usize = 56;

/// To send the first byte; and for all that a connection does that is not kept.
const FIRST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one that was asked to go may take, before another one is asked.
const PATIENCE: Duration = Duration::from_millis(50);

/// To receive a request's head, and between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest request head in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Most header lines of a request.
const MAX_HEADERS: usize = 64;

/// A connection older than this ends after the request it is at, so that one whose peer reads nothing cannot keep its place.
const MAX_LIFETIME: Duration = Duration::from_secs(300);

/// How long the last request of a connection may take to be answered.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// How long accepting pauses after it failed, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the operator on `listener` until `stop` begins; connections run in `tasks`.
///
/// `stop` is not [`Admin::drain`]: the operator must see that usher drains, so this listener outlives the public one. Begin it when the rest has ended.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, tasks: Tasks, stop: Drain) {
    // An address that cannot be told counts as one that others can reach.
    let exposed = !listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let service = Arc::new(Service::new(admin, tasks.clone(), stop.clone(), exposed));
    tokio::select! {
        () = stop.begun() => {}
        () = accept(&listener, &service, &tasks, &stop) => {}
    }
}

/// Accepts connections for ever; cancelled between two of them, it loses none that has a place.
async fn accept(listener: &TcpListener, service: &Arc<Service>, tasks: &Tasks, stop: &Drain) {
    let mut places = Places { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), silent: VecDeque::new() };
    let kept = Arc::new(Semaphore::new(MAX_KEPT));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok((place, displaced)) = places.take().await else { return };
                let (service, kept, stop) = (Arc::clone(service), Arc::clone(&kept), stop.clone());
                tasks.spawn(async move {
                    let _place = place;
                    if begins(&stream, displaced, &stop).await {
                        converse(stream, service, kept.try_acquire_owned().ok(), stop).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The places of all connections.
struct Places {
    all: Arc<Semaphore>,
    /// One for each connection that has sent nothing yet, oldest first: dropped, the connection gives up its place.
    silent: VecDeque<oneshot::Sender<Infallible>>,
}

impl Places {
    /// A place for a connection, and what tells that it has to be given up, as long as nothing has come on it.
    async fn take(&mut self) -> Result<(OwnedSemaphorePermit, oneshot::Receiver<Infallible>), AcquireError> {
        self.silent.retain(|connection| !connection.is_closed());
        let place = loop {
            if let Ok(place) = Arc::clone(&self.all).try_acquire_owned() {
                break place;
            }
            let Some(oldest) = self.silent.pop_front() else { break Arc::clone(&self.all).acquire_owned().await? };
            drop(oldest);
            if let Ok(place) = timeout(PATIENCE, Arc::clone(&self.all).acquire_owned()).await {
                break place?;
            }
        };
        let (holder, displaced) = oneshot::channel();
        self.silent.push_back(holder);
        Ok((place, displaced))
    }
}

/// Waits for the first byte of a connection. Returns whether it has come.
async fn begins(stream: &TcpStream, displaced: oneshot::Receiver<Infallible>, stop: &Drain) -> bool {
    let has_come = async { stream.peek(&mut [0]).await.is_ok_and(|count| count > 0) };
    tokio::select! {
        biased;
        came = has_come => came,
        // The runtime may not have been told yet of what has come.
        _displaced = displaced => SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0),
        () = stop.begun() => false,
        () = sleep(FIRST_TIMEOUT) => false,
    }
}

/// Answers the requests of one connection; only the first one, and that soon, if it has no place among those that are `kept`.
async fn converse(stream: TcpStream, service: Arc<Service>, kept: Option<OwnedSemaphorePermit>, stop: Drain) {
    let (head_timeout, lifetime) = if kept.is_some() { (HEAD_TIMEOUT, MAX_LIFETIME) } else { (FIRST_TIMEOUT, FIRST_TIMEOUT) };
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .keep_alive(kept.is_some())
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = stop.begun() => Err(()),
        () = sleep(lifetime) => Err(()),
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
