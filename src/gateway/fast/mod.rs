//! The fast way: triggers as every Pusher library sends them, read and written without a general HTTP server, in one task for a connection. It decides as
//! the general way does and by the same code; only bytes are handled otherwise. The first request of any other shape ends it: the connection, with all that
//! was read of it, goes to hyper for good.

mod date;
mod render;
mod shape;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use self::date::Date;
use self::shape::{Seen, Trigger};
use super::decide::{Awaited, Judgement};
use super::forward;
use super::plan::{Parts, Plan, Tickets};
use super::routing::{AppRoute, Routing};
use super::target::{Form, Target};
use super::trigger::{Content, Patient, Signed, Told, Verified};
use super::{Limits, Refusal, Shared, Slot};
use crate::assignment::Patience;
use crate::clock::Alarm;
use crate::metrics::{RequestKind, TriggerOutcome};
use crate::upstream::{Collected, Interrupted, Remote};

/// Room for what is read at once.
const READ: usize = 4 * 1024;
/// What is kept of a buffer between two requests.
const USUAL: usize = 16 * 1024;

/// How the fast way of a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The connection is done with.
    Done,
    /// What comes next is of another shape. So much of it was read.
    Other(Bytes),
}

/// One connection on the fast way. Its buffers are used for one request after the other.
#[derive(Debug)]
pub struct Fast<'g, S> {
    shared: &'g Arc<Shared>,
    upstream: &'g Remote,
    /// How long the connection may be idle, or not take its answer.
    idle_timeout: std::time::Duration,
    stream: &'g mut S,
    received: BytesMut,
    outgoing: Vec<u8>,
    answer: Collected,
    reply: Vec<u8>,
    alarm: Alarm,
    date: Date,
}

/// What is to be done about a trigger.
enum Step {
    Suppressed,
    Refused(Refusal),
    Wait(Awaited),
    /// It goes on, as it is written already.
    Forward(Forward),
}

/// A trigger that goes on.
struct Forward {
    app: Arc<AppRoute>,
    tickets: Tickets,
    parts: Parts,
    told: Told,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

impl<'g, S: AsyncRead + AsyncWrite + Unpin> Fast<'g, S> {
    /// The fast way for what comes on `stream`.
    pub fn new(shared: &'g Arc<Shared>, upstream: &'g Remote, limits: &Limits, stream: &'g mut S) -> Self {
        Self {
            shared,
            upstream,
            idle_timeout: limits.idle_timeout,
            stream,
            received: BytesMut::new(),
            outgoing: Vec::new(),
            answer: Collected::default(),
            reply: Vec::new(),
            alarm: Alarm::default(),
            date: Date::default(),
        }
    }

    /// Serves triggers until something else comes, or nothing more. A caller who hangs up changes nothing: whatever was read whole is settled.
    pub async fn run(mut self) -> Ended {
        let drain = self.shared.drain.child();
        let mut begun = pin!(drain.begun());
        loop {
            if self.received.is_empty() {
                let more = async {
                    tokio::select! {
                        biased;
                        read = read(self.stream, &mut self.received) => read,
                        () = begun.as_mut() => false,
                    }
                };
                match self.alarm.bound(Instant::now() + self.idle_timeout, more).await {
                    Some(true) => {}
                    Some(false) => return self.close().await,
                    None => return Ended::Done,
                }
            }
            let routing = self.shared.routing.load_full();
            let length = match shape::see(&self.received, &routing.limits) {
                Seen::Trigger(trigger) if routing.app(trigger.app).is_some() => trigger.length,
                Seen::Partly(length) => match self.receive_body(length, &routing.limits).await {
                    None => continue,
                    Some(ended) => return ended,
                },
                Seen::Trigger(_) | Seen::Other => return Ended::Other(self.received.freeze()),
            };
            let next = match AssertUnwindSafe(self.serve(&routing)).catch_unwind().await {
                Ok(next) => next,
                // Told where it happened; the tickets have put their channels in doubt.
                Err(_panic) => {
                    self.reply.clear();
                    self.refuse(RequestKind::Trigger, &Refusal::Internal)
                }
            };
            self.received.advance(length);
            let written = self.write().await;
            self.tidy();
            match (written, next) {
                (true, Next::Request) => {}
                (true, Next::Close) => return self.close().await,
                (false, _) => return Ended::Done,
            }
        }
    }

    /// Receives a request until it has `length` bytes; how the connection ends, if it does not come.
    async fn receive_body(&mut self, length: usize, limits: &Limits) -> Option<Ended> {
        let deadline = Instant::now() + limits.body_timeout;
        while self.received.len() < length {
            self.received.reserve(length - self.received.len());
            match self.alarm.bound(deadline, read(self.stream, &mut self.received)).await {
                Some(true) => {}
                // hyper knows what to say of a body that breaks off.
                Some(false) => return Some(Ended::Other(std::mem::take(&mut self.received).freeze())),
                None => {
                    let refusal = Refusal::BodyTimeout { limit: limits.body_timeout };
                    self.refuse(RequestKind::Trigger, &refusal);
                    if self.write().await {
                        self.shut().await;
                    }
                    return Some(Ended::Done);
                }
            }
        }
        None
    }

