//! A trigger's record, as the operator's listener sends it (docs/endpoints.md). Fields of other versions are ignored,
//! missing ones are empty.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct Trigger {
    pub(in crate::command) id: String,
    pub(in crate::command) time: String,
    pub(in crate::command) app: String,
    pub(in crate::command) caller: String,
    pub(in crate::command) method: String,
    pub(in crate::command) path: String,
    pub(in crate::command) size: u64,
    pub(in crate::command) decision: String,
    pub(in crate::command) reason: String,
    pub(in crate::command) why: String,
    pub(in crate::command) inexact: Option<String>,
    pub(in crate::command) events: Vec<Event>,
    pub(in crate::command) more_events: u64,
    pub(in crate::command) rules: Vec<Finding>,
    pub(in crate::command) more_rules: u64,
    pub(in crate::command) not_matched: Vec<NotMatched>,
    pub(in crate::command) upstream: Option<Upstream>,
    pub(in crate::command) answer: Answer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct Event {
    pub(in crate::command) event: String,
    pub(in crate::command) channels: Vec<String>,
    pub(in crate::command) more_channels: u64,
    pub(in crate::command) socket_id: bool,
    pub(in crate::command) info: bool,
    /// A JSON token of any depth: it is shown, not read.
    pub(in crate::command) data: Option<Box<RawValue>>,
    pub(in crate::command) data_size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct Finding {
    pub(in crate::command) rule: String,
    pub(in crate::command) event: String,
    pub(in crate::command) channel: String,
    pub(in crate::command) decision: String,
    pub(in crate::command) reason: String,
    pub(in crate::command) why: String,
    pub(in crate::command) assignment: Option<Assignment>,
    pub(in crate::command) before: Option<Assignment>,
    pub(in crate::command) known_since: Option<String>,
    pub(in crate::command) differs: bool,
}

#[derive(Debug, Deserialize)]
pub(in crate::command) struct Assignment {
    pub(in crate::command) identity: Pointer,
    #[serde(default)]
    pub(in crate::command) context: Vec<Pointer>,
}

#[derive(Debug, Deserialize)]
pub(in crate::command) struct Pointer {
    pub(in crate::command) pointer: String,
    pub(in crate::command) value: Box<RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct NotMatched {
    pub(in crate::command) rule: String,
    pub(in crate::command) event: String,
    pub(in crate::command) channel: String,
    pub(in crate::command) why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct Upstream {
    pub(in crate::command) sent: String,
    pub(in crate::command) status: Option<u16>,
    pub(in crate::command) took_ms: f64,
    pub(in crate::command) retries: u64,
    pub(in crate::command) error: Option<String>,
    pub(in crate::command) outcome: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::command) struct Answer {
    pub(in crate::command) status: u16,
    pub(in crate::command) took_ms: f64,
}
