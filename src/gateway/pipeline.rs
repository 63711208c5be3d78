//! What happens to a trigger once it is verified: decide, wait, forward, settle. Two readers use it, the fast one
//! (`fast`) and hyper's (`trigger`); they differ only in how they read and write bytes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::decide::{Conclusion, Decision, DecisionContext, Progress, Subject, WaitReason, decide, decide_inexact};
use super::disposition::Disposition;
use super::plan::{HeldUntilSettled, Multiplicity, Plan};
use super::record::{Arrival, RequestLine, Tag, micros};
use super::recorded;
use super::routing::AppRoute;
use super::settle::{self, Answered, Settled};
use super::verified::{Reading, Verified};
use super::{InFlightPermit, Refusal, Shared};
use crate::assignment::ClaimMode;
use crate::clock::Timestamp;
use crate::decision::EventDecision;
use crate::metrics::TriggerOutcome;
use crate::pusher::{KeyPair, Trigger};
use crate::recording::Capture;
use crate::shutdown::Phase;
use crate::triggers::{Draft, MAX_TEXT, Tail, TriggerId, UpstreamRecord, cut};
use crate::upstream::Failure;

/// What is left to do for a trigger after a decision. `R`: the reader's form of an answer.
#[derive(Debug)]
pub(super) enum NextStep<R> {
    /// Nothing: the answer is made.
    Answered(R),
    /// It goes upstream.
    Forward(Forward),
    /// It waits. Boxed: rare and large.
    Wait(Box<Waiting>),
}

/// A trigger that goes upstream; the reader has its bytes.
#[derive(Debug)]
pub(super) struct Forward {
    app: Arc<AppRoute>,
    arrival: Arrival,
    // Not as a `Conclusion`, which would need eight bytes more.
    decision: EventDecision,
    draft: Draft,
    held: HeldUntilSettled,
    multiplicity: Multiplicity,
    disposition: Disposition,
    permit: InFlightPermit,
    /// For those who record.
    capture: Option<Box<Capture>>,
}

/// A trigger that waits, and what it waits for.
#[derive(Debug)]
pub(super) struct Waiting {
    trigger: Undecided,
    reason: WaitReason,
}

/// A verified trigger that needs another decision; the reader has its bytes.
#[derive(Debug)]
pub(super) struct Undecided {
    app: Arc<AppRoute>,
    arrival: Arrival,
    pair: KeyPair,
    reading: Reading,
    state: WaitState,
    permit: InFlightPermit,
}

/// What a trigger keeps from one decision to the next.
#[derive(Debug, Default)]
struct WaitState {
    progress: Progress,
    /// The end of all waiting for equal announcements in flight, set when the first wait begins.
    deadline: Option<Instant>,
}

/// When and how a decision is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) mode: ClaimMode,
    pub(super) now: Timestamp,
}

/// Writes what a decision calls for, in a reader's own form.
pub(super) trait Render {
    /// An answer to the caller.
    type Reply;

    /// What a record says of the request.
    fn line(&self) -> RequestLine<'_>;

    /// Answers a redundant trigger.
    fn suppressed(self, tag: Tag) -> Self::Reply;

    /// Answers a trigger that usher does not serve.
    fn refused(self, refusal: Refusal, tag: Tag) -> Self::Reply;

    /// Makes the request to upstream: as received, or with the body `reduced`, signed by `pair` anew.
    fn outgoing(self, pair: &KeyPair, reduced: Option<Vec<u8>>) -> Disposition;
}

/// Exchanges one trigger with upstream and answers its caller, in a reader's own form.
pub(super) trait Exchange {
    /// An answer to the caller.
    type Reply;

    fn shared(&self) -> &Arc<Shared>;

    /// Decides again on a trigger that has waited: calls [`Undecided::decide`] with its body and the present time.
    fn decide_again(&mut self, trigger: Undecided, mode: ClaimMode) -> NextStep<Self::Reply>;

    /// Sends the request that [`Render::outgoing`] made and receives the whole answer within upstream's timeout.
    fn send(&mut self) -> impl Future<Output = Sent>;

