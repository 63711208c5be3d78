//! Why a call is refused, with the status and the text that Pusher has for it (`pusher-protocol.md` 1.5).

use http::{Method, StatusCode};

use super::super::session::MAX_DATA;
use crate::pusher::{Query, SignatureError, signed_text};

/// Why a call is refused. Its `Display` is the answer's body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Nothing is here: also where the Python library asks for a user's connections without naming the app
    /// (`pusher-protocol.md` 2.3).
    #[error("404 NOT FOUND")]
    NoSuchPath,
    /// A client's path, without a WebSocket handshake.
    #[error(
        "426 UPGRADE REQUIRED: clients connect here by WebSocket (ws:// or wss://), for instance with pusher-js; a plain GET cannot. \
         If this was a WebSocket client, a proxy in between took away its Upgrade and Connection headers"
    )]
    NoWebSocket,
    /// The path is right, the method is not.
    #[error("405 METHOD NOT ALLOWED")]
    Method {
        /// The one that is.
        allowed: Method,
    },
    /// No such app.
    #[error("Unknown app_id")]
    UnknownApp,
    /// The key is not the app's.
    #[error("Unknown auth_key")]
    UnknownKey,
    /// The timestamp is too far off.
    #[error("Timestamp expired: Given timestamp ({given}) not within 600s of server time ({server})")]
    Expired {
        /// Seconds since the Unix epoch, as given.
        given: String,
        /// The same by our clock.
        server: u64,
    },
    /// The signature is wrong. The text that should have been signed is the caller's own.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex({expected:?}, your_secret_key), but you sent {given:?}"
    )]
    Signature {
        /// What should have been signed.
        expected: String,
        /// The signature that came.
        given: String,
    },
    /// Any other fault of the authentication.
    #[error("{0}")]
    Unverified(SignatureError),
    /// The body is no JSON object.
    #[error("The body is not a JSON object")]
    NotAnObject,
    /// A parameter is not there.
    #[error("Missing required parameter: {0}")]
    Missing(&'static str),
    /// A parameter has another type.
    #[error("Expected {0} parameter to be {1}")]
    WrongType(&'static str, &'static str),
    /// An event's name is too long.
    #[error("The event name exceeds the allowed maximum (200 characters)")]
    LongName,
    /// A channel cannot be called so.
    #[error("Invalid channel name: {0:?}")]
    InvalidChannel(String),
    /// A user cannot be called so.
    #[error("Invalid user id")]
    InvalidUser,
    /// A socket id is none.
    #[error("Invalid socket id: {0:?}")]
    InvalidSocket(String),
    /// An event for too many channels.
    #[error("Too many channels ({0} > 100)")]
    ManyChannels(usize),
    /// A batch of too many events.
    #[error("Batch too large ({0} > 10)")]
    LargeBatch(usize),
    /// An event is too large.
    #[error(
        "The data content of this event exceeds the allowed maximum ({MAX_DATA} bytes). \
         See https://pusher.com/docs/channels/server_api/http-api#publishing-events for more info"
    )]
    LargeData,
    /// Users of a channel that has none.
    #[error("Users can only be retrieved for presence channels")]
    NoUsers,
    /// The number of users of a channel that has none.
    #[error("Cannot retrieve the user count unless the channel is a presence channel")]
    NoUserCount,
    /// The number of users of channels of which not all have some.
    #[error(
        "user_count may only be requested for presence channels - please supply filter_by_prefix beginning with presence-"
    )]
    NoUserCounts,
}

impl Refusal {
    /// What `verify` found, in Pusher's words.
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
