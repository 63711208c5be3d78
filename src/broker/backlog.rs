//! Which connections have much to send only because their worker has not come to it yet. A backend that publishes
//! without a pause, on another worker or in front of them in the same one's queue, would otherwise fill their mailboxes
//! before they are looked at once, and clients that read at full speed would be closed as slow readers. So whoever
//! publishes waits while there is such a connection. A client that does not read is none: its socket takes nothing
//! more, and it holds up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a publisher waits at most: a worker that has not come to its connections by then will not soon.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The number of connections that have much to send and whose sockets would take it.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    connections: AtomicUsize,
    cleared: Notify,
}

impl Backlog {
    /// One more connection has much to send. [`Backlog::remove`] is to follow.
    pub(super) fn add(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    /// One of them has not any more.
    pub(super) fn remove(&self) {
        if self.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.cleared.notify_waiters();
        }
    }

    /// Waits until there is none, a second at most.
    ///
    /// # Cancel safety
    /// Dropped, nothing has happened.
    pub(super) async fn cleared(&self) {
        if self.is_clear() {
            return;
        }
        let cleared = async {
            loop {
                // Made before the look, so that what happens after it is not missed.
                let cleared = self.cleared.notified();
                if self.is_clear() {
                    return;
                }
                cleared.await;
            }
        };
        if timeout(LONGEST_WAIT, cleared).await.is_err() {
            tracing::debug!("a publisher waited in vain for connections that have much to send");
        }
    }

    fn is_clear(&self) -> bool {
        self.connections.load(Ordering::SeqCst) == 0
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
        let backlog = Backlog::default();
        backlog.cleared().await;
        backlog.add();
        backlog.add();
        let mut waiting = pin!(backlog.cleared());
        let mut poll = || waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        backlog.remove();
        assert!(poll().is_pending());
        backlog.remove();
        assert_eq!(poll(), Poll::Ready(()));
    }

    #[tokio::test]
    async fn whoever_comes_first_may_make_the_others_wait_again() {
        let backlog = Backlog::default();
        backlog.add();
        let (mut one, mut two) = (Box::pin(backlog.cleared()), Box::pin(backlog.cleared()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut context).is_pending() && two.as_mut().poll(&mut context).is_pending());
        backlog.remove();
        assert!(one.as_mut().poll(&mut context).is_ready());
        backlog.add();
        assert!(two.as_mut().poll(&mut context).is_pending());
        backlog.remove();
        assert!(two.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let backlog = Backlog::default();
        backlog.add();
        let began = Instant::now();
        backlog.cleared().await;
        assert_eq!(began.elapsed(), LONGEST_WAIT);
    }
}
