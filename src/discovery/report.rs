//! What was discovered, in the form of `GET /discovery`. Nothing in it is a value of an event, but for the members of an
//! envelope that tell its kinds apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that was discovered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// The families, the most frequent first.
    pub families: Vec<FamilyReport>,
    /// One channel in so many is followed at present.
    pub one_in: u64,
    /// Events that were looked at and belong to no family that is listed, since there are too many.
    pub left_out: u64,
    /// Events that were not looked at, since their data is too long.
    pub too_long: u64,
}

/// Events of one name on channels whose names have one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyReport {
    /// The app's id.
    pub app: String,
    /// The event's name; `{…}` stands for what varies.
    pub event: String,
    /// The channel's name, likewise.
    pub channel: String,
    /// What the members have in common that tell kinds of the event apart: pointers and values.
    #[serde(rename = "where")]
    pub kinds: BTreeMap<String, String>,
    /// Events, estimated.
    pub count: u64,
    /// Events that were looked at.
    pub sampled: u64,
    /// Channels that were followed.
    pub channels: u64,
    /// Events that were compared with the one before on their channel.
    pub compared: u64,
    /// Events whose data was no JSON object.
    pub unstructured: u64,
    /// Whether the deliveries are known.
    pub audience_known: bool,
    /// The pointers of their data.
    pub pointers: Vec<PointerReport>,
    /// What changed from one event to the next.
    pub changes: Vec<ChangeReport>,
}

/// A pointer into the data of a family's events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerReport {
    /// The pointer.
    pub pointer: String,
    /// Whether this is about what stands before the query of the address there.
    pub before_query: bool,
    /// What its values look like, the most special first: `uuid`, `time`, `address`, `id`, `string`, `number`,
    /// `boolean`, `null`, `list`, `object`.
    pub types: Vec<String>,
    /// In how many of the events it has a value.
    pub present: u64,
    /// In how many of those that were compared it had changed.
    pub changed: u64,
    /// How many different values it had.
    pub values: u64,
    /// Whether it may have had more.
    pub more_values: bool,
}

/// Events in which the same pointers changed, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// Their indices.
    pub pointers: Vec<usize>,
    /// Whether something changed that has no pointer of its own.
    pub elsewhere: bool,
    /// How many events.
    pub count: u64,
    /// The calls that they took, estimated.
    pub calls: u64,
    /// The deliveries to subscribers that they caused, estimated, where those are known.
    pub deliveries: u64,
}
