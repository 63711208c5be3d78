//! The strict pass: a body is read exactly when every reader must read it the same way. Anything else is an [`Oddity`].

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Endpoint, Event, List, Oddity, Parts, Trigger};
use crate::pusher::json::{self, Members, Refused, Scanner};

/// Channels per trigger and events per batch that Pusher takes (`pusher-protocol.md` 1.4).
const MAX_CHANNELS: usize = 100;
const MAX_EVENTS: usize = 10;

/// Decoded names of channels: of one, nearly always.
type Names<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    BatchItem,
}

/// Reads `body` as a trigger of `endpoint`.
pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<Trigger<'_>, Oddity> {
    let text = std::str::from_utf8(body).map_err(|_| Oddity::NotUtf8)?;
    match endpoint {
        Endpoint::Events => {
            let (event, list) = Fields::read(text, Place::Body)?.event()?;
            Ok(Trigger {
                events: SmallVec::from_buf([event]),
                body: text,
                parts: list.map_or(Parts::Whole, Parts::Channels),
            })
        }
        Endpoint::Batch => batch(text),
    }
}

fn batch(text: &str) -> Result<Trigger<'_>, Oddity> {
    let members = Members::parse(text)?;
    let token = members.get("batch").ok_or(Oddity::WrongEndpoint)?;
    if members.iter().len() > 1 {
        return Err(Oddity::UnknownKey);
    }
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(Oddity::BadBatch)?;
    if elements.len() > MAX_EVENTS {
        return Err(Oddity::TooManyEvents);
    }
    let mut events = SmallVec::new();
    for item in &elements {
        // Its depth was looked at with that of the whole body.
        let (event, _) = Fields::read(item, Place::BatchItem)?.event()?;
        events.push(event);
    }
    Ok(Trigger { events, body: text, parts: Parts::Events(List { token, elements }) })
}

/// The tokens of an event, by their keys.
#[derive(Default)]
struct Fields<'a> {
    name: Option<&'a str>,
    data: Option<&'a str>,
    channel: Option<&'a str>,
    channels: Option<&'a str>,
    socket_id: Option<&'a str>,
    info: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// The fields of the event that `text` is.
    fn read(text: &'a str, place: Place) -> Result<Self, Oddity> {
        match Self::sort(text, place) {
            Ok(Some(fields)) => Ok(fields),
            Ok(None) | Err(Refused) => Err(oddity(text, place)),
        }
    }

    /// `None` where a key is not for this place or stands twice.
    fn sort(text: &'a str, place: Place) -> Result<Option<Self>, Refused> {
        let mut fields = Self::default();
        let mut scanner = Scanner::object(text);
        while let Some((key, token)) = scanner.member()? {
            match fields.field(key, place) {
                Some(field @ None) => *field = Some(token),
                Some(Some(_)) | None => return Ok(None),
            }
        }
        Ok(Some(fields))
    }

    /// Where the value of `key` belongs.
    fn field(&mut self, key: &str, place: Place) -> Option<&mut Option<&'a str>> {
        match key {
            "name" => Some(&mut self.name),
            "data" => Some(&mut self.data),
            "channel" => Some(&mut self.channel),
            "channels" if place == Place::Body => Some(&mut self.channels),
            "socket_id" => Some(&mut self.socket_id),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }

    /// The event, and the array of its channels if it has one.
    fn event(self) -> Result<(Event<'a>, Option<List<'a>>), Oddity> {
        let name = self.name.and_then(name).ok_or(Oddity::BadName)?;
        let data = self.data.ok_or(Oddity::NoData)?;
        let (channels, list) = match (self.channel, self.channels) {
            (None, None) => return Err(Oddity::NoChannel),
            (Some(_), Some(_)) => return Err(Oddity::BothChannelKeys),
            (Some(channel), None) => (SmallVec::from_buf([self::name(channel).ok_or(Oddity::BadChannel)?]), None),
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

/// Why the fields of `text` were not read. A fault of the whole counts before a key that does not belong.
#[cold]
#[inline(never)]
fn oddity(text: &str, place: Place) -> Oddity {
    let members = match Members::parse(text) {
        Ok(members) => members,
        Err(fault) => return fault.into(),
    };
    let stray = members.iter().map(|(key, _)| key).find(|key| Fields::default().field(key, place).is_none());
    match (stray, place) {
        (Some("channels"), _) => Oddity::ChannelsInBatch,
        (Some("batch"), Place::Body) => Oddity::WrongEndpoint,
        (Some("batch"), Place::BatchItem) => Oddity::NestedBatch,
        _ => Oddity::UnknownKey,
    }
}

/// The names in the `channels` array that `token` is, and the array.
fn several(token: &str) -> Result<(Names<'_>, List<'_>), Oddity> {
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(Oddity::BadChannels)?;
    if elements.len() > MAX_CHANNELS {
        return Err(Oddity::TooManyChannels);
    }
    let mut names = Names::with_capacity(elements.len());
    for element in &elements {
        names.push(name(element).ok_or(Oddity::BadChannel)?);
    }
    if json::any_twice(names.iter().map(|name| &**name)) {
        return Err(Oddity::DuplicateChannel);
    }
    Ok((names, List { token, elements }))
}

/// The text of a name. One with a NUL, which JSON has only in escapes, is none: a reader in C sees another one
/// (`threats.md` JSON-10).
fn name(token: &str) -> Option<Cow<'_, str>> {
    json::string(token).filter(|name| matches!(name, Cow::Borrowed(_)) || !name.contains('\0'))
}

/// Whether an optional string is present and decodes; null counts as absent.
fn is_given(token: Option<&str>, otherwise: Oddity) -> Result<bool, Oddity> {
    match token {
        None | Some("null") => Ok(false),
        Some(text) if json::string(text).is_some() => Ok(true),
        Some(_) => Err(otherwise),
    }
}
