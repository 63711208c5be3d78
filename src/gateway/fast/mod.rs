//! The fast way: triggers as every Pusher library sends them, read and written without a general HTTP server, in one
//! task for a connection. It decides as the general way does and by the same code; only bytes are handled otherwise.
//! The first request of any other shape ends it: the connection, with all that was read of it, goes to hyper for good.

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod batch;
mod decider;
mod render;
mod request;
mod respond;
mod shape;
mod yield_to_ready;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

pub use self::batch::Batch;

use self::decider::Decider;
use self::request::{Forward, NextStep, ParseOutcome, Request, Waiting};
use self::respond::{Next, Responder};
use self::yield_to_ready::yield_to_ready;
use super::forward::{self, Answered};
use super::{Limits, Place, Refusal, Shared};
use crate::clock::{Alarm, Date};
use crate::metrics::RequestKind;
use crate::shutdown::Listener;
use crate::upstream::{Collected, Interrupted, Remote};

/// Room for what is read at once.
const READ: usize = 4 * 1024;

/// How the fast way of a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The connection is done with.
    Done,
    /// The last answer is written; the caller may still be sending.
    Answered,
    /// What comes next is of another shape. So much of it was read.
    Other(Bytes),
}

/// One connection on the fast way.
#[derive(Debug)]
pub struct Fast<'g, S> {
    shared: &'g Arc<Shared>,
    upstream: &'g Remote,
    batch: &'g Batch,
    place: &'g Place,
    /// How long the first byte may take.
    head_timeout: Duration,
    /// How long the connection may be idle, or not take its answer.
    idle_timeout: Duration,
    stream: &'g mut S,
    answer: Collected,
    alarm: Alarm,
    date: Date,
    /// The last look at the clock.
    now: Instant,
}

impl<'g, S: AsyncRead + AsyncWrite + Unpin> Fast<'g, S> {
    /// The fast way for what comes on `stream`, which has `place`; `batch` is its worker's.
    pub fn new(
        shared: &'g Arc<Shared>,
        (upstream, batch): (&'g Remote, &'g Batch),
        limits: &Limits,
        (stream, place): (&'g mut S, &'g Place),
    ) -> Self {
        Self {
            shared,
            upstream,
            batch,
            place,
            head_timeout: limits.head_timeout,
            idle_timeout: limits.idle_timeout,
            stream,
            answer: Collected::default(),
            alarm: Alarm::default(),
            date: Date::default(),
            now: Instant::now(),
        }
    }

    /// Serves triggers until something else comes, or nothing more. A caller who hangs up changes nothing: whatever was
    /// read whole is settled.
    pub async fn run(mut self) -> Ended {
        let mut drain = self.shared.drain.listen();
        let mut request = Box::new(Request::new());
        let mut timeout = self.head_timeout;
        loop {
            if request.received.is_empty() {
                match self.receive(&mut request.received, &mut drain, timeout).await {
                    Some(true) => {}
                    Some(false) => return self.close().await,
                    None => return Ended::Done,
                }
            }
            self.place.busy();
            timeout = self.idle_timeout;
            let queued = self.batch.add(request);
            yield_to_ready().await;
            let Some(decided) = queued.decided() else { return Ended::Done };
            request = decided;
            self.now = request.decided;
            let (length, next) = match request.outcome.take() {
                Some(ParseOutcome::Decided(NextStep::Answered(length, next))) => (length, next),
                Some(ParseOutcome::Decided(NextStep::Suppressed(length, next))) => {
                    self.place.trust();
                    (length, next)
                }
                Some(ParseOutcome::Decided(step)) => {
                    self.place.trust();
                    // What panics is told where it happens; the tickets put their channels in doubt then.
                    let finished = AssertUnwindSafe(self.finish(&mut request, step)).catch_unwind().await;
                    yield_to_ready().await;
                    finished.unwrap_or_else(|_panic| self.fail(&mut request))
                }
                Some(ParseOutcome::Unfinished) => match self.receive_head(&mut request).await {
                    None => continue,
                    Some(ended) => return ended,
                },
                Some(ParseOutcome::Partly(length)) => match self.receive_body(&mut request, length).await {
                    None => continue,
                    Some(ended) => return ended,
                },
                Some(ParseOutcome::Other) => return Ended::Other(request.received.into()),
                Some(ParseOutcome::Failed) | None => self.fail(&mut request),
            };
            let written = self.write(&request.reply).await;
            self.place.idle(self.shared.clock.moment(self.now));
            request.tidy(length);
            match (written, next) {
                (true, Next::Request) => {}
                (true, Next::Close) => return Ended::Answered,
                (false, _) => return Ended::Done,
            }
        }
    }

