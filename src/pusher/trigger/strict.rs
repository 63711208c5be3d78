//! The strict pass: it reads only bodies that every reader has to read the same way. For any other it returns an
//! [`InexactReason`].

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{ArrayTokens, BodyLayout, Endpoint, Event, InexactReason, Trigger};
use crate::pusher::json::{self, Members, Refused, Scanner};

/// The most channels of a trigger and events of a batch that Pusher accepts (`pusher-protocol.md` 1.4).
const MAX_CHANNELS: usize = 100;
const MAX_EVENTS: usize = 10;

/// Decoded names of channels; nearly always one.
type Names<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// What contains the fields of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Body,
    BatchItem,
}

/// Reads `body` as a trigger of `endpoint`.
pub(super) fn read(endpoint: Endpoint, body: &[u8]) -> Result<Trigger<'_>, InexactReason> {
    let text = std::str::from_utf8(body).map_err(|_| InexactReason::NotUtf8)?;
    match endpoint {
        Endpoint::Events => {
            let (event, list) = Fields::read(text, Container::Body)?.event()?;
            Ok(Trigger {
                events: SmallVec::from_buf([event]),
                body: text,
                layout: list.map_or(BodyLayout::SingleChannel, BodyLayout::Channels),
            })
        }
        Endpoint::Batch => batch(text),
    }
}

fn batch(text: &str) -> Result<Trigger<'_>, InexactReason> {
    let members = Members::parse(text)?;
    let token = members.get("batch").ok_or(InexactReason::WrongEndpoint)?;
    if members.iter().len() > 1 {
        return Err(InexactReason::UnknownKey);
    }
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(InexactReason::BadBatch)?;
    if elements.len() > MAX_EVENTS {
        return Err(InexactReason::TooManyEvents);
    }
    let mut events = SmallVec::new();
    for item in &elements {
        // Its depth was checked with that of the whole body.
        let (event, _) = Fields::read(item, Container::BatchItem)?.event()?;
        events.push(event);
    }
    Ok(Trigger { events, body: text, layout: BodyLayout::Batch(ArrayTokens { token, elements }) })
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
    /// The fields of the event in `text`.
    fn read(text: &'a str, container: Container) -> Result<Self, InexactReason> {
        match Self::sort(text, container) {
            Ok(Some(fields)) => Ok(fields),
            Ok(None) | Err(Refused) => Err(reason(text, container)),
        }
    }

    /// `None` if a key does not belong into this container or is there twice.
    fn sort(text: &'a str, container: Container) -> Result<Option<Self>, Refused> {
        let mut fields = Self::default();
        let mut scanner = Scanner::object(text);
        while let Some((key, token)) = scanner.member()? {
            match fields.field(key, container) {
                Some(field @ None) => *field = Some(token),
                Some(Some(_)) | None => return Ok(None),
            }
        }
        Ok(Some(fields))
    }

    /// The field of `key`.
    fn field(&mut self, key: &str, container: Container) -> Option<&mut Option<&'a str>> {
        match key {
            "name" => Some(&mut self.name),
            "data" => Some(&mut self.data),
            "channel" => Some(&mut self.channel),
            "channels" if container == Container::Body => Some(&mut self.channels),
            "socket_id" => Some(&mut self.socket_id),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }

    /// The event, and the array of its channels if it has one.
    fn event(self) -> Result<(Event<'a>, Option<ArrayTokens<'a>>), InexactReason> {
        let name = self.name.and_then(name).ok_or(InexactReason::BadName)?;
        let data = self.data.ok_or(InexactReason::NoData)?;
        let (channels, list) = match (self.channel, self.channels) {
            (None, None) => return Err(InexactReason::NoChannel),
            (Some(_), Some(_)) => return Err(InexactReason::BothChannelKeys),
            (Some(channel), None) => {
                (SmallVec::from_buf([self::name(channel).ok_or(InexactReason::BadChannel)?]), None)
            }
            (None, Some(channels)) => {
                let (channels, list) = channel_names(channels)?;
                (channels, Some(list))
            }
        };
        let socket_id = optional(self.socket_id, InexactReason::BadSocketId)?;
        let wants_info = optional(self.info, InexactReason::BadInfo)?.is_some();
        Ok((Event { name, channels, socket_id, wants_info, data }, list))
    }
}

/// Why the fields of `text` were not read. An error of the object as a whole takes precedence over an unexpected key.
#[cold]
#[inline(never)]
fn reason(text: &str, container: Container) -> InexactReason {
    let members = match Members::parse(text) {
        Ok(members) => members,
        Err(error) => return error.into(),
    };
    let unexpected = members.iter().map(|(key, _)| key).find(|key| Fields::default().field(key, container).is_none());
    match (unexpected, container) {
        (Some("channels"), _) => InexactReason::ChannelsInBatch,
        (Some("batch"), Container::Body) => InexactReason::WrongEndpoint,
        (Some("batch"), Container::BatchItem) => InexactReason::NestedBatch,
        _ => InexactReason::UnknownKey,
    }
}

/// The names in the `channels` array in `token`, and the array.
fn channel_names(token: &str) -> Result<(Names<'_>, ArrayTokens<'_>), InexactReason> {
    let elements = json::elements(token).filter(|elements| !elements.is_empty()).ok_or(InexactReason::BadChannels)?;
    if elements.len() > MAX_CHANNELS {
        return Err(InexactReason::TooManyChannels);
    }
    let mut names = Names::with_capacity(elements.len());
    for element in &elements {
        names.push(name(element).ok_or(InexactReason::BadChannel)?);
    }
    if json::has_duplicates(names.iter().map(|name| &**name)) {
        return Err(InexactReason::DuplicateChannel);
    }
    Ok((names, ArrayTokens { token, elements }))
}

/// The text of a name. `None` also for a name with a NUL, which JSON has only as an escape: a reader in C takes it for
/// another name (`threats.md` JSON-10).
fn name(token: &str) -> Option<Cow<'_, str>> {
    json::string(token).filter(|name| matches!(name, Cow::Borrowed(_)) || !name.contains('\0'))
}

/// An optional string, decoded; null counts as absent. `otherwise` if it is no string that decodes.
fn optional(token: Option<&str>, otherwise: InexactReason) -> Result<Option<Cow<'_, str>>, InexactReason> {
    match token {
        None | Some("null") => Ok(None),
        Some(token) => json::string(token).map(Some).ok_or(otherwise),
    }
}
