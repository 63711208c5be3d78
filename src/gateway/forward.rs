//! Forwarding a trigger, and settling it with what upstream made of it.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version, request};
use tokio::time::{Instant, timeout_at};

use super::body::{self, Overflow};
use super::plan::{Parts, Plan, Tickets};
use super::routing::AppRoute;
use super::target::signed_path;
use super::trigger::{Told, Verified};
use super::{Gateway, Refusal, Reply, Slot, headers};
use crate::assignment::Outcome;
use crate::metrics::TriggerOutcome;
use crate::pusher::{Query, resign};
use crate::upstream::{Failure, Payload};

/// The largest answer to a trigger that is taken for one: real ones have a few bytes to a few KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Forwards `trigger` as planned, settles its tickets, and answers what upstream answered.
///
/// # Cancel safety
/// Dropped on the way, the tickets put their channels in doubt.
pub(super) async fn run(
    gateway: &Gateway,
    head: request::Parts,
    trigger: Verified<Bytes>,
    plan: Plan,
    _slot: Slot,
) -> Result<Response<Reply>, Refusal> {
    let Plan { tickets, reduced, parts } = plan;
    let Verified { app, body, .. } = trigger;
    let (request, told) = outgoing(&app, head, body, reduced);
    match exchange(gateway, request).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            settle_answered(&app, tickets, parts, head.status.as_u16());
            headers::strip_answer(&mut head.headers);
            head.headers.insert("usher-decision", told.header());
            head.version = Version::HTTP_11;
            Ok(Response::from_parts(head, Reply::from(body)))
        }
        Err(refusal) => {
            settle_unanswered(&app, tickets, &refusal);
            Err(refusal)
        }
    }
}

/// The request as it goes out: as received, or reduced and signed anew.
fn outgoing(app: &AppRoute, mut head: request::Parts, body: Bytes, reduced: Option<Vec<u8>>) -> (Request<Payload>, Told) {
    let Some(reduced) = reduced else {
        return (Request::from_parts(head, Payload::Whole(body)), Told::Forwarded);
    };
    let signed = resign(&app.app, head.method.as_str(), signed_path(head.uri.path()), &Query::parse(head.uri.query().unwrap_or_default()), &reduced);
    match PathAndQuery::try_from(format!("{}?{signed}", head.uri.path())) {
        Ok(target) => {
            head.uri = Uri::from(target);
            (Request::from_parts(head, Payload::Whole(Bytes::from(reduced))), Told::Reduced)
        }
        Err(error) => {
            // Cannot happen: only two hexadecimal values were replaced. Forwarding the whole trigger is always right.
            tracing::error!(%error, "a reduced trigger's target could not be built; forwarded whole");
            (Request::from_parts(head, Payload::Whole(body)), Told::Forwarded)
        }
    }
}

/// Sends the request and receives the whole answer in upstream's time.
async fn exchange(gateway: &Gateway, request: Request<Payload>) -> Result<Response<Bytes>, Refusal> {
    let metrics = &gateway.shared.metrics;
    let limit = gateway.upstream.timeout();
    let began = Instant::now();
    let answer = gateway.upstream.send(request).await.map_err(|failure: Failure| {
        metrics.upstream_failure(failure.label(), began.elapsed());
        Refusal::Upstream(failure)
    })?;
    let (head, body) = answer.into_parts();
    let received = timeout_at(began + limit, body::collect(body, MAX_ANSWER)).await;
    metrics.upstream_answer(head.status.as_u16(), began.elapsed());
    match received {
        Ok(Ok(body)) => Ok(Response::from_parts(head, body)),
        Ok(Err(Overflow::TooLarge | Overflow::Broken(_))) => Err(Refusal::AnswerCut),
        Err(_elapsed) => Err(Refusal::AnswerTimeout { limit }),
    }
}

/// Settles a trigger that upstream has answered wholly with this status (design 2.2).
pub(super) fn settle_answered(app: &AppRoute, tickets: Tickets, parts: Parts, status: u16) {
    let (outcome, counted) = match (status, parts) {
        (200..=299, _) => (Outcome::Accepted, TriggerOutcome::Accepted),
        (400..=499, Parts::One) => (Outcome::Refused, TriggerOutcome::Refused),
        (400..=499, Parts::Several) => (Outcome::Partial, TriggerOutcome::Partial),
        _ => (Outcome::Ambiguous, TriggerOutcome::Ambiguous),
    };
    tickets.settle(outcome);
    app.metrics.outcome(counted);
    if outcome == Outcome::Ambiguous {
        tracing::warn!(app = %app.id, status, "upstream answered a trigger with neither 2xx nor 4xx: its channels are in doubt");
    }
}

/// Settles a trigger that has no complete answer, for this reason (design 2.2).
pub(super) fn settle_unanswered(app: &AppRoute, tickets: Tickets, why: &Refusal) {
    let (outcome, counted) = match why {
        Refusal::Upstream(failure) if failure.nothing_sent() => (Outcome::Refused, TriggerOutcome::NotSent),
        _ => (Outcome::Ambiguous, TriggerOutcome::Ambiguous),
    };
    tickets.settle(outcome);
    app.metrics.outcome(counted);
    tracing::warn!(app = %app.id, error = %why, outcome = counted.label(), "a trigger was not answered by upstream");
}
