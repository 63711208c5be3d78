//! Triggers: the bodies of `POST /apps/{id}/events` and `/batch_events`, read strictly or not at all.
//!
//! A body that is read *exactly* may lead to a drop. Any other is forwarded, and the lenient pass says which channels
//! it may touch.

#[cfg(any(test, fuzzing))]
pub mod agreement;
mod inexact;
mod lenient;
mod strict;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use smallvec::SmallVec;

pub use inexact::{Inexact, Oddity, Reach};

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
    parts: Parts<'a>,
}

/// What can be taken out of a body.
#[derive(Debug)]
enum Parts<'a> {
    /// The only channel, given as `channel`: nothing.
    Whole,
    /// Elements of the `channels` array of the only event.
    Channels(List<'a>),
    /// Elements of the `batch` array.
    Events(List<'a>),
}

/// An array of the body: its own token and those of its elements.
#[derive(Debug)]
struct List<'a> {
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
    /// Whether a `socket_id` excludes a connection (present and not null), or the trigger as a whole may be heard by
    /// some alone.
    pub excludes_socket: bool,
    /// Whether `info` asks for an answer with contents (present and not null).
    pub wants_info: bool,
    /// The token of `data`.
    data: &'a str,
}

impl<'a> Event<'a> {
    /// The text of `data`, decoded from its JSON string, in `room` if it is of use. `None` if it is not a string or
    /// does not decode.
    #[must_use]
    pub fn data<'r>(&self, room: &'r mut [u8]) -> Option<Cow<'r, str>>
    where
        'a: 'r,
    {
        json::string_in(self.data, room)
    }
}

impl<'a> Trigger<'a> {
    /// Reads `body` exactly.
    ///
    /// # Errors
    /// [`Inexact`]: why it could not be read exactly, and what it may touch.
    pub fn parse(endpoint: Endpoint, body: &'a [u8]) -> Result<Self, Inexact> {
        strict::read(endpoint, body).map_err(|oddity| Inexact { oddity, reach: lenient::reach(body) })
    }

    /// The same trigger, if it cannot be told whether all subscribers hear it.
    #[must_use]
    pub fn heard_by_some(mut self) -> Self {
        self.events.iter_mut().for_each(|event| event.excludes_socket = true);
        self
    }

    /// The body without the given (event, channel) pairs, everything that stays in its order and with its tokens as
    /// received. An event whose channels are all dropped is left out; where nothing stays, the body is empty, for there
    /// is no such trigger.
    #[must_use]
    pub fn without(&self, dropped: &[(usize, usize)]) -> Vec<u8> {
        match &self.parts {
            Parts::Whole if dropped.contains(&(0, 0)) => Vec::new(),
            Parts::Whole => self.body.as_bytes().to_vec(),
            Parts::Channels(list) => list.keep(self.body, |channel| !dropped.contains(&(0, channel))),
            Parts::Events(list) => list.keep(self.body, |event| !dropped.contains(&(event, 0))),
        }
    }
}

impl List<'_> {
    /// `body` with only those elements of this array that `stays` says.
    fn keep(&self, body: &str, stays: impl Fn(usize) -> bool) -> Vec<u8> {
        let kept: Vec<&str> =
            self.elements.iter().enumerate().filter(|(index, _)| stays(*index)).map(|(_, element)| *element).collect();
        if kept.is_empty() {
            return Vec::new();
        }
        if kept.len() == self.elements.len() {
            return body.as_bytes().to_vec();
        }
        // The token was borrowed from the body, so their addresses differ by where it stands there.
        let start = self.token.as_ptr().addr() - body.as_ptr().addr();
        let (before, after) = (&body[..start], &body[start + self.token.len()..]);
        [before, "[", &kept.join(","), "]", after].concat().into_bytes()
    }
}
