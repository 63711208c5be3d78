//! Answers of the admin listener. None carries a CORS header, none may be cached or taken for another type.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::Full;
use serde::Serialize;

use super::refusal::Refusal;

/// An answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// On listings: there was more than `limit`.
const TRUNCATED: HeaderName = HeaderName::from_static("usher-truncated");

/// The code of an error that usher made (design 2.3).
const ERROR: HeaderName = HeaderName::from_static("usher-error");

/// Plain text.
pub(super) fn text(body: &'static str) -> Reply {
    reply("text/plain; charset=utf-8", body)
}

/// Prometheus' text format.
pub(super) fn metrics(body: String) -> Reply {
    reply("text/plain; version=0.0.4; charset=utf-8", body)
}

/// JSON.
pub(super) fn json(body: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(body).expect("maps here have string keys, and no value refuses to be written");
    reply("application/json", body)
}

/// A JSON list that was cut at the limit.
pub(super) fn truncated(mut listing: Reply) -> Reply {
    listing.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
    listing
}

/// What is said to a request that is not answered.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Said {
        error: String,
        code: &'static str,
    }
    let mut reply = json(&Said { error: refusal.to_string(), code: refusal.code() });
    *reply.status_mut() = refusal.status();
    reply.headers_mut().insert(ERROR, HeaderValue::from_static(refusal.code()));
    add_remedy(refusal, reply.headers_mut());
    reply
}

/// The headers that HTTP asks for with some status codes (RFC 9110 11.6.1, 15.5.6).
fn add_remedy(refusal: &Refusal, headers: &mut HeaderMap) {
    match refusal {
        Refusal::TokenMissing => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"usher admin\""));
        }
        Refusal::TokenWrong => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"usher admin\", error=\"invalid_token\""));
        }
        Refusal::MethodNotAllowed { allow } => {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        Refusal::BadHost
        | Refusal::ForeignHost
        | Refusal::TokenNotSet
        | Refusal::NotFound
        | Refusal::BadQuery(_)
        | Refusal::NotWatched
        | Refusal::Draining
        | Refusal::Failed => {}
    }
}

fn reply(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
