//! What happens to a trigger once it is verified: decide, wait, forward, settle. Two readers use it, the fast one
//! (`fast`) and hyper's (`trigger`); they differ only in how they read and write bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::decide::{Decision, DecisionContext, WaitReason, decide, decide_inexact};
use super::disposition::Disposition;
use super::plan::{Multiplicity, Plan, Tickets};
use super::routing::AppRoute;
use super::settle::{self, Answered};
use super::verified::{Reading, Verified};
use super::{InFlightPermit, Refusal, Shared};
use crate::assignment::ClaimMode;
use crate::pusher::{KeyPair, Trigger};
use crate::rate::RateReservation;
use crate::upstream::ExchangeError;

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
    tickets: Tickets,
    multiplicity: Multiplicity,
    disposition: Disposition,
    permit: InFlightPermit,
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
    pair: KeyPair,
    reading: Reading,
    state: WaitState,
    permit: InFlightPermit,
}

/// What a trigger keeps from one decision to the next.
#[derive(Debug, Default)]
struct WaitState {
    rate_reservation: RateReservation,
    /// The end of all waiting for equal announcements in flight, set when the first wait begins.
    deadline: Option<Instant>,
}

/// When and how a decision is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) mode: ClaimMode,
    pub(super) now: Instant,
}

/// Writes what a decision calls for, in a reader's own form.
pub(super) trait Render {
    /// An answer to the caller.
    type Reply;

    /// Answers a redundant trigger.
    fn suppressed(self) -> Self::Reply;

    /// Answers a trigger that usher does not serve.
    fn refused(self, refusal: Refusal) -> Self::Reply;

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

    /// Sends the request that [`Render::outgoing`] made and receives the whole answer within [`Exchange::timeout`].
    fn send(&mut self) -> impl Future<Output = Sent>;

    /// How long an exchange with upstream may take.
    fn timeout(&self) -> Duration;

    /// The answer that [`Exchange::send`] received.
    fn received(&self) -> Answered<'_>;

    /// Passes the received answer on.
    fn answered(&mut self, disposition: Disposition) -> Self::Reply;

    /// Answers a trigger that has no complete answer of upstream.
    fn refused(&mut self, refusal: Refusal) -> Self::Reply;
}

/// How an exchange with upstream ended, and how long it took.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) took: Duration,
    /// `Ok`: the answer is complete.
    pub(super) result: Result<(), ExchangeError>,
}

/// Decides on a verified trigger and writes what comes of it. `permit` is called only if the trigger goes on or waits.
pub(super) fn start<R: Render>(
    shared: &Shared,
    verified: Verified<'_, '_>,
    attempt: Attempt,
    permit: impl FnOnce() -> InFlightPermit,
    render: R,
) -> NextStep<R::Reply> {
    conclude(shared, verified, WaitState::default(), attempt, permit, render)
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
                    Ok(disposition) => exchange.answered(disposition),
                    Err(refusal) => exchange.refused(refusal),
                };
            }
            NextStep::Wait(waiting) => {
                let Waiting { mut trigger, reason } = *waiting;
                // Boxed: rare and large.
                let mode = Box::pin(trigger.state.wait(exchange.shared(), reason)).await;
                step = exchange.decide_again(trigger, mode);
            }
        }
    }
}

/// Sends a trigger, settles it with upstream's answer, and counts both.
async fn send_and_settle<E: Exchange>(exchange: &mut E, forward: Forward) -> Result<Disposition, Refusal> {
    let Forward { app, tickets, multiplicity, disposition, permit: _permit } = forward;
    let Sent { took, result } = exchange.send().await;
    let metrics = &exchange.shared().metrics;
    let refusal = match result {
        Ok(()) => {
            let answered = exchange.received();
            metrics.upstream_answer(answered.status, took);
            settle::answered(exchange.shared(), &app, tickets, multiplicity, answered);
            return Ok(disposition);
        }
        Err(ExchangeError::NoAnswer(failure)) => {
            metrics.upstream_failure(failure.label(), took);
            Refusal::Upstream(failure)
        }
        Err(ExchangeError::Truncated { status }) => {
            metrics.upstream_answer(status, took);
            Refusal::AnswerCut
        }
        Err(ExchangeError::TimedOut { status }) => {
            metrics.upstream_answer(status, took);
            Refusal::AnswerTimeout { limit: exchange.timeout() }
        }
    };
    settle::unanswered(&app, tickets, &refusal);
    Err(refusal)
}

