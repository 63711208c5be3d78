//! A timer that costs nothing until it is started.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is allocated when it is started.
#[derive(Debug, Default)]
pub(super) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Starts the timer, if it does not run yet. Ready once `after` is over since the start.
    pub(super) fn poll(&mut self, after: Duration, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + after))).as_mut().poll(context)
    }

    pub(super) const fn is_running(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn stop(&mut self) {
        self.0 = None;
    }
}