    /// The answer that [`Exchange::send`] received.
    fn received(&self) -> Answered<'_>;

    /// Passes the received answer on.
    fn answered(&mut self, disposition: Disposition, tag: Tag) -> Self::Reply;

    /// Answers a trigger that has no complete answer of upstream.
    fn refused(&mut self, refusal: Refusal, tag: Tag) -> Self::Reply;
}

/// How and when an exchange with upstream ended, and how long it took.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) took: Duration,
    pub(super) ended: Instant,
    /// How often it was sent again, because nothing of it had been sent on a connection before.
    pub(super) retries: u8,
    /// `Ok`: the answer is complete.
    pub(super) result: Result<(), Failure>,
}

/// Decides on a verified trigger and writes what comes of it. `permit` is called only if the trigger goes on or waits.
pub(super) fn start<R: Render>(
    shared: &Shared,
    verified: Verified<'_, '_>,
    arrival: &Arrival,
    permit: impl FnOnce() -> InFlightPermit,
    render: R,
) -> NextStep<R::Reply> {
    let attempt = Attempt { mode: ClaimMode::MayWait, now: arrival.came };
    conclude(shared, verified, arrival, WaitState::default(), attempt, permit, render)
}

/// Does what is left to do for a trigger until it is answered.
///
/// # Cancel safety
/// Dropped on the way, the tickets put their channels in doubt.
pub(super) async fn finish<E: Exchange>(exchange: &mut E, mut step: NextStep<E::Reply>) -> E::Reply {
    loop {
        match step {
            NextStep::Answered(reply) => return reply,
            NextStep::Forward(forward) => {
                return match send_and_settle(exchange, forward).await {
                    Ok((disposition, tag)) => exchange.answered(disposition, tag),
                    Err((refusal, tag)) => exchange.refused(refusal, tag),
                };
            }
            NextStep::Wait(waiting) => {
                let (mut trigger, reason) = waiting.into_parts();
                // Boxed: rare and large.
                let mode = Box::pin(trigger.state.wait(exchange.shared(), reason)).await;
                step = exchange.decide_again(trigger, mode);
            }
        }
    }
}

/// Sends a trigger and settles it with upstream's answer.
async fn send_and_settle<E: Exchange>(
    exchange: &mut E,
    forward: Forward,
) -> Result<(Disposition, Tag), (Refusal, Tag)> {
    let sent = exchange.send().await;
    forward.settle(exchange.shared(), sent, || exchange.received())
}

impl Forward {
    /// Why it goes on.
    pub(super) const fn decision(&self) -> EventDecision {
        self.decision
    }

    /// The id of its record.
    pub(super) const fn id(&self) -> TriggerId {
        self.arrival.id
    }

    /// Settles it with upstream's answer, which is `received` if it was `sent` and answered, and counts and records
    /// both.
    pub(super) fn settle<'a>(
        self,
        shared: &Shared,
        sent: Sent,
        received: impl FnOnce() -> Answered<'a>,
    ) -> Result<(Disposition, Tag), (Refusal, Tag)> {
        let Self { app, arrival, decision, draft, held, multiplicity, disposition, permit: _permit, capture } = self;
        let Sent { took, ended, retries, result } = sent;
        let metrics = &shared.metrics;
        let conclusion = Conclusion { decision, draft };
        let recorded = Recorded { app: &app, arrival, conclusion, took, ended, retries, disposition, capture };
        let refusal = match result {
            Ok(()) => {
                let answered = received();
                metrics.upstream_answer(answered.status, took);
                let settled = settle::answered(shared, &app, held, multiplicity, answered);
                recorded.answered(shared, answered.status, &settled);
                return Ok((disposition, arrival.tag(decision.reason())));
            }
            Err(failure) => {
                match failure.status() {
                    Some(status) => metrics.upstream_answer(status, took),
                    None => metrics.upstream_failure(failure.label(), took),
                }
                Refusal::Upstream(failure)
            }
        };
        let outcome = settle::unanswered(&app, held, &refusal);
        recorded.unanswered(shared, outcome, &refusal);
        let tag = arrival.tag(refusal.code());
        Err((refusal, tag))
    }
}

