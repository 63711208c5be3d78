//! Triggers that hyper reads: of any shape, before any upstream. `pipeline` is common to both readers.
//!
//! A trigger that is decided at once is answered at once. One that goes on or waits runs in a task of its own, so that
//! a caller who hangs up changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::disposition::{self, Disposition};
use super::pipeline::{self, Attempt, Exchange, NextStep, Render, Sent, Undecided};
use super::settle::Answered;
use super::target::{Target, signed_path};
use super::verified::{Content, Signed, Verified};
use super::{ConnectionPermit, Gateway, InFlightPermit, Refusal, Reply, Routing, Shared, body, headers};
use crate::assignment::ClaimMode;
use crate::clock::Clock;
use crate::pusher::{Body, KeyPair, Query, resign};
use crate::upstream::{ExchangeError, Payload};

/// The largest answer to a trigger that is taken for one: real ones have a few bytes to a few KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// What the caller reads, or why usher answers instead of upstream.
type Answer = Result<Response<Reply>, Refusal>;

/// Serves one trigger, which came over the connection of `connection`.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    target: Target,
    connection: &ConnectionPermit,
    request: Request<Incoming>,
    permit: InFlightPermit,
) -> Answer {
    connection.set_receiving(connection.now());
    let (head, body) = request.into_parts();
    let body = body::receive(body, &routing.limits).await?;
    connection.set_busy();
    let mut request = Request::from_parts(head, body);
    match decide(&gateway.shared, target, connection, &mut request, permit)? {
        NextStep::Answered(answer) => answer,
        step => {
            let mut exchange = HyperExchange { gateway: gateway.clone(), request, answer: Response::default() };
            let task = gateway.shared.tasks.spawn(async move { pipeline::finish(&mut exchange, step).await });
            task.await.unwrap_or(Err(Refusal::Internal))
        }
    }
}

/// Verifies a trigger and decides on it.
fn decide(
    shared: &Shared,
    target: Target,
    connection: &ConnectionPermit,
    request: &mut Request<Bytes>,
    permit: InFlightPermit,
) -> Result<NextStep<Answer>, Refusal> {
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
    let attempt = Attempt { mode: ClaimMode::MayWait, now };
    let step = pipeline::start(shared, verified, attempt, || permit, request);
    app.metrics.latency(now.elapsed());
    Ok(step)
}

impl Render for &mut Request<Bytes> {
    type Reply = Answer;

    fn suppressed(self) -> Answer {
        Ok(disposition::suppressed())
    }

    fn refused(self, refusal: Refusal) -> Answer {
        Err(refusal)
    }

    fn outgoing(self, pair: &KeyPair, reduced: Option<Vec<u8>>) -> Disposition {
        let Some(reduced) = reduced else { return Disposition::Forwarded };
        let path = self.uri().path();
        let query = self.uri().query().unwrap_or_default();
        let signed = resign(pair, self.method().as_str(), signed_path(path), &Query::parse(query), &reduced);
        match PathAndQuery::try_from(format!("{path}?{signed}")) {
            Ok(target) => {
                *self.uri_mut() = Uri::from(target);
                *self.body_mut() = Bytes::from(reduced);
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
    type Reply = Answer;

    fn shared(&self) -> &Arc<Shared> {
        &self.gateway.shared
    }

    fn decide_again(&mut self, trigger: Undecided, mode: ClaimMode) -> NextStep<Answer> {
        let body = self.request.body().clone();
        let attempt = Attempt { mode, now: Instant::now() };
        trigger.decide(&self.gateway.shared, &body, attempt, &mut self.request)
    }

    async fn send(&mut self) -> Sent {
        let request = std::mem::take(&mut self.request).map(Payload::Whole);
        let began = Instant::now();
        let answer = match self.gateway.upstream.send(request).await {
            Ok(answer) => answer,
            Err(failure) => return Sent { took: began.elapsed(), result: Err(ExchangeError::NoAnswer(failure)) },
        };
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        let received = timeout_at(began + self.timeout(), body::collect(body, MAX_ANSWER)).await;
        let result = match received {
            Ok(Ok(Some(body))) => {
                self.answer = Response::from_parts(head, body);
                Ok(())
            }
            // Too large, or broken off.
            Ok(Ok(None) | Err(_)) => Err(ExchangeError::Truncated { status }),
            Err(_elapsed) => Err(ExchangeError::TimedOut { status }),
        };
        Sent { took: began.elapsed(), result }
    }

    fn timeout(&self) -> Duration {
        self.gateway.upstream.timeout()
    }

    fn received(&self) -> Answered<'_> {
        Answered {
            status: self.answer.status().as_u16(),
            is_encoded: self.answer.headers().contains_key(CONTENT_ENCODING),
            body: self.answer.body(),
        }
    }

    fn answered(&mut self, disposition: Disposition) -> Answer {
        let (mut head, body) = std::mem::take(&mut self.answer).into_parts();
        headers::strip_answer(&mut head.headers);
        head.headers.insert("usher-decision", disposition.header());
        head.version = Version::HTTP_11;
        Ok(Response::from_parts(head, Reply::from(body)))
    }

    fn refused(&mut self, refusal: Refusal) -> Answer {
        Err(refusal)
    }
}
