//! The queue of frames to be sent to one connection. It is bounded, and putting a frame in never waits: a connection
//! that does not read fast enough is closed (ARCHITECTURE.md "Invariants").

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use super::backpressure::Backpressure;
use super::frame::Frame;
use super::socket_id::SocketId;
use super::wake_queue::WakeQueue;
use crate::pusher::ErrorCode;

/// The capacity, in frames, that an empty queue keeps. More is freed, so that an idle connection costs little memory.
const KEPT_CAPACITY: usize = 16;
/// The factor by which the limits are higher for a client whose socket accepts data: its frames wait for its worker,
/// not for the client.
const WRITABLE_FACTOR: usize = 4;

/// The limits of the queue of a connection whose client does not read. A single frame of any size is accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// The number of frames.
    pub(super) frames: usize,
    /// The bytes of their payloads.
    pub(super) bytes: usize,
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Mailbox {
    id: SocketId,
    queue_limits: QueueLimits,
    /// The wake queue of the worker that serves the connection.
    wake_queue: Arc<WakeQueue>,
    /// This mailbox counts as congested while it is more than half full and its client reads. Publishers wait then.
    backpressure: Arc<Backpressure>,
    /// A lock: held for a push or a pop, never across an await.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: Option<EndReason>,
    reader: Reader,
    /// Whether this mailbox is counted as congested.
    is_congested: bool,
}

/// The state of the connection that takes the frames.
#[derive(Debug, Default)]
enum Reader {
    /// It takes frames, or is about to.
    #[default]
    Reading,
    /// It has taken all frames and waits for the next one.
    Waiting(Waker),
    /// Its socket accepts no data: the client does not read. It waits for the end only.
    Blocked(Waker),
}

/// Why no more frames will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The connection is closed with this code.
    Code(ErrorCode),
    /// The client did not read fast enough. The queued frames were dropped.
    SlowReader,
}

/// The next item to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// A frame.
    Frame(Frame),
    /// The end: all frames before it were taken.
    End(EndReason),
}

/// The readers of mailboxes that received something and have to be woken. Only [`wake_after`] makes one.
#[derive(Debug)]
pub(super) struct PendingWakes(Vec<(Arc<WakeQueue>, Vec<Waker>)>);

/// Runs `change` and then wakes the readers that it has collected. Locks that `change` takes are released when it
/// returns, i.e. before a reader runs: a lock's guard does not leave `change`.
pub(super) fn wake_after<T>(change: impl FnOnce(&mut PendingWakes) -> T) -> T {
    /// Wakes the readers also if `change` panics: their wakers are no longer in the mailboxes.
    struct WakeAtEnd(PendingWakes);
    impl Drop for WakeAtEnd {
        fn drop(&mut self) {
            self.0.wake_all();
        }
    }
    let mut wakes = WakeAtEnd(PendingWakes(Vec::new()));
    change(&mut wakes.0)
}

impl PendingWakes {
    fn add(&mut self, wake_queue: &Arc<WakeQueue>, reader: Option<Waker>) {
        let Some(reader) = reader else { return };
        // The list is as long as the number of workers, at most.
        match self.0.iter_mut().find(|(its, _)| Arc::ptr_eq(its, wake_queue)) {
            Some((_, readers)) => readers.push(reader),
            None => self.0.push((Arc::clone(wake_queue), vec![reader])),
        }
    }

    fn wake_all(&mut self) {
        self.0.drain(..).for_each(|(wake_queue, readers)| wake_queue.wake_all(readers));
    }
}

impl Mailbox {
    /// An empty mailbox for the connection `id`.
    pub(super) fn new(
        id: SocketId,
        queue_limits: QueueLimits,
        wake_queue: Arc<WakeQueue>,
        backpressure: Arc<Backpressure>,
    ) -> Self {
        Self { id, queue_limits, wake_queue, backpressure, queue: Mutex::default() }
    }

    /// The id of the connection.
    pub(super) const fn id(&self) -> SocketId {
        self.id
    }

