//! The rate limit of one WebSocket client: each message consumes a permit, and the next message is not read until a
//! permit is available. TCP flow control slows down a client that is too fast; no message is lost.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Sleep, sleep};

use super::limit::Limit;
use super::table::Fingerprint;
use crate::metrics::{Metrics, RateScope};

/// The rate limit of one connection. All connections of a peer share the peer's permits.
#[derive(Debug)]
pub struct Pace {
    limit: Arc<Limit>,
    peer: Fingerprint,
    metrics: Arc<Metrics>,
    /// A message was read whose permit is not acquired yet.
    permit_due: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(limit: Arc<Limit>, peer: Fingerprint, metrics: Arc<Metrics>) -> Self {
        Self { limit, peer, metrics, permit_due: false, pause: None }
    }

    /// Counts a message that was read.
    pub const fn count_message(&mut self) {
        self.permit_due = true;
    }

    /// Whether the next message may be read now.
    pub fn is_ready(&mut self) -> bool {
        if !self.permit_due {
            return true;
        }
        if self.pause.is_some() {
            return false;
        }
        match self.limit.acquire_now(self.peer) {
            Ok(()) => self.permit_due = false,
            Err(wait) => {
                self.metrics.rate_delayed(RateScope::PeerMessages);
                self.pause = Some(Box::pin(sleep(wait)));
            }
        }
        !self.permit_due
    }

    /// Ready once the next message may be read.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.is_ready() {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
        }
        Poll::Ready(())
    }

    /// Waits until the next message may be read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn ready(&mut self) {
        poll_fn(|context| self.poll_ready(context)).await;
    }
}