    /// Waits for a request to begin. Returns whether it has; if not, the caller sends no more or usher drains. `None`:
    /// it took too long.
    async fn receive(&mut self, received: &mut Vec<u8>, drain: &mut Listener, timeout: Duration) -> Option<bool> {
        let mut more = pin!(read(self.stream, received));
        let arrival = poll_fn(|context| match more.as_mut().poll(context) {
            Poll::Pending => drain.poll(context).map(|()| false),
            arrived => arrived,
        });
        self.alarm.bound(self.now + timeout, arrival).await
    }

    /// Receives a request until its head is whole; how the connection ends, if it does not come. So long it costs
    /// little more than its bytes: hyper takes 16 KiB for itself.
    async fn receive_head(&mut self, request: &mut Request) -> Option<Ended> {
        let max_head = self.shared.routing.load().limits.max_head;
        let deadline = self.now + self.head_timeout;
        self.place.receiving(self.shared.clock.moment(self.now));
        let mut known = 0;
        while shape::is_unfinished(&request.received, known, max_head) {
            known = request.received.len();
            match self.alarm.bound(deadline, read(self.stream, &mut request.received)).await {
                Some(true) => {}
                // hyper knows what to say of a head that breaks off.
                Some(false) => return Some(Ended::Other(std::mem::take(&mut request.received).into())),
                None => {
                    tracing::debug!("a request's head did not arrive in time");
                    return Some(Ended::Done);
                }
            }
        }
        None
    }

    /// Receives a request until it has `length` bytes; how the connection ends, if it does not come.
    async fn receive_body(&mut self, request: &mut Request, length: usize) -> Option<Ended> {
        let limit = self.shared.routing.load().limits.body_timeout;
        let deadline = Instant::now() + limit;
        self.place.receiving(self.shared.clock.moment(self.now));
        while request.received.len() < length {
            match self.alarm.bound(deadline, read(self.stream, &mut request.received)).await {
                Some(true) => {}
                // hyper knows what to say of a body that breaks off.
                Some(false) => return Some(Ended::Other(std::mem::take(&mut request.received).into())),
                None => {
                    self.look_at_clock();
                    self.responder(request).refuse(RequestKind::Trigger, &Refusal::BodyTimeout { limit });
                    let written = self.write(&request.reply).await;
                    return Some(if written { Ended::Answered } else { Ended::Done });
                }
            }
        }
        None
    }

    /// Does what is left to be done for a trigger, until it has its answer. Returns the bytes of the request.
    async fn finish(&mut self, request: &mut Request, mut step: NextStep) -> (usize, Next) {
        loop {
            match step {
                NextStep::Answered(length, next) | NextStep::Suppressed(length, next) => return (length, next),
                NextStep::Forward(forward) => return (forward.length, self.forward(request, forward).await),
                NextStep::Wait(waiting) => match Box::pin(self.wait(request, *waiting)).await {
                    Some(again) => step = again,
                    None => return self.fail(request),
                },
            }
        }
    }

