//! Triggers: the bodies of `POST /apps/{id}/events` and `/batch_events`, read strictly or not at all.
//!
//! Only a trigger whose body is read *exactly* may be dropped. Any other is forwarded, and the lenient pass determines
//! which channels it may affect.

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod inexact;
mod lenient;
mod strict;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use smallvec::SmallVec;

pub use inexact::{AffectedChannels, Inexact, InexactReason};

use super::json;

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
    pub events: SmallVec<[Event<'a>; 1]>,
    body: &'a str,
    layout: BodyLayout<'a>,
}

/// What can be removed from a body.
#[derive(Debug)]
enum BodyLayout<'a> {
    /// One channel, given as `channel`: nothing can be removed.
    SingleChannel,
    /// Elements of the `channels` array of the only event.
    Channels(ArrayTokens<'a>),
    /// Elements of the `batch` array.
    Batch(ArrayTokens<'a>),
}

/// An array of the body: its own token and those of its elements.
#[derive(Debug)]
struct ArrayTokens<'a> {
    token: &'a str,
    elements: SmallVec<[&'a str; 1]>,
}

/// One event of a trigger.
#[derive(Debug)]
pub struct Event<'a> {
    /// The event's name, decoded.
    pub name: Cow<'a, str>,
    /// The channels in their order, none twice; at least one. They may be outside Pusher's set of characters: see
    /// [`super::is_valid_name`].
    pub channels: SmallVec<[Cow<'a, str>; 1]>,
    /// The `socket_id` of a connection that does not receive it, decoded (present and not null).
    pub socket_id: Option<Cow<'a, str>>,
    /// Whether `info` asks for attributes of the channels in the response (present and not null).
    pub wants_info: bool,
    /// The token of `data`.
    data: &'a str,
}

impl<'a> Event<'a> {
    /// The JSON token of `data`.
    #[must_use]
    pub const fn data_token(&self) -> &'a str {
        self.data
    }

    /// The text of `data`, decoded from its JSON string, into `buffer` where it fits. `None` if `data` is not a string
    /// or does not decode.
    #[must_use]
    pub fn data<'r>(&self, buffer: &'r mut [u8]) -> Option<Cow<'r, str>>
    where
        'a: 'r,
    {
        json::string_into(self.data, buffer)
    }
}

impl<'a> Trigger<'a> {
    /// Reads `body` exactly.
    ///
    /// # Errors
    /// [`Inexact`]: why it was not read exactly, and which channels it may affect.
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Inexact> {
        strict::read(endpoint, body).map_err(|reason| Inexact { reason, affected: lenient::affected(body) })
    }

    /// The body without the given pairs of an event's and a channel's index. Everything else keeps its order, and its
    /// tokens as received. An event whose channels are all dropped is removed. Where nothing remains, the result is
    /// empty: a trigger without events does not exist.
    #[must_use]
    pub fn without(&self, dropped: &[(usize, usize)]) -> Vec<u8> {
        match &self.layout {
            BodyLayout::SingleChannel if dropped.contains(&(0, 0)) => Vec::new(),
            BodyLayout::SingleChannel => self.body.as_bytes().to_vec(),
            BodyLayout::Channels(list) => list.keep(self.body, |channel| !dropped.contains(&(0, channel))),
            BodyLayout::Batch(list) => list.keep(self.body, |event| !dropped.contains(&(event, 0))),
        }
    }
}

impl ArrayTokens<'_> {
    /// `body` with only the elements of this array whose index `stays` accepts.
    fn keep(&self, body: &str, stays: impl Fn(usize) -> bool) -> Vec<u8> {
        let kept: Vec<&str> =
            self.elements.iter().enumerate().filter(|(index, _)| stays(*index)).map(|(_, element)| *element).collect();
        if kept.is_empty() {
            return Vec::new();
        }
        if kept.len() == self.elements.len() {
            return body.as_bytes().to_vec();
        }
        // The token is borrowed from the body, so the difference of their addresses is its offset there.
        let start = self.token.as_ptr().addr() - body.as_ptr().addr();
        let (before, after) = (&body[..start], &body[start + self.token.len()..]);
        [before, "[", &kept.join(","), "]", after].concat().into_bytes()
    }
}
