//! Backpressure on publishers. Connections whose worker is too busy to serve them would otherwise fill their queues,
//! and clients that read at full speed would be closed as slow readers. Publishers wait while there is such a
//! connection. A client that does not read does not count: its socket accepts no data, and it delays no publisher.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The longest time that a publisher waits. A worker that has not served its connections by then is not expected to do
/// so soon.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The number of congested connections: their queues are more than half full, and their sockets accept data.
#[derive(Debug, Default)]
pub(super) struct Backpressure {
    congested: AtomicUsize,
    cleared: Notify,
}

impl Backpressure {
    /// Adds a congested connection. [`Backpressure::remove`] has to follow.
    pub(super) fn add(&self) {
        self.congested.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes a congested connection.
    pub(super) fn remove(&self) {
        if self.congested.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.cleared.notify_waiters();
        }
    }

    /// Waits until no connection is congested, for [`MAX_WAIT`] at most.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(super) async fn wait(&self) {
        if self.is_clear() {
            return;
        }
        let cleared = async {
            loop {
                // Created before the check, so that a notification after the check is not missed.
                let cleared = self.cleared.notified();
                if self.is_clear() {
                    return;
                }
                cleared.await;
            }
        };
        if timeout(MAX_WAIT, cleared).await.is_err() {
            tracing::debug!("a publisher waited for congested connections until the timeout");
        }
    }

    fn is_clear(&self) -> bool {
        self.congested.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn publishers_wait_for_the_last_connection() {
        let backpressure = Backpressure::default();
        backpressure.wait().await;
        backpressure.add();
        backpressure.add();
        let mut waiting = pin!(backpressure.wait());
        let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        backpressure.remove();
        assert!(poll().is_pending());
        backpressure.remove();
        assert_eq!(poll(), Poll::Ready(()));
    }

    #[tokio::test]
    async fn a_waiting_publisher_checks_again_after_a_wake_up() {
        let backpressure = Backpressure::default();
        backpressure.add();
        let (mut one, mut two) = (Box::pin(backpressure.wait()), Box::pin(backpressure.wait()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut context).is_pending() && two.as_mut().poll(&mut context).is_pending());
        backpressure.remove();
        assert!(one.as_mut().poll(&mut context).is_ready());
        backpressure.add();
        assert!(two.as_mut().poll(&mut context).is_pending());
        backpressure.remove();
        assert!(two.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_has_a_timeout() {
        let backpressure = Backpressure::default();
        backpressure.add();
        let began = Instant::now();
        backpressure.wait().await;
        assert_eq!(began.elapsed(), MAX_WAIT);
    }
}
