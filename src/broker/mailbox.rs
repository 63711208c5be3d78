//! What waits to be sent to one connection: bounded, and never waited for. Who does not read fast enough is closed
//! (ARCHITECTURE.md "Invariants").

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::backlog::Backlog;
use super::frame::Frame;
use super::socket_id::SocketId;
use super::wake_queue::WakeQueue;
use crate::pusher::ErrorCode;

/// Room kept for the next frames once all are sent; more is given back, so that an idle connection costs little.
const KEPT_ROOM: usize = 16;
/// How many times the room is there for a client whose socket takes what it is given: its frames wait for its worker,
/// not for it.
const OVERFLOW: usize = 4;

/// How much may wait for one connection whose client does not read. A single frame always may.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// Frames.
    pub(super) frames: usize,
    /// Bytes of their payloads.
    pub(super) bytes: usize,
}

/// The frames that wait for one connection.
#[derive(Debug)]
pub(super) struct Mailbox {
    id: SocketId,
    queue_limits: QueueLimits,
    /// That of the worker on which the connection is served.
    wake_queue: Arc<WakeQueue>,
    /// Publishers wait for it while more than half of the room is taken and the reader would take more.
    backlog: Arc<Backlog>,
    /// A std lock: held for a push or a pop, never across an await.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: Option<End>,
    reader: Reader,
    /// Whether this mailbox is counted in the backlog.
    is_backlog: bool,
}

/// What the connection that takes the frames is doing.
#[derive(Debug, Default)]
enum Reader {
    /// It takes frames, or is about to.
    #[default]
    Taking,
    /// It has taken all and waits for the next one.
    Waiting(Waker),
    /// Its socket takes nothing more at present: the client does not read. It waits for the end only.
    Blocked(Waker),
}

/// Why nothing more will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// For this reason.
    Code(ErrorCode),
    /// The client did not read fast enough; what waited was dropped.
    SlowReader,
}

/// What is next to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mail {
    /// This frame.
    Frame(Frame),
    /// The close: everything before it was taken.
    End(End),
}

/// The readers of mailboxes that got something: woken when this is dropped. Declare it before a lock is taken, so that
/// it happens after.
#[derive(Debug, Default)]
#[must_use = "dropped, the readers are woken"]
pub(super) struct Wakes(Vec<(Arc<WakeQueue>, Vec<Waker>)>);

impl Wakes {
    fn add(&mut self, wake_queue: &Arc<WakeQueue>, reader: Option<Waker>) {
        let Some(reader) = reader else { return };
        // As many as there are workers.
        match self.0.iter_mut().find(|(its, _)| Arc::ptr_eq(its, wake_queue)) {
            Some((_, readers)) => readers.push(reader),
            None => self.0.push((Arc::clone(wake_queue), vec![reader])),
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|(wake_queue, readers)| wake_queue.wake_all(readers));
    }
}

impl Mailbox {
    /// An empty mailbox for the connection `id`.
    pub(super) fn new(
        id: SocketId,
        queue_limits: QueueLimits,
        wake_queue: Arc<WakeQueue>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self { id, queue_limits, wake_queue, backlog, waiting: Mutex::default() }
    }

    /// Whose it is.
    pub(super) const fn id(&self) -> SocketId {
        self.id
    }

