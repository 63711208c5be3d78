//! The fast path: it reads and writes triggers in the shape that every Pusher library sends, and GET requests, without a
//! general HTTP server, in one task per connection. Decisions are made by the same code as for hyper's requests
//! (`pipeline`); only the bytes are handled differently. The first request of any other shape ends the fast path: the connection goes to
//! hyper for good, with all bytes that were read of it.

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod batch;
mod decider;
mod get;
mod lines;
mod passage;
mod render;
mod request;
mod responder;
mod shape;
mod yield_to_ready;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

pub use self::batch::Batch;

use self::decider::Decider;
use self::passage::Passed;
use self::request::{ParseOutcome, Request};
use self::responder::{AfterReply, Responder};
use self::yield_to_ready::yield_to_ready;
use super::disposition::Disposition;
use super::pipeline::{self, Exchange, NextStep, Sent, Undecided};
use super::record::Tag;
use super::settle::Answered;
use super::{Caller, Refusal, Shared};
use crate::assignment::ClaimMode;
use crate::clock::{Date, DeadlineTimer};
use crate::metrics::RequestKind;
use crate::shutdown::{DrainListener, Phase};
use crate::upstream::{Collected, Remote, read_on_stack};

/// Most bytes of one read.
const READ_BUFFER: usize = 4 * 1024;

/// How a connection left the fast path.
#[derive(Debug)]
pub enum FastPathEnd {
    /// The connection is closed, or may be dropped.
    Closed,
    /// The last answer is written; the caller may still be sending.
    LastReplyWritten,
    /// The next request is of another shape. These bytes of it were read.
    OtherShape(Bytes),
}

/// What all connections of a worker share on the fast path.
#[derive(Debug, Clone, Copy)]
pub struct FastPath<'g> {
    /// What all workers share.
    pub shared: &'g Arc<Shared>,
    /// The worker's connections to upstream.
    pub upstream: &'g Remote,
    /// Where the worker's requests are decided.
    pub batch: &'g Batch,
}

/// One connection on the fast path.
#[derive(Debug)]
pub struct FastConnection<'g, S> {
    shared: &'g Arc<Shared>,
    upstream: &'g Remote,
    batch: &'g Batch,
    caller: &'g Caller,
    /// Time for the first byte of the connection, and for a head.
    head_timeout: Duration,
    /// Time between two requests, and for the caller to read its answer.
    idle_timeout: Duration,
    stream: &'g mut S,
    answer: Collected,
    timer: DeadlineTimer,
    date: Date,
    /// When the clock was last read.
    now: Instant,
}

impl<'g, S: AsyncRead + AsyncWrite + Unpin> FastConnection<'g, S> {
    /// The fast path for `stream`, the connection of `caller`. `head_timeout`: for a head, and for the first byte;
    /// `idle_timeout`: between two requests, and for the caller to read its answer.
    pub fn new(
        path: FastPath<'g>,
        (head_timeout, idle_timeout): (Duration, Duration),
        stream: &'g mut S,
        caller: &'g Caller,
    ) -> Self {
        let FastPath { shared, upstream, batch } = path;
        Self {
            shared,
            upstream,
            batch,
            caller,
            head_timeout,
            idle_timeout,
            stream,
            answer: Collected::default(),
            timer: DeadlineTimer::default(),
            date: Date::default(),
            now: Instant::now(),
        }
    }

