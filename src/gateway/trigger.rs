//! The six stages of a trigger: receive, authenticate, decide (which reads it), forward, settle, respond.
//!
//! What is decided at once is answered at once. Everything that forwards or waits runs in a task of its own, so that a
//! caller who hangs up changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};

use super::decide::{Awaited, Decision, DecisionContext, decide, decide_inexact};
use super::routing::AppRoute;
use super::target::{Form, Target};
use super::{Gateway, InFlightPermit, Place, Refusal, Reply, Routing, Shared, body, forward};
use crate::assignment::ClaimMode;
use crate::clock::Clock;
use crate::pusher::{
    Body, Claim, Endpoint, Inexact, Oddity, Pattern, Query, Reach, SignatureError, SignedPath, Trigger, verify,
};
use crate::rate::RateReservation;

/// A trigger whose signature verified, with its body: the only thing that may read or change the memory.
#[derive(Debug)]
pub(super) struct Verified<B> {
    pub(super) app: Arc<AppRoute>,
    pub(super) reading: Reading,
    pub(super) body: B,
}

/// Whether a trigger's body says all that upstream will understand.
#[derive(Debug)]
pub(super) enum Reading {
    /// It does; it came to this endpoint.
    Exact(Endpoint),
    /// It does, but upstream may take it for a repeat and leave it out: it has an idempotency key in its head
    /// (docs/servers.md).
    Keyed(Endpoint),
    /// Its head says something that usher does not read: this is why, and what the trigger may touch.
    Inexact(Inexact),
}

impl<'h> Verified<&'h [u8]> {
    /// Verifies the signature of a trigger that came at `now`.
    ///
    /// # Errors
    /// The first check that failed; it is counted.
    pub(super) fn new(target: Target, signed: Signed<'h>, now: u64) -> Result<Self, Refusal> {
        let Target { app, form } = target;
        let Signed { method, path, query, body, content } = signed;
        let query = Query::parse(query);
        let verified = verify(&app.app, method, path, &query, body, now);
        Self::if_authentic(verified, app, Reading::of(form, content, &query), body)
    }

    /// The same for a trigger that says all of itself in its body and is signed by a pattern.
    ///
    /// # Errors
    /// The first check that failed; it is counted.
    pub(super) fn by_pattern(
        app: Arc<AppRoute>,
        endpoint: Endpoint,
        (pattern, claim): (&Pattern, &Claim<'_>),
        body: Body<'h>,
        now: u64,
    ) -> Result<Self, Refusal> {
        let verified = pattern.verify(&app.app, claim, body, now);
        Self::if_authentic(verified, app, Reading::Exact(endpoint), body)
    }

    fn if_authentic(
        verified: Result<(), SignatureError>,
        app: Arc<AppRoute>,
        reading: Reading,
        body: Body<'h>,
    ) -> Result<Self, Refusal> {
        verified.inspect_err(|error| app.metrics.auth_failure(error.code()))?;
        Ok(Self { app, reading, body: body.bytes() })
    }
}

impl<B> Verified<B> {
    /// Takes the app's present rules. A reload puts an app in doubt for as long as requests that were forwarded under
    /// its old rules may take; so a request is judged by the new ones even if its body, or its turn, came after.
    pub(super) fn follow_reload(&mut self, routing: &Routing) {
        if let Some(app) = routing.app(&self.app.id).filter(|app| !Arc::ptr_eq(app, &self.app)) {
            self.app = Arc::clone(app);
        }
    }
}

/// What is signed of a request, and what its head says of its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'h> {
    pub(super) method: &'h str,
    pub(super) path: SignedPath<'h>,
    /// As received, without the question mark.
    pub(super) query: &'h str,
    pub(super) body: Body<'h>,
    pub(super) content: Content,
}

/// What the headers say of a trigger's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON in UTF-8, as it is.
    Json,
    /// The same, with an `X-Idempotency-Key`.
    KeyedJson,
    /// It is encoded, e.g. compressed.
    Encoded,
    /// It is of another type, of none, or of several.
    Other,
}

impl Content {
    /// What `headers` say.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        match (types.next(), types.next()) {
            _ if headers.contains_key(CONTENT_ENCODING) => Self::Encoded,
            (Some(only), None) if is_json(only.as_bytes()) && headers.contains_key("x-idempotency-key") => {
                Self::KeyedJson
            }
            (Some(only), None) if is_json(only.as_bytes()) => Self::Json,
            _ => Self::Other,
        }
    }
}

/// `application/json`, perhaps with `charset=utf-8`: in any other type or charset the bytes may mean something else.
pub(super) fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"application/json"))
        && parts.all(|parameter| {
            parameter.eq_ignore_ascii_case(b"charset=utf-8") || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\"")
        })
}

impl Reading {
    fn of(form: Form, content: Content, query: &Query<'_>) -> Self {
        let (oddity, reach) = match (form, content) {
            (Form::Legacy { channel }, _) => (Oddity::LegacyEndpoint, Reach::Channels(vec![channel])),
            (Form::Disguised, _) => (Oddity::DisguisedTarget, Reach::App),
            (Form::Exact(_), Content::Encoded) => (Oddity::ContentEncoding, Reach::App),
            (Form::Exact(_), Content::Other) => (Oddity::ContentType, Reach::App),
            (Form::Exact(_), Content::Json | Content::KeyedJson) if query.has_trigger_parameters() => {
                (Oddity::QueryParameters, Reach::App)
            }
            (Form::Exact(endpoint), Content::Json) => return Self::Exact(endpoint),
            (Form::Exact(endpoint), Content::KeyedJson) => return Self::Keyed(endpoint),
        };
        Self::Inexact(Inexact { oddity, reach })
    }
}

