//! The judging of requests that came together, stage by stage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::render;
use super::request::{Authentic, Forward, NextStep, ParseOutcome, Request, Waiting};
use super::respond::Responder;
use super::shape::{self, Seen, Trigger};
use crate::assignment::ClaimMode;
use crate::clock::Date;
use crate::gateway::decide::Decision;
use crate::gateway::plan::Plan;
use crate::gateway::routing::{AppRoute, Routing};
use crate::gateway::trigger::{Verified, WaitState};
use crate::gateway::{InFlightPermit, Refusal, Shared};
use crate::metrics::RequestKind;
use crate::pusher::Body;

/// Most requests that are judged at once: what they need meanwhile stays in the processor's caches.
pub(super) const MOST: usize = 64;

/// Judges requests that came by now.
#[derive(Debug)]
pub(super) struct Decider<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// Upstream's name.
    pub(super) host: &'a [u8],
    pub(super) date: &'a Date,
    pub(super) now: Instant,
}

/// A trigger that is there whole, in the room of its request.
struct ReceivedTrigger<'r> {
    trigger: Trigger<'r>,
    app: &'r Arc<AppRoute>,
    outgoing: &'r mut Vec<u8>,
    reply: &'r mut Vec<u8>,
    outcome: &'r mut Option<ParseOutcome>,
}

/// A trigger that was judged.
struct DecidedTrigger<'r> {
    trigger: &'r Trigger<'r>,
    verified: Verified<&'r [u8]>,
    wait_state: WaitState,
    decision: Decision,
}

impl Decider<'_> {
    /// Judges `requests`: each of them has its verdict then.
    pub(super) fn decide_all(&self, mut requests: SmallVec<[&mut Request; MOST]>) {
        let routing = self.shared.routing.load();
        let mut authentic: SmallVec<[&AppRoute; MOST]> = SmallVec::new();
        let mut cases: SmallVec<[ReceivedTrigger<'_>; MOST]> =
            requests.iter_mut().filter_map(|request| caught(|| self.open(request, &routing))).collect();
        let bodies = Body::digested::<MOST>(cases.iter().map(|case| case.trigger.body));
        for (case, body) in cases.iter_mut().zip(bodies) {
            authentic.extend(caught(|| self.decide(case, body, &routing)));
        }
        drop(cases);
        let decided = Instant::now();
        for app in authentic {
            app.metrics.latency(decided - self.now);
        }
        for request in requests {
            request.decided = decided;
            request.outcome.get_or_insert(ParseOutcome::Failed);
        }
    }

    /// Judges a trigger that has waited, again. `None`: usher itself has failed.
    pub(super) fn decide_again(
        &self,
        request: &mut Request,
        authentic: Authentic,
        mut wait_state: WaitState,
        mode: ClaimMode,
    ) -> Option<NextStep> {
        let Request { received, known, outgoing, reply, .. } = request;
        let Authentic { routing, app, reading, permit } = authentic;
        // It was seen so before.
        let Seen::Trigger(trigger) = shape::see(received, &routing.limits, known) else { return None };
        let mut verified = Verified { app, reading, body: trigger.body };
        verified.follow_reload(&self.shared.routing.load());
        let decision = wait_state.decide(self.shared, &verified, mode, self.now);
        Some(self.conclude(
            DecidedTrigger { trigger: &trigger, verified, wait_state, decision },
            &routing,
            || permit,
            outgoing,
            reply,
        ))
    }

    /// The trigger that a request is. `None`: it is none that can be judged, and has its verdict.
    fn open<'r>(&self, request: &'r mut Request, routing: &'r Routing) -> Option<ReceivedTrigger<'r>> {
        let Request { received, known, outgoing, reply, outcome, .. } = request;
        let seen = match shape::see(received, &routing.limits, known) {
            Seen::Trigger(trigger) => match routing.app(trigger.app()) {
                Some(app) => return Some(ReceivedTrigger { trigger, app, outgoing, reply, outcome }),
                None => ParseOutcome::Other,
            },
            Seen::Partly(length) => ParseOutcome::Partly(length),
            Seen::Unfinished => ParseOutcome::Unfinished,
            Seen::Other => ParseOutcome::Other,
        };
        *outcome = Some(seen);
        None
    }

    /// Verifies a trigger and decides on it. Returns its app if it is authentic.
    fn decide<'r>(
        &self,
        case: &mut ReceivedTrigger<'r>,
        body: Body<'r>,
        routing: &Arc<Routing>,
    ) -> Option<&'r AppRoute> {
        let ReceivedTrigger { trigger, app, outgoing, reply, outcome } = case;
        let Some(permit) = InFlightPermit::take(&**self.shared, routing.limits.max_requests) else {
            **outcome = Some(self.refuse(trigger, reply, RequestKind::Refused, &Refusal::Overloaded).into());
            return None;
        };
        let signed = (trigger.pattern(), &trigger.claim);
        let verified =
            match Verified::by_pattern(Arc::clone(app), trigger.endpoint(), signed, body, self.date.seconds()) {
                Ok(verified) => verified,
                Err(refusal) => {
                    **outcome = Some(self.refuse(trigger, reply, RequestKind::Trigger, &refusal).into());
                    return None;
                }
            };
        let mut wait_state = WaitState::default();
        let decision = wait_state.decide(self.shared, &verified, ClaimMode::MayWait, self.now);
        let decided = DecidedTrigger { trigger, verified, wait_state, decision };
        **outcome = Some(self.conclude(decided, routing, || permit.keep(self.shared), outgoing, reply).into());
        Some(app)
    }

    /// Writes what comes of a judgement: an answer, or the request that goes upstream. `keep`: its place among the
    /// requests in flight.
    fn conclude(
        &self,
        decided: DecidedTrigger<'_>,
        routing: &Arc<Routing>,
        keep: impl FnOnce() -> InFlightPermit,
        outgoing: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> NextStep {
        let DecidedTrigger { trigger, verified: Verified { app, reading, .. }, wait_state, decision } = decided;
        let length = trigger.length;
        match decision {
            Decision::Suppress => NextStep::Suppressed(length, self.responder(reply).suppressed()),
            Decision::Refuse(limited) => {
                self.refuse(trigger, reply, RequestKind::Trigger, &Refusal::RateLimited(limited))
            }
            Decision::Forward(Plan { tickets, reduced, parts }) => {
                let disposition = render::request(outgoing, trigger, self.host, &app.app, reduced.as_deref());
                NextStep::Forward(Forward { length, app, tickets, parts, disposition, permit: keep() })
            }
            Decision::Wait(awaited) => {
                let authentic = Authentic { routing: Arc::clone(routing), app, reading, permit: keep() };
                NextStep::Wait(Box::new(Waiting { authentic, wait_state, awaited }))
            }
        }
    }

    fn refuse(&self, trigger: &Trigger<'_>, reply: &mut Vec<u8>, kind: RequestKind, refusal: &Refusal) -> NextStep {
        NextStep::Answered(trigger.length, self.responder(reply).refuse(kind, refusal))
    }

    fn responder<'r>(&'r self, reply: &'r mut Vec<u8>) -> Responder<'r> {
        Responder { shared: self.shared, date: self.date, reply }
    }
}

/// What `work` returns; nothing if it panics. That is told where it happens, and tickets put their channels in doubt
/// then.
fn caught<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}
