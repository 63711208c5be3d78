//! Events of the backend: read as a whole, then published, so that a refused call has published nothing
//! (`pusher-protocol.md` 1.2 to 1.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::frame::Event;
use super::super::json;
use super::super::kind::Kind;
use super::super::session::{MAX_DATA, MAX_EVENT_NAME};
use super::super::socket_id::{SocketId, is_socket_id};
use super::occupancy::{Attributes, Info};
use super::refusal::Refusal;
use super::{Call, nothing};

/// Most channels of one event.
const MAX_CHANNELS: usize = 100;
/// Most events of one batch.
const MAX_BATCH: usize = 10;

/// An event with its channels, checked.
struct Publication {
    event: Event,
    data: Arc<str>,
    /// No channel twice.
    channels: Vec<(String, Kind)>,
    except: Option<SocketId>,
    info: Option<Info>,
}

/// The parameters of an event, their types still to be looked at. What else is in there is skipped.
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
    struct Told<'a> {
        channels: BTreeMap<&'a str, Attributes>,
    }
    let parameters: Parameters<'_> = object(call.body)?;
    let publication = parameters.read(parameters.several()?)?;
    publication.publish(call);
    match publication.info {
        Some(info) => Ok(json::text(&Told { channels: publication.attributes(call, info).collect() })),
        None => Ok(nothing()),
    }
}

/// `POST /batch_events`.
pub(super) fn batch(call: &Call<'_, '_>) -> Result<String, Refusal> {
    #[derive(Serialize)]
    struct Told {
        batch: Vec<Attributes>,
    }
    let Batch { batch } = object(call.body)?;
    let unreadable = Refusal::WrongType("batch", "an array of events");
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(batch.ok_or(Refusal::Missing("batch"))?.get()) else {
        return Err(unreadable);
    };
    if items.len() > MAX_BATCH {
        return Err(Refusal::LargeBatch(items.len()));
    }
    let items =
        items.iter().map(|item| json::object(item.get())).collect::<Option<Vec<Parameters<'_>>>>().ok_or(unreadable)?;
    let publications = items.iter().map(|item| item.read(vec![item.one()?])).collect::<Result<Vec<_>, _>>()?;
    publications.iter().for_each(|publication| publication.publish(call));
    if publications.iter().all(|publication| publication.info.is_none()) {
        return Ok(nothing());
    }
    // One object for each event, in its place.
    let told = |publication: &Publication| {
        let attributes = publication.info.and_then(|info| publication.attributes(call, info).next());
        attributes.map(|(_, attributes)| attributes).unwrap_or_default()
    };
    Ok(json::text(&Told { batch: publications.iter().map(told).collect() }))
}

impl Parameters<'_> {
    /// The only channel of a batch's event.
    fn one(&self) -> Result<String, Refusal> {
        string("channel", self.channel.ok_or(Refusal::Missing("channel"))?)
    }

    /// The channels of an event.
    fn several(&self) -> Result<Vec<String>, Refusal> {
        let Some(channels) = self.channels else { return Ok(vec![self.one()?]) };
        let unreadable = || Refusal::WrongType("channels", "an array of strings");
        let channels: Vec<&RawValue> = serde_json::from_str(channels.get()).map_err(|_| unreadable())?;
        let channels = channels.into_iter().map(json::string).collect::<Option<Vec<_>>>().ok_or_else(unreadable)?;
        match channels.len() {
            0 => Err(Refusal::Missing("channels")),
            count if count > MAX_CHANNELS => Err(Refusal::ManyChannels(count)),
            _ => Ok(channels),
        }
    }

    /// Checks everything else.
    fn read(&self, names: Vec<String>) -> Result<Publication, Refusal> {
        let name = string("name", self.name.ok_or(Refusal::Missing("name"))?)?;
        let data = string("data", self.data.ok_or(Refusal::Missing("data"))?)?;
        if name.chars().count() > MAX_EVENT_NAME {
            return Err(Refusal::LongName);
        }
        if data.len() > MAX_DATA {
            return Err(Refusal::LargeData);
        }
        let mut channels: Vec<(String, Kind)> = Vec::with_capacity(names.len());
        for name in names {
            let Some(kind) = Kind::of(&name) else { return Err(Refusal::InvalidChannel(name)) };
            if !channels.iter().any(|(known, _)| *known == name) {
                channels.push((name, kind));
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
        for (name, kind) in &self.channels {
            call.broker_app.channels.publish(name, *kind, &self.event, &self.data, self.except, call.now);
        }
    }

    fn attributes<'a>(&'a self, call: &'a Call<'_, '_>, info: Info) -> impl Iterator<Item = (&'a str, Attributes)> {
        self.channels.iter().map(move |(name, kind)| {
            (name.as_str(), info.attributes(*kind, call.broker_app.channels.snapshot(name).counts))
        })
    }
}

/// The object that a body is; none is an empty one.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| Refusal::NotAnObject)?;
    json::object(if text.is_empty() { "{}" } else { text }).ok_or(Refusal::NotAnObject)
}

fn string(parameter: &'static str, value: &RawValue) -> Result<String, Refusal> {
    json::string(value).ok_or(Refusal::WrongType(parameter, "a string"))
}