    /// Puts `frame` in. If there is no room, the connection ends.
    pub(super) fn push(&self, frame: Frame, wakes: &mut Wakes) {
        let mut waiting = self.lock();
        if waiting.end.is_some() {
            return;
        }
        let factor = if let Reader::Blocked(_) = waiting.reader { 1 } else { OVERFLOW };
        if !self.queue_limits.times(factor).fits(&waiting, frame.len()) {
            waiting.frames = VecDeque::new();
            waiting.bytes = 0;
            waiting.end = Some(End::SlowReader);
            self.leave_backlog(&mut waiting);
            return wakes.add(&self.wake_queue, waiting.reader.wake_for_the_end());
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        if factor > 1 && !waiting.is_backlog && !self.queue_limits.half().holds(&waiting) {
            waiting.is_backlog = true;
            self.backlog.add();
        }
        wakes.add(&self.wake_queue, waiting.reader.wake());
    }

    /// Ends the connection once everything that waits is sent.
    pub(super) fn end(&self, code: ErrorCode, wakes: &mut Wakes) {
        let mut waiting = self.lock();
        if waiting.end.is_none() {
            waiting.end = Some(End::Code(code));
            self.leave_backlog(&mut waiting);
            wakes.add(&self.wake_queue, waiting.reader.wake_for_the_end());
        }
    }

    /// Whether the connection is told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Takes what is next.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Mail> {
        let mut waiting = self.lock();
        waiting.reader = Reader::Taking;
        if let Some(frame) = waiting.frames.pop_front() {
            waiting.bytes -= frame.len();
            if waiting.is_backlog && self.queue_limits.half().half().holds(&waiting) {
                self.leave_backlog(&mut waiting);
            }
            return Poll::Ready(Mail::Frame(frame));
        }
        if let Some(end) = waiting.end {
            return Poll::Ready(Mail::End(end));
        }
        if waiting.frames.capacity() > KEPT_ROOM {
            waiting.frames = VecDeque::new();
        }
        waiting.reader = Reader::Waiting(context.waker().clone());
        Poll::Pending
    }

    /// Waits for the end, for a reader whose socket takes nothing more at present.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<End> {
        let mut waiting = self.lock();
        match waiting.end {
            Some(end) => Poll::Ready(end),
            None => {
                waiting.reader = Reader::Blocked(context.waker().clone());
                self.leave_backlog(&mut waiting);
                Poll::Pending
            }
        }
    }

    fn leave_backlog(&self, waiting: &mut Waiting) {
        if std::mem::take(&mut waiting.is_backlog) {
            self.backlog.remove();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change leaves the fields consistent, so a panic elsewhere while it was held spoils nothing.
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&waiting);
        waiting
    }

    /// What holds whenever the lock is free.
    fn check(&self, waiting: &Waiting) {
        let Waiting { frames, bytes, end, reader, is_backlog } = waiting;
        let most = self.queue_limits.times(OVERFLOW);
        debug_assert!(!frames.is_empty() || *bytes == 0, "frames that were taken have no bytes");
        debug_assert!(frames.len() <= most.frames, "no more frames wait than may");
        debug_assert!(frames.len() <= 1 || *bytes <= most.bytes, "no more bytes wait than may, but for one frame");
        debug_assert!(*end != Some(End::SlowReader) || frames.is_empty(), "what waits for a slow reader is dropped");
        debug_assert!(!is_backlog || end.is_none(), "publishers do not wait for a connection that ends");
        debug_assert!(
            !is_backlog || !matches!(reader, Reader::Blocked(_)),
            "publishers do not wait for a client that does not read"
        );
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_backlog {
            self.backlog.remove();
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

    /// Whether no more waits than there is room for.
    fn holds(self, waiting: &Waiting) -> bool {
        waiting.frames.len() <= self.frames && waiting.bytes <= self.bytes
    }

    /// Whether there is room for one frame of `bytes` more.
    fn fits(self, waiting: &Waiting, bytes: usize) -> bool {
        waiting.frames.len() < self.frames && (waiting.frames.is_empty() || waiting.bytes + bytes <= self.bytes)
    }
}

impl Reader {
    /// Whom to wake if there is a frame.
    fn wake(&mut self) -> Option<Waker> {
        match std::mem::take(self) {
            Self::Waiting(waker) => Some(waker),
            Self::Taking => None,
            blocked @ Self::Blocked(_) => {
                *self = blocked;
                None
            }
        }
    }

    /// Whom to wake if the connection ends.
    fn wake_for_the_end(&mut self) -> Option<Waker> {
        match std::mem::take(self) {
            Self::Waiting(waker) | Self::Blocked(waker) => Some(waker),
            Self::Taking => None,
        }
    }
}
