//! Every error that usher answers itself, and its mapping to HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

use super::record::Tag;
use super::{Reply, Shared, WebhookRefusal};
use crate::assignment::Denied;
use crate::pusher::SignatureError;
use crate::rate::Limited;
use crate::upstream::Failure;

/// Why usher answers instead of upstream. `Display` is the sentence that the caller reads.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request violates HTTP, or is ambiguous.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A WebSocket handshake of another version than 13.
    #[error("the only version of WebSocket is 13 (Sec-WebSocket-Version)")]
    WebSocketVersion,
    /// CONNECT or TRACE.
    #[error("usher is no tunnel: CONNECT and TRACE are not served")]
    MethodNotAllowed,
    /// `Expect` contains something else than `100-continue`.
    #[error("the only expectation usher meets is `Expect: 100-continue`")]
    ExpectationFailed,
    /// The request target is too long.
    #[error("the request target is longer than {limit} bytes; raise limits.max_target if it has to be")]
    TargetTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request body is too large.
    #[error("the request body is larger than {limit} bytes; send less, or raise limits.max_body")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The request body did not arrive in time.
    #[error("the request body did not arrive within {} ms", limit.as_millis())]
    BodyTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The request body ended early or was framed wrongly.
    #[error("the request body could not be received whole")]
    BodyBroken(#[source] hyper::Error),
    /// A trigger for an app that is not configured.
    #[error(
        "no app {name:?} is configured in usher: add it under [[apps]], correct the client's app id or key, or set server.unknown_apps = \"forward\""
    )]
    UnknownApp {
        /// The id or key that the request named, cut short.
        name: String,
    },
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// No slot is free in time under the rate limits.
    #[error(transparent)]
    RateLimited(Limited),
    /// The memory that processes share does not allow it.
    #[error(transparent)]
    Denied(Denied),
    /// A webhook that came in is not taken.
    #[error(transparent)]
    Webhook(#[from] WebhookRefusal),
    /// As many requests are in flight as limits.max_requests allows.
    #[error("usher has as many requests in flight as it may (limits.max_requests); try again shortly")]
    Overloaded,
    /// Upstream gave no answer, or no complete one to a trigger.
    #[error("{begin}{0}", begin = if .0.status().is_none() { "upstream gave no answer: " } else { "" })]
    Upstream(#[source] Failure),
    /// usher itself failed while it served the trigger.
    #[error("usher failed while forwarding: whether the trigger was applied is unknown")]
    Internal,
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BodyBroken(_) => StatusCode::BAD_REQUEST,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::TargetTooLong { .. } => StatusCode::URI_TOO_LONG,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownApp { .. } => StatusCode::NOT_FOUND,
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(_) | Self::Overloaded | Self::Upstream(Failure::OutOfDescriptors { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Webhook(refusal) => refusal.status(),
            Self::Upstream(failure) if failure.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) | Self::Internal => StatusCode::BAD_GATEWAY,
        }
    }

    /// The cause in snake_case: the `code` of the answer's body, its `usher-error` header, and a metric label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::BodyBroken(_) => "body_broken",
            Self::WebSocketVersion => "websocket_version",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ExpectationFailed => "expectation_failed",
            Self::TargetTooLong { .. } => "target_too_long",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyTimeout { .. } => "body_timeout",
            Self::UnknownApp { .. } => "unknown_app",
            Self::Signature(error) => error.code(),
            Self::RateLimited(_) => "rate_limited",
            Self::Denied(denied) => denied.code(),
            Self::Webhook(refusal) => refusal.code(),
            Self::Overloaded => "overloaded",
            Self::Upstream(failure @ Failure::OutOfDescriptors { .. }) => failure.label(),
            Self::Upstream(failure) if failure.is_timeout() => "upstream_timeout",
            Self::Upstream(failure) if failure.nothing_sent() => "upstream_unreachable",
            Self::Upstream(_) => "upstream_failed",
            Self::Internal => "internal",
        }
    }

    /// Whether the connection has to be closed: the rest of it cannot be trusted, or is a body that is not read.
    fn ends_connection(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::BodyBroken(_)
            | Self::WebSocketVersion
            | Self::MethodNotAllowed
            | Self::ExpectationFailed
            | Self::TargetTooLong { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout { .. }
            | Self::Overloaded => true,
            Self::UnknownApp { .. }
            | Self::Signature(_)
            | Self::RateLimited(_)
            | Self::Denied(_)
            | Self::Webhook(_)
            | Self::Upstream(_)
            | Self::Internal => false,
        }
    }

    /// Counts the refusal of a trigger and answers it.
    pub(super) fn tagged_response(&self, shared: &Shared, tag: Tag) -> Response<Reply> {
        shared.metrics.error(self.code());
        let mut response = self.response();
        tag.insert(response.headers_mut());
        response
    }

    /// The answer: a JSON object, the only form of error that every Pusher library tolerates.
    #[must_use]
    pub fn response(&self) -> Response<Reply> {
        let body = serde_json::json!({ "error": self.to_string(), "code": self.code() }).to_string();
        let mut response = Response::new(Reply::from(Bytes::from(body)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("usher-error", HeaderValue::from_static(self.code()));
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        match self {
            Self::Overloaded | Self::Upstream(Failure::OutOfDescriptors { .. }) => {
                _ = headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::RateLimited(limited) => _ = headers.insert(RETRY_AFTER, HeaderValue::from(limited.retry_after())),
            _ => {}
        }
        if matches!(self, Self::WebSocketVersion) {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade, close"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if matches!(self, Self::MethodNotAllowed) {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_answer_is_told_from_none() {
        let (status, period) = (201, Duration::from_millis(1500));
        for (failure, expected, code, text) in [
            (
                Failure::AnswerTimeout { upstream: "h".into(), period },
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "upstream gave no answer: the upstream server h did not answer within 1.5s",
            ),
            (
                Failure::AnswerCut { status },
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                "upstream's answer broke off: whether the trigger was applied is unknown",
            ),
            (
                Failure::AnswerTooSlow { status, period },
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "upstream's answer was not complete within 1500 ms: whether the trigger was applied is unknown",
            ),
        ] {
            assert!(!failure.nothing_sent());
            let refusal = Refusal::Upstream(failure);
            assert_eq!((refusal.status(), refusal.code(), refusal.to_string().as_str()), (expected, code, text));
        }
    }
}
