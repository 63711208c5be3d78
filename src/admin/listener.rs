//! Accepts the operator's connections and bounds what each of them may take: few at once, none for ever.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Admin;
use super::service::Service;
use crate::shutdown::{Drain, Tasks};

/// Connections open at once; the next one waits in the listener's queue.
const MAX_CONNECTIONS: usize = 64;

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
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::select! {
        () = stop.begun() => {}
        () = accept(&listener, &service, &tasks, &places, &stop) => {}
    }
}

/// Accepts connections for ever; cancelled between two of them, it loses none that it has accepted.
async fn accept(listener: &TcpListener, service: &Arc<Service>, tasks: &Tasks, places: &Arc<Semaphore>, stop: &Drain) {
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                tasks.spawn(converse(stream, Arc::clone(service), place, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection, which holds its `place` until it ends.
async fn converse(stream: TcpStream, service: Arc<Service>, place: OwnedSemaphorePermit, stop: Drain) {
    let _place = place;
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), answer);
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
