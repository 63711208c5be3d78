//! Accepting connections on one listener and giving them to the workers in turn.
//!
//! There is one listener and not one per worker, so that a second usher on the same port fails to start. Otherwise both
//! would share the traffic, and two gateways that do not share their memory lose handoffs.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::worker::Accepted;
use crate::descriptors::AcceptFailures;
use crate::gateway::ConnectionLimiter;
use crate::shutdown::Drain;

/// The pause after the first failed `accept`, doubled up to [`LONGEST_PAUSE`]: usually descriptors are used up, and an
/// immediate retry would fail again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until draining begins, as many connections at once as `limiter` allows. Where it allows no more, one is
/// evicted; while all are busy, the others wait in the listener's queue.
pub(super) async fn run(
    listener: TcpListener,
    limiter: Arc<ConnectionLimiter>,
    workers: Vec<mpsc::Sender<Accepted>>,
    drain: Drain,
) {
    let mut next_worker: usize = 0;
    let mut pause = SHORTEST_PAUSE;
    let mut failures = AcceptFailures::new("server.listen");
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => return,
            accepted = next(&listener, &limiter) => accepted,
        };
        match accepted {
            Ok(None) => pause = SHORTEST_PAUSE,
            Ok(Some(accepted)) => {
                pause = SHORTEST_PAUSE;
                next_worker = next_worker.wrapping_add(1);
                dispatch(accepted, &workers, next_worker);
            }
            Err(error) => {
                failures.failed(&error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The next connection; `None`: its peer has too many, and it was closed. Nothing is evicted before a connection comes.
async fn next(listener: &TcpListener, limiter: &Arc<ConnectionLimiter>) -> std::io::Result<Option<Accepted>> {
    let (stream, peer) = listener.accept().await?;
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