fn conclude<R: Render>(
    shared: &Shared,
    verified: Verified<'_, '_>,
    mut state: WaitState,
    attempt: Attempt,
    permit: impl FnOnce() -> InFlightPermit,
    render: R,
) -> NextStep<R::Reply> {
    let decision = state.decide(shared, &verified, attempt);
    let Verified { app, pair, reading, .. } = verified;
    match decision {
        Decision::Suppress => NextStep::Answered(render.suppressed()),
        Decision::Refuse(limited) => NextStep::Answered(render.refused(Refusal::RateLimited(limited))),
        Decision::Forward(Plan { tickets, reduced, multiplicity }) => {
            let disposition = render.outgoing(pair, reduced);
            NextStep::Forward(Forward { app: Arc::clone(app), tickets, multiplicity, disposition, permit: permit() })
        }
        Decision::Wait(reason) => {
            let trigger = Undecided { app: Arc::clone(app), pair: pair.clone(), reading, state, permit: permit() };
            NextStep::Wait(Box::new(Waiting { trigger, reason }))
        }
    }
}

impl Undecided {
    /// Decides on the trigger again, by the app's present rules. `body`: the one that was verified.
    pub(super) fn decide<R: Render>(
        self,
        shared: &Shared,
        body: &[u8],
        attempt: Attempt,
        render: R,
    ) -> NextStep<R::Reply> {
        let Self { app, pair, reading, state, permit } = self;
        let routing = shared.routing.load();
        let mut verified = Verified { app: &app, pair: &pair, reading, body };
        verified.follow_reload(&routing);
        conclude(shared, verified, state, attempt, || permit, render)
    }
}

impl WaitState {
    fn decide(&mut self, shared: &Shared, trigger: &Verified<'_, '_>, Attempt { mode, now }: Attempt) -> Decision {
        let Verified { app, reading, body, pair: _ } = trigger;
        let context = DecisionContext { now: shared.clock.moment(now), mode, waited: self.deadline.is_some() };
        match reading {
            Reading::Exact(endpoint) => {
                decide(shared, app, Trigger::parse(*endpoint, body), context, &mut self.rate_reservation)
            }
            Reading::Keyed(endpoint) => {
                let trigger = Trigger::parse(*endpoint, body).map(Trigger::assuming_excluded_socket);
                decide(shared, app, trigger, context, &mut self.rate_reservation)
            }
            Reading::Inexact(inexact) => decide_inexact(shared, app, inexact, context.now, &mut self.rate_reservation),
        }
    }

    /// Waits; returns how to claim then. Draining ends all waits: what is not sent now is not sent at all.
    async fn wait(&mut self, shared: &Shared, reason: WaitReason) -> ClaimMode {
        let ready = async {
            match reason {
                WaitReason::Settlement(waiter) => {
                    let deadline =
                        *self.deadline.get_or_insert_with(|| Instant::now() + shared.routing.load().limits.max_wait);
                    timeout_at(deadline, waiter.settled()).await.map_or(ClaimMode::MustNotWait, |()| ClaimMode::MayWait)
                }
                WaitReason::RateSlot(slot) => {
                    sleep(slot.wait).await;
                    ClaimMode::MayWait
                }
            }
        };
        tokio::select! {
            biased;
            mode = ready => mode,
            () = shared.drain.begun() => ClaimMode::Forced,
        }
    }
}
