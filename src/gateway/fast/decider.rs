//! Deciding on a batch of requests, stage by stage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::get::Get;
use super::render;
use super::request::{ParseOutcome, Request};
use super::responder::{AfterReply, Responder};
use super::shape::{self, Parsed, Trigger};
use crate::assignment::ClaimMode;
use crate::clock::{Date, Timestamp};
use crate::gateway::disposition::Disposition;
use crate::gateway::in_flight::{BorrowedPermit, InFlightPermit};
use crate::gateway::peer;
use crate::gateway::pipeline::{self, Attempt, NextStep, Render, Undecided};
use crate::gateway::record::{Arrival, RequestLine, Tag};
use crate::gateway::routing::{AppRoute, Routing};
use crate::gateway::verified::{PatternClaim, Verified};
use crate::gateway::{Limits, Refusal, Shared};
use crate::metrics::RequestKind;
use crate::pusher::{Body, KeyPair};

/// Most requests that are decided together, so that their data stays in the processor's caches.
pub(super) const MAX_BATCH: usize = 64;

/// Requests of a batch whose data has room on the stack. Lists of [`MAX_BATCH`] would be moved whole for each request
/// that comes alone.
pub(super) const SMALL_BATCH: usize = 4;

/// Decides on requests that came before `now`.
#[derive(Debug)]
pub(super) struct Decider<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// The value of `Host` for requests to upstream.
    pub(super) host: &'a [u8],
    pub(super) date: &'a Date,
    pub(super) now: Timestamp,
}

/// A trigger that has come whole, with the buffers of its request.
struct ReceivedTrigger<'r> {
    trigger: Trigger<'r>,
    app: &'r Arc<AppRoute>,
    arrival: &'r Arrival,
    /// Once it is known to be authentic, and until it is decided.
    verified: Option<Verified<'r, 'r>>,
    outgoing: &'r mut Vec<u8>,
    reply: &'r mut Vec<u8>,
    outcome: &'r mut Option<ParseOutcome>,
}

