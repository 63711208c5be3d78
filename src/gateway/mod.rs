//! The gateway: it receives, authenticates, reads, decides, forwards, settles and answers requests.
//!
//! [`Gateway::answer`] serves every request that hyper reads: triggers in `trigger`, WebSocket connections in `relay`,
//! everything else in `passthrough`. `fast` reads most triggers without hyper. `pipeline` is what both do with a
//! trigger.

mod app_rules;
mod body;
mod bypass;
mod caller;
mod connection_limiter;
mod decide;
mod disposition;
mod error;
mod fast;
mod greeting;
mod handshake;
mod headers;
mod in_flight;
mod incoming;
mod offline;
mod passthrough;
mod peer;
mod pipeline;
mod plan;
mod record;
mod recorded;
mod relay;
mod reply;
mod routing;
mod screen;
mod settle;
mod success_format;
mod target;
mod trigger;
mod trigger_log;
mod upstream_error;
mod verified;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::header::{CONNECTION, DATE};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use self::handshake::Handshake;
use self::in_flight::InFlightPermit;
use self::record::{Arrival, RequestLine};
use crate::audience::Newcomers;
use crate::clock::{Clock, Date};
use crate::metrics::{Metrics, RequestKind};
use crate::rate::Rates;
use crate::recording::Recorders;
use crate::report::Report;
use crate::shutdown::{Drain, Phase, Tasks};
use crate::triggers::Triggers;
use crate::upstream::Upstream;

pub use bypass::Bypasses;
pub use caller::Caller;
pub use connection_limiter::{ConnectionLimiter, ConnectionLimits, ConnectionPermit};
pub use error::Refusal;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use fast::agreement;
pub use fast::{Batch, FastConnection, FastPath, FastPathEnd};
pub use greeting::Greetings;
pub use incoming::{Incoming as IncomingWebhooks, IncomingOptions, WebhookRefusal};
pub use offline::{
    KnownChannel, OfflineEnd, OfflineGateway, OfflineOptions, OfflineRequest, OfflineSent, OfflineStep, OfflineWait,
    RuleFigures, UpstreamOutcome,
};
pub use relay::Relays;
pub use reply::Reply;
pub use routing::{Observers, Routing, RoutingOptions};
pub use success_format::SuccessFormat;
pub use trigger_log::TriggerLog;

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
    /// Time to receive a head, and the first byte of a connection.
    pub head_timeout: Duration,
    /// Time to receive a body.
    pub body_timeout: Duration,
    /// Time between two requests of a kept connection, and for a caller to read its answer.
    pub idle_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections open at once of one address (in IPv6 of one /64); 0: no bound.
    pub max_connections_per_peer: usize,
    /// Requests in flight at once (503 beyond).
    pub max_requests: usize,
    /// How long a duplicate waits for the announcement in flight before it is forwarded itself.
    pub max_wait: Duration,
    /// Largest WebSocket message of a client in bytes (closed with 1009 beyond). Upstream's may have at least 1 MiB.
    pub max_websocket_message: usize,
    /// A WebSocket connection on which neither side has sent anything for this long is closed. Upstream may hold a poll
    /// for as long.
    pub websocket_idle_timeout: Duration,
    /// Limits on rates.
    pub rates: Rates,
}

/// What happens to a trigger for an app that is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownApps {
    /// It is answered with 404.
    #[default]
    Reject,
    /// It is forwarded unchanged.
    Forward,
}

/// One worker's gateway: what all workers share, and this worker's own connections upstream.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's connections to upstream.
    pub upstream: Upstream,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Apps, rules, limits: replaced as a whole by a reload.
    pub routing: ArcSwap<Routing>,
    /// Read once per request.
    pub clock: Clock,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The records of the last triggers.
    pub triggers: Arc<Triggers>,
    /// Counts of redundant and misplaced events.
    pub report: Arc<Report>,
    /// The phase of the process: what is suppressed, and which answers are the last ones of their connections.
    pub drain: Drain,
    /// The tasks that forward and settle.
    pub tasks: Tasks,
    /// State of all WebSocket relays.
    pub relays: Relays,
    /// What comes another way than through usher.
    pub bypasses: Arc<Bypasses>,
    /// Log lines about triggers.
    pub trigger_log: TriggerLog,
    /// Those who record what comes, for an operator.
    pub recorders: Arc<Recorders>,
    /// Whether upstream's answers to triggers say that they were accepted.
    pub success_format: SuccessFormat,
    /// The webhooks that come in, if they are taken: replaced by a reload.
    pub incoming_webhooks: ArcSwapOption<IncomingWebhooks>,
}

impl Shared {
    /// With these parts; nothing is drained, relayed or recorded yet.
    #[must_use]
    pub fn new(
        routing: Routing,
        clock: Clock,
        metrics: Arc<Metrics>,
        triggers: Arc<Triggers>,
        report: Arc<Report>,
    ) -> Self {
        Self {
            routing: ArcSwap::from_pointee(routing),
            clock,
            metrics,
            triggers,
            report,
            drain: Drain::default(),
            tasks: Tasks::default(),
            relays: Relays::default(),
            bypasses: Arc::default(),
            trigger_log: TriggerLog::default(),
            recorders: Arc::default(),
            success_format: SuccessFormat::default(),
            incoming_webhooks: ArcSwapOption::empty(),
        }
    }
}

impl Shared {
    /// Somebody has subscribed to `channel` of the app with this id, perhaps not through usher.
    pub fn came_elsewhere(&self, app: &str, channel: &str) {
        if let Some(app) = self.routing.load().app(app) {
            app.came_elsewhere(channel);
        }
    }
}