    /// Serves the trigger that is received whole; the answer is in `reply` then.
    async fn serve(&mut self, routing: &Arc<Routing>) -> Next {
        let Some(_slot) = Slot::take(self.shared, routing.limits.max_requests) else {
            return self.refuse(RequestKind::Refused, &Refusal::Overloaded);
        };
        let now = self.shared.unix_now();
        self.date.set(now);
        let mut patient = Patient::new(routing.limits.max_wait);
        let mut step = self.step(routing, now, Patience::Waits, &mut patient);
        while let Step::Wait(awaited) = step {
            let patience = Box::pin(patient.wait(self.shared, awaited)).await;
            step = self.step(routing, now, patience, &mut patient);
        }
        match step {
            Step::Suppressed | Step::Wait(_) => {
                let last = self.is_last();
                render::suppressed(&mut self.reply, &self.date, last);
                self.answered(200, last)
            }
            Step::Refused(refusal) => self.refuse(RequestKind::Trigger, &refusal),
            Step::Forward(forward) => self.forward(forward).await,
        }
    }

    /// Authenticates and judges the trigger that is received whole, and writes what goes on. Nothing in here waits.
    fn step(&mut self, routing: &Routing, now: u64, patience: Patience, patient: &mut Patient) -> Step {
        let Seen::Trigger(trigger) = shape::see(&self.received, &routing.limits) else {
            return Step::Refused(Refusal::Internal);
        };
        let Some(app) = routing.app(trigger.app) else { return Step::Refused(Refusal::Internal) };
        let began = Instant::now();
        let target = Target { app: Arc::clone(app), form: Form::Exact(trigger.endpoint) };
        let Trigger { path, query, body, .. } = trigger;
        let signed = Signed { method: "POST", path, query, content: Content::Json };
        let mut verified = match Verified::new(target, signed, body, now) {
            Ok(verified) => verified,
            Err(refusal) => return Step::Refused(refusal),
        };
        verified.follow_reload(&self.shared.routing.load());
        let judgement = patient.judge(self.shared, &verified, patience);
        verified.app.metrics.latency(began.elapsed());
        match judgement {
            Judgement::Suppress => Step::Suppressed,
            Judgement::Refuse(limited) => Step::Refused(Refusal::RateLimited(limited)),
            Judgement::Wait(awaited) => Step::Wait(awaited),
            Judgement::Forward(Plan { tickets, reduced, parts }) => {
                let app = verified.app;
                let host = self.upstream.host().as_bytes();
                let told = render::request(&mut self.outgoing, &trigger, host, &app.app, reduced.as_deref());
                Step::Forward(Forward { app, tickets, parts, told })
            }
        }
    }

    /// Sends what is written, settles with what upstream made of it, and writes the answer.
    async fn forward(&mut self, forward: Forward) -> Next {
        let Forward { app, tickets, parts, told } = forward;
        let metrics = &self.shared.metrics;
        let began = Instant::now();
        let exchanged = self.upstream.exchange(&self.outgoing, &mut self.answer, &mut self.alarm).await;
        let took = began.elapsed();
        let refusal = match exchanged {
            Ok(()) => {
                let status = self.answer.status;
                metrics.upstream_answer(status, took);
                let (outcome, counted) = forward::answered(status, parts);
                tickets.settle(outcome);
                app.metrics.outcome(counted);
                if counted == TriggerOutcome::Ambiguous {
                    tracing::warn!(app = %app.id, status, "upstream answered a trigger with neither 2xx nor 4xx: its channels are in doubt");
                }
                let last = self.is_last();
                render::forwarded(&mut self.reply, &self.answer, told, &self.date, last);
                return self.answered(status, last);
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
        let (outcome, counted) = forward::unanswered(&refusal);
        tickets.settle(outcome);
        app.metrics.outcome(counted);
        tracing::warn!(app = %app.id, error = %refusal, outcome = counted.label(), "a trigger was not answered by upstream");
        self.refuse(RequestKind::Trigger, &refusal)
    }

    fn refuse(&mut self, kind: RequestKind, refusal: &Refusal) -> Next {
        self.shared.metrics.error(refusal.code());
        self.date.set(self.shared.unix_now());
        let last = self.is_last();
        let last = render::refused(&mut self.reply, refusal, &self.date, last);
        self.shared.metrics.request(kind, refusal.status().as_u16());
        if last { Next::Close } else { Next::Request }
    }

    fn answered(&self, status: u16, last: bool) -> Next {
        self.shared.metrics.request(RequestKind::Trigger, status);
        if last { Next::Close } else { Next::Request }
    }

    /// Whether the connection takes no further request.
    fn is_last(&self) -> bool {
        self.shared.drain.has_begun()
    }

    /// Writes the answer. Returns whether the caller took it.
    async fn write(&mut self) -> bool {
        let write = async {
            self.stream.write_all(&self.reply).await?;
            self.stream.flush().await
        };
        match self.alarm.bound(Instant::now() + self.idle_timeout, write).await {
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

    /// Makes the buffers ready for the next request. What an uncommonly large one took is given back.
    fn tidy(&mut self) {
        for buffer in [&mut self.outgoing, &mut self.reply] {
            buffer.clear();
            buffer.shrink_to(USUAL);
        }
        if self.received.is_empty() && self.received.capacity() > USUAL {
            self.received = BytesMut::new();
        }
    }

    async fn close(mut self) -> Ended {
        self.shut().await;
        Ended::Done
    }

    async fn shut(&mut self) {
        if let Some(Err(error)) = self.alarm.bound(Instant::now() + self.idle_timeout, self.stream.shutdown()).await {
            tracing::debug!(%error, "a connection was gone before it was closed");
        }
    }
}

/// Reads what has come. Returns whether anything has; if not, the connection has ended.
async fn read(stream: &mut (impl AsyncRead + Unpin), received: &mut BytesMut) -> bool {
    if received.capacity() - received.len() < READ / 2 {
        received.reserve(READ);
    }
    match stream.read_buf(received).await {
        Ok(count) => count > 0,
        Err(error) => {
            tracing::debug!(%error, "a connection ended in error");
            false
        }
    }
}
