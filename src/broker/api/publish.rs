//! Events of the backend (`pusher-protocol.md` 1.2 to 1.4). A call is parsed completely before anything is published,
//! so that a refused call has published nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::channel_type::ChannelType;
use super::super::frame::Event;
use super::super::json;
use super::super::session::{MAX_DATA, MAX_EVENT_NAME};
use super::super::socket_id::{SocketId, is_socket_id};
use super::occupancy::{Attributes, Info};
use super::refusal::Refusal;
use super::{Call, empty_object};

/// The largest number of channels of one event.
const MAX_CHANNELS: usize = 100;
/// The largest number of events of one batch.
const MAX_BATCH: usize = 10;

/// A valid event with its channels.
struct Publication {
    event: Event,
    data: Arc<str>,
    /// Without duplicates.
    channels: Vec<(String, ChannelType)>,
    except: Option<SocketId>,
    info: Option<Info>,
}

/// The parameters of an event, before their types are checked. Other fields are ignored.
#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channels: Option<&'a RawValue>,
    #[serde(borrow, default)]
    socket_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    batch: Option<&'a RawValue>,
}

/// `POST /events`.
pub(super) fn event(call: &Call<'_, '_>) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Answer<'a> {
        channels: BTreeMap<&'a str, Attributes>,
    }
    let parameters: Parameters<'_> = object(call.body)?;
    let publication = parameters.parse(parameters.all_channels()?)?;
    publication.publish(call);
    match publication.info {
        Some(info) => Ok(json::text(&Answer { channels: publication.attributes(call, info).collect() })),
        None => Ok(empty_object()),
    }
}

/// `POST /batch_events`.
pub(super) fn batch(call: &Call<'_, '_>) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Answer {
        batch: Vec<Attributes>,
    }
    let Batch { batch } = object(call.body)?;
    let wrong_type = Refusal::WrongType("batch", "an array of events");
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(batch.ok_or(Refusal::Missing("batch"))?.get()) else {
        return Err(wrong_type);
    };
    if items.len() > MAX_BATCH {
        return Err(Refusal::LargeBatch(items.len()));
    }
    let items =
        items.iter().map(|item| json::object(item.get())).collect::<Option<Vec<Parameters<'_>>>>().ok_or(wrong_type)?;
    let publications =
        items.iter().map(|item| item.parse(vec![item.single_channel()?])).collect::<Result<Vec<_>, _>>()?;
    publications.iter().for_each(|publication| publication.publish(call));
    if publications.iter().all(|publication| publication.info.is_none()) {
        return Ok(empty_object());
    }
    // One object for each event, in order.
    let attributes = |publication: &Publication| {
        let attributes = publication.info.and_then(|info| publication.attributes(call, info).next());
        attributes.map(|(_, attributes)| attributes).unwrap_or_default()
    };
    Ok(json::text(&Answer { batch: publications.iter().map(attributes).collect() }))
}

impl Parameters<'_> {
    /// The channel of an event in a batch.
    fn single_channel(&self) -> Result<String, Refusal> {
        string("channel", self.channel.ok_or(Refusal::Missing("channel"))?)
    }

    /// The channels of an event.
    fn all_channels(&self) -> Result<Vec<String>, Refusal> {
        let Some(channels) = self.channels else { return Ok(vec![self.single_channel()?]) };
        let wrong_type = || Refusal::WrongType("channels", "an array of strings");
        let channels: Vec<&RawValue> = serde_json::from_str(channels.get()).map_err(|_| wrong_type())?;
        let channels = channels.into_iter().map(json::string).collect::<Option<Vec<_>>>().ok_or_else(wrong_type)?;
        match channels.len() {
            0 => Err(Refusal::Missing("channels")),
            count if count > MAX_CHANNELS => Err(Refusal::ManyChannels(count)),
            _ => Ok(channels),
        }
    }

    /// Checks the other parameters.
    fn parse(&self, names: Vec<String>) -> Result<Publication, Refusal> {
        let name = string("name", self.name.ok_or(Refusal::Missing("name"))?)?;
        let data = string("data", self.data.ok_or(Refusal::Missing("data"))?)?;
        if name.chars().count() > MAX_EVENT_NAME {
            return Err(Refusal::LongName);
        }
        if data.len() > MAX_DATA {
            return Err(Refusal::LargeData);
        }
        let mut channels: Vec<(String, ChannelType)> = Vec::with_capacity(names.len());
        for name in names {
            let Some(channel_type) = ChannelType::of(&name) else { return Err(Refusal::InvalidChannel(name)) };
            if !channels.iter().any(|(known, _)| *known == name) {
                channels.push((name, channel_type));
            }
        }
        let except = match self.socket_id.map(|id| string("socket_id", id)).transpose()? {
            None => None,
            Some(id) if is_socket_id(&id) => SocketId::parse(&id),
            Some(id) => return Err(Refusal::InvalidSocket(id)),
        };
        let info = self.info.map(|info| string("info", info)).transpose()?.map(|info| Info::parse(&info));
        Ok(Publication { event: Event::new(&name, &data), data: data.into(), channels, except, info })
    }
}

impl Publication {
    fn publish(&self, call: &Call<'_, '_>) {
        for (name, channel_type) in &self.channels {
            call.broker_app.channels.publish(name, *channel_type, &self.event, &self.data, self.except, call.now);
        }
    }

    fn attributes<'a>(&'a self, call: &'a Call<'_, '_>, info: Info) -> impl Iterator<Item = (&'a str, Attributes)> {
        self.channels.iter().map(move |(name, channel_type)| {
            (name.as_str(), info.attributes(*channel_type, call.broker_app.channels.snapshot(name).counts))
        })
    }
}

/// Parses a body as an object. An empty body is an empty object.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::NotAnObject)?;
    json::object(if text.is_empty() { "{}" } else { text }).ok_or(Refusal::NotAnObject)
}

fn string(parameter: &'static str, value: &RawValue) -> Result<String, Refusal> {
    json::string(value).ok_or(Refusal::WrongType(parameter, "a string"))
}
