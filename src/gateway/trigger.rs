//! The six stages of a trigger: receive, authenticate, decide (which reads it), forward, settle, respond.
//!
//! What is decided at once is answered at once. Everything that forwards or waits runs in a task of its own, so that a caller who hangs up
//! changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::decide::{Judgement, judge};
use super::routing::AppRoute;
use super::target::{Form, Target};
use super::{Gateway, Refusal, Reply, Routing, Shared, Slot, body, forward};
use crate::assignment::{Patience, Waiter};
use crate::pusher::{Query, verify};

/// A trigger whose signature verified: the only thing that may read or change the memory.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) app: Arc<AppRoute>,
    pub(super) form: Form,
    pub(super) head: Parts,
    pub(super) body: Bytes,
}

impl Verified {
    /// Takes the app's present rules. A reload puts an app in doubt for as long as requests that were forwarded under its old rules may take; so a
    /// request is judged by the new ones even if its body, or its turn, came after.
    fn follow_reload(&mut self, shared: &Shared) {
        if let Some(app) = shared.routing.load().app(&self.app.id) {
            self.app = Arc::clone(app);
        }
    }
}

/// What the caller is told in the `usher-decision` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Forwarded,
    Reduced,
    Suppressed,
}

impl Told {
    pub(super) const fn header(self) -> HeaderValue {
        match self {
            Self::Forwarded => HeaderValue::from_static("forwarded"),
            Self::Reduced => HeaderValue::from_static("reduced"),
            Self::Suppressed => HeaderValue::from_static("suppressed"),
        }
    }
}

/// Takes one trigger through the stages.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    target: Target,
    head: Parts,
    body: Incoming,
    slot: Slot,
) -> Result<Response<Reply>, Refusal> {
    let body = body::receive(body, &routing.limits).await?;
    let began = Instant::now();
    let mut trigger = authenticate(&gateway.shared, target, head, body)?;
    trigger.follow_reload(&gateway.shared);
    let judgement = judge(&gateway.shared, &trigger, Patience::Waits, false);
    trigger.app.metrics.latency(began.elapsed());
    let detached = gateway.clone();
    let task = match judgement {
        Judgement::Suppress => return Ok(suppressed()),
        Judgement::Forward(plan) => gateway.shared.tasks.spawn(async move { forward::run(&detached, trigger, plan, slot).await }),
        Judgement::Wait(waiter) => {
            let most = routing.limits.max_wait;
            gateway.shared.tasks.spawn(async move { Box::pin(wait(&detached, trigger, waiter, most, slot)).await })
        }
    };
    task.await.unwrap_or(Err(Refusal::Internal))
}

/// Makes a verified trigger of a received one.
fn authenticate(shared: &Shared, target: Target, head: Parts, body: Bytes) -> Result<Verified, Refusal> {
    let Target { app, form } = target;
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let now = shared.clock.unix_time(shared.clock.now()).as_secs();
    verify(&app.app, head.method.as_str(), head.uri.path(), &query, &body, now).inspect_err(|error| app.metrics.auth_failure(error.code()))?;
    Ok(Verified { app, form, head, body })
}

/// A duplicate of an announcement in flight: waits for its outcome and is then judged again, until it may wait no longer.
async fn wait(gateway: &Gateway, mut trigger: Verified, waiter: Waiter, most: Duration, slot: Slot) -> Result<Response<Reply>, Refusal> {
    let deadline = Instant::now() + most;
    let mut waiter = waiter;
    loop {
        let patience = tokio::select! {
            biased;
            settled = timeout_at(deadline, waiter.settled()) => settled.map_or(Patience::Holds, |()| Patience::Waits),
            () = gateway.shared.drain.begun() => Patience::Forced,
        };
        trigger.follow_reload(&gateway.shared);
        match judge(&gateway.shared, &trigger, patience, true) {
            Judgement::Suppress => return Ok(suppressed()),
            Judgement::Forward(plan) => return forward::run(gateway, trigger, plan, slot).await,
            Judgement::Wait(next) => waiter = next,
        }
    }
}

/// The answer to a redundant trigger: exactly what every Pusher library takes for success (pusher-protocol.md 1.6).
fn suppressed() -> Response<Reply> {
    let mut response = Response::new(Reply::from(Bytes::from_static(b"{}")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("usher-decision", Told::Suppressed.header());
    response
}