impl Decider<'_> {
    /// Decides on `requests`: afterwards each of them has its outcome.
    pub(super) fn decide_all(&self, mut requests: SmallVec<[&mut Request; SMALL_BATCH]>) {
        let routing = self.shared.routing.load();
        let mut triggers: SmallVec<[ReceivedTrigger<'_>; SMALL_BATCH]> = SmallVec::with_capacity(requests.len());
        for request in &mut requests {
            catch_panic(|| {
                if let Some(received) = self.parse(request, &routing) {
                    triggers.push(received);
                }
            });
        }
        let bodies = Body::digested::<SMALL_BATCH>(triggers.iter().map(|received| received.trigger.body));
        // A loop for each stage, since the code of all of them together exceeds the processor's instruction cache.
        for (received, body) in triggers.iter_mut().zip(bodies) {
            catch_panic(|| self.verify(received, body));
        }
        for received in &mut triggers {
            catch_panic(|| self.decide(received, routing.limits.max_requests));
        }
        let decided = Instant::now();
        for ReceivedTrigger { app, outcome, .. } in &triggers {
            if matches!(outcome, Some(ParseOutcome::Decided(_))) {
                app.metrics.latency(decided - self.now.instant);
            }
        }
        drop(triggers);
        for request in requests {
            request.decided = decided;
            request.outcome.get_or_insert(ParseOutcome::Failed);
        }
    }

    /// Decides again on a trigger that has waited. `None`: usher itself has failed, for the request was parsed before.
    pub(super) fn decide_again(
        &self,
        request: &mut Request,
        undecided: Undecided,
        mode: ClaimMode,
    ) -> Option<NextStep<AfterReply>> {
        let Request { received, head_cache, outgoing, reply, .. } = request;
        let trigger = shape::parse_again(received, head_cache)?;
        let attempt = Attempt { mode, now: self.now };
        let body = trigger.body;
        Some(undecided.decide(
            self.shared,
            body,
            attempt,
            Renderer { decider: self, trigger: &trigger, outgoing, reply },
        ))
    }

    /// Parses a request as a trigger. `None`: it is no trigger that can be decided, and has its outcome.
    fn parse<'r>(&self, request: &'r mut Request, routing: &'r Routing) -> Option<ReceivedTrigger<'r>> {
        let Request { ip, arrival, received, head_cache, length: whole, outgoing, reply, outcome, .. } = request;
        let seen = match shape::parse(received, &routing.limits, head_cache) {
            Parsed::Trigger(trigger) => match routing.app(trigger.app()) {
                Some(app) => {
                    *whole = trigger.length;
                    let caller = peer::address(*ip, trigger.forwarded_for(), &routing.trusted_proxies);
                    let arrival = &*arrival.insert(Arrival::new(self.shared, self.now, caller));
                    return Some(ReceivedTrigger { trigger, app, arrival, verified: None, outgoing, reply, outcome });
                }
                None => ParseOutcome::OtherShape,
            },
            Parsed::PartialBody(length) => ParseOutcome::PartialBody(length),
            Parsed::PartialHead => ParseOutcome::PartialHead,
            Parsed::OtherShape => {
                self.get(received, &routing.limits, whole, outgoing).unwrap_or(ParseOutcome::OtherShape)
            }
        };
        *outcome = Some(seen);
        None
    }

    /// Writes a GET request for upstream; `None`: it is none, or as many requests are in flight as may be.
    fn get(&self, received: &[u8], limits: &Limits, whole: &mut usize, outgoing: &mut Vec<u8>) -> Option<ParseOutcome> {
        let get = Get::read(received, limits)?;
        let permit = InFlightPermit::take(self.shared, limits.max_requests)?;
        *whole = get.length;
        render::get(outgoing, &get, self.host);
        Some(ParseOutcome::Get { permit, is_repeatable: get.body.is_empty() })
    }

    /// Verifies a trigger. Refused, it has its outcome.
    fn verify<'r>(&self, received: &mut ReceivedTrigger<'r>, body: Body<'r>) {
        let ReceivedTrigger { trigger, app, verified, .. } = received;
        let signed = PatternClaim { pattern: trigger.pattern(), claim: &trigger.claim };
        match Verified::by_pattern(app, trigger.endpoint(), signed, body, self.date.seconds()) {
            Ok(authentic) => *verified = Some(authentic),
            Err(refusal) => self.refuse(received, RequestKind::Trigger, &refusal),
        }
    }

    /// Decides on a trigger, if it is authentic, unless `max_requests` are in flight.
    fn decide(&self, received: &mut ReceivedTrigger<'_>, max_requests: usize) {
        let Some(verified) = received.verified.take() else { return };
        let Some(permit) = BorrowedPermit::take(self.shared, max_requests) else {
            return self.refuse(received, RequestKind::Refused, &Refusal::Overloaded);
        };
        let ReceivedTrigger { trigger, arrival, outgoing, reply, outcome, .. } = received;
        let renderer = Renderer { decider: self, trigger, outgoing, reply };
        let step = pipeline::start(self.shared, verified, arrival, || permit.into_owned(), renderer);
        **outcome = Some(ParseOutcome::Decided(step));
    }

    #[cold]
    fn refuse(&self, received: &mut ReceivedTrigger<'_>, kind: RequestKind, refusal: &Refusal) {
        let ReceivedTrigger { trigger, app, arrival, reply, outcome, .. } = received;
        let tag = arrival.refused(self.shared, &app.id, line(trigger), refusal);
        **outcome = Some(ParseOutcome::Refused(self.responder(reply).refuse(kind, refusal, Some(tag))));
    }

    fn responder<'r>(&'r self, reply: &'r mut Vec<u8>) -> Responder<'r> {
        Responder { shared: self.shared, date: self.date, reply }
    }
}

/// Writes the result of a decision: an answer, or the request to upstream.
struct Renderer<'r> {
    decider: &'r Decider<'r>,
    trigger: &'r Trigger<'r>,
    outgoing: &'r mut Vec<u8>,
    reply: &'r mut Vec<u8>,
}

impl Render for Renderer<'_> {
    type Reply = AfterReply;

    fn line(&self) -> RequestLine<'_> {
        line(self.trigger)
    }

    fn suppressed(self, tag: Tag) -> AfterReply {
        self.decider.responder(self.reply).suppressed(tag)
    }

    fn refused(self, refusal: Refusal, tag: Tag) -> AfterReply {
        self.decider.responder(self.reply).refuse(RequestKind::Trigger, &refusal, Some(tag))
    }

    fn outgoing(self, pair: &KeyPair, reduced: Option<Vec<u8>>) -> Disposition {
        render::request(self.outgoing, self.trigger, self.decider.host, pair, reduced.as_deref())
    }
}

/// What a record says of the request of `trigger`.
fn line<'r>(trigger: &Trigger<'r>) -> RequestLine<'r> {
    RequestLine { method: shape::METHOD, path: trigger.path(), size: trigger.body.len() }
}

/// Does `work`, which may panic. The panic hook logs the panic, and dropped tickets put their channels in doubt.
fn catch_panic(work: impl FnOnce()) {
    // Its request has no outcome then.
    let _logged = catch_unwind(AssertUnwindSafe(work));
}
