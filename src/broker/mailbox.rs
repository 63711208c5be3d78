//! What waits to be sent to one connection: bounded, and never waited for. Who does not read fast enough is closed (design 2, invariant 7).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::bell::Bell;
use super::frame::Frame;
use super::socket_id::SocketId;
use crate::pusher::ErrorCode;

/// Room kept for the next frames once all are sent; more is given back, so that an idle connection costs little.
const KEPT_ROOM: usize = 16;

/// How much may wait for one connection. A single frame always may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Frames.
    pub(super) frames: usize,
    /// Bytes of their payloads.
    pub(super) bytes: usize,
}

/// The frames that wait for one connection.
#[derive(Debug)]
pub(super) struct Mailbox {
    id: SocketId,
    room: Room,
    /// That of the worker on which the connection is served.
    bell: Arc<Bell>,
    /// A std lock: held for a push or a pop, never across an await.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: Option<End>,
    reader: Option<Waker>,
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

/// The readers of mailboxes that got something: woken when this is dropped. Declare it before a lock is taken, so that it happens after.
#[derive(Debug, Default)]
#[must_use = "dropped, the readers are woken"]
pub(super) struct Wakes(Vec<(Arc<Bell>, Vec<Waker>)>);

impl Wakes {
    fn add(&mut self, bell: &Arc<Bell>, reader: Option<Waker>) {
        let Some(reader) = reader else { return };
        // As many as there are workers.
        match self.0.iter_mut().find(|(its, _)| Arc::ptr_eq(its, bell)) {
            Some((_, readers)) => readers.push(reader),
            None => self.0.push((Arc::clone(bell), vec![reader])),
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|(bell, readers)| bell.ring(readers));
    }
}

impl Mailbox {
    /// An empty mailbox for the connection `id`.
    pub(super) fn new(id: SocketId, room: Room, bell: Arc<Bell>) -> Self {
        Self { id, room, bell, waiting: Mutex::default() }
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
        if waiting.frames.len() >= self.room.frames || (!waiting.frames.is_empty() && waiting.bytes + frame.len() > self.room.bytes) {
            waiting.frames = VecDeque::new();
            waiting.bytes = 0;
            waiting.end = Some(End::SlowReader);
        } else {
            waiting.bytes += frame.len();
            waiting.frames.push_back(frame);
        }
        wakes.add(&self.bell, waiting.reader.take());
    }

    /// Ends the connection once everything that waits is sent.
    pub(super) fn end(&self, code: ErrorCode, wakes: &mut Wakes) {
        let mut waiting = self.lock();
        if waiting.end.is_none() {
            waiting.end = Some(End::Code(code));
            wakes.add(&self.bell, waiting.reader.take());
        }
    }

    /// Whether the connection is told to end.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Takes what is next.
    pub(super) fn poll_take(&self, context: &Context<'_>) -> Poll<Mail> {
        let mut waiting = self.lock();
        if let Some(frame) = waiting.frames.pop_front() {
            waiting.bytes -= frame.len();
            return Poll::Ready(Mail::Frame(frame));
        }
        if let Some(end) = waiting.end {
            return Poll::Ready(Mail::End(end));
        }
        if waiting.frames.capacity() > KEPT_ROOM {
            waiting.frames = VecDeque::new();
        }
        waiting.wake_later(context);
        Poll::Pending
    }

    /// Waits for the end, for a reader that cannot take more at present.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<End> {
        let mut waiting = self.lock();
        match waiting.end {
            Some(end) => Poll::Ready(end),
            None => {
                waiting.wake_later(context);
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each change leaves the fields consistent, so a panic elsewhere while it was held spoils nothing.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn wake_later(&mut self, context: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::woken::Woken;
    use super::*;

    fn mailbox(frames: usize, bytes: usize) -> Mailbox {
        Mailbox::new(SocketId::parse("1.2").unwrap(), Room { frames, bytes }, Arc::default())
    }

    fn push(mailbox: &Mailbox, text: &'static str) {
        mailbox.push(Frame::from_static(text), &mut Wakes::default());
    }

    fn take(mailbox: &Mailbox) -> Option<Mail> {
        match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(mail) => Some(mail),
            Poll::Pending => None,
        }
    }

    #[test]
    fn frames_come_in_order_and_then_the_end() {
        let mailbox = mailbox(3, 100);
        push(&mailbox, "a");
        push(&mailbox, "b");
        mailbox.end(ErrorCode::Reconnect, &mut Wakes::default());
        mailbox.end(ErrorCode::Unauthorized, &mut Wakes::default());
        push(&mailbox, "c");
        assert_eq!(take(&mailbox), Some(Mail::Frame("a".into())));
        assert_eq!(take(&mailbox), Some(Mail::Frame("b".into())));
        for _ in 0..2 {
            assert_eq!(take(&mailbox), Some(Mail::End(End::Code(ErrorCode::Reconnect))));
        }
    }

    #[test]
    fn a_full_mailbox_ends_the_connection() {
        for (frames, bytes) in [(2, 100), (9, 2)] {
            let mailbox = mailbox(frames, bytes);
            push(&mailbox, "a");
            push(&mailbox, "b");
            assert!(!mailbox.is_ending());
            push(&mailbox, "c");
            assert_eq!(take(&mailbox), Some(Mail::End(End::SlowReader)), "{frames} {bytes}");
        }
    }

    #[test]
    fn room_is_given_back_by_reading() {
        let mailbox = mailbox(2, 4);
        for _ in 0..100 {
            push(&mailbox, "ab");
            push(&mailbox, "cd");
            assert_eq!((take(&mailbox), take(&mailbox), take(&mailbox)), (Some(Mail::Frame("ab".into())), Some(Mail::Frame("cd".into())), None));
        }
        // However large, one frame alone is not what a slow reader is blamed for.
        push(&mailbox, "much more than four bytes");
        assert!(!mailbox.is_ending());
    }

    #[test]
    fn an_idle_mailbox_keeps_little() {
        let mailbox = mailbox(10_000, usize::MAX);
        for _ in 0..10_000 {
            push(&mailbox, "x");
        }
        while take(&mailbox).is_some() {}
        assert!(mailbox.lock().frames.capacity() <= KEPT_ROOM);
    }

    #[test]
    fn a_reader_is_woken_once_and_after_the_locks() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mailbox = mailbox(3, 100);
        assert!(mailbox.poll_take(&Context::from_waker(&waker)).is_pending());
        let mut wakes = Wakes::default();
        mailbox.push("a".into(), &mut wakes);
        mailbox.push("b".into(), &mut wakes);
        assert_eq!(woken.count(), 0);
        drop(wakes);
        assert_eq!(woken.count(), 1);
        assert!(mailbox.poll_end(&Context::from_waker(&waker)).is_pending());
        mailbox.end(ErrorCode::Reconnect, &mut Wakes::default());
        assert_eq!(woken.count(), 2);
    }
}
