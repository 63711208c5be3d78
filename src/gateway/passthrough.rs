//! Requests that are no triggers: forwarded as received, with bodies streamed in both directions.

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::record::{Arrival, RequestLine, micros};
use super::{Gateway, InFlightPermit, Refusal, Reply, Routing, Shared, body, headers, target};
use crate::assignment::{GenerationTicket, Outcome};
use crate::clock::Moment;
use crate::decision::EventDecision;
use crate::metrics::TriggerOutcome;
use crate::triggers::{Draft, Head, Kind, MAX_TEXT, Tail, UpstreamRecord, cut};
use crate::upstream::{Answer, Failure, Payload};

/// Bodies of up to this many bytes are received whole before they are forwarded, so that a slow caller occupies no
/// connection to upstream.
const COLLECTED: u64 = 64 * 1024;

/// Forwards one request and streams its answer. A caller who hangs up ends it.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    request: Request<Incoming>,
    permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    let answered = exchange(gateway, routing, request, permit).await;
    if let Err(Refusal::Upstream(failure)) = &answered {
        gateway.shared.trigger_log.request_unanswered(failure);
    }
    answered
}

async fn exchange(
    gateway: &Gateway,
    routing: &Routing,
    request: Request<Incoming>,
    _permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    let (head, body) = request.into_parts();
    let declared = if body.size_hint().lower() > COLLECTED { Payload::stream(body) } else { Err(body) };
    let payload = match declared {
        Ok(payload) => payload,
        Err(body) => Payload::Whole(body::receive(body, &routing.limits).await?),
    };
    let began = gateway.shared.clock.now();
    let timeout =
        if is_poll(head.uri.path()) { routing.limits.websocket_idle_timeout } else { gateway.upstream.timeout() };
    match gateway.upstream.send_within(Request::from_parts(head, payload), timeout).await {
        Ok(answer) => Ok(answered(gateway, answer, began)),
        Err(failure) => Err(counted(gateway, failure, began)),
    }
}

/// [`handle`] for a trigger of an app that is not configured. A reload may make the app known meanwhile: `ticket`
/// reports the outcome to its memory.
pub(super) async fn trigger(
    gateway: &Gateway,
    routing: &Routing,
    request: Request<Incoming>,
    arrival: Arrival,
    ticket: GenerationTicket,
    permit: InFlightPermit,
) -> Response<Reply> {
    let shared = &gateway.shared;
    let draft = draft(shared, &request, arrival);
    let app = target::app_segment(request.uri().path()).to_owned();
    let began = Instant::now();
    let answered = exchange(gateway, routing, request, permit).await;
    let outcome = match &answered {
        // The body is still being streamed to the caller; whatever it says, upstream has applied what it will apply.
        Ok(answer) if answer.status().is_success() || answer.status().is_client_error() => Outcome::Partial,
        Err(Refusal::Upstream(failure)) if failure.nothing_sent() => Outcome::Refused,
        Ok(_) | Err(_) => Outcome::Ambiguous,
    };
    ticket.settle(outcome);
    let took = micros(began.elapsed());
    let mut tail = Tail { took, ..Tail::default() };
    match answered {
        Ok(mut answer) => {
            tail.status = answer.status().as_u16();
            // What it says is not read.
            let outcome = if answer.status().is_success() { TriggerOutcome::Accepted } else { TriggerOutcome::Refused };
            shared.trigger_log.answered_unknown(&app, arrival.id, tail.status, outcome);
            let (status, outcome) = (Some(tail.status), outcome.label());
            tail.upstream = Some(UpstreamRecord { status, took, outcome, ..UpstreamRecord::default() });
            let reason = EventDecision::UnknownApp.reason();
            arrival.decided(shared, &app, || tail.decision(Some(EventDecision::UnknownApp)), reason, &draft);
            shared.triggers.push(draft, &tail);
            arrival.tag(reason).insert(answer.headers_mut());
            answer
        }
        Err(refusal) => {
            let cause = refusal.to_string();
            let cause = cut(&cause, MAX_TEXT);
            tail.status = refusal.status().as_u16();
            tail.refusal = Some((refusal.code(), cause));
            if let Refusal::Upstream(failure) = &refusal {
                let outcome = if failure.nothing_sent() { TriggerOutcome::NotSent } else { TriggerOutcome::Ambiguous };
                shared.trigger_log.unanswered(routing, &app, arrival.id, &refusal, outcome);
                let (error, outcome) = (Some(cause), outcome.label());
                tail.upstream = Some(UpstreamRecord { took, error, outcome, ..UpstreamRecord::default() });
            } else {
                shared.trigger_log.refused(shared, &arrival, &app, &refusal);
            }
            arrival.decided(shared, &app, || tail.decision(Some(EventDecision::UnknownApp)), refusal.code(), &draft);
            shared.triggers.push(draft, &tail);
            refusal.tagged_response(shared, arrival.tag(refusal.code()))
        }
    }
}

/// What is recorded of a trigger for an app that is not configured. Its signature cannot be verified, so its body is
/// not read.
fn draft(shared: &Shared, request: &Request<Incoming>, arrival: Arrival) -> Draft {
    if !shared.triggers.are_kept() {
        return Draft::none();
    }
    let size = usize::try_from(request.body().size_hint().lower()).unwrap_or(usize::MAX);
    let path = request.uri().path();
    let line = RequestLine { method: request.method().as_str(), path, size };
    let decision = Some(EventDecision::UnknownApp);
    Draft::new(Kind::Unmatched, |_| Head { decision, ..arrival.unread(target::app_segment(path), line) })
}

/// Upstream's answer to a request that was sent at `began`, for the caller: with end-to-end headers, the body streamed.
pub(super) fn answered(gateway: &Gateway, answer: Response<Answer>, began: Moment) -> Response<Reply> {
    let shared = &gateway.shared;
    shared.metrics.upstream_answer(answer.status().as_u16(), shared.clock.now().since(began));
    let (mut head, body) = answer.into_parts();
    let websocket = HeaderValue::from_static("websocket");
    // A 426 names the protocol that it requires (RFC 9110 15.5.22), and usher can switch to WebSocket.
    let requires_websocket =
        head.status == StatusCode::UPGRADE_REQUIRED && head.headers.get(UPGRADE) == Some(&websocket);
    headers::strip_answer(&mut head.headers);
    if requires_websocket {
        head.headers.insert(UPGRADE, websocket);
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    head.version = Version::HTTP_11;
    Response::from_parts(head, Reply::Stream(body))
}

/// The refusal of a request that was sent at `began` and has no answer. It is counted and logged.
pub(super) fn failed(gateway: &Gateway, failure: Failure, began: Moment) -> Refusal {
    gateway.shared.trigger_log.request_unanswered(&failure);
    counted(gateway, failure, began)
}

fn counted(gateway: &Gateway, failure: Failure, began: Moment) -> Refusal {
    let shared = &gateway.shared;
    shared.metrics.upstream_failure(failure.label(), shared.clock.now().since(began));
    Refusal::Upstream(failure)
}

/// Whether a path belongs to a fallback transport for WebSocket, whose answer begins when there is a message
/// (pusher-protocol.md 4.8).
pub(super) fn is_poll(path: &str) -> bool {
    let transport = path.rsplit('/').next().unwrap_or_default();
    matches!(transport, "xhr" | "xhr_streaming" | "jsonp" | "eventsource" | "htmlfile") && !path.starts_with("/apps/")
}
