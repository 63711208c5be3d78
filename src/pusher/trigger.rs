//! Triggers: the bodies of `POST /apps/{id}/events` and `/batch_events`, read strictly or not at all.
//!
//! A body that is read *exactly* may lead to a drop. Any other is forwarded, and the lenient pass says which channels it may touch.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Which trigger endpoint a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /apps/{id}/events`: one event, one or several channels.
    Events,
    /// `POST /apps/{id}/batch_events`: several events, one channel each.
    Batch,
}

/// A trigger that was read exactly.
#[derive(Debug)]
pub struct Trigger<'a> {
    /// The events in their order; exactly one for [`Endpoint::Events`].
    pub events: Vec<Event<'a>>,
    // private: what `without` needs to rebuild the body
    _endpoint: Endpoint,
}

/// One event of a trigger.
#[derive(Debug)]
pub struct Event<'a> {
    /// The event's name, decoded.
    pub name: Cow<'a, str>,
    /// The channels in their order, none twice; at least one.
    pub channels: Vec<Cow<'a, str>>,
    /// Whether a `socket_id` excludes a connection (present and not null).
    pub excludes_socket: bool,
    /// Whether `info` asks for an answer with contents (present and not null).
    pub wants_info: bool,
    // private
    _data: &'a RawValue,
}

impl<'a> Event<'a> {
    /// The text of `data`, decoded from its JSON string. `None` if it is not a string or does not decode.
    #[must_use]
    pub fn data(&self) -> Option<Cow<'a, str>> {
        todo!()
    }
}

impl<'a> Trigger<'a> {
    /// Reads `body` exactly.
    ///
    /// # Errors
    /// [`Inexact`]: why it could not be read exactly, and what it may touch.
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Inexact> {
        let _ = (endpoint, body);
        todo!()
    }

    /// The body without the given (event, channel) pairs, everything that stays in its order and with its tokens as received.
    /// An event whose channels are all dropped is left out.
    #[must_use]
    pub fn without(&self, dropped: &[(usize, usize)]) -> Vec<u8> {
        let _ = dropped;
        todo!()
    }
}

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
    /// These channels.
    Channels(Vec<String>),
    /// Any channel of the app: it could not be told.
    App,
}

/// Why a request was not read exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oddity {
    /// Not JSON, or not UTF-8.
    NotJson,
}

impl Oddity {
    /// In snake_case, for decisions and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        "not_json"
    }
}