    /// Serves triggers and GET requests until a request of another shape comes, or no more requests. A caller who hangs up changes
    /// nothing: every request that was read whole is settled.
    pub async fn run(mut self) -> FastPathEnd {
        let mut drain = self.shared.drain.listen(Phase::Draining);
        let mut request = Box::new(Request::new(self.caller.ip));
        let mut timeout = self.head_timeout;
        loop {
            if request.received.is_empty() {
                match self.receive(&mut request.received, &mut drain, timeout).await {
                    Received::Bytes => {}
                    Received::End => return self.close().await,
                    Received::TimedOut => return FastPathEnd::Closed,
                }
            }
            self.caller.connection.set_busy();
            timeout = self.idle_timeout;
            let queued = self.batch.add(request);
            yield_to_ready().await;
            let Some(decided) = queued.decided() else { return FastPathEnd::Closed };
            request = decided;
            self.now = request.decided;
            let after = match request.outcome.take() {
                Some(ParseOutcome::Refused(after)) => after,
                Some(ParseOutcome::Decided(NextStep::Answered(after))) => {
                    self.caller.connection.set_trusted();
                    after
                }
                Some(ParseOutcome::Decided(step)) => {
                    self.caller.connection.set_trusted();
                    let mut exchange = FastExchange { fast: &mut self, request: &mut request };
                    // The panic hook logs the panic; the dropped tickets put their channels in doubt.
                    let finished = AssertUnwindSafe(pipeline::finish(&mut exchange, step)).catch_unwind().await;
                    yield_to_ready().await;
                    finished.unwrap_or_else(|_panic| self.fail(&mut request))
                }
                Some(ParseOutcome::Get { permit, is_repeatable }) => {
                    // Boxed: memory of each connection, which few use.
                    let passed = Box::pin(self.pass(&mut request, is_repeatable)).await;
                    drop(permit);
                    match passed {
                        Passed::Reply(after) => after,
                        Passed::Broken => return FastPathEnd::Closed,
                    }
                }
                Some(ParseOutcome::PartialHead) => match self.receive_head(&mut request).await {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                },
                Some(ParseOutcome::PartialBody(length)) => match self.receive_body(&mut request, length).await {
                    Ok(()) => continue,
                    Err(ended) => return ended,
                },
                Some(ParseOutcome::OtherShape) => return FastPathEnd::OtherShape(request.received.into()),
                Some(ParseOutcome::Failed) | None => self.fail(&mut request),
            };
            let written = self.write(&request.reply).await;
            self.caller.connection.set_idle(self.shared.clock.moment(self.now));
            request.make_ready();
            match (written, after) {
                (true, AfterReply::KeepOpen) => {}
                (true, AfterReply::Close) => return FastPathEnd::LastReplyWritten,
                (false, _) => return FastPathEnd::Closed,
            }
        }
    }

    /// Waits for the first bytes of a request. [`Received::End`]: the caller sends no more, or usher drains.
    async fn receive(&mut self, received: &mut Vec<u8>, drain: &mut DrainListener, timeout: Duration) -> Received {
        let mut more = pin!(read(self.stream, received));
        let arrival = poll_fn(|context| match more.as_mut().poll(context) {
            Poll::Pending => drain.poll(context).map(|()| Received::End),
            arrived => arrived,
        });
        self.timer.timeout_at(self.now + timeout, arrival).await.unwrap_or(Received::TimedOut)
    }

    /// Receives the rest of a request's head. Until it is whole, the connection costs little more than its bytes: hyper
    /// would allocate 16 KiB.
    async fn receive_head(&mut self, request: &mut Request) -> Result<(), FastPathEnd> {
        let max_head = self.shared.routing.load().limits.max_head;
        let deadline = self.now + self.head_timeout;
        self.caller.connection.set_receiving(self.shared.clock.moment(self.now));
        let mut known = 0;
        while shape::is_partial_head(&request.received, known, max_head) {
            known = request.received.len();
            if !self.receive_more(request, deadline).await? {
                tracing::debug!("a request's head did not arrive in time");
                return Err(FastPathEnd::Closed);
            }
        }
        Ok(())
    }

    /// Receives the rest of a request of `length` bytes.
    async fn receive_body(&mut self, request: &mut Request, length: usize) -> Result<(), FastPathEnd> {
        let limit = self.shared.routing.load().limits.body_timeout;
        let deadline = Instant::now() + limit;
        self.caller.connection.set_receiving(self.shared.clock.moment(self.now));
        while request.received.len() < length {
            if !self.receive_more(request, deadline).await? {
                self.update_clock();
                let refusal = Refusal::BodyTimeout { limit };
                let tag = request.refused(self.shared, self.now, &refusal);
                self.responder(request).refuse(RequestKind::Trigger, &refusal, Some(tag));
                let written = self.write(&request.reply).await;
                return Err(if written { FastPathEnd::LastReplyWritten } else { FastPathEnd::Closed });
            }
        }
        Ok(())
    }

    /// Receives more bytes of an incomplete request. `false`: none came until `deadline`.
    async fn receive_more(&mut self, request: &mut Request, deadline: Instant) -> Result<bool, FastPathEnd> {
        let read = self.timer.timeout_at(deadline, read(self.stream, &mut request.received));
        match read.await.unwrap_or(Received::TimedOut) {
            Received::Bytes => Ok(true),
            // hyper answers a request that breaks off.
            Received::End => Err(FastPathEnd::OtherShape(std::mem::take(&mut request.received).into())),
            Received::TimedOut => Ok(false),
        }
    }

