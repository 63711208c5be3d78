//! Wakes many readers, a few at a time. Whoever publishes to a large audience would otherwise put all of them in the
//! worker's queue at once: the next event would wait behind the last delivery, and each would go out in a write of its
//! own. In between slices the worker does what else there is to do; events that come meanwhile find mailboxes that were
//! not opened yet, and go out together. A thread that publishes wakes another worker once, and not for each reader
//! there.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// Readers woken at once: about as many tasks as the runtime runs before it looks for what has arrived.
const SLICE: usize = 64;
/// Events for large audiences that follow each other within this time are a burst.
const BURST: Duration = Duration::from_millis(5);
/// The longest pause between two rounds of a burst.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The readers on one worker that are to be woken.
#[derive(Debug, Default)]
pub struct WakeQueue {
    /// A std lock: held to add wakers or to take a slice of them; they are woken outside of it. Each connection has one
    /// waker at most in here.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    readers: VecDeque<Waker>,
    /// Of [`WakeQueue::run`], while it has nothing to do.
    attendant: Option<Waker>,
    is_attended: bool,
}

impl WakeQueue {
    /// Has `readers` woken: at once if they are few and nobody is before them, or if nobody attends the bell.
    pub(super) fn wake_all(&self, readers: Vec<Waker>) {
        let attendant = {
            let mut waiting = self.lock();
            if !waiting.is_attended || (waiting.readers.is_empty() && readers.len() <= SLICE) {
                drop(waiting);
                return readers.into_iter().for_each(Waker::wake);
            }
            waiting.readers.extend(readers);
            waiting.attendant.take()
        };
        attendant.into_iter().for_each(Waker::wake);
    }

    /// Wakes readers, slice by slice, for as long as it is polled. To run on the worker whose connections they serve.
    pub async fn run(&self) {
        self.lock().is_attended = true;
        let _leaving = Leaving(self);
        let (mut last, mut took) = (None, Duration::ZERO);
        loop {
            self.rung().await;
            // One event after the other, each for many: the next round begins after a pause as long as the last one
            // was, so that several go out together.
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

    /// Waits until there is somebody to be woken.
    async fn rung(&self) {
        poll_fn(|context| {
            let mut waiting = self.lock();
            if !waiting.readers.is_empty() {
                return Poll::Ready(());
            }
            waiting.attendant = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How many are to be woken.
    fn len(&self) -> usize {
        self.lock().readers.len()
    }

    /// The next slice: `most` readers or fewer.
    fn slice(&self, most: usize) -> Vec<Waker> {
        let mut waiting = self.lock();
        let count = waiting.readers.len().min(SLICE).min(most);
        let slice = waiting.readers.drain(..count).collect();
        if waiting.readers.is_empty() {
            // A large audience is rare: its room is given back.
            waiting.readers.shrink_to(SLICE);
        }
        slice
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change leaves the fields consistent, so a panic elsewhere while it was held spoils nothing.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bell is attended until this is dropped; whoever still waits is woken then.
struct Leaving<'b>(&'b WakeQueue);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let readers = {
            let mut waiting = self.0.lock();
            waiting.is_attended = false;
            std::mem::take(&mut waiting.readers)
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
        let mut attending = pin!(wake_queue.run());
        let mut turn = || attending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(turn());
        wake_queue.wake_all(readers(&woken, SLICE));
        assert_eq!(woken.count(), SLICE);
        wake_queue.wake_all(readers(&woken, 2 * SLICE + 1));
        wake_queue.wake_all(readers(&woken, 1));
        assert_eq!(woken.count(), SLICE, "one behind many waits for its turn");
        let mut counts = Vec::new();
        for _ in 0..4 {
            assert!(turn());
            counts.push(woken.count());
        }
        assert_eq!(counts, [2 * SLICE, 3 * SLICE, 3 * SLICE + 2, 3 * SLICE + 2]);
        assert_eq!(wake_queue.lock().readers.capacity(), SLICE);
    }

    #[tokio::test]
    async fn nobody_is_left_asleep_where_nobody_attends() {
        let (wake_queue, woken) = (WakeQueue::default(), Arc::new(Woken::default()));
        wake_queue.wake_all(readers(&woken, 1000));
        assert_eq!(woken.count(), 1000);
        {
            let mut attending = pin!(wake_queue.run());
            assert!(attending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            wake_queue.wake_all(readers(&woken, 1000));
            assert_eq!(woken.count(), 1000);
        }
        assert_eq!(woken.count(), 2000, "the attendant left");
    }
}
