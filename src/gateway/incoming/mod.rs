//! Webhooks that the server behind usher sends to `incoming_webhooks.path`. They are verified by the keys of the apps;
//! what they say of channels goes to the audience, and they are handed on untouched, if they are to be.
//!
//! With `forward_to`, the receiver's answer is the answer: the sender repeats what the receiver has not taken, and usher
//! has nothing to keep. A body that was taken already is answered as taken, and does nothing else.

mod payload;
mod refusal;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming as IncomingBody;
use parking_lot::Mutex;
use tokio::time::timeout;

pub use refusal::WebhookRefusal;

use self::payload::Payload;
use self::seen::Seen;
use super::routing::AppRoute;
use super::{Gateway, InFlightPermit, Refusal, Reply, Routing, Shared, body, headers};
use crate::clock::Clock;
use crate::metrics::IncomingWebhook;
use crate::pusher::{KeyPair, WebhookSignature};
use crate::webhooks::{Receiver, cause};

/// How webhooks are taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingOptions {
    /// Where they come, on the public listener.
    pub path: String,
    /// Where they are handed on, if anywhere.
    pub forward_to: Option<http::Uri>,
    /// How far the time in a webhook may be from the present.
    pub max_age: Duration,
    /// How long the receiver at `forward_to` may take for its answer.
    pub timeout: Duration,
}

/// The webhooks that come in.
#[derive(Debug)]
pub struct Incoming {
    options: IncomingOptions,
    receiver: Option<Receiver>,
    /// The bodies that were taken. A reload keeps them. A lock: held for one look-up or change, never across an await.
    seen: Arc<Mutex<Seen>>,
}

/// A webhook whose signature is correct.
struct Verified<'r> {
    app: &'r Arc<AppRoute>,
    signature: WebhookSignature,
}

impl Incoming {
    /// Takes webhooks in by `options`, and hands them on to `receiver`. Bodies that `before` has taken count as taken.
    #[must_use]
    pub fn new(options: IncomingOptions, receiver: Option<Receiver>, before: Option<&Self>) -> Self {
        let seen = before.map(|before| Arc::clone(&before.seen)).unwrap_or_default();
        Self { options, receiver, seen }
    }

    /// How they are taken in.
    #[must_use]
    pub const fn options(&self) -> &IncomingOptions {
        &self.options
    }

    /// Whether a request is a webhook by its head.
    pub(super) fn is_for(&self, head: &Parts) -> bool {
        head.method == Method::POST && head.uri.path() == self.options.path
    }
}

/// Takes one webhook in.
pub(super) async fn handle(
    gateway: &Gateway,
    routing: &Routing,
    incoming: &Incoming,
    request: Request<IncomingBody>,
    _permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    let shared = &gateway.shared;
    let (head, body) = request.into_parts();
    let body = body::receive(body, &routing.limits).await?;
    let Verified { app, signature } = verify(shared, routing, &head.headers, &body)?;
    let payload = Payload::read(&body)?;
    payload.check_time(Clock::unix_now_exact(), incoming.options.max_age)?;
    let (key, now) = ((Arc::clone(&app.id), signature), shared.clock.now());
    if incoming.seen.lock().has(&key, now) {
        shared.metrics.incoming_webhook(&app.id, IncomingWebhook::Repeated);
        return Ok(taken());
    }
    take_in(shared, app, &payload);
    let answer = match &incoming.receiver {
        Some(receiver) => hand_on(receiver, incoming.options.timeout, head.headers, body).await,
        None => Ok(taken()),
    };
    let is_taken = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
    if is_taken {
        // While its time is accepted, the same body does nothing again.
        incoming.seen.lock().add(key, now, now.after(incoming.options.max_age * 2));
    }
    shared
        .metrics
        .incoming_webhook(&app.id, if is_taken { IncomingWebhook::Taken } else { IncomingWebhook::NotForwarded });
    answer
}

/// The app whose key signed the webhook.
fn verify<'r>(
    shared: &Shared,
    routing: &'r Routing,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Verified<'r>, WebhookRefusal> {
    let key = only(headers, "x-pusher-key").ok_or(WebhookRefusal::NoKey)?;
    let Some(app) = routing.app_with_key(key) else {
        shared.metrics.unknown_app();
        return Err(WebhookRefusal::UnknownKey);
    };
    let signature = only(headers, "x-pusher-signature").ok_or(WebhookRefusal::NoSignature)?;
    let is_of = |pair: &KeyPair, signature: &WebhookSignature| signature.verifies(pair, body);
    let signature = WebhookSignature::parse(signature).ok_or(WebhookRefusal::SignatureMismatch)?;
    let pair = app.app.pair(key).filter(|pair| is_of(pair, &signature));
    pair.map(|_| Verified { app, signature }).ok_or(WebhookRefusal::SignatureMismatch)
}

/// The value of a header that comes once, as text.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

/// Tells the audience what the webhook says, and the memory who came. Before it is handed on: from now on an announcement
/// may be what a client lacks that the receiver does not know yet.
fn take_in(shared: &Shared, app: &AppRoute, payload: &Payload<'_>) {
    payload.events().for_each(|event| shared.metrics.incoming_webhook_event(&app.id, event.kind()));
    let Some(audience) = &app.audience else { return };
    for channel in audience.webhook(payload.changes(), shared.clock.now()) {
        somebody_came(shared, app, channel);
    }
}

/// A webhook says that a client has subscribed to `channel`: before now, so that it may lack what was announced last.
fn somebody_came(shared: &Shared, app: &AppRoute, channel: &str) {
    shared.metrics.incoming_webhook_arrival(&app.id);
    shared.came_elsewhere(&app.id, channel);
}

/// Hands a webhook on with its headers as they came.
async fn hand_on(
    receiver: &Receiver,
    period: Duration,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Reply>, Refusal> {
    let (cause, refusal) = match timeout(period, receiver.send(headers, body, period)).await {
        Ok(Ok(answer)) => {
            if !answer.status().is_success() {
                let status = answer.status().as_u16();
                tracing::warn!(url = receiver.shown(), status, "a webhook that came in was not taken by its receiver");
            }
            let (mut head, body) = answer.into_parts();
            headers::strip_answer(&mut head.headers);
            return Ok(Response::from_parts(head, Reply::Stream(body)));
        }
        Ok(Err(failure)) if failure.is_timeout() => (cause(&failure), WebhookRefusal::ForwardTimeout),
        Ok(Err(failure)) => (cause(&failure), WebhookRefusal::ForwardFailed),
        Err(_elapsed) => ("timeout", WebhookRefusal::ForwardTimeout),
    };
    tracing::warn!(url = receiver.shown(), cause, "a webhook that came in was not handed on; its sender may repeat it");
    Err(refusal.into())
}

/// The answer to a webhook that was taken.
fn taken() -> Response<Reply> {
    let mut response = Response::new(Reply::from(Bytes::from_static(b"{}")));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
