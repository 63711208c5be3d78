//! Bodies that were not read exactly: why not, and which channels they may affect.

use crate::pusher::json::ObjectError;

/// A body that was not read exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexact {
    /// Why.
    pub reason: InexactReason,
    /// Which channels it may affect.
    pub affected: AffectedChannels,
}

/// The channels that an inexact request may affect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AffectedChannels {
    /// These channels, none twice.
    Listed(Vec<String>),
    /// Any channel of the app: the channels are not known.
    All,
}

/// Why a request was not read exactly (`threats.md` 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InexactReason {
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    NotJson,
    /// JSON, and something after it.
    TrailingBytes,
    /// The body or a batch item is not an object.
    NotAnObject,
    /// More than 127 levels of arrays and objects.
    TooDeep,
    /// An object has a key twice.
    DuplicateKey,
    /// A key has an escape.
    EscapedKey,
    /// A key that no trigger has.
    UnknownKey,
    /// `name` is missing, or not a string that decodes to text without NUL.
    BadName,
    /// `data` is missing.
    NoData,
    /// Neither `channel` nor `channels`.
    NoChannel,
    /// Both `channel` and `channels`.
    BothChannelKeys,
    /// A channel is not a string that decodes to text without NUL.
    BadChannel,
    /// `channels` is not an array, or is empty.
    BadChannels,
    /// `channels` has a channel twice.
    DuplicateChannel,
    /// More than 100 channels (`pusher-protocol.md` 1.4).
    TooManyChannels,
    /// `socket_id` is neither a string that decodes nor null.
    BadSocketId,
    /// `info` is neither a string that decodes nor null.
    BadInfo,
    /// `batch` is not an array, or is empty.
    BadBatch,
    /// More than 10 events in a batch (`pusher-protocol.md` 1.4).
    TooManyEvents,
    /// A batch item has `channels`; Pusher knows only `channel` there.
    ChannelsInBatch,
    /// A batch item has a `batch` of its own.
    NestedBatch,
    /// A batch sent to `/events`, or a single event sent to `/batch_events`.
    WrongEndpoint,
    /// It is for the deprecated `/channels/{channel}/events` (`pusher-protocol.md` 1.2).
    LegacyEndpoint,
    /// Its path becomes a trigger endpoint only when it is normalised (`threats.md` URI-02).
    DisguisedTarget,
    /// It has a `Content-Encoding`: usher never decompresses.
    ContentEncoding,
    /// Its `Content-Type` is not JSON in UTF-8.
    ContentType,
    /// Its query has parameters of a trigger's body (`pusher-protocol.md` 1.1).
    QueryParameters,
}

impl InexactReason {
    /// Its name in snake_case, for decisions and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::TrailingBytes => "trailing_bytes",
            Self::NotAnObject => "not_an_object",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::EscapedKey => "escaped_key",
            Self::UnknownKey => "unknown_key",
            Self::BadName => "bad_name",
            Self::NoData => "no_data",
            Self::NoChannel => "no_channel",
            Self::BothChannelKeys => "both_channel_keys",
            Self::BadChannel => "bad_channel",
            Self::BadChannels => "bad_channels",
            Self::DuplicateChannel => "duplicate_channel",
            Self::TooManyChannels => "too_many_channels",
            Self::BadSocketId => "bad_socket_id",
            Self::BadInfo => "bad_info",
            Self::BadBatch => "bad_batch",
            Self::TooManyEvents => "too_many_events",
            Self::ChannelsInBatch => "channels_in_batch",
            Self::NestedBatch => "nested_batch",
            Self::WrongEndpoint => "wrong_endpoint",
            Self::LegacyEndpoint => "legacy_endpoint",
            Self::DisguisedTarget => "disguised_target",
            Self::ContentEncoding => "content_encoding",
            Self::ContentType => "content_type",
            Self::QueryParameters => "query_parameters",
        }
    }
}

impl From<ObjectError> for InexactReason {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NotJson => Self::NotJson,
            ObjectError::TrailingBytes => Self::TrailingBytes,
            ObjectError::NotAnObject => Self::NotAnObject,
            ObjectError::TooDeep => Self::TooDeep,
            ObjectError::DuplicateKey => Self::DuplicateKey,
            ObjectError::EscapedKey => Self::EscapedKey,
        }
    }
}
