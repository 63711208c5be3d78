//! Triggers that hyper reads: of any shape, before any upstream. `pipeline` is common to both readers.
//!
//! A trigger that is decided at once is answered at once. One that goes on or waits runs in a task of its own, so that
//! a caller who hangs up changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::disposition::{self, Disposition};
use super::pipeline::{self, Attempt, Exchange, NextStep, Render, Sent, Undecided};
use super::record::{Arrival, RequestLine, Tag};
use super::settle::Answered;
use super::target::{Target, signed_path};
use super::verified::{Content, Signed, Verified};
use super::{ConnectionPermit, Gateway, InFlightPermit, Refusal, Reply, Routing, Shared, body, headers};
use crate::assignment::ClaimMode;
use crate::clock::Clock;
use crate::pusher::{Body, KeyPair, Query, resign};
use crate::upstream::{Failure, Payload};

/// The largest answer to a trigger that is taken for one: real ones have a few bytes to a few KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Serves one trigger, which came over the connection of `connection`.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    target: Target,
    arrival: Arrival,
    connection: &ConnectionPermit,
    request: Request<Incoming>,
    permit: InFlightPermit,
) -> Response<Reply> {
    let shared = &gateway.shared;
    connection.set_receiving(connection.now());
    let (head, body) = request.into_parts();
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let body = match body::receive(body, &routing.limits).await {
        Ok(body) => body,
        Err(refusal) => {
            let line = RequestLine { method: head.method.as_str(), path: head.uri.path(), size: declared };
            let tag = arrival.refused(shared, &target.app.id, line, &refusal);
            return refusal.tagged_response(shared, tag);
        }
    };
    connection.set_busy();
    let mut request = Request::from_parts(head, body);
    let app = Arc::clone(&target.app);
    match decide(shared, target, arrival, connection, &mut request, permit) {
        Ok(NextStep::Answered(answer)) => answer,
        Ok(step) => {
            let (path, size) = (request.uri().path().to_owned(), request.body().len());
            let mut exchange = HyperExchange { gateway: gateway.clone(), request, answer: Response::default() };
            let task = shared.tasks.spawn(async move { pipeline::finish(&mut exchange, step).await });
            task.await.unwrap_or_else(|_panic| {
                let line = RequestLine { method: "POST", path: &path, size };
                let tag = arrival.refused(shared, &app.id, line, &Refusal::Internal);
                Refusal::Internal.tagged_response(shared, tag)
            })
        }
        Err(refusal) => {
            let tag = arrival.refused(shared, &app.id, line(&request), &refusal);
            refusal.tagged_response(shared, tag)
        }
    }
}

/// Verifies a trigger and decides on it.
fn decide(
    shared: &Shared,
    target: Target,
    arrival: Arrival,
    connection: &ConnectionPermit,
    request: &mut Request<Bytes>,
    permit: InFlightPermit,
) -> Result<NextStep<Response<Reply>>, Refusal> {
    let now = Instant::now();
    let body = request.body().clone();
    let signed = Signed {
        method: request.method().as_str(),
        path: target.signed_path(request.uri().path()),
        query: request.uri().query().unwrap_or_default(),
        content: Content::of(request.headers()),
    };
    let Target { app, form } = target;
    let mut verified = Verified::new(&app, form, signed, Body::from(&body), Clock::unix_now())?;
    connection.set_trusted();
    let present = shared.routing.load();
    verified.follow_reload(&present);
    let app = verified.app;
    let step = pipeline::start(shared, verified, &arrival, || permit, HyperRender { shared, request });
    app.metrics.latency(now.elapsed());
    Ok(step)
}

/// Writes the result of a decision.
struct HyperRender<'r> {
    shared: &'r Shared,
    request: &'r mut Request<Bytes>,
}

/// What a record says of `request`.
fn line(request: &Request<Bytes>) -> RequestLine<'_> {
    RequestLine { method: request.method().as_str(), path: request.uri().path(), size: request.body().len() }
}

