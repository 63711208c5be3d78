//! The fast way: triggers as every Pusher library sends them, read and written without a general HTTP server, in one task for a connection. It decides as
//! the general way does and by the same code; only bytes are handled otherwise. The first request of any other shape ends it: the connection, with all that
//! was read of it, goes to hyper for good.

mod abreast;
mod date;
mod render;
mod shape;

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

use self::abreast::abreast;
use self::date::Date;
use self::shape::{Known, Seen, Trigger};
use super::decide::Judgement;
use super::forward;
use super::plan::Plan;
use super::target::{Form, Target};
use super::trigger::{Content, Patient, Signed, Verified};
use super::{Limits, Refusal, Shared, Slot};
use crate::assignment::Patience;
use crate::clock::Alarm;
use crate::metrics::RequestKind;
use crate::shutdown::Listener;
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
    idle_timeout: Duration,
    stream: &'g mut S,
    known: Known,
    received: Vec<u8>,
    outgoing: Vec<u8>,
    answer: Collected,
    reply: Vec<u8>,
    alarm: Alarm,
    date: Date,
    /// The last look at the clock.
    now: Instant,
}

/// What came of what is received.
enum Served {
    /// It is of another shape.
    Other,
    /// It is a trigger of so many bytes, and they are not all there.
    Partly(usize),
    /// A trigger of so many bytes, which has its answer.
    Whole(usize, Next),
}

