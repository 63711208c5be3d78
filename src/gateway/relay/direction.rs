//! One direction of a relay: the messages of one end are passed on to the other.

use std::mem::{replace, take};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::Side;
use super::end::RelayEnd;
use super::endpoint::{Endpoint, Progress};
use super::frames::{Content, Found, Frames};
use super::observer::{Observer, Verdict};
use super::replaying::Replaying;
use crate::clock::Moment;
use crate::gateway::Shared;
use crate::gateway::bypass::Freshness;
use crate::metrics::WebSocketDirection;
use crate::rate::Pace;

/// Most reads of one direction before the other one has its turn.
const MAX_READS: usize = 8;

/// What both directions of a relay use.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) shared: Arc<Shared>,
    /// Looks at the messages.
    pub(super) observer: Observer,
    /// When the last message was passed on, in the clock's milliseconds.
    last: AtomicU64,
}

/// Passes on what one end sends. A side that does not read stops the other one from sending: nothing is read while
/// anything is to be written.
#[derive(Debug)]
pub(super) struct Direction {
    from: Side,
    /// How fast messages may come.
    pace: Option<Pace>,
    freshness: Freshness,
    /// Nothing was there to be read, and usher has done nothing in this direction since.
    waited: bool,
    /// Why it ends: by a close, once that is written.
    end: Option<RelayEnd>,
    passed: bool,
}

/// Bytes that have come. Frames that go on as they came, and are next to each other, are written at once.
struct Batch<'b, S> {
    target: &'b mut Endpoint<S>,
    bytes: &'b mut [u8],
    /// Before this, all is written, kept or left out.
    begin: usize,
    /// Up to here, whole frames are to be written.
    end: usize,
    /// Messages that are not counted yet.
    messages: u64,
}

/// What becomes of a frame.
struct Outcome {
    /// It goes on as it came.
    as_it_came: bool,
    /// It is a message that goes on, or completes one.
    counts: bool,
    /// These go on, behind it or in place of it.
    queued: Vec<Message>,
    /// The client may wait for something to be settled from now on.
    may_wait: bool,
}

impl Passage {
    /// Of a relay that begins now.
    pub(super) fn new(shared: Arc<Shared>, observer: Observer) -> Self {
        let last = AtomicU64::new(shared.clock.now().as_millis());
        Self { shared, observer, last }
    }

    /// When the last message was passed on.
    pub(super) fn last(&self) -> Moment {
        Moment::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Counts messages that are about to be passed on.
    fn count(&self, from: Side, messages: u64) {
        let direction = match from {
            Side::Client => WebSocketDirection::Up,
            Side::Upstream => WebSocketDirection::Down,
        };
        self.shared.metrics.websocket_messages(direction, messages);
        self.last.store(self.shared.clock.now().as_millis(), Ordering::Relaxed);
    }
}

impl Direction {
    /// From one side to the other one, not faster than `pace`.
    pub(super) fn new(from: Side, pace: Option<Pace>) -> Self {
        Self { from, pace, freshness: Freshness::default(), waited: false, end: None, passed: false }
    }

    /// Whether a message was passed on since the last call.
    pub(super) const fn has_passed(&mut self) -> bool {
        replace(&mut self.passed, false)
    }