impl Render for HyperRender<'_> {
    type Reply = Response<Reply>;

    fn line(&self) -> RequestLine<'_> {
        line(self.request)
    }

    fn suppressed(self, tag: Tag) -> Response<Reply> {
        let mut response = disposition::suppressed();
        tag.insert(response.headers_mut());
        response
    }

    fn refused(self, refusal: Refusal, tag: Tag) -> Response<Reply> {
        refusal.tagged_response(self.shared, tag)
    }

    fn outgoing(self, pair: &KeyPair, reduced: Option<Vec<u8>>) -> Disposition {
        let Some(reduced) = reduced else { return Disposition::Forwarded };
        let request = self.request;
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let signed = resign(pair, request.method().as_str(), signed_path(path), &Query::parse(query), &reduced);
        match PathAndQuery::try_from(format!("{path}?{signed}")) {
            Ok(target) => {
                *request.uri_mut() = Uri::from(target);
                *request.body_mut() = Bytes::from(reduced);
                Disposition::Reduced
            }
            Err(error) => {
                // Cannot happen: only two hexadecimal values were replaced. Forwarding the whole trigger is always
                // right.
                tracing::error!(%error, "a reduced trigger's target could not be built; forwarded whole");
                Disposition::Forwarded
            }
        }
    }
}

/// The exchange of one trigger with upstream.
#[derive(Debug)]
struct HyperExchange {
    gateway: Gateway,
    /// As received or reduced, until it is sent.
    request: Request<Bytes>,
    /// Once it is received.
    answer: Response<Bytes>,
}

impl Exchange for HyperExchange {
    type Reply = Response<Reply>;

    fn shared(&self) -> &Arc<Shared> {
        &self.gateway.shared
    }

    fn decide_again(&mut self, trigger: Undecided, mode: ClaimMode) -> NextStep<Response<Reply>> {
        let body = self.request.body().clone();
        let attempt = Attempt { mode, now: self.gateway.shared.clock.timestamp(Instant::now()) };
        let render = HyperRender { shared: &self.gateway.shared, request: &mut self.request };
        trigger.decide(&self.gateway.shared, &body, attempt, render)
    }

    async fn send(&mut self) -> Sent {
        let request = std::mem::take(&mut self.request).map(Payload::Whole);
        let (began, period) = (Instant::now(), self.gateway.upstream.timeout());
        let answer = match self.gateway.upstream.send(request).await {
            Ok(answer) => answer,
            Err(failure) => return sent(began, Err(failure)),
        };
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        let received = timeout_at(began + period, body::collect(body, MAX_ANSWER)).await;
        let result = match received {
            Ok(Ok(Some(body))) => {
                self.answer = Response::from_parts(head, body);
                Ok(())
            }
            // Too large, or broken off.
            Ok(Ok(None) | Err(_)) => Err(Failure::AnswerCut { status }),
            Err(_elapsed) => Err(Failure::AnswerTooSlow { status, period }),
        };
        sent(began, result)
    }

    fn received(&self) -> Answered<'_> {
        Answered {
            status: self.answer.status().as_u16(),
            is_encoded: self.answer.headers().contains_key(CONTENT_ENCODING),
            content_type: self.answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            body: self.answer.body(),
        }
    }

    fn answered(&mut self, disposition: Disposition, tag: Tag) -> Response<Reply> {
        let (mut head, body) = std::mem::take(&mut self.answer).into_parts();
        headers::strip_answer(&mut head.headers);
        head.headers.insert("usher-decision", disposition.header());
        tag.insert(&mut head.headers);
        head.version = Version::HTTP_11;
        Response::from_parts(head, Reply::from(body))
    }

    fn refused(&mut self, refusal: Refusal, tag: Tag) -> Response<Reply> {
        refusal.tagged_response(&self.gateway.shared, tag)
    }
}

/// The end, now, of an exchange that began at `began`.
fn sent(began: Instant, result: Result<(), Failure>) -> Sent {
    let ended = Instant::now();
    Sent { took: ended - began, ended, retries: 0, result }
}