    /// Adds `frame`. If the queue is full, the connection ends.
    pub(super) fn push(&self, frame: Frame, wakes: &mut PendingWakes) {
        let mut queue = self.lock();
        if queue.end.is_some() {
            return;
        }
        let factor = if let Reader::Blocked(_) = queue.reader { 1 } else { WRITABLE_FACTOR };
        if !self.queue_limits.times(factor).fits(&queue, frame.len()) {
            queue.frames = VecDeque::new();
            queue.bytes = 0;
            queue.end = Some(EndReason::SlowReader);
            self.end_congestion(&mut queue);
            return wakes.add(&self.wake_queue, queue.reader.take_waker_for_end());
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        if factor > 1 && !queue.is_congested && !self.queue_limits.half().holds(&queue) {
            queue.is_congested = true;
            self.backpressure.add();
        }
        wakes.add(&self.wake_queue, queue.reader.take_waker());
    }

    /// Ends the connection after the queued frames are sent.
    pub(super) fn end(&self, code: ErrorCode, wakes: &mut PendingWakes) {
        let mut queue = self.lock();
        if queue.end.is_none() {
            queue.end = Some(EndReason::Code(code));
            self.end_congestion(&mut queue);
            wakes.add(&self.wake_queue, queue.reader.take_waker_for_end());
        }
    }

    /// Whether the connection ends after the queued frames.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Takes the next item.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Outgoing> {
        let mut queue = self.lock();
        queue.reader = Reader::Reading;
        if let Some(frame) = queue.frames.pop_front() {
            queue.bytes -= frame.len();
            if queue.is_congested && self.queue_limits.half().half().holds(&queue) {
                self.end_congestion(&mut queue);
            }
            return Poll::Ready(Outgoing::Frame(frame));
        }
        if let Some(end) = queue.end {
            return Poll::Ready(Outgoing::End(end));
        }
        if queue.frames.capacity() > KEPT_CAPACITY {
            queue.frames = VecDeque::new();
        }
        queue.reader = Reader::Waiting(context.waker().clone());
        Poll::Pending
    }

    /// Waits for the end. For a connection whose socket accepts no data.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<EndReason> {
        let mut queue = self.lock();
        match queue.end {
            Some(end) => Poll::Ready(end),
            None => {
                queue.reader = Reader::Blocked(context.waker().clone());
                self.end_congestion(&mut queue);
                Poll::Pending
            }
        }
    }

    fn end_congestion(&self, queue: &mut Queue) {
        if std::mem::take(&mut queue.is_congested) {
            self.backpressure.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change leaves the fields consistent, so they can be used after a panic under the lock.
        let queue = self.queue.lock();
        self.check(&queue);
        queue
    }

    /// Checks what holds whenever the lock is free.
    fn check(&self, queue: &Queue) {
        let Queue { frames, bytes, end, reader, is_congested } = queue;
        let most = self.queue_limits.times(WRITABLE_FACTOR);
        debug_assert!(!frames.is_empty() || *bytes == 0, "a queue without frames has no bytes");
        debug_assert!(frames.len() <= most.frames, "the number of frames is bounded");
        debug_assert!(frames.len() <= 1 || *bytes <= most.bytes, "the bytes of several frames are bounded");
        debug_assert!(
            *end != Some(EndReason::SlowReader) || frames.is_empty(),
            "the queue of a slow reader is dropped"
        );
        debug_assert!(!is_congested || end.is_none(), "publishers do not wait for a connection that ends");
        debug_assert!(
            !is_congested || !matches!(reader, Reader::Blocked(_)),
            "publishers do not wait for a client that does not read"
        );
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let queue = self.queue.get_mut();
        if queue.is_congested {
            self.backpressure.remove();
        }
    }
}

impl QueueLimits {
    const fn times(self, factor: usize) -> Self {
        Self { frames: self.frames.saturating_mul(factor), bytes: self.bytes.saturating_mul(factor) }
    }

    const fn half(self) -> Self {
        Self { frames: self.frames / 2, bytes: self.bytes / 2 }
    }

    /// Whether `queue` is within the limits.
    fn holds(self, queue: &Queue) -> bool {
        queue.frames.len() <= self.frames && queue.bytes <= self.bytes
    }

    /// Whether one more frame of `bytes` is within the limits.
    fn fits(self, queue: &Queue, bytes: usize) -> bool {
        queue.frames.len() < self.frames && (queue.frames.is_empty() || queue.bytes + bytes <= self.bytes)
    }
}

impl Reader {
    /// The waker to wake after a frame was added.
    fn take_waker(&mut self) -> Option<Waker> {
        match std::mem::take(self) {
            Self::Waiting(waker) => Some(waker),
            Self::Reading => None,
            blocked @ Self::Blocked(_) => {
                *self = blocked;
                None
            }
        }
    }

    /// The waker to wake after the connection was ended.
    fn take_waker_for_end(&mut self) -> Option<Waker> {
        match std::mem::take(self) {
            Self::Waiting(waker) | Self::Blocked(waker) => Some(waker),
            Self::Reading => None,
        }
    }
}
