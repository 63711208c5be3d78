//! A lazy_timer that costs nothing until it runs.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A lazy_timer, which may run.
#[derive(Debug, Default)]
pub(super) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Runs the lazy_timer from now on, if it does not run yet. Ready once its time is over.
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
