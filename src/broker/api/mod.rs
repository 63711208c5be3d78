//! The HTTP API for backends (`pusher-protocol.md` 1): routes, signature check, answers. A success has a JSON body, an
//! error plain text, like Pusher's API.

mod occupancy;
mod publish;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use self::refusal::Refusal;
use super::Broker;
use super::broker_app::BrokerApp;
use super::channel_type::user_channel;
use crate::clock::{Clock, Moment};
use crate::pusher::{ErrorCode, Query, decode_path, verify};

/// A verified request of an app's backend.
struct Call<'r, 'q> {
    broker_app: &'r BrokerApp,
    query: &'r Query<'q>,
    body: &'r [u8],
    now: Moment,
}

/// The endpoints of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint<'p> {
    Events,
    BatchEvents,
    Channels,
    Channel(&'p str),
    Users(&'p str),
    Terminate(&'p str),
}

impl<'p> Endpoint<'p> {
    /// The endpoint of a path without its `/apps/{id}/`.
    fn of(path: &'p str) -> Option<Self> {
        let mut segments = path.split('/');
        let segments = (segments.next()?, segments.next(), segments.next(), segments.next());
        match segments {
            ("events", None, ..) => Some(Self::Events),
            ("batch_events", None, ..) => Some(Self::BatchEvents),
            ("channels", None, ..) => Some(Self::Channels),
            ("channels", Some(name), None, _) => Some(Self::Channel(name)),
            ("channels", Some(name), Some("users"), None) => Some(Self::Users(name)),
            ("users", Some(id), Some("terminate_connections"), None) => Some(Self::Terminate(id)),
            _ => None,
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Events | Self::BatchEvents | Self::Terminate(_) => Method::POST,
            Self::Channels | Self::Channel(_) | Self::Users(_) => Method::GET,
        }
    }
}

/// Answers one request.
pub(super) fn answer(broker: &Broker, request: &Request<Bytes>) -> Response<Bytes> {
    if request.uri().path() == "/" {
        return text(StatusCode::OK, "OK");
    }
    call(broker, request).map_or_else(|refusal| refuse(&refusal), ok)
}

fn call(broker: &Broker, request: &Request<Bytes>) -> Result<String, Refusal> {
    let (method, path) = (request.method(), request.uri().path());
    if path.strip_prefix("/app/").is_some_and(|key| !key.is_empty() && !key.contains('/')) {
        return Err(if matches!(*method, Method::GET | Method::HEAD) {
            Refusal::NoWebSocket
        } else {
            Refusal::Method { allowed: Method::GET }
        });
    }
    let (app, rest) = path.strip_prefix("/apps/").and_then(|rest| rest.split_once('/')).ok_or(Refusal::NoSuchPath)?;
    let endpoint = Endpoint::of(rest).ok_or(Refusal::NoSuchPath)?;
    if *method != endpoint.method() {
        return Err(Refusal::Method { allowed: endpoint.method() });
    }
    let broker_app: Arc<BrokerApp> = broker.broker_apps.load().by_id.get(app).cloned().ok_or(Refusal::UnknownApp)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let now = broker.clock.now();
    let unix = Clock::unix_now();
    let app = broker_app.app.load();
    let verified = |path: &str| verify(&app, method.as_str(), path, &query, request.body(), unix);
    verified(path)
        .or_else(|error| match endpoint {
            // The Node.js library signs the unescaped user id, and its HTTP client escapes it (docs/broker.md).
            Endpoint::Terminate(id) if id.contains('%') => verified(&decode_path(path)).map_err(|_| error),
            _ => Err(error),
        })
        .map_err(|error| Refusal::unverified(error, method.as_str(), path, &query, unix))?;
    drop(app);
    let call = Call { broker_app: &broker_app, query: &query, body: request.body(), now };
    match endpoint {
        Endpoint::Events => publish::event(&call),
        Endpoint::BatchEvents => publish::batch(&call),
        Endpoint::Channels => occupancy::channels(&call),
        Endpoint::Channel(name) => occupancy::channel(&call, &decode_path(name)),
        Endpoint::Users(name) => occupancy::users(&call, &decode_path(name)),
        Endpoint::Terminate(id) => terminate(&call, &decode_path(id)),
    }
}

/// Ends all connections that are signed in as a user.
fn terminate(call: &Call<'_, '_>, id: &str) -> Result<String, Refusal> {
    let channel = user_channel(id).ok_or(Refusal::InvalidUser)?;
    call.broker_app.channels.end_subscribers(&channel, ErrorCode::Unauthorized);
    Ok(empty_object())
}

/// The answer of calls without a result.
fn empty_object() -> String {
    "{}".to_owned()
}

fn ok(body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(refusal: &Refusal) -> Response<Bytes> {
    let mut response = text(refusal.status(), &refusal.to_string());
    match refusal {
        Refusal::Method { allowed } => {
            if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
                response.headers_mut().insert(ALLOW, allowed);
            }
        }
        Refusal::NoWebSocket => {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        _ => {}
    }
    response
}

fn text(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
