//! What a client that subscribes to a channel has to be shown.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::Assignment;

/// What is known of a channel to which a client has just subscribed. Whatever is claimed after this was looked up, is
/// sent to upstream afterwards.
#[derive(Debug)]
pub enum Present {
    /// The channel is known to show this, and nothing is in flight on it.
    Known(Assignment),
    /// Something is in flight: look again once a part of it is settled.
    InFlight(Settlement),
    /// It is unknown. What is claimed before this was looked up will not make it known either, so the next announcement
    /// goes on.
    Unknown,
}

/// Ends once a ticket of the channel is settled, or the channel is forgotten.
#[must_use = "the channel is looked at again when it ends"]
#[derive(Debug)]
pub struct Settlement(oneshot::Receiver<()>);

impl Settlement {
    pub(super) const fn new(settled: oneshot::Receiver<()>) -> Self {
        Self(settled)
    }
}

impl Future for Settlement {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // An error means that the sender was dropped, which happens only together with the channel's tickets.
        Pin::new(&mut self.0).poll(context).map(|(Ok(()) | Err(_))| ())
    }
}