/// What the caller is told in the `usher-decision` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Forwarded,
    Reduced,
    Suppressed,
}

impl Disposition {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Reduced => "reduced",
            Self::Suppressed => "suppressed",
        }
    }

    pub(super) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// Takes one trigger, which came over the connection with this place, through the stages.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    (target, place): (Target, &Place),
    head: Parts,
    body: Incoming,
    permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    place.receiving(place.now());
    let body = body::receive(body, &routing.limits).await?;
    place.busy();
    let began = Instant::now();
    let mut wait_state = WaitState::default();
    let query = head.uri.query().unwrap_or_default();
    let content = Content::of(&head.headers);
    let signed = Signed {
        method: head.method.as_str(),
        path: target.signed_path(head.uri.path()),
        query,
        body: Body::from(&body),
        content,
    };
    let Verified { app, reading, .. } = Verified::new(target, signed, Clock::unix_now())?;
    place.trust();
    let mut trigger = Verified { app, reading, body };
    trigger.follow_reload(&gateway.shared.routing.load());
    let decision = wait_state.decide(&gateway.shared, &trigger, ClaimMode::MayWait, began);
    trigger.app.metrics.latency(began.elapsed());
    let detached = gateway.clone();
    let task = match decision {
        Decision::Suppress => return Ok(suppressed()),
        Decision::Forward(plan) => {
            gateway.shared.tasks.spawn(async move { forward::run(&detached, head, trigger, plan, permit).await })
        }
        Decision::Refuse(limited) => return Err(Refusal::RateLimited(limited)),
        Decision::Wait(awaited) => gateway
            .shared
            .tasks
            .spawn(async move { Box::pin(wait(&detached, head, trigger, wait_state, awaited, permit)).await }),
    };
    task.await.unwrap_or(Err(Refusal::Internal))
}

/// Has a trigger that waits judged again, until something is to be done about it.
async fn wait(
    gateway: &Gateway,
    head: Parts,
    mut trigger: Verified<Bytes>,
    mut wait_state: WaitState,
    mut awaited: Awaited,
    permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    loop {
        let mode = wait_state.wait(&gateway.shared, awaited).await;
        trigger.follow_reload(&gateway.shared.routing.load());
        match wait_state.decide(&gateway.shared, &trigger, mode, Instant::now()) {
            Decision::Suppress => return Ok(suppressed()),
            Decision::Forward(plan) => return forward::run(gateway, head, trigger, plan, permit).await,
            Decision::Refuse(limited) => return Err(Refusal::RateLimited(limited)),
            Decision::Wait(next) => awaited = next,
        }
    }
}

/// What a trigger remembers from one judgement to the next.
#[derive(Debug, Default)]
pub(super) struct WaitState {
    rate_reservation: RateReservation,
    /// When it has waited long enough for equal announcements in flight, from the first one on.
    deadline: Option<Instant>,
}

impl WaitState {
    /// Has the trigger judged `now`.
    pub(super) fn decide<B: AsRef<[u8]>>(
        &mut self,
        shared: &Shared,
        trigger: &Verified<B>,
        mode: ClaimMode,
        now: Instant,
    ) -> Decision {
        let Verified { app, reading, body } = trigger;
        let context = DecisionContext { now: shared.clock.moment(now), mode, waited: self.deadline.is_some() };
        match reading {
            Reading::Exact(endpoint) => {
                decide(shared, app, Trigger::parse(*endpoint, body.as_ref()), context, &mut self.rate_reservation)
            }
            Reading::Keyed(endpoint) => decide(
                shared,
                app,
                Trigger::parse(*endpoint, body.as_ref()).map(Trigger::heard_by_some),
                context,
                &mut self.rate_reservation,
            ),
            Reading::Inexact(inexact) => decide_inexact(shared, app, inexact, context.now, &mut self.rate_reservation),
        }
    }

    /// Waits; says how the trigger is to be judged then. Draining lets all go: what is not sent now is not sent at all.
    pub(super) async fn wait(&mut self, shared: &Shared, awaited: Awaited) -> ClaimMode {
        let come = async {
            match awaited {
                Awaited::Equal(waiter) => {
                    let deadline =
                        *self.deadline.get_or_insert_with(|| Instant::now() + shared.routing.load().limits.max_wait);
                    timeout_at(deadline, waiter.settled()).await.map_or(ClaimMode::MustNotWait, |()| ClaimMode::MayWait)
                }
                Awaited::RateSlot(slot) => {
                    sleep(slot.wait).await;
                    ClaimMode::MayWait
                }
            }
        };
        tokio::select! {
            biased;
            mode = come => mode,
            () = shared.drain.begun() => ClaimMode::Forced,
        }
    }
}

/// The answer to a redundant trigger: exactly what every Pusher library takes for success (pusher-protocol.md 1.6).
fn suppressed() -> Response<Reply> {
    let mut response = Response::new(Reply::from(Bytes::from_static(b"{}")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("usher-decision", Disposition::Suppressed.header());
    response
}
