//! The last decisions, for the operator: which announcement was forwarded or dropped, and why.

use crate::clock::Moment;
use crate::metrics::Decision;

/// One decision about one event on one channel.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// The app's id.
    pub app: std::sync::Arc<str>,
    /// The rule's name; empty when the request could not be read exactly.
    pub rule: std::sync::Arc<str>,
    /// The channel; `*` when it could not be told.
    pub channel: Box<str>,
    /// The identity's JSON token, if it was read.
    pub identity: Option<Box<str>>,
    /// What was decided.
    pub decision: Decision,
    /// The reason in words.
    pub reason: std::borrow::Cow<'static, str>,
}

/// A bounded log of the last decisions.
#[derive(Debug)]
pub struct Decisions {}

impl Decisions {
    /// A log of the last `capacity` decisions; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let _ = capacity;
        Self {}
    }

    /// Appends a decision; the oldest gives way.
    pub fn push(&self, record: Record) {
        let _ = record;
    }

    /// The newest `limit` decisions, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Record> {
        let _ = limit;
        Vec::new()
    }
}
