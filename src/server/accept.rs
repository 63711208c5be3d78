//! Accepting connections: one listener, handed out to the workers in turn.
//!
//! One listener and not one per worker: a second usher on the same port then fails to start instead of sharing the
//! traffic, and two gateways that do not share their memory lose handoffs.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::worker::Accepted;
use crate::descriptors::Unaccepted;
use crate::gateway::Places;
use crate::shutdown::Drain;

/// The pause after the first failed `accept`, doubled up to [`LONGEST_PAUSE`]: the machine is out of descriptors, and
/// spinning does not help it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until draining begins; at most `places` connections are served at once. Where none is free, one is given up;
/// while all are busy, the others wait in the listener's queue.
pub(super) async fn run(
    listener: TcpListener,
    places: Arc<Places>,
    workers: Vec<mpsc::Sender<Accepted>>,
    drain: Drain,
) {
    let mut turn: usize = 0;
    let mut pause = SHORTEST_PAUSE;
    let mut unaccepted = Unaccepted::new("server.listen");
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => return,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            // One whose peer has too many is closed.
            Ok(None) => pause = SHORTEST_PAUSE,
            Ok(Some(accepted)) => {
                pause = SHORTEST_PAUSE;
                turn = turn.wrapping_add(1);
                hand_out(accepted, &workers, turn);
            }
            Err(error) => {
                unaccepted.failed(&error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The next connection, with its place; `None`: it was closed. Nobody is given up before somebody comes.
async fn next(listener: &TcpListener, places: &Arc<Places>) -> std::io::Result<Option<Accepted>> {
    let (stream, peer) = listener.accept().await?;
    let permit = places.free().await.map_err(std::io::Error::other)?;
    let stream = stream.into_std()?;
    Ok(places.enter(permit, peer.ip()).map(|place| Accepted { stream, peer, place }))
}

/// Gives the connection to the next worker that takes it. One that nobody takes is closed.
fn hand_out(accepted: Accepted, workers: &[mpsc::Sender<Accepted>], turn: usize) {
    let mut accepted = accepted;
    for offset in 0..workers.len() {
        match workers[(turn + offset) % workers.len()].try_send(accepted) {
            Ok(()) => return,
            Err(TrySendError::Full(back) | TrySendError::Closed(back)) => accepted = back,
        }
    }
    tracing::error!(peer = %accepted.peer, "no worker takes connections");
}
