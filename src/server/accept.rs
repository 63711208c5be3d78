//! Accepting connections on one listener and giving them to the workers in turn.
//!
//! There is one listener and not one per worker, so that a second usher on the same port fails to start. Otherwise both
//! would share the traffic, and two gateways that do not share their memory lose handoffs.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::listeners::BACKLOG;
use super::worker::Accepted;
use crate::descriptors::Acceptor;
use crate::gateway::ConnectionLimiter;
use crate::shutdown::{Drain, Phase};

/// Accepts until the listeners have to be closed, as many connections at once as `limiter` allows. Where it allows no
/// more, one is evicted; while all are busy, the others wait in the listener's queue.
pub(super) async fn run(
    listener: TcpListener,
    limiter: Arc<ConnectionLimiter>,
    workers: Vec<mpsc::Sender<Accepted>>,
    drain: Drain,
) {
    let mut next_worker: usize = 0;
    let mut dispatch_in_turn = |accepted| {
        next_worker = next_worker.wrapping_add(1);
        dispatch(accepted, &workers, next_worker);
    };
    let mut acceptor = Acceptor::new(listener, "server.listen");
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.reached(Phase::Closed) => break,
            accepted = next(&mut acceptor, &limiter) => accepted,
        };
        match accepted {
            Ok(None) => {}
            Ok(Some(accepted)) => dispatch_in_turn(accepted),
            Err(error) => acceptor.failed(&error).await,
        }
    }
    // Those whose peers are connected already would be reset with the listener.
    for _ in 0..BACKLOG {
        match next(&mut acceptor, &limiter).now_or_never() {
            Some(Ok(Some(accepted))) => dispatch_in_turn(accepted),
            Some(Ok(None)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// The next connection; `None`: its peer has too many, and it was closed. Nothing is evicted before a connection comes.
async fn next(acceptor: &mut Acceptor, limiter: &Arc<ConnectionLimiter>) -> std::io::Result<Option<Accepted>> {
    let (stream, peer) = acceptor.accept().await;
    let permit = limiter.acquire().await.map_err(std::io::Error::other)?;
    let stream = stream.into_std()?;
    Ok(limiter.admit(permit, peer.ip()).map(|permit| Accepted { stream, peer, permit }))
}

/// Gives the connection to the first worker from `first` on that takes it. If none does, it is closed.
fn dispatch(accepted: Accepted, workers: &[mpsc::Sender<Accepted>], first: usize) {
    let mut accepted = accepted;
    for offset in 0..workers.len() {
        match workers[(first + offset) % workers.len()].try_send(accepted) {
            Ok(()) => return,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => accepted = back,
        }
    }
    tracing::error!(peer = %accepted.peer, "no worker takes connections");
}
