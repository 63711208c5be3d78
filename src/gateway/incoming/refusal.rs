//! Why a webhook is not taken.

use std::time::Duration;

use http::StatusCode;

use super::payload::MAX_EVENTS;

/// Why a webhook that came in is not taken. `Display` is the sentence that its sender reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// The header with the key is missing, or comes more than once.
    #[error("the webhook has no X-Pusher-Key, or several")]
    NoKey,
    /// The key is no configured app's.
    #[error("no app with the webhook's X-Pusher-Key is configured in usher")]
    UnknownKey,
    /// The header with the signature is missing, or comes more than once.
    #[error("the webhook has no X-Pusher-Signature, or several")]
    NoSignature,
    /// The signature is not that of the body.
    #[error("the webhook's X-Pusher-Signature does not match: another secret, or something changed the body")]
    SignatureMismatch,
    /// The body is not a webhook's.
    #[error("the webhook's body is not {{\"time_ms\": …, \"events\": […]}} with a name in each event")]
    Malformed,
    /// There are too many events.
    #[error("the webhook has more than {MAX_EVENTS} events")]
    TooManyEvents,
    /// Its time is too far from the present.
    #[error("the webhook's time_ms is more than {} s from the present (incoming_webhooks.max_age)", max_age.as_secs())]
    OutOfTime {
        /// How far it may be.
        max_age: Duration,
    },
    /// The receiver gave no answer.
    #[error("the webhook could not be handed on (incoming_webhooks.forward_to)")]
    ForwardFailed,
    /// The receiver's answer did not come in time.
    #[error("the webhook's receiver did not answer in time (incoming_webhooks.forward_to)")]
    ForwardTimeout,
}

impl WebhookRefusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoKey | Self::UnknownKey | Self::NoSignature | Self::SignatureMismatch => StatusCode::UNAUTHORIZED,
            Self::Malformed | Self::OutOfTime { .. } => StatusCode::BAD_REQUEST,
            Self::TooManyEvents => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ForwardFailed => StatusCode::BAD_GATEWAY,
            Self::ForwardTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The `code` of the answer's body.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoKey => "webhook_key_missing",
            Self::UnknownKey => "webhook_key_unknown",
            Self::NoSignature => "webhook_signature_missing",
            Self::SignatureMismatch => "webhook_signature_mismatch",
            Self::Malformed => "webhook_malformed",
            Self::TooManyEvents => "webhook_too_many_events",
            Self::OutOfTime { .. } => "webhook_out_of_time",
            Self::ForwardFailed => "webhook_forward_failed",
            Self::ForwardTimeout => "webhook_forward_timeout",
        }
    }
}