/// A trigger that is received whole and authentic.
struct Authentic<'b, 'g> {
    trigger: Trigger<'b>,
    verified: Verified<&'b [u8]>,
    /// When it had arrived.
    began: Instant,
    _slot: Slot<&'g Shared>,
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
            known: Known::default(),
            received: Vec::new(),
            outgoing: Vec::new(),
            answer: Collected::default(),
            reply: Vec::new(),
            alarm: Alarm::default(),
            date: Date::default(),
            now: Instant::now(),
        }
    }

    /// Serves triggers until something else comes, or nothing more. A caller who hangs up changes nothing: whatever was read whole is settled.
    pub async fn run(mut self) -> Ended {
        let mut drain = self.shared.drain.listen();
        loop {
            if self.received.is_empty() {
                match self.receive(&mut drain).await {
                    Some(true) => {}
                    Some(false) => return self.close().await,
                    None => return Ended::Done,
                }
            }
            abreast().await;
            let received = std::mem::take(&mut self.received);
            // What panics is told where it happens; the tickets put their channels in doubt then.
            let served = AssertUnwindSafe(self.serve(&received)).catch_unwind().await;
            self.received = received;
            let (length, next) = match served {
                Ok(Served::Other) => return Ended::Other(Bytes::from(self.received)),
                Ok(Served::Partly(length)) => match self.receive_body(length).await {
                    None => continue,
                    Some(ended) => return ended,
                },
                Ok(Served::Whole(length, next)) => (length, next),
                Err(_panic) => (self.received.len(), self.fail()),
            };
            abreast().await;
            let written = self.write().await;
            self.tidy(length);
            match (written, next) {
                (true, Next::Request) => {}
                (true, Next::Close) => return self.close().await,
                (false, _) => return Ended::Done,
            }
        }
    }

    /// Waits for a request to begin. Returns whether it has; if not, the caller sends no more or usher drains. `None`: it took too long.
    async fn receive(&mut self, drain: &mut Listener) -> Option<bool> {
        let mut more = pin!(read(self.stream, &mut self.received));
        let arrival = poll_fn(|context| match more.as_mut().poll(context) {
            Poll::Pending => drain.poll(context).map(|()| false),
            arrived => arrived,
        });
        self.alarm.bound(self.now + self.idle_timeout, arrival).await
    }

    /// Receives a request until it has `length` bytes; how the connection ends, if it does not come.
    async fn receive_body(&mut self, length: usize) -> Option<Ended> {
        let limit = self.shared.routing.load().limits.body_timeout;
        let deadline = Instant::now() + limit;
        while self.received.len() < length {
            self.received.reserve(length - self.received.len());
            match self.alarm.bound(deadline, read(self.stream, &mut self.received)).await {
                Some(true) => {}
                // hyper knows what to say of a body that breaks off.
                Some(false) => return Some(Ended::Other(Bytes::from(std::mem::take(&mut self.received)))),
                None => {
                    self.now = Instant::now();
                    self.date.set(self.now);
                    self.refuse(RequestKind::Trigger, &Refusal::BodyTimeout { limit });
                    if self.write().await {
                        self.shut().await;
                    }
                    return Some(Ended::Done);
                }
            }
        }
        None
    }

    /// Serves the trigger that is `received` whole, if it is one; the answer is in `reply` then.
    async fn serve(&mut self, received: &[u8]) -> Served {
        let mut authentic = match self.authenticate(received) {
            Ok(authentic) => authentic,
            Err(served) => return served,
        };
        let mut patient = Patient::default();
        let mut judgement = self.judge(&authentic, &mut patient, Patience::Waits);
        authentic.verified.app.metrics.latency(self.now - authentic.began);
        let next = loop {
            match judgement {
                Judgement::Suppress => break self.suppress(),
                Judgement::Refuse(limited) => break self.refuse(RequestKind::Trigger, &Refusal::RateLimited(limited)),
                Judgement::Forward(plan) => break self.forward(&authentic, plan).await,
                Judgement::Wait(awaited) => {
                    let patience = Box::pin(patient.wait(self.shared, awaited)).await;
                    self.now = Instant::now();
                    self.date.set(self.now);
                    authentic.verified.follow_reload(&self.shared.routing.load());
                    judgement = self.judge(&authentic, &mut patient, patience);
                }
            }
        };
        Served::Whole(authentic.trigger.length, next)
    }

    /// Reads a trigger and verifies it.
    fn authenticate<'b>(&mut self, received: &'b [u8]) -> Result<Authentic<'b, 'g>, Served> {
        self.now = Instant::now();
        let arrived = self.date.set(self.now);
        let shared: &'g Shared = self.shared;
        let routing = shared.routing.load();
        let trigger = match shape::see(received, &routing.limits, &mut self.known) {
            Seen::Trigger(trigger) => trigger,
            Seen::Partly(length) => return Err(Served::Partly(length)),
            Seen::Other => return Err(Served::Other),
        };
        let app = routing.app(trigger.app).ok_or(Served::Other)?;
        let Some(slot) = Slot::take(shared, routing.limits.max_requests) else {
            return Err(Served::Whole(trigger.length, self.refuse(RequestKind::Refused, &Refusal::Overloaded)));
        };
        let target = Target { app: Arc::clone(app), form: Form::Exact(trigger.endpoint) };
        let signed = Signed { method: "POST", path: trigger.path, query: trigger.query, content: Content::Json };
        match Verified::new(target, signed, trigger.body, arrived) {
            Ok(verified) => Ok(Authentic { trigger, verified, began: self.now, _slot: slot }),
            Err(refusal) => Err(Served::Whole(trigger.length, self.refuse(RequestKind::Trigger, &refusal))),
        }
    }

    /// Judges a trigger.
    fn judge(&mut self, authentic: &Authentic<'_, '_>, patient: &mut Patient, patience: Patience) -> Judgement {
        let judgement = patient.judge(self.shared, &authentic.verified, patience, self.now);
        self.now = Instant::now();
        judgement
    }

    /// Sends what goes on of a trigger, which was judged just now, settles with what upstream made of it, and writes the answer.
    async fn forward(&mut self, authentic: &Authentic<'_, '_>, plan: Plan) -> Next {
        let Plan { tickets, reduced, parts } = plan;
        let (app, began) = (&authentic.verified.app, self.now);
        let told = render::request(&mut self.outgoing, &authentic.trigger, self.upstream.host().as_bytes(), &app.app, reduced.as_deref());
        let metrics = &self.shared.metrics;
        let exchanged = self.upstream.exchange(&self.outgoing, &mut self.answer, &mut self.alarm, began).await;
        self.now = Instant::now();
        let took = self.now - began;
        let refusal = match exchanged {
            Ok(()) => {
                let status = self.answer.status;
                metrics.upstream_answer(status, took);
                forward::settle_answered(app, tickets, parts, status);
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
        forward::settle_unanswered(app, tickets, &refusal);
        self.refuse(RequestKind::Trigger, &refusal)
    }

    fn suppress(&mut self) -> Next {
        let last = self.is_last();
        render::suppressed(&mut self.reply, &self.date, last);
        self.answered(200, last)
    }

    /// Answers a request in which usher itself has failed. What else was received cannot be trusted any more.
    fn fail(&mut self) -> Next {
        self.reply.clear();
        self.refuse(RequestKind::Trigger, &Refusal::Internal);
        Next::Close
    }

    fn refuse(&mut self, kind: RequestKind, refusal: &Refusal) -> Next {
        self.shared.metrics.error(refusal.code());
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

    /// Makes the buffers ready for the request behind that of `length` bytes. What an uncommonly large one took is given back.
    fn tidy(&mut self, length: usize) {
        // Nobody but a client that does not wait for answers has sent more.
        self.received.drain(..length);
        for buffer in [&mut self.received, &mut self.outgoing] {
            if buffer.capacity() > USUAL {
                buffer.shrink_to(USUAL);
            }
        }
        self.outgoing.clear();
        self.reply.clear();
        self.reply.shrink_to(USUAL);
    }

    async fn close(mut self) -> Ended {
        self.shut().await;
        Ended::Done
    }

    async fn shut(&mut self) {
        if let Some(Err(error)) = self.alarm.bound(self.now + self.idle_timeout, self.stream.shutdown()).await {
            tracing::debug!(%error, "a connection was gone before it was closed");
        }
    }
}

/// Reads what has come. Returns whether anything has; if not, the connection has ended.
async fn read(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> bool {
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
