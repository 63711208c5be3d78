//! Yielding between the stages, so that connections go through them together.

use std::future::poll_fn;
use std::task::Poll;

/// Yields until every other connection of this worker that is ready to run has run.
///
/// Requests that arrive together are then received together, decided together and answered together. The code of a
/// stage, the kernel's part included, stays in the processor's caches for all of them; if one connection after the
/// other went through all stages, each stage would evict the code of the one before (docs/performance.md). If no other
/// connection is ready, this costs one more poll and no system call.
pub(super) async fn yield_to_ready() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        // Puts the task at the end of the worker's queue. `tokio::task::yield_now` would also poll for new events.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