impl Waiting {
    /// The trigger, and what it waits for.
    pub(super) fn into_parts(self) -> (Undecided, WaitReason) {
        (self.trigger, self.reason)
    }
}

/// What is recorded of a trigger that was sent.
struct Recorded<'a> {
    app: &'a AppRoute,
    arrival: Arrival,
    conclusion: Conclusion,
    /// The time that the exchange took.
    took: Duration,
    ended: Instant,
    retries: u8,
    disposition: Disposition,
    capture: Option<Box<Capture>>,
}

impl Recorded<'_> {
    fn answered(self, shared: &Shared, status: u16, settled: &Settled) {
        shared.trigger_log.answered(self.app, self.arrival.id, status, settled);
        let error = settled.error.as_deref().map(|error| cut(error, MAX_TEXT));
        let upstream =
            UpstreamRecord { status: Some(status), error, outcome: settled.outcome.label(), ..self.upstream() };
        let took = micros(self.ended - self.arrival.came.instant);
        let tail = Tail { took, status, refusal: None, upstream: Some(upstream) };
        let reason = self.conclusion.decision.reason();
        self.push(shared, reason, settled.outcome, &tail);
    }

    fn unanswered(self, shared: &Shared, outcome: TriggerOutcome, refusal: &Refusal) {
        let routing = shared.routing.load();
        shared.trigger_log.unanswered(&routing, &self.app.id, self.arrival.id, refusal, outcome);
        let cause = refusal.to_string();
        let cause = cut(&cause, MAX_TEXT);
        let upstream = UpstreamRecord { error: Some(cause), outcome: outcome.label(), ..self.upstream() };
        let took = micros(self.ended - self.arrival.came.instant);
        let tail = Tail {
            took,
            status: refusal.status().as_u16(),
            refusal: Some((refusal.code(), cause)),
            upstream: Some(upstream),
        };
        self.push(shared, refusal.code(), outcome, &tail);
    }

    fn push(self, shared: &Shared, reason: &'static str, outcome: TriggerOutcome, tail: &Tail<'_>) {
        let Conclusion { decision, draft } = self.conclusion;
        if let Some(capture) = self.capture {
            capture.settle(recorded::sent(self.ended, outcome, tail.decision(Some(decision)), reason));
        }
        self.arrival.decided(shared, &self.app.id, || tail.decision(Some(decision)), reason, &draft);
        shared.triggers.push(draft, tail);
    }

    fn upstream(&self) -> UpstreamRecord<'static> {
        UpstreamRecord {
            reduced: self.disposition == Disposition::Reduced,
            took: micros(self.took),
            retries: self.retries,
            ..UpstreamRecord::default()
        }
    }
}

fn conclude<R: Render>(
    shared: &Shared,
    verified: Verified<'_, '_>,
    arrival: &Arrival,
    mut state: WaitState,
    attempt: Attempt,
    permit: impl FnOnce() -> InFlightPermit,
    render: R,
) -> NextStep<R::Reply> {
    let decision = state.decide(shared, &verified, Subject { arrival, line: render.line() }, attempt);
    let capture = recorded::capture(shared, &verified, arrival, render.line(), &decision);
    let Verified { app, pair, reading, .. } = verified;
    let waited = attempt.now.instant - arrival.came.instant;
    match decision {
        Decision::Suppress(conclusion) => {
            let decided = conclusion.decision;
            let tag = arrival.tag(decided.reason());
            if let Some(capture) = capture {
                capture.settle(recorded::suppressed(decided));
            }
            arrival.push_suppressed(shared, &app.id, conclusion, waited);
            NextStep::Answered(render.suppressed(tag))
        }
        Decision::Refuse(refusal, draft) => {
            arrival.push_refused(shared, &app.id, draft, waited, &refusal);
            if let Some(capture) = capture {
                capture.settle(recorded::refused(&refusal));
            }
            let tag = arrival.tag(refusal.code());
            NextStep::Answered(render.refused(refusal, tag))
        }
        Decision::Forward(Plan { held, reduced, multiplicity, conclusion }) => {
            let disposition = render.outgoing(pair, reduced);
            let app = Arc::clone(app);
            NextStep::Forward(Forward {
                app,
                arrival: *arrival,
                decision: conclusion.decision,
                draft: conclusion.draft,
                held,
                multiplicity,
                disposition,
                permit: permit(),
                capture,
            })
        }
        Decision::Wait(reason) => {
            let (app, pair) = (Arc::clone(app), pair.clone());
            let trigger = Undecided { app, arrival: *arrival, pair, reading, state, permit: permit() };
            NextStep::Wait(Box::new(Waiting { trigger, reason }))
        }
    }
}

