//! Connections that go through the stages side by side.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every other connection of this worker that has something to do come as far as this one first.
///
/// What arrives together is so received together, then judged together, then answered together. The code of a stage,
/// the kernel's part included, stays in the processor's caches for all of them; going through all stages with one
/// connection after the other, each stage drives out the one before (docs/performance.md). Where nobody else has
/// anything to do, it costs one more poll and no system call.
pub(super) async fn yield_to_ready() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        // To the end of the worker's queue, where `tokio::task::yield_now` would look for new events before.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
