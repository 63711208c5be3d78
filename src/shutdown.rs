//! How usher ends: a signal that draining has begun, and the owner of every task, so that the end can wait for them.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Says whether, and tells when, usher drains: it takes no new connections, stops suppressing, and finishes what it has begun.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Begins draining. Calling it again changes nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// The same signal for one of many who wait for it: they do not meet at one lock then.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until draining begins.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// Owns every task of usher. Cloning it gives another handle to the same set.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `task` on the current runtime; it is waited for at the end.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(task)
    }

    /// Runs `work` on a thread where it may block; it is waited for at the end.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(work)
    }

    /// How many tasks run at present.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.len()
    }

    /// Waits for the tasks to end, `period` at most. Returns how many were still running.
    pub async fn finish(&self, period: Duration) -> usize {
        self.0.close();
        let _elapsed = tokio::time::timeout(period, self.0.wait()).await;
        self.0.len()
    }
}