impl Undecided {
    /// The end of its waits for equal announcements, the first of which begins at `now`.
    pub(super) fn end_of_waits(&mut self, now: Instant, max_wait: Duration) -> Instant {
        self.state.end_of_waits(now, max_wait)
    }

    /// Decides on the trigger again, by the app's present rules. `body`: the one that was verified.
    pub(super) fn decide<R: Render>(
        self,
        shared: &Shared,
        body: &[u8],
        attempt: Attempt,
        render: R,
    ) -> NextStep<R::Reply> {
        let Self { app, arrival, pair, reading, state, permit } = self;
        let routing = shared.routing.load();
        let mut verified = Verified { app: &app, pair: &pair, reading, body };
        verified.follow_reload(&routing);
        conclude(shared, verified, &arrival, state, attempt, || permit, render)
    }
}

impl WaitState {
    fn decide(
        &mut self,
        shared: &Shared,
        trigger: &Verified<'_, '_>,
        subject: Subject<'_>,
        Attempt { mode, now }: Attempt,
    ) -> Decision {
        let Verified { app, reading, body, pair: _ } = trigger;
        let now = now.moment;
        let progress = &mut self.progress;
        let is_keyed = matches!(reading, Reading::Keyed(_));
        let context = DecisionContext { now, mode, waited: self.deadline.is_some(), is_keyed };
        match reading {
            Reading::Exact(endpoint) | Reading::Keyed(endpoint) => {
                let trigger = Trigger::parse(*endpoint, body);
                decide(shared, app, trigger, subject, context, progress)
            }
            Reading::Inexact(inexact) => decide_inexact(shared, app, inexact, subject, context, progress),
        }
    }

    fn end_of_waits(&mut self, now: Instant, max_wait: Duration) -> Instant {
        *self.deadline.get_or_insert(now + max_wait)
    }

    /// Waits; returns how to claim then. Once the listeners are closed, no wait goes on: what is not sent now is not
    /// sent at all. A wait for an outcome ends before, if nothing is suppressed any more.
    async fn wait(&mut self, shared: &Shared, reason: WaitReason) -> ClaimMode {
        match reason {
            WaitReason::Settlement(waiter) => {
                let deadline = self.end_of_waits(Instant::now(), shared.routing.load().limits.max_wait);
                let settled = timeout_at(deadline, waiter.settled())
                    .map(|settled| settled.map_or(ClaimMode::MustNotWait, |()| ClaimMode::MayWait));
                unless_ended(settled, shared.drain.waits_end()).await
            }
            WaitReason::RateSlot(slot) => {
                let slot = sleep(slot.wait).map(|()| ClaimMode::MayWait);
                unless_ended(slot, shared.drain.reached(Phase::Closed)).await
            }
            // The store answers in time or not, and what is forwarded needs tickets also at the end.
            WaitReason::Store(ask, mode) => {
                self.progress.carried = ask.answered().await;
                mode
            }
        }
    }
}

/// How to claim once a wait is over, or has no time left because the process ends.
async fn unless_ended(ready: impl Future<Output = ClaimMode>, ending: impl Future<Output = ()>) -> ClaimMode {
    tokio::select! {
        biased;
        mode = ready => mode,
        () = ending => ClaimMode::Forced,
    }
}
