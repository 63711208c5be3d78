//! The errors of the API, with Pusher's statuses and texts (`pusher-protocol.md` 1.5).

use http::{Method, StatusCode};

use super::super::session::MAX_DATA;
use crate::pusher::{Query, SignatureError, signed_text};

/// Why a call is refused. `Display` is the body of the answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// There is no such path. The Python library also requests one: it terminates a user's connections without naming
    /// the app (`pusher-protocol.md` 2.3).
    #[error("404 NOT FOUND")]
    NoSuchPath,
    /// The path is for WebSocket clients, but the request is not a WebSocket handshake.
    #[error(
        "426 UPGRADE REQUIRED: clients connect here by WebSocket (ws:// or wss://), for instance with pusher-js; a plain GET cannot. \
         If this was a WebSocket client, a proxy in between took away its Upgrade and Connection headers"
    )]
    NoWebSocket,
    /// The endpoint does not support the method.
    #[error("405 METHOD NOT ALLOWED")]
    Method {
        /// The supported method.
        allowed: Method,
    },
    /// There is no such app.
    #[error("Unknown app_id")]
    UnknownApp,
    /// The key is not the app's.
    #[error("Unknown auth_key")]
    UnknownKey,
    /// The timestamp differs too much from the server's time.
    #[error("Timestamp expired: Given timestamp ({given}) not within 600s of server time ({server})")]
    Expired {
        /// Seconds since the Unix epoch, as given.
        given: String,
        /// The server's time.
        server: u64,
    },
    /// The signature is wrong. The text to be signed consists of the caller's own input.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex({expected:?}, your_secret_key), but you sent {given:?}"
    )]
    Signature {
        /// The text to be signed.
        expected: String,
        /// The signature as sent.
        given: String,
    },
    /// Another error of the authentication.
    #[error("{0}")]
    Unverified(SignatureError),
    /// The body is not a JSON object.
    #[error("The body is not a JSON object")]
    NotAnObject,
    /// A parameter is missing.
    #[error("Missing required parameter: {0}")]
    Missing(&'static str),
    /// A parameter has another type.
    #[error("Expected {0} parameter to be {1}")]
    WrongType(&'static str, &'static str),
    /// An event's name is too long.
    #[error("The event name exceeds the allowed maximum (200 characters)")]
    LongName,
    /// A channel name is invalid.
    #[error("Invalid channel name: {0:?}")]
    InvalidChannel(String),
    /// A user id is invalid.
    #[error("Invalid user id")]
    InvalidUser,
    /// A socket id is invalid.
    #[error("Invalid socket id: {0:?}")]
    InvalidSocket(String),
    /// An event has too many channels.
    #[error("Too many channels ({0} > 100)")]
    ManyChannels(usize),
    /// A batch has too many events.
    #[error("Batch too large ({0} > 10)")]
    LargeBatch(usize),
    /// The data of an event is too large.
    #[error(
        "The data content of this event exceeds the allowed maximum ({MAX_DATA} bytes). \
         See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info"
    )]
    LargeData,
    /// Users were requested of a channel that is not a presence channel.
    #[error("Users can only be retrieved for presence channels")]
    NoUsers,
    /// The number of users was requested of a channel that is not a presence channel.
    #[error("Cannot retrieve the user count unless the channel is a presence channel")]
    NoUserCount,
    /// The number of users was requested of channels that may not be presence channels.
    #[error(
        "user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-"
    )]
    NoUserCounts,
}

impl Refusal {
    /// The refusal for an error of `verify`.
    pub(super) fn unverified(error: SignatureError, method: &str, path: &str, query: &Query<'_>, now: u64) -> Self {
        let given = |parameter| query.only(parameter).unwrap_or_default().to_owned();
        match error {
            SignatureError::UnknownKey { .. } => Self::UnknownKey,
            SignatureError::TimestampTooOld { .. } | SignatureError::TimestampTooNew { .. } => {
                Self::Expired { given: given("auth_timestamp"), server: now }
            }
            SignatureError::Mismatch => {
                Self::Signature { expected: signed_text(method, path, query), given: given("auth_signature") }
            }
            other => Self::Unverified(other),
        }
    }

    /// The answer's status.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath | Self::UnknownApp => StatusCode::NOT_FOUND,
            Self::NoWebSocket => StatusCode::UPGRADE_REQUIRED,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expired { .. } | Self::Signature { .. } | Self::Unverified(_) => StatusCode::UNAUTHORIZED,
            Self::LargeData => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownKey
            | Self::NotAnObject
            | Self::Missing(_)
            | Self::WrongType(..)
            | Self::LongName
            | Self::InvalidChannel(_)
            | Self::InvalidUser
            | Self::InvalidSocket(_)
            | Self::ManyChannels(_)
            | Self::LargeBatch(_)
            | Self::NoUsers
            | Self::NoUserCount
            | Self::NoUserCounts => StatusCode::BAD_REQUEST,
        }
    }
}
