//! How usher ends: a signal that draining has begun, and the owner of every task, so that the end can wait for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// Says whether, and tells when, usher drains: it takes no new connections, stops suppressing, and finishes what it has
/// begun.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Asked by every request: the token would take a lock for it. Set before the token tells.
    begun: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Drain {
    /// Begins draining. Calling it again changes nothing.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// The same signal for a task that waits for it beside other things, again and again.
    #[must_use]
    pub fn listen(&self) -> DrainListener {
        // A token of its own: many tasks that wait do not meet at one lock then.
        DrainListener {
            begun: Arc::clone(&self.begun),
            cancelled: Box::pin(self.token.child_token().cancelled_owned()),
            registered: None,
        }
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits until draining begins.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }
}

/// Tells one task that draining has begun. It is put on the list of those who are cancelled once, however often it asks.
#[derive(Debug)]
pub struct DrainListener {
    begun: Arc<AtomicBool>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The task that will be woken.
    registered: Option<Waker>,
}

impl DrainListener {
    /// Ready once draining has begun.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.begun.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(context.waker().clone());
        self.cancelled.as_mut().poll(context)
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