    /// Waits for what a trigger waits for, and has it judged again.
    async fn wait(&mut self, request: &mut Request, waiting: Waiting) -> Option<NextStep> {
        let Waiting { authentic, mut wait_state, awaited } = waiting;
        let mode = wait_state.wait(self.shared, awaited).await;
        self.look_at_clock();
        let judge =
            Decider { shared: self.shared, host: self.upstream.host().as_bytes(), date: &self.date, now: self.now };
        judge.decide_again(request, authentic, wait_state, mode)
    }

    /// Sends what goes on of a trigger, which was judged just now, settles with what upstream made of it, and writes
    /// the answer.
    async fn forward(&mut self, request: &mut Request, forward: Forward) -> Next {
        let Forward { app, tickets, parts, disposition, length: _, permit: _permit } = forward;
        let metrics = &self.shared.metrics;
        let began = self.now;
        let exchanged = self.upstream.exchange(&request.outgoing, &mut self.answer, &mut self.alarm, began).await;
        self.look_at_clock();
        let took = self.now - began;
        let refusal = match exchanged {
            Ok(()) => {
                let status = self.answer.status;
                metrics.upstream_answer(status, took);
                let Collected { is_encoded, ref body, .. } = self.answer;
                forward::settle_answered(self.shared, &app, tickets, parts, Answered { status, is_encoded, body });
                return self.responder(request).forwarded(&self.answer, disposition);
            }
            Err(Interrupted::NoAnswer(failure)) => {
                metrics.upstream_failure(failure.label(), took);
                Refusal::Upstream(failure)
            }
            Err(Interrupted::Cut { status }) => {
                metrics.upstream_answer(status, took);
                Refusal::AnswerCut
            }
            Err(Interrupted::Late { status }) => {
                metrics.upstream_answer(status, took);
                Refusal::AnswerTimeout { limit: self.upstream.timeout() }
            }
        };
        forward::settle_unanswered(&app, tickets, &refusal);
        self.responder(request).refuse(RequestKind::Trigger, &refusal)
    }

    /// Answers a request in which usher itself has failed. Returns the bytes of all that was received: what follows
    /// cannot be trusted any more.
    fn fail(&mut self, request: &mut Request) -> (usize, Next) {
        self.look_at_clock();
        request.reply.clear();
        self.responder(request).refuse(RequestKind::Trigger, &Refusal::Internal);
        (request.received.len(), Next::Close)
    }

    fn responder<'r>(&'r self, request: &'r mut Request) -> Responder<'r> {
        Responder { shared: self.shared, date: &self.date, reply: &mut request.reply }
    }

    fn look_at_clock(&mut self) {
        self.now = Instant::now();
        self.date.set(self.now);
    }

    /// Writes the answer. Returns whether the caller took it.
    async fn write(&mut self, reply: &[u8]) -> bool {
        let write = async {
            self.stream.write_all(reply).await?;
            self.stream.flush().await
        };
        match self.alarm.bound(self.now + self.idle_timeout, write).await {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(%error, "a caller was gone before its answer");
                false
            }
            None => {
                tracing::debug!("a caller did not take its answer in time");
                false
            }
        }
    }

    /// Closes a connection on which no request is under way.
    async fn close(mut self) -> Ended {
        if let Some(Err(error)) = self.alarm.bound(self.now + self.idle_timeout, self.stream.shutdown()).await {
            tracing::debug!(%error, "a connection was gone before it was closed");
        }
        Ended::Done
    }
}

/// Reads what has come. Returns whether anything has; if not, the connection has ended.
async fn read(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> bool {
    let read = if received.capacity() - received.len() < READ / 2 {
        poll_fn(|context| {
            // On the stack: a connection on which nothing comes holds no room for it.
            let mut room = [MaybeUninit::uninit(); READ];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut room))?;
            received.extend_from_slice(room.filled());
            Poll::Ready(Ok(room.filled().len()))
        })
        .await
    } else {
        stream.read_buf(received).await
    };
    match read {
        Ok(count) => count > 0,
        Err(error) => {
            tracing::debug!(%error, "a connection ended in error");
            false
        }
    }
}
