//! A trigger's record, as the operator's listener sends it (docs/endpoints.md). Fields of other versions are ignored,
//! missing ones are empty.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Trigger {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) app: String,
    pub(super) caller: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) decision: String,
    pub(super) reason: String,
    pub(super) why: String,
    pub(super) inexact: Option<String>,
    pub(super) events: Vec<Event>,
    pub(super) more_events: u64,
    pub(super) rules: Vec<Finding>,
    pub(super) more_rules: u64,
    pub(super) not_matched: Vec<NotMatched>,
    pub(super) upstream: Option<Upstream>,
    pub(super) answer: Answer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) event: String,
    pub(super) channels: Vec<String>,
    pub(super) more_channels: u64,
    pub(super) socket_id: bool,
    pub(super) info: bool,
    /// A JSON token of any depth: it is shown, not read.
    pub(super) data: Option<Box<RawValue>>,
    pub(super) data_size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Finding {
    pub(super) rule: String,
    pub(super) event: String,
    pub(super) channel: String,
    pub(super) decision: String,
    pub(super) reason: String,
    pub(super) why: String,
    pub(super) assignment: Option<Assignment>,
    pub(super) before: Option<Assignment>,
    pub(super) known_since: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Assignment {
    pub(super) identity: Pointer,
    #[serde(default)]
    pub(super) context: Vec<Pointer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pointer {
    pub(super) pointer: String,
    pub(super) value: Box<RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NotMatched {
    pub(super) rule: String,
    pub(super) event: String,
    pub(super) channel: String,
    pub(super) why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) sent: String,
    pub(super) status: Option<u16>,
    pub(super) took_ms: f64,
    pub(super) retries: u64,
    pub(super) error: Option<String>,
    pub(super) outcome: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) took_ms: f64,
}