    /// Passes on what has come. Ready once nothing more can come, or be passed on.
    pub(super) fn poll<S, T>(
        &mut self,
        passage: &Passage,
        source: &mut Endpoint<S>,
        target: &mut Endpoint<T>,
        context: &mut Context<'_>,
    ) -> Poll<RelayEnd>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        for _ in 0..MAX_READS {
            match target.poll_flush(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(self.lost(&error.into())),
                Poll::Pending => {
                    self.waited = false;
                    return Poll::Pending;
                }
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end);
            }
            if self.pace.as_mut().is_some_and(|pace| pace.poll_ready(context).is_pending()) {
                return Poll::Pending;
            }
            if let Poll::Ready(missed) = self.poll_settled(passage, context) {
                self.waited = false;
                self.queue(target, missed.into_iter().map(Message::Text).collect());
                continue;
            }
            let read = source.poll_read(context, |context, frames, bytes| {
                let batch = Batch { target, bytes, begin: 0, end: 0, messages: 0 };
                self.pass(passage, frames, batch, context)
            });
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(side = ?self.from, %error, "a WebSocket connection was lost");
                    return Poll::Ready(RelayEnd::Lost(self.from));
                }
                Poll::Pending => {
                    self.waited = true;
                    return Poll::Pending;
                }
            }
            if let Some(end) = self.end.take_if(|end| !matches!(end, RelayEnd::Closed { .. })) {
                return Poll::Ready(end);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready with what a client has missed, once it is there.
    fn poll_settled(&self, passage: &Passage, context: &mut Context<'_>) -> Poll<Vec<Utf8Bytes>> {
        match &passage.observer.replaying {
            Some(replaying) if self.from == Side::Upstream => replaying.poll_settled(&passage.shared, context),
            _ => Poll::Pending,
        }
    }

    /// Passes on the messages at the beginning of a batch.
    fn pass<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        passage: &Passage,
        frames: &mut Frames,
        mut batch: Batch<'_, T>,
        context: &mut Context<'_>,
    ) -> Progress {
        let mut needed = 0;
        let mut pauses = false;
        let waits = self.waits(passage);
        while !pauses && self.end.is_none() {
            let found = frames.read(&mut batch.bytes[batch.end..], |text| self.look(passage, text));
            let (length, content) = match found {
                Ok(Found::Frame(length, content)) => (length, content),
                Ok(Found::Incomplete(more)) => {
                    needed = more;
                    break;
                }
                Err(error) => {
                    // What came before is passed on.
                    self.write(passage, &mut batch, context);
                    self.end = Some(RelayEnd::faulty(self.from, &error));
                    break;
                }
            };
            let Outcome { as_it_came, counts, queued, may_wait } = Outcome::of(content);
            if !as_it_came {
                self.write(passage, &mut batch, context);
                batch.begin += length;
            }
            batch.end += length;
            batch.messages += u64::from(counts);
            // What is settled, and what the pace allows, is looked at before the next message.
            pauses = waits || may_wait;
            if let (Some(pace), true) = (&mut self.pace, counts) {
                pace.count_message();
                pauses |= !pace.is_ready();
            }
            if !queued.is_empty() {
                self.write(passage, &mut batch, context);
                self.queue(batch.target, queued);
            }
        }
        self.write(passage, &mut batch, context);
        Progress { done: batch.end, needed }
    }

    fn look(&mut self, passage: &Passage, text: Option<&str>) -> Verdict {
        let waited = take(&mut self.waited);
        match (text, self.from) {
            (None, _) => Verdict::Pass,
            (Some(text), Side::Client) => {
                passage.observer.look_at_client(&passage.shared, text);
                Verdict::Pass
            }
            (Some(text), Side::Upstream) => {
                passage.observer.look_at_upstream(&passage.shared, text, &mut self.freshness, waited)
            }
        }
    }

    /// Whether the client waits for something to be settled.
    fn waits(&self, passage: &Passage) -> bool {
        self.from == Side::Upstream && passage.observer.replaying.as_ref().is_some_and(Replaying::waits)
    }

    /// Writes what is to go on as it came, once that is counted.
    fn write<T: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        passage: &Passage,
        batch: &mut Batch<'_, T>,
        context: &mut Context<'_>,
    ) {
        if batch.messages > 0 {
            passage.count(self.from, take(&mut batch.messages));
            self.passed = true;
        }
        if let Err(error) = batch.target.write(&batch.bytes[batch.begin..batch.end], context) {
            self.end = Some(self.lost(&error.into()));
        }
        batch.begin = batch.end;
    }

    /// Queues messages behind what is written. A close ends the direction.
    fn queue<T: AsyncRead + AsyncWrite + Unpin>(&mut self, target: &mut Endpoint<T>, messages: Vec<Message>) {
        for message in messages {
            if let (Message::Close(with), None) = (&message, &self.end) {
                self.end = Some(RelayEnd::Closed { by: self.from, with: with.clone(), answered: false });
            }
            if let Err(error) = target.queue(message) {
                self.end = Some(self.lost(&error));
            }
        }
    }

    /// The end to which messages are passed on is gone.
    fn lost(&self, error: &Error) -> RelayEnd {
        let side = self.from.other();
        tracing::debug!(?side, %error, "a WebSocket connection was lost");
        RelayEnd::Lost(side)
    }
}

impl Outcome {
    const AS_IT_CAME: Self = Self { as_it_came: true, counts: true, queued: Vec::new(), may_wait: false };
    const LEFT_OUT: Self = Self { as_it_came: false, counts: false, queued: Vec::new(), may_wait: false };

    fn of(content: Content<Verdict>) -> Self {
        let (as_it_came, message, verdict) = match content {
            Content::Whole(Verdict::Pass) => return Self::AS_IT_CAME,
            Content::Whole(verdict) => (true, None, verdict),
            Content::Part => return Self::LEFT_OUT,
            Content::LastPart(message, verdict) => (false, Some(message), verdict),
            Content::Close(close) => (false, Some(Message::Close(close)), Verdict::Pass),
        };
        let (missed, may_wait) = match verdict {
            Verdict::LeaveOut => return Self::LEFT_OUT,
            Verdict::Pass => (Vec::new(), false),
            Verdict::PassAndHandOut(missed) => (missed, true),
        };
        let queued = message.into_iter().chain(missed.into_iter().map(Message::Text)).collect();
        Self { as_it_came, counts: true, queued, may_wait }
    }
}
