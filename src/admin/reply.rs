//! The answers of the admin listener. They have no CORS header, must not be cached, and must not be interpreted as
//! another content type.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::Stream;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE, REFERRER_POLICY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Serialize;

use super::refusal::Refusal;
use crate::clock::Date;

/// An answer.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// On listings: there are more entries than `limit`.
const TRUNCATED: HeaderName = HeaderName::from_static("usher-truncated");

/// The code of an error of usher's.
const ERROR: HeaderName = HeaderName::from_static("usher-error");

/// Adds a `Date`. hyper's own date does not change after the system's clock was set back.
pub(super) fn dated(mut reply: Reply) -> Reply {
    let date = HeaderValue::from_maybe_shared(Date::text_now()).expect("a date is plain text");
    reply.headers_mut().insert(DATE, date);
    reply
}

/// Plain text.
pub(super) fn text(body: &'static str) -> Reply {
    reply("text/plain; charset=utf-8", body)
}

/// Prometheus' text format.
pub(super) fn metrics(body: String) -> Reply {
    reply("text/plain; version=0.0.4; charset=utf-8", body)
}

/// The operator's page with the Content-Security-Policy `policy`.
pub(super) fn page(html: &'static str, policy: &'static str) -> Reply {
    let mut reply = reply("text/html; charset=utf-8", html);
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    reply.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    reply
}

/// Server-sent events.
pub(super) fn events(events: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static) -> Reply {
    let body = StreamBody::new(events).boxed_unsync();
    let mut reply = with_body("text/event-stream", body);
    // Without this header nginx buffers the events.
    reply.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    reply
}

/// JSON lines, as they come.
pub(super) fn json_lines(lines: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static) -> Reply {
    let mut reply = with_body("application/jsonl", StreamBody::new(lines).boxed_unsync());
    reply.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    reply
}

/// JSON.
pub(super) fn json(body: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(body).expect("maps here have string keys, and no value refuses to be written");
    reply("application/json", body)
}

/// Marks a JSON list as truncated at the limit.
pub(super) fn truncated(mut listing: Reply) -> Reply {
    listing.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    listing
}

/// The answer to a refused request.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct ErrorBody {
        error: String,
        code: &'static str,
    }
    let mut reply = json(&ErrorBody { error: refusal.to_string(), code: refusal.code() });
    *reply.status_mut() = refusal.status();
    reply.headers_mut().insert(ERROR, HeaderValue::from_static(refusal.code()));
    add_required_headers(refusal, reply.headers_mut());
    reply
}

/// Adds the headers that HTTP requires with some status codes (RFC 9110 11.6.1, 15.5.6).
fn add_required_headers(refusal: &Refusal, headers: &mut HeaderMap) {
    match refusal {
        Refusal::TokenMissing => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"usher admin\""));
        }
        Refusal::TokenWrong => {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"usher admin\", error=\"invalid_token\""),
            );
        }
        Refusal::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Refusal::BadHost
        | Refusal::ForeignHost
        | Refusal::TokenNotSet
        | Refusal::TokenReadsOnly
        | Refusal::NotFound
        | Refusal::BadQuery(_)
        | Refusal::BadBody(_)
        | Refusal::NotJson
        | Refusal::NoTrigger
        | Refusal::TooManyStreams
        | Refusal::RecordingOff
        | Refusal::TooManyRecorders
        | Refusal::NotWatched
        | Refusal::Observing
        | Refusal::NoCluster
        | Refusal::NoApp
        | Refusal::NoMember
        | Refusal::LeaseLasts
        | Refusal::NoMembership
        | Refusal::StoreRefuses(_)
        | Refusal::StoreFails(_)
        | Refusal::NotEntered
        | Refusal::Isolated
        | Refusal::Replaced
        | Refusal::Draining
        | Refusal::Unreached(_)
        | Refusal::Failed => {}
    }
}

fn reply(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    with_body(content_type, Full::new(body.into()).boxed_unsync())
}

fn with_body(content_type: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
