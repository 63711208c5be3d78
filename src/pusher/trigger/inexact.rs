//! Bodies that were not read exactly: why not, and what they may touch.

use crate::pusher::json::Fault;

/// A body that was not read exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexact {
    /// Why.
    pub oddity: Oddity,
    /// Which channels it may touch.
    pub reach: Reach,
}

/// What an inexact request may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These channels, none twice.
    Channels(Vec<String>),
    /// Any channel of the app: it could not be told.
    App,
}

/// Why a request was not read exactly (`threats.md` 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
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
    /// A key stands twice in one object.
    DuplicateKey,
    /// A key is spelt with an escape.
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
    /// A channel stands twice in `channels`.
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
}

impl Oddity {
    /// In snake_case, for decisions and metrics.
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
        }
    }
}

impl From<Fault> for Oddity {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotJson => Self::NotJson,
            Fault::TrailingBytes => Self::TrailingBytes,
            Fault::NotAnObject => Self::NotAnObject,
            Fault::TooDeep => Self::TooDeep,
            Fault::DuplicateKey => Self::DuplicateKey,
            Fault::EscapedKey => Self::EscapedKey,
        }
    }
}
