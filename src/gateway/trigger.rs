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
use tokio::time::{Instant, sleep, timeout_at};

use super::decide::{Judgement, judge};
use super::routing::AppRoute;
use super::target::{Form, Target};
use super::{Gateway, Refusal, Reply, Routing, Shared, Slot, body, forward};
use crate::assignment::{Patience, Waiter};
use crate::pusher::{Query, verify};
use crate::rate::{Fare, Turn};

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
    let mut fare = Fare::default();
    let judgement = judge(&gateway.shared, &trigger, Patience::Waits, false, &mut fare);
    trigger.app.metrics.latency(began.elapsed());
    let detached = gateway.clone();
    let task = match judgement {
        Judgement::Suppress => return Ok(suppressed()),
        Judgement::Forward(plan) => gateway.shared.tasks.spawn(async move { forward::run(&detached, trigger, plan, slot).await }),
        Judgement::Refuse(limited) => return Err(Refusal::RateLimited(limited)),
        waits @ (Judgement::Wait(_) | Judgement::Delay(_)) => {
            let patient = Patient { fare, most: routing.limits.max_wait, deadline: None };
            gateway.shared.tasks.spawn(async move { Box::pin(patient.wait(&detached, trigger, waits, slot)).await })
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

/// What a trigger that waits has to remember.
#[derive(Debug)]
struct Patient {
    fare: Fare,
    /// How long it may wait for equal announcements in flight.
    most: Duration,
    /// When that is over, from the first one on.
    deadline: Option<Instant>,
}

impl Patient {
    /// Waits, for the outcome of an equal announcement in flight or for the trigger's turn, and has it judged again, until something is to be done.
    async fn wait(mut self, gateway: &Gateway, mut trigger: Verified, judgement: Judgement, slot: Slot) -> Result<Response<Reply>, Refusal> {
        let mut judgement = judgement;
        loop {
            let patience = match judgement {
                Judgement::Suppress => return Ok(suppressed()),
                Judgement::Forward(plan) => return forward::run(gateway, trigger, plan, slot).await,
                Judgement::Refuse(limited) => return Err(Refusal::RateLimited(limited)),
                Judgement::Wait(waiter) => self.equal_settled(&gateway.shared, waiter).await,
                Judgement::Delay(turn) => come(&gateway.shared, turn).await,
            };
            trigger.follow_reload(&gateway.shared);
            judgement = judge(&gateway.shared, &trigger, patience, self.deadline.is_some(), &mut self.fare);
        }
    }

    /// Waits for an equal announcement, until this trigger may wait no longer.
    async fn equal_settled(&mut self, shared: &Shared, waiter: Waiter) -> Patience {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.most);
        tokio::select! {
            biased;
            settled = timeout_at(deadline, waiter.settled()) => settled.map_or(Patience::Holds, |()| Patience::Waits),
            () = shared.drain.begun() => Patience::Forced,
        }
    }
}

/// Waits for a turn. Draining lets all go: what is not sent now is not sent at all.
async fn come(shared: &Shared, turn: Turn) -> Patience {
    tokio::select! {
        biased;
        () = sleep(turn.wait) => Patience::Waits,
        () = shared.drain.begun() => Patience::Forced,
    }
}

/// The answer to a redundant trigger: exactly what every Pusher library takes for success (pusher-protocol.md 1.6).
fn suppressed() -> Response<Reply> {
    let mut response = Response::new(Reply::from(Bytes::from_static(b"{}")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("usher-decision", Told::Suppressed.header());
    response
}
