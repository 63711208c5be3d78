//! Shutdown: the signal that draining has begun, and the set of all tasks, which the end waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The signal that usher drains: it accepts no new connections, stops suppressing, and finishes what it has begun.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Read by every request: the token would take a lock for that. Set before the token is cancelled.
    begun: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Drain {
    /// Begins draining. Calling it again changes nothing.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// A listener for a task that waits for the signal repeatedly, together with other events.
    #[must_use]
    pub fn listen(&self) -> DrainListener {
        // A token of its own, so that many waiting tasks do not contend for one lock.
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

/// Waits for the signal in one task. The task is registered once, however often it polls.
#[derive(Debug)]
pub struct DrainListener {
    begun: Arc<AtomicBool>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The waker that is registered.
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

/// The set of all tasks of usher. A clone is another handle to the same set.
#[derive(Debug, Clone, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `task` on the current runtime. [`Tasks::finish`] waits for it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(task)
    }

    /// Runs `work` on a thread where it may block. [`Tasks::finish`] waits for it.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(work)
    }

    /// How many tasks are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.len()
    }

    /// Waits for the tasks to end, for at most `period`. Returns how many are still running.
    pub async fn finish(&self, period: Duration) -> usize {
        self.0.close();
        let _elapsed = tokio::time::timeout(period, self.0.wait()).await;
        self.0.len()
    }
}