    /// Answers a request for which usher itself has failed. All received bytes count as this request: what follows it
    /// cannot be trusted.
    fn fail(&mut self, request: &mut Request) -> AfterReply {
        self.update_clock();
        request.length = request.received.len();
        request.reply.clear();
        let tag = request.refused(self.shared, self.now, &Refusal::Internal);
        self.responder(request).refuse(RequestKind::Trigger, &Refusal::Internal, Some(tag));
        AfterReply::Close
    }

    fn responder<'r>(&'r self, request: &'r mut Request) -> Responder<'r> {
        Responder { shared: self.shared, date: &self.date, reply: &mut request.reply }
    }

    fn update_clock(&mut self) {
        self.set_clock(Instant::now());
    }

    fn set_clock(&mut self, now: Instant) {
        self.now = now;
        self.date.set(now);
    }

    /// Writes the answer. Returns whether the caller read it.
    async fn write(&mut self, reply: &[u8]) -> bool {
        let write = async {
            self.stream.write_all(reply).await?;
            self.stream.flush().await
        };
        match self.timer.timeout_at(self.now + self.idle_timeout, write).await {
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
    async fn close(mut self) -> FastPathEnd {
        if let Some(Err(error)) = self.timer.timeout_at(self.now + self.idle_timeout, self.stream.shutdown()).await {
            tracing::debug!(%error, "a connection was gone before it was closed");
        }
        FastPathEnd::Closed
    }
}

/// The exchange of one trigger with upstream.
struct FastExchange<'a, 'g, S> {
    fast: &'a mut FastConnection<'g, S>,
    request: &'a mut Request,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange for FastExchange<'_, '_, S> {
    type Reply = AfterReply;

    fn shared(&self) -> &Arc<Shared> {
        self.fast.shared
    }

    fn decide_again(&mut self, trigger: Undecided, mode: ClaimMode) -> NextStep<AfterReply> {
        let Self { fast, request } = self;
        fast.update_clock();
        let FastConnection { shared, upstream, date, now, .. } = &**fast;
        let decider = Decider { shared, host: upstream.host().as_bytes(), date, now: shared.clock.timestamp(*now) };
        let step = decider.decide_again(request, trigger, mode);
        step.unwrap_or_else(|| NextStep::Answered(fast.fail(request)))
    }

    async fn send(&mut self) -> Sent {
        let FastConnection { upstream, answer, timer, now, .. } = &mut *self.fast;
        let began = *now;
        let result = upstream.exchange(&self.request.outgoing, answer, timer, began).await;
        let ended = result.as_ref().map_or_else(|_failure| Instant::now(), |end| *end);
        let result = result.map(|_end| ());
        self.fast.set_clock(ended);
        Sent { took: ended - began, ended, retries: self.fast.answer.retries, result }
    }

    fn received(&self) -> Answered<'_> {
        let Collected { status, is_encoded, ref body, .. } = self.fast.answer;
        // Only an error is described by it.
        let content_type = if status < 300 { None } else { self.fast.answer.content_type() };
        Answered { status, is_encoded, content_type, body }
    }

    fn answered(&mut self, disposition: Disposition, tag: Tag) -> AfterReply {
        self.fast.responder(self.request).forwarded(&self.fast.answer, disposition, tag)
    }

    fn refused(&mut self, refusal: Refusal, tag: Tag) -> AfterReply {
        self.fast.responder(self.request).refuse(RequestKind::Trigger, &refusal, Some(tag))
    }
}

/// The result of waiting for bytes of a caller.
enum Received {
    Bytes,
    /// No more bytes will come.
    End,
    TimedOut,
}

/// Reads the bytes that have come.
async fn read(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Received {
    let read = if received.capacity() - received.len() < READ_BUFFER / 2 {
        // A connection on which nothing comes needs no buffer.
        read_on_stack::<READ_BUFFER>(stream, received).await
    } else {
        stream.read_buf(received).await
    };
    match read {
        Ok(1..) => Received::Bytes,
        Ok(0) => Received::End,
        Err(error) => {
            tracing::debug!(%error, "a connection ended in error");
            Received::End
        }
    }
}