impl Newcomers for Shared {
    fn came(&self, app: &str, channel: &str) {
        // The present rules: whatever is claimed under those that follow is claimed later.
        if let Some(app) = self.routing.load().app(app) {
            app.came(channel);
        }
    }
}

impl Gateway {
    /// Answers one request of `caller`. Errors are answers, too.
    pub async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Response<Reply> {
        let routing = self.shared.routing.load_full();
        // hyper keeps the connection only if the rest of the body fits into its buffer, which has this size.
        let is_long = request.body().size_hint().lower() > routing.limits.max_head as u64;
        let (kind, mut response) = match InFlightPermit::take(&self.shared, routing.limits.max_requests) {
            Some(permit) => self.route(request, routing, caller, permit).await,
            None => {
                let (head, body) = request.into_parts();
                let summary = RequestSummary::of(&head, &body, caller, &routing);
                (RequestKind::Refused, self.refuse(&summary, &Refusal::Overloaded))
            }
        };
        // The bytes that a client sends after a handshake are WebSocket frames: if the handshake fails, they are not
        // read as HTTP (threats.md WS-01). The long body of a request that is refused by its head is not read either.
        let last = self.shared.drain.has_reached(Phase::Leaving)
            || kind == RequestKind::WebSocket
            || kind == RequestKind::Refused && is_long;
        if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // Upstream's `Date` is kept. hyper would add a missing one, but its value does not change for a while after the
        // system's clock is set back.
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
    ) -> (RequestKind, Response<Reply>) {
        let (mut head, body) = request.into_parts();
        let summary = RequestSummary::of(&head, &body, caller, &routing);
        let handshake = Handshake::read(&mut head, &body);
        if let Err(refusal) = screen::head(&mut head, &body, &routing.limits) {
            return (RequestKind::Refused, self.refuse(&summary, &refusal));
        }
        // Rare and large futures are boxed: the future of a request is moved several times, and each connection has
        // memory for one.
        match handshake {
            Ok(None) => {}
            Ok(Some(handshake)) => {
                let answered = Box::pin(relay::open(self, &routing, handshake, head, caller, permit)).await;
                return (RequestKind::WebSocket, self.answered(answered));
            }
            Err(refusal) => return (RequestKind::Refused, self.refuse(&summary, &refusal)),
        }
        let incoming = self.shared.incoming_webhooks.load_full();
        if let Some(incoming) = incoming.filter(|incoming| incoming.is_for(&head)) {
            let request = Request::from_parts(head, body);
            let answered = Box::pin(incoming::handle(self, &routing, &incoming, request, permit)).await;
            return (RequestKind::Webhook, self.answered(answered));
        }
        match target::route(&head, &routing) {
            Ok(target::Route::Trigger(target)) => {
                let arrival = Arrival::new(&self.shared, self.shared.clock.timestamp(summary.came), summary.caller);
                let request = Request::from_parts(head, body);
                let connection = &caller.connection;
                let response = trigger::handle(self, &routing, target, arrival, connection, request, permit).await;
                (RequestKind::Trigger, response)
            }
            Ok(target::Route::Unknown) => {
                let arrival = Arrival::new(&self.shared, self.shared.clock.timestamp(summary.came), summary.caller);
                let request = Request::from_parts(head, body);
                let ticket = routing.unknown_generation.begin();
                let answered = Box::pin(passthrough::trigger(self, &routing, request, arrival, ticket, permit)).await;
                (RequestKind::Passthrough, answered)
            }
            Ok(target::Route::Other) => {
                let request = Request::from_parts(head, body);
                let answered = Box::pin(passthrough::handle(self, &routing, request, permit)).await;
                (RequestKind::Passthrough, self.answered(answered))
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::UnknownApp { .. }) {
                    self.shared.metrics.unknown_app();
                }
                (RequestKind::Refused, self.refuse(&summary, &refusal))
            }
        }
    }

    /// The response; a refusal is counted.
    fn answered(&self, answered: Result<Response<Reply>, Refusal>) -> Response<Reply> {
        answered.unwrap_or_else(|refusal| {
            self.shared.metrics.error(refusal.code());
            refusal.response()
        })
    }

    /// Refuses a request before it is known what it is. One whose path is a trigger's is recorded.
    fn refuse(&self, request: &RequestSummary, refusal: &Refusal) -> Response<Reply> {
        let Some(TriggerSummary { app, method, path }) = &request.trigger else {
            self.shared.metrics.error(refusal.code());
            return refusal.response();
        };
        let arrival = Arrival::new(&self.shared, self.shared.clock.timestamp(request.came), request.caller);
        let tag = arrival.refused(&self.shared, app, RequestLine { method, path, size: request.size }, refusal);
        refusal.tagged_response(&self.shared, tag)
    }
}

/// What is recorded of a request that is refused before it is known what it is.
struct RequestSummary {
    came: Instant,
    caller: IpAddr,
    /// Bytes of the body, as far as they are declared.
    size: usize,
    /// If its path is a trigger's.
    trigger: Option<TriggerSummary>,
}

struct TriggerSummary {
    app: String,
    method: String,
    path: String,
}

impl RequestSummary {
    fn of(head: &Parts, body: &Incoming, caller: &Caller, routing: &Routing) -> Self {
        let trigger = target::trigger_app(head).map(|app| TriggerSummary {
            app: app.to_owned(),
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
        });
        Self {
            came: Instant::now(),
            caller: peer::address(caller.ip, peer::forwarded_for(&head.headers), &routing.trusted_proxies),
            size: usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX),
            trigger,
        }
    }
}

/// The current value of `Date`.
fn date_now() -> HeaderValue {
    HeaderValue::from_maybe_shared(Date::text_now()).expect("a date is plain text")
}
