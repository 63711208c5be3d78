//! The strict pass: a body is read exactly when every reader must read it the same way. Anything else is an [`Oddity`].

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Endpoint, Event, List, Oddity, Parts, Trigger};
use crate::pusher::json::{self, MAX_DEPTH, Members};

/// Channels per trigger and events per batch that Pusher takes (`pusher-protocol.md` 1.4).
const MAX_CHANNELS: usize = 100;
const MAX_EVENTS: usize = 10;

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    BatchItem,
}

/// Reads `body` as a trigger of `endpoint`.
pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<Trigger<'_>, Oddity> {
    let text = std::str::from_utf8(body).map_err(|_| Oddity::NotUtf8)?;
    let members = Members::parse(text, MAX_DEPTH)?;
    match endpoint {
        Endpoint::Events => {
            let (event, list) = Fields::sort(&members, Place::Body)?.event()?;
            Ok(Trigger { events: vec![event], body: text, parts: list.map_or(Parts::Whole, Parts::Channels) })
        }
        Endpoint::Batch => batch(text, &members),
    }
}

fn batch<'a>(text: &'a str, members: &Members<'a>) -> Result<Trigger<'a>, Oddity> {
    let token = members.get("batch").ok_or(Oddity::WrongEndpoint)?.get();
    if members.iter().any(|(key, _)| key != "batch") {
        return Err(Oddity::UnknownKey);
    }
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(Oddity::BadBatch)?;
    if elements.len() > MAX_EVENTS {
        return Err(Oddity::TooManyEvents);
    }
    let events = elements.iter().map(|item| {
        // The object around it and the array are two levels.
        let (event, _) = Fields::sort(&Members::parse(item.get(), MAX_DEPTH - 2)?, Place::BatchItem)?.event()?;
        Ok(event)
    });
    Ok(Trigger { events: events.collect::<Result<_, Oddity>>()?, body: text, parts: Parts::Events(List { token, elements }) })
}

/// The tokens of an event, by their keys.
#[derive(Default)]
struct Fields<'a> {
    name: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    channels: Option<&'a RawValue>,
    socket_id: Option<&'a RawValue>,
    info: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn sort(members: &Members<'a>, place: Place) -> Result<Self, Oddity> {
        let mut fields = Self::default();
        for (key, value) in members.iter() {
            let field = match (key, place) {
                ("name", _) => &mut fields.name,
                ("data", _) => &mut fields.data,
                ("channel", _) => &mut fields.channel,
                ("channels", Place::Body) => &mut fields.channels,
                ("channels", Place::BatchItem) => return Err(Oddity::ChannelsInBatch),
                ("socket_id", _) => &mut fields.socket_id,
                ("info", _) => &mut fields.info,
                ("batch", Place::Body) => return Err(Oddity::WrongEndpoint),
                ("batch", Place::BatchItem) => return Err(Oddity::NestedBatch),
                _ => return Err(Oddity::UnknownKey),
            };
            *field = Some(value);
        }
        Ok(fields)
    }

    /// The event, and the array of its channels if it has one.
    fn event(self) -> Result<(Event<'a>, Option<List<'a>>), Oddity> {
        let name = self.name.and_then(name).ok_or(Oddity::BadName)?;
        let data = self.data.ok_or(Oddity::NoData)?;
        let (channels, list) = match (self.channel, self.channels) {
            (None, None) => return Err(Oddity::NoChannel),
            (Some(_), Some(_)) => return Err(Oddity::BothChannelKeys),
            (Some(channel), None) => (vec![self::name(channel).ok_or(Oddity::BadChannel)?], None),
            (None, Some(channels)) => {
                let (channels, list) = several(channels)?;
                (channels, Some(list))
            }
        };
        let excludes_socket = is_given(self.socket_id, Oddity::BadSocketId)?;
        let wants_info = is_given(self.info, Oddity::BadInfo)?;
        Ok((Event { name, channels, excludes_socket, wants_info, data }, list))
    }
}

/// The names in a `channels` array, and the array.
fn several(channels: &RawValue) -> Result<(Vec<Cow<'_, str>>, List<'_>), Oddity> {
    let token = channels.get();
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(Oddity::BadChannels)?;
    if elements.len() > MAX_CHANNELS {
        return Err(Oddity::TooManyChannels);
    }
    let names: Option<Vec<_>> = elements.iter().map(|element| name(element)).collect();
    let names = names.ok_or(Oddity::BadChannel)?;
    if json::any_twice(names.iter().map(|name| &**name)) {
        return Err(Oddity::DuplicateChannel);
    }
    Ok((names, List { token, elements }))
}

/// The text of a name. One with a NUL is none: a reader in C sees another one (`threats.md` JSON-10).
fn name(token: &RawValue) -> Option<Cow<'_, str>> {
    json::string(token.get()).filter(|name| !name.as_bytes().contains(&0))
}

/// Whether an optional string is present and decodes; null counts as absent.
fn is_given(token: Option<&RawValue>, otherwise: Oddity) -> Result<bool, Oddity> {
    match token.map(RawValue::get) {
        None | Some("null") => Ok(false),
        Some(text) if json::string(text).is_some() => Ok(true),
        Some(_) => Err(otherwise),
    }
}
