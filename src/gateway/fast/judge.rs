//! The judging of requests that came together, stage by stage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::render;
use super::request::{Authentic, Forward, Request, Ruling, Verdict, Waiting};
use super::respond::Responder;
use super::shape::{self, Seen, Trigger};
use crate::assignment::Patience;
use crate::clock::Date;
use crate::gateway::decide::Judgement;
use crate::gateway::plan::Plan;
use crate::gateway::routing::{AppRoute, Routing};
use crate::gateway::trigger::{Patient, Verified};
use crate::gateway::{Refusal, Shared, Slot};
use crate::metrics::RequestKind;
use crate::pusher::Body;

/// Most requests that are judged at once: what they need meanwhile stays in the processor's caches.
pub(super) const MOST: usize = 64;

/// Judges requests that came by now.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// Upstream's name.
    pub(super) host: &'a [u8],
    pub(super) date: &'a Date,
    pub(super) now: Instant,
}

/// A trigger that is there whole, in the room of its request.
struct Case<'r> {
    trigger: Trigger<'r>,
    app: &'r Arc<AppRoute>,
    outgoing: &'r mut Vec<u8>,
    reply: &'r mut Vec<u8>,
    verdict: &'r mut Option<Verdict>,
}

/// A trigger that was judged.
struct Judged<'r> {
    trigger: &'r Trigger<'r>,
    verified: Verified<&'r [u8]>,
    patient: Patient,
    judgement: Judgement,
}

impl Judge<'_> {
    /// Judges `requests`: each of them has its verdict then.
    pub(super) fn judge(&self, mut requests: SmallVec<[&mut Request; MOST]>) {
        let routing = self.shared.routing.load();
        let mut authentic: SmallVec<[&AppRoute; MOST]> = SmallVec::new();
        let mut cases: SmallVec<[Case<'_>; MOST]> =
            requests.iter_mut().filter_map(|request| caught(|| self.open(request, &routing))).collect();
        let bodies = Body::digested::<MOST>(cases.iter().map(|case| case.trigger.body));
        for (case, body) in cases.iter_mut().zip(bodies) {
            authentic.extend(caught(|| self.decide(case, body, &routing)));
        }
        drop(cases);
        let judged = Instant::now();
        for app in authentic {
            app.metrics.latency(judged - self.now);
        }
        for request in requests {
            request.judged = judged;
            request.verdict.get_or_insert(Verdict::Failed);
        }
    }

    /// Judges a trigger that has waited, again. `None`: usher itself has failed.
    pub(super) fn judge_again(
        &self,
        request: &mut Request,
        authentic: Authentic,
        mut patient: Patient,
        patience: Patience,
    ) -> Option<Ruling> {
        let Request { received, known, outgoing, reply, .. } = request;
        let Authentic { routing, app, reading, slot } = authentic;
        // It was seen so before.
        let Seen::Trigger(trigger) = shape::see(received, &routing.limits, known) else { return None };
        let mut verified = Verified { app, reading, body: trigger.body };
        verified.follow_reload(&self.shared.routing.load());
        let judgement = patient.judge(self.shared, &verified, patience, self.now);
        Some(self.conclude(
            Judged { trigger: &trigger, verified, patient, judgement },
            &routing,
            || slot,
            outgoing,
            reply,
        ))
    }

    /// The trigger that a request is. `None`: it is none that can be judged, and has its verdict.
    fn open<'r>(&self, request: &'r mut Request, routing: &'r Routing) -> Option<Case<'r>> {
        let Request { received, known, outgoing, reply, verdict, .. } = request;
        let seen = match shape::see(received, &routing.limits, known) {
            Seen::Trigger(trigger) => match routing.app(trigger.app()) {
                Some(app) => return Some(Case { trigger, app, outgoing, reply, verdict }),
                None => Verdict::Other,
            },
            Seen::Partly(length) => Verdict::Partly(length),
            Seen::Unfinished => Verdict::Unfinished,
            Seen::Other => Verdict::Other,
        };
        *verdict = Some(seen);
        None
    }

    /// Verifies a trigger and decides on it. Returns its app if it is authentic.
    fn decide<'r>(&self, case: &mut Case<'r>, body: Body<'r>, routing: &Arc<Routing>) -> Option<&'r AppRoute> {
        let Case { trigger, app, outgoing, reply, verdict } = case;
        let Some(slot) = Slot::take(&**self.shared, routing.limits.max_requests) else {
            **verdict = Some(self.refuse(trigger, reply, RequestKind::Refused, &Refusal::Overloaded).into());
            return None;
        };
        let signed = (trigger.pattern(), &trigger.claim);
        let verified =
            match Verified::by_pattern(Arc::clone(app), trigger.endpoint(), signed, body, self.date.seconds()) {
                Ok(verified) => verified,
                Err(refusal) => {
                    **verdict = Some(self.refuse(trigger, reply, RequestKind::Trigger, &refusal).into());
                    return None;
                }
            };
        let mut patient = Patient::default();
        let judgement = patient.judge(self.shared, &verified, Patience::Waits, self.now);
        let judged = Judged { trigger, verified, patient, judgement };
        **verdict = Some(self.conclude(judged, routing, || slot.keep(self.shared), outgoing, reply).into());
        Some(app)
    }

    /// Writes what comes of a judgement: an answer, or the request that goes upstream. `keep`: its place among the
    /// requests in flight.
    fn conclude(
        &self,
        judged: Judged<'_>,
        routing: &Arc<Routing>,
        keep: impl FnOnce() -> Slot,
        outgoing: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Ruling {
        let Judged { trigger, verified: Verified { app, reading, .. }, patient, judgement } = judged;
        let length = trigger.length;
        match judgement {
            Judgement::Suppress => Ruling::Suppressed(length, self.responder(reply).suppressed()),
            Judgement::Refuse(limited) => {
                self.refuse(trigger, reply, RequestKind::Trigger, &Refusal::RateLimited(limited))
            }
            Judgement::Forward(Plan { tickets, reduced, parts }) => {
                let told = render::request(outgoing, trigger, self.host, &app.app, reduced.as_deref());
                Ruling::Forward(Forward { length, app, tickets, parts, told, slot: keep() })
            }
            Judgement::Wait(awaited) => {
                let authentic = Authentic { routing: Arc::clone(routing), app, reading, slot: keep() };
                Ruling::Wait(Box::new(Waiting { authentic, patient, awaited }))
            }
        }
    }

    fn refuse(&self, trigger: &Trigger<'_>, reply: &mut Vec<u8>, kind: RequestKind, refusal: &Refusal) -> Ruling {
        Ruling::Answered(trigger.length, self.responder(reply).refuse(kind, refusal))
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
