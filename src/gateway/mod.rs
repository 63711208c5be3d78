//! The way through: a request comes in, is authenticated, read, decided, forwarded, settled and answered.
//!
//! [`Gateway::answer`] is the door. Triggers go through the six stages in `trigger`, WebSocket connections through
//! `relay`, everything else through `passthrough`.

mod body;
mod caller;
mod decide;
mod effects;
mod error;
mod fast;
mod forward;
mod handshake;
mod headers;
mod observe;
mod passthrough;
mod peer;
mod places;
mod plan;
mod relay;
mod reply;
mod routing;
mod screen;
mod success_format;
mod target;
mod trigger;

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{CONNECTION, DATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use self::handshake::Handshake;
use crate::clock::{Clock, Date};
use crate::decisions::Decisions;
use crate::metrics::{Metrics, RequestKind};
use crate::rate::Rates;
use crate::report::Report;
use crate::shutdown::{Drain, Tasks};
use crate::upstream::Upstream;

pub use caller::Caller;
pub use error::Refusal;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use fast::agreement;
pub use fast::{Batch, Ended, Fast};
pub use places::{Place, Places};
pub use relay::Relays;
pub use reply::Reply;
pub use routing::{Observers, Routing};
pub use success_format::SuccessFormat;

/// Limits on everything from the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head in bytes (431 beyond).
    pub max_head: usize,
    /// Most header lines (431 beyond).
    pub max_headers: usize,
    /// Longest request target in bytes (414 beyond).
    pub max_target: usize,
    /// Largest request body in bytes (413 beyond).
    pub max_body: usize,
    /// To receive a head, and the first byte of a connection.
    pub head_timeout: Duration,
    /// To receive a body.
    pub body_timeout: Duration,
    /// Between two requests of a kept connection, and for a caller that does not read its answer.
    pub idle_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Of them, those of one address (in IPv6 of one /64); 0: no bound.
    pub max_connections_per_peer: usize,
    /// Requests in flight at once (503 beyond).
    pub max_requests: usize,
    /// How long a duplicate waits for the announcement in flight before it is forwarded itself.
    pub max_wait: Duration,
    /// Largest WebSocket message of a client in bytes (closed with 1009 beyond). Upstream's may be of 1 MiB at least.
    pub max_websocket_message: usize,
    /// A WebSocket connection on which neither side has sent anything for this long is closed. A poll may be held for
    /// as long.
    pub websocket_idle_timeout: Duration,
    /// How often.
    pub rates: Rates,
}

/// What becomes of a trigger for an app that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownApps {
    /// 404 with a clear text.
    #[default]
    Reject,
    /// Forwarded untouched; upstream knows its apps.
    Forward,
}

/// One worker's gateway: what all workers share, and this worker's own connections upstream.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's way out.
    pub upstream: Upstream,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Apps, rules, limits: replaced as a whole by a reload.
    pub routing: ArcSwap<Routing>,
    /// Read once per request.
    pub clock: Clock,
    /// Counted here.
    pub metrics: Arc<Metrics>,
    /// Decisions are logged here.
    pub decisions: Arc<Decisions>,
    /// What was redundant and what misplaced is counted here.
    pub report: Arc<Report>,
    /// A draining gateway suppresses nothing.
    pub drain: Drain,
    /// Owner of the tasks that forward and settle.
    pub tasks: Tasks,
    /// What the relays share.
    pub relays: Relays,
    /// Whether upstream's answers to triggers say that they were accepted.
    pub success_format: SuccessFormat,
}

impl Gateway {
    /// Answers one request of `caller`. Never fails: what goes wrong is an answer, too.
    pub async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Response<Reply> {
        let routing = self.shared.routing.load_full();
        // hyper keeps the connection only if the rest of the body has arrived by then, in a buffer of this size.
        let is_long = request.body().size_hint().lower() > routing.limits.max_head as u64;
        let (kind, answered) = match InFlightPermit::take(Arc::clone(&self.shared), routing.limits.max_requests) {
            Some(permit) => self.route(request, routing, caller, permit).await,
            None => (RequestKind::Refused, Err(Refusal::Overloaded)),
        };
        let mut response = answered.unwrap_or_else(|refusal| {
            self.shared.metrics.error(refusal.code());
            refusal.response()
        });
        // What a client has sent behind a handshake is meant for a WebSocket: if there is none, it is not read as HTTP
        // (threats.md WS-01). The long body of a request that is refused by its head is not read either.
        let last =
            self.shared.drain.has_begun() || kind == RequestKind::WebSocket || kind == RequestKind::Refused && is_long;
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // Upstream's own goes on. hyper would add one where there is none, but its own stands still after the system's
        // clock was set back.
        response.headers_mut().entry(DATE).or_insert_with(date_now);
        self.shared.metrics.request(kind, response.status().as_u16());
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        routing: Arc<Routing>,
        caller: &Caller,
        permit: InFlightPermit,
    ) -> (RequestKind, Result<Response<Reply>, Refusal>) {
        let (mut head, body) = request.into_parts();
        let handshake = Handshake::read(&mut head, &body);
        if let Err(refusal) = screen::head(&mut head, &body, &routing.limits) {
            return (RequestKind::Refused, Err(refusal));
        }
        // What is rare is boxed: the future of a request is moved several times on its way, and each connection has
        // room for one.
        match handshake {
            Ok(None) => {}
            Ok(Some(handshake)) => {
                return (
                    RequestKind::WebSocket,
                    Box::pin(relay::open(self, &routing, handshake, head, caller, permit)).await,
                );
            }
            Err(refusal) => return (RequestKind::Refused, Err(refusal)),
        }
        match target::route(&head, &routing) {
            Ok(target::Route::Trigger(target)) => (
                RequestKind::Trigger,
                trigger::handle(self, &routing, (target, &caller.place), head, body, permit).await,
            ),
            Ok(target::Route::Unknown) => {
                let ticket = routing.unknown_generation.begin();
                (
                    RequestKind::Passthrough,
                    Box::pin(passthrough::trigger(self, &routing, head, body, (ticket, permit))).await,
                )
            }
            Ok(target::Route::Other) => {
                (RequestKind::Passthrough, Box::pin(passthrough::handle(self, &routing, head, body, permit)).await)
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::UnknownApp { .. }) {
                    self.shared.metrics.unknown_app();
                }
                (RequestKind::Refused, Err(refusal))
            }
        }
    }
}

/// The time of day.
fn date_now() -> HeaderValue {
    HeaderValue::from_maybe_shared(Date::text_now()).expect("a date is plain text")
}

/// A place among the requests in flight; given back when dropped. It goes with the work, not with the caller: where the
/// work may outlive him, it owns what it counts in.
#[must_use = "dropped, the request is over"]
#[derive(Debug)]
struct InFlightPermit<S: Deref<Target = Shared> = Arc<Shared>>(S);

impl<S: Deref<Target = Shared>> InFlightPermit<S> {
    /// A place, if there are not `most` requests in flight already.
    fn take(shared: S, most: usize) -> Option<Self> {
        shared.metrics.in_flight().begin(most).then(|| Self(shared))
    }
}

impl InFlightPermit<&Shared> {
    /// The same place, for work that may outlive him. `shared` is what it counts in.
    fn keep(self, shared: &Arc<Shared>) -> InFlightPermit {
        // Not given back: it goes over.
        let _ = ManuallyDrop::new(self);
        InFlightPermit(Arc::clone(shared))
    }
}

impl<S: Deref<Target = Shared>> Drop for InFlightPermit<S> {
    fn drop(&mut self) {
        self.0.metrics.in_flight().end();
    }
}
