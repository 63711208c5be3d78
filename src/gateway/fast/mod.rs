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
use crate::clock::{Alarm, Clock};
use crate::metrics::RequestKind;
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
    /// The last look at the clock.
    now: Instant,
}

/// What came of one judgement of a trigger.
enum Step {
    /// It has to wait, and is judged again then.
    Wait(Awaited),
    Judged(Verdict),
}

/// What is to be done about a trigger.
enum Verdict {
    Suppress,
    Refuse(Refusal),
    /// It goes on, as it is written already.
    Forward(Forward),
}

/// A trigger that goes on.
struct Forward {
    app: Arc<AppRoute>,
    tickets: Tickets,
    parts: Parts,
    told: Told,
    judged: Instant,
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

/// What it takes to judge a trigger and to write what goes on of it.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    upstream: &'a Remote,
    outgoing: &'a mut Vec<u8>,
    /// When the trigger arrived; `None`: it was judged before, and the time that it took is counted.
    began: Option<Instant>,
}

impl Attempt<'_> {
    /// Authenticates and judges `trigger`, which arrived so many seconds after the Unix epoch, and writes what goes on. Nothing in here waits.
    fn make(&mut self, trigger: &Trigger<'_>, app: &Arc<AppRoute>, arrived: u64, patience: Patience, patient: &mut Patient) -> Step {
        let target = Target { app: Arc::clone(app), form: Form::Exact(trigger.endpoint) };
        let signed = Signed { method: "POST", path: trigger.path, query: trigger.query, content: Content::Json };
        let verified = match Verified::new(target, signed, trigger.body, arrived) {
            Ok(verified) => verified,
            Err(refusal) => return Step::Judged(Verdict::Refuse(refusal)),
        };
        let judgement = patient.judge(self.shared, &verified, patience);
        let judged = Instant::now();
        if let Some(began) = self.began {
            verified.app.metrics.latency(judged - began);
        }
        Step::Judged(match judgement {
            Judgement::Suppress => Verdict::Suppress,
            Judgement::Refuse(limited) => Verdict::Refuse(Refusal::RateLimited(limited)),
            Judgement::Wait(awaited) => return Step::Wait(awaited),
            Judgement::Forward(Plan { tickets, reduced, parts }) => {
                let app = verified.app;
                let told = render::request(self.outgoing, trigger, self.upstream.host().as_bytes(), &app.app, reduced.as_deref());
                Verdict::Forward(Forward { app, tickets, parts, told, judged })
            }
        })
    }
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
            now: Instant::now(),
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
                match self.alarm.bound(self.now + self.idle_timeout, more).await {
                    Some(true) => {}
                    Some(false) => return self.close().await,
                    None => return Ended::Done,
                }
            }
            let routing = self.shared.routing.load_full();
            let (length, next) = match AssertUnwindSafe(self.serve(&routing)).catch_unwind().await {
                Ok(Served::Other) => return Ended::Other(self.received.freeze()),
                Ok(Served::Partly(length)) => match self.receive_body(length, &routing.limits).await {
                    None => continue,
                    Some(ended) => return ended,
                },
                Ok(Served::Whole(length, next)) => (length, next),
                // Told where it happened; the tickets have put their channels in doubt. What else was read cannot be trusted any more.
                Err(_panic) => {
                    self.reply.clear();
                    self.refuse(RequestKind::Trigger, &Refusal::Internal);
                    (self.received.len(), Next::Close)
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
                    self.now = Instant::now();
                    self.date.set(Clock::unix_now());
                    self.refuse(RequestKind::Trigger, &Refusal::BodyTimeout { limit: limits.body_timeout });
                    if self.write().await {
                        self.shut().await;
                    }
                    return Some(Ended::Done);
                }
            }
        }
        None
    }

    /// Serves the trigger that is received whole, if it is one; the answer is in `reply` then.
    async fn serve(&mut self, routing: &Arc<Routing>) -> Served {
        self.now = Instant::now();
        let arrived = Clock::unix_now();
        self.date.set(arrived);
        let mut patient = Patient::new(routing.limits.max_wait);
        let (length, _slot, mut step) = match shape::see(&self.received, &routing.limits) {
            Seen::Other => return Served::Other,
            Seen::Partly(length) => return Served::Partly(length),
            Seen::Trigger(trigger) => {
                let Some(app) = routing.app(trigger.app) else { return Served::Other };
                let length = trigger.length;
                let Some(slot) = Slot::take(self.shared, routing.limits.max_requests) else {
                    return Served::Whole(length, self.refuse(RequestKind::Refused, &Refusal::Overloaded));
                };
                let mut attempt = Attempt { shared: self.shared, upstream: self.upstream, outgoing: &mut self.outgoing, began: Some(self.now) };
                (length, slot, attempt.make(&trigger, app, arrived, Patience::Waits, &mut patient))
            }
        };
        let verdict = loop {
            match step {
                Step::Judged(verdict) => break verdict,
                Step::Wait(awaited) => {
                    let patience = Box::pin(patient.wait(self.shared, awaited)).await;
                    step = self.step_again(arrived, patience, &mut patient);
                }
            }
        };
        let next = match verdict {
            Verdict::Suppress => {
                let last = self.is_last();
                render::suppressed(&mut self.reply, &self.date, last);
                self.answered(200, last)
            }
            Verdict::Refuse(refusal) => self.refuse(RequestKind::Trigger, &refusal),
            Verdict::Forward(forward) => self.forward(forward).await,
        };
        Served::Whole(length, next)
    }

    /// Judges the trigger again, which has waited, by the rules that hold now.
    fn step_again(&mut self, arrived: u64, patience: Patience, patient: &mut Patient) -> Step {
        self.now = Instant::now();
        let routing = self.shared.routing.load();
        let Seen::Trigger(trigger) = shape::see(&self.received, &routing.limits) else {
            return Step::Judged(Verdict::Refuse(Refusal::Internal));
        };
        let Some(app) = routing.app(trigger.app) else {
            return Step::Judged(Verdict::Refuse(Refusal::UnknownApp { name: trigger.app.chars().take(64).collect() }));
        };
        let mut attempt = Attempt { shared: self.shared, upstream: self.upstream, outgoing: &mut self.outgoing, began: None };
        attempt.make(&trigger, app, arrived, patience, patient)
    }

    /// Sends what is written, settles with what upstream made of it, and writes the answer.
    async fn forward(&mut self, forward: Forward) -> Next {
        let Forward { app, tickets, parts, told, judged: began } = forward;
        let metrics = &self.shared.metrics;
        let exchanged = self.upstream.exchange(&self.outgoing, &mut self.answer, &mut self.alarm, began).await;
        self.now = Instant::now();
        let took = self.now - began;
        let refusal = match exchanged {
            Ok(()) => {
                let status = self.answer.status;
                metrics.upstream_answer(status, took);
                forward::settle_answered(&app, tickets, parts, status);
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
        forward::settle_unanswered(&app, tickets, &refusal);
        self.refuse(RequestKind::Trigger, &refusal)
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
        if let Some(Err(error)) = self.alarm.bound(self.now + self.idle_timeout, self.stream.shutdown()).await {
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
