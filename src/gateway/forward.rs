//! Forwarding a trigger, and settling it with what upstream made of it.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version, request};
use tokio::time::{Instant, timeout_at};

use super::body::{self, Overflow};
use super::plan::{Multiplicity, Plan, Tickets};
use super::routing::AppRoute;
use super::target::signed_path;
use super::trigger::{Disposition, Verified};
use super::{Gateway, InFlightPermit, Refusal, Reply, Shared, headers};
use crate::assignment::Outcome;
use crate::metrics::TriggerOutcome;
use crate::pusher::{Acceptance, Query, resign};
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
    _permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    let Plan { tickets, reduced, parts } = plan;
    let Verified { app, body, .. } = trigger;
    let (request, disposition) = outgoing(&app, head, body, reduced);
    match exchange(gateway, request).await {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            let answered = Answered {
                status: head.status.as_u16(),
                is_encoded: head.headers.contains_key(CONTENT_ENCODING),
                body: &body,
            };
            settle_answered(&gateway.shared, &app, tickets, parts, answered);
            headers::strip_answer(&mut head.headers);
            head.headers.insert("usher-decision", disposition.header());
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
fn outgoing(
    app: &AppRoute,
    mut head: request::Parts,
    body: Bytes,
    reduced: Option<Vec<u8>>,
) -> (Request<Payload>, Disposition) {
    let Some(reduced) = reduced else {
        return (Request::from_parts(head, Payload::Whole(body)), Disposition::Forwarded);
    };
    let signed = resign(
        &app.app,
        head.method.as_str(),
        signed_path(head.uri.path()),
        &Query::parse(head.uri.query().unwrap_or_default()),
        &reduced,
    );
    match PathAndQuery::try_from(format!("{}?{signed}", head.uri.path())) {
        Ok(target) => {
            head.uri = Uri::from(target);
            (Request::from_parts(head, Payload::Whole(Bytes::from(reduced))), Disposition::Reduced)
        }
        Err(error) => {
            // Cannot happen: only two hexadecimal values were replaced. Forwarding the whole trigger is always right.
            tracing::error!(%error, "a reduced trigger's target could not be built; forwarded whole");
            (Request::from_parts(head, Payload::Whole(body)), Disposition::Forwarded)
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

/// A complete answer of upstream to a trigger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) status: u16,
    /// Whether it has a `Content-Encoding`: then its body is not read.
    pub(super) is_encoded: bool,
    pub(super) body: &'a [u8],
}

/// Settles a trigger that upstream has answered wholly (ARCHITECTURE.md "When an announcement is dropped").
pub(super) fn settle_answered(
    shared: &Shared,
    app: &AppRoute,
    tickets: Tickets,
    parts: Multiplicity,
    answered: Answered<'_>,
) {
    let status = answered.status;
    let outcome = match status {
        200..=299 => said(shared, app, parts, answered),
        400..=499 => refused(parts),
        _ => {
            tracing::warn!(app = %app.id, status, "upstream answered a trigger with neither 2xx nor 4xx: its channels are in doubt");
            Outcome::Ambiguous
        }
    };
    tickets.settle(outcome);
    app.metrics.outcome(match outcome {
        Outcome::Accepted => TriggerOutcome::Accepted,
        Outcome::Refused => TriggerOutcome::Refused,
        Outcome::Partial => TriggerOutcome::Partial,
        Outcome::Ambiguous => TriggerOutcome::Ambiguous,
    });
}

/// What a complete 2xx says has become of its trigger.
fn said(
    shared: &Shared,
    app: &AppRoute,
    parts: Multiplicity,
    Answered { status, is_encoded, body }: Answered<'_>,
) -> Outcome {
    let acceptance = if is_encoded { Acceptance::NoObject } else { Acceptance::read(body) };
    if acceptance != Acceptance::NoObject {
        shared.success_format.is_json();
    }
    match acceptance {
        Acceptance::Accepted => Outcome::Accepted,
        Acceptance::Refused(code) => {
            tracing::warn!(app = %app.id, status, code, "upstream refused a trigger in the body of a 2xx answer: nothing is known from it");
            refused(parts)
        }
        Acceptance::Failed(code) => {
            tracing::warn!(app = %app.id, status, code, "upstream failed at a trigger by the body of a 2xx answer: its channels are in doubt");
            Outcome::Ambiguous
        }
        Acceptance::NoObject => {
            let bytes = body.len();
            tracing::debug!(app = %app.id, status, bytes, "upstream's 2xx answer to a trigger is no JSON object: its channels are in doubt");
            shared.success_format.is_other(&app.id);
            Outcome::Ambiguous
        }
    }
}

/// The outcome of a refusal: of several parts, some may have been applied.
const fn refused(parts: Multiplicity) -> Outcome {
    match parts {
        Multiplicity::One => Outcome::Refused,
        Multiplicity::Several => Outcome::Partial,
    }
}

/// Settles a trigger that has no complete answer, for this reason (ARCHITECTURE.md "When an announcement is dropped").
pub(super) fn settle_unanswered(app: &AppRoute, tickets: Tickets, why: &Refusal) {
    let (outcome, counted) = match why {
        Refusal::Upstream(failure) if failure.nothing_sent() => (Outcome::Refused, TriggerOutcome::NotSent),
        _ => (Outcome::Ambiguous, TriggerOutcome::Ambiguous),
    };
    tickets.settle(outcome);
    app.metrics.outcome(counted);
    tracing::warn!(app = %app.id, error = %why, outcome = counted.label(), "a trigger was not answered by upstream");
}
