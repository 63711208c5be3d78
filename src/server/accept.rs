//! Accepting connections: one listener, handed out to the workers in turn.
//!
//! One listener and not one per worker: a second usher on the same port then fails to start instead of sharing the traffic, and two gateways that
//! do not share their memory lose handoffs.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};

use super::worker::Accepted;
use crate::shutdown::Drain;

/// The pause after the first failed `accept`, doubled up to [`LONGEST_PAUSE`]: the system is out of descriptors, and spinning does not help it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts until draining begins; at most `places` connections are open at once, the others wait in the listener's queue.
pub(super) async fn run(listener: TcpListener, places: Arc<Semaphore>, workers: Vec<mpsc::Sender<Accepted>>, drain: Drain) {
    let mut turn: usize = 0;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => return,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                pause = SHORTEST_PAUSE;
                turn = turn.wrapping_add(1);
                hand_out(accepted, &workers, turn);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; is the limit of open files too low?");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let permit = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok(Accepted { stream: stream.into_std()?, peer, permit })
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
