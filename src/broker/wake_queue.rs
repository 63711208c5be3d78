//! Wakes many readers in slices. An event for many subscribers would otherwise put all of them into the worker's run
//! queue at once: the next event would wait behind the last delivery, and each event would be written separately.
//! Between two slices the worker runs its other tasks. Events published in the meantime reach mailboxes that were not
//! read yet, and are written together. A publishing thread wakes another worker once, not once for each reader.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// The number of readers in a slice: about the number of tasks that the runtime polls before it checks for I/O events.
const SLICE: usize = 64;
/// Events for many subscribers that follow each other within this time are a burst.
const BURST: Duration = Duration::from_millis(5);
/// The longest pause between two rounds of a burst.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The readers on one worker that have to be woken.
#[derive(Debug, Default)]
pub struct WakeQueue {
    /// A lock: held to add wakers or to take a slice of them. The wakers are called after it is released. It has
    /// one waker per connection at most.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    readers: VecDeque<Waker>,
    /// The waker of [`WakeQueue::run`], while the queue is empty.
    runner: Option<Waker>,
    /// Whether [`WakeQueue::run`] is being polled.
    is_running: bool,
}

impl WakeQueue {
    /// Wakes `readers`: immediately if they are few and the queue is empty, or if [`WakeQueue::run`] does not run.
    pub(super) fn wake_all(&self, readers: Vec<Waker>) {
        let runner = {
            let mut queue = self.lock();
            if !queue.is_running || (queue.readers.is_empty() && readers.len() <= SLICE) {
                drop(queue);
                return readers.into_iter().for_each(Waker::wake);
            }
            queue.readers.extend(readers);
            queue.runner.take()
        };
        runner.into_iter().for_each(Waker::wake);
    }

    /// Wakes readers slice by slice. Never returns. Has to run on the worker that serves their connections.
    ///
    /// # Cancel safety
    /// Dropping the future wakes all queued readers.
    pub async fn run(&self) {
        self.lock().is_running = true;
        let _stop = StopOnDrop(self);
        let (mut last, mut took) = (None, Duration::ZERO);
        loop {
            self.wait_for_readers().await;
            // In a burst of events for many subscribers each round is followed by a pause of the same length, so that
            // several events are written together.
            if last.is_some_and(|end: Instant| end.elapsed() < BURST) {
                sleep(took.min(LONGEST_PAUSE)).await;
            }
            let began = Instant::now();
            let mut round = self.len();
            while round > 0 {
                let slice = self.slice(round);
                round -= slice.len();
                slice.into_iter().for_each(Waker::wake);
                yield_now().await;
            }
            (last, took) = (Some(Instant::now()), began.elapsed());
        }
    }

    /// Waits until the queue is not empty.
    async fn wait_for_readers(&self) {
        poll_fn(|context| {
            let mut queue = self.lock();
            if !queue.readers.is_empty() {
                return Poll::Ready(());
            }
            queue.runner = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The number of queued readers.
    fn len(&self) -> usize {
        self.lock().readers.len()
    }

    /// Takes the next slice, of at most `most` readers.
    fn slice(&self, most: usize) -> Vec<Waker> {
        let mut queue = self.lock();
        let count = queue.readers.len().min(SLICE).min(most);
        let slice = queue.readers.drain(..count).collect();
        if queue.readers.is_empty() {
            // Many subscribers are rare: the memory for them is freed.
            queue.readers.shrink_to(SLICE);
        }
        slice
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change leaves the fields consistent, so they can be used after a panic under the lock.
        self.queue.lock()
    }
}

/// Marks the queue as not running when it is dropped, and wakes the readers that are still queued.
struct StopOnDrop<'q>(&'q WakeQueue);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let readers = {
            let mut queue = self.0.lock();
            queue.is_running = false;
            std::mem::take(&mut queue.readers)
        };
        readers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Context;

    use super::super::tests::woken::Woken;
    use super::*;

    fn readers(woken: &Arc<Woken>, count: usize) -> Vec<Waker> {
        (0..count).map(|_| Waker::from(Arc::clone(woken))).collect()
    }

    #[tokio::test]
    async fn a_few_are_woken_at_once_and_many_in_slices() {
        let (wake_queue, woken) = (WakeQueue::default(), Arc::new(Woken::default()));
        let mut running = pin!(wake_queue.run());
        let mut turn = || running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(turn());
        wake_queue.wake_all(readers(&woken, SLICE));
        assert_eq!(woken.count(), SLICE);
        wake_queue.wake_all(readers(&woken, 2 * SLICE + 1));
        wake_queue.wake_all(readers(&woken, 1));
        assert_eq!(woken.count(), SLICE, "a reader behind many waits");
        let mut counts = Vec::new();
        for _ in 0..4 {
            assert!(turn());
            counts.push(woken.count());
        }
        assert_eq!(counts, [2 * SLICE, 3 * SLICE, 3 * SLICE + 2, 3 * SLICE + 2]);
        assert_eq!(wake_queue.lock().readers.capacity(), SLICE);
    }

    #[tokio::test]
    async fn readers_are_woken_at_once_without_a_runner() {
        let (wake_queue, woken) = (WakeQueue::default(), Arc::new(Woken::default()));
        wake_queue.wake_all(readers(&woken, 1000));
        assert_eq!(woken.count(), 1000);
        {
            let mut running = pin!(wake_queue.run());
            assert!(running.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            wake_queue.wake_all(readers(&woken, 1000));
            assert_eq!(woken.count(), 1000);
        }
        assert_eq!(woken.count(), 2000, "run() was dropped");
    }
}
