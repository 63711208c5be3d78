//! The last decisions, for the operator: which announcement was forwarded or dropped, and why.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Moment;
use crate::metrics::Decision;

/// Longest text kept of a channel, an identity or a reason, in bytes; the rest is cut off.
pub const MAX_TEXT: usize = 256;

/// Room made at once for that many records; a longer log grows as it fills.
const PREALLOCATED: usize = 4096;

/// One decision about one event on one channel.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name; empty when the request could not be read exactly.
    pub rule: Arc<str>,
    /// The channel; `*` when it could not be told.
    pub channel: Box<str>,
    /// The identity's JSON token, if it was read.
    pub identity: Option<Box<str>>,
    /// What was decided.
    pub decision: Decision,
    /// The reason in words.
    pub reason: Cow<'static, str>,
}

impl Record {
    fn cut(&mut self) {
        cut(&mut self.channel);
        if let Some(identity) = &mut self.identity {
            cut(identity);
        }
        if let Cow::Owned(reason) = &mut self.reason {
            reason.truncate(reason.floor_char_boundary(MAX_TEXT));
            reason.shrink_to_fit();
        }
    }
}

fn cut(text: &mut Box<str>) {
    if text.len() > MAX_TEXT {
        *text = text[..text.floor_char_boundary(MAX_TEXT)].into();
    }
}

/// Which records to give. The default is all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Only those of this app.
    pub app: Option<&'a str>,
    /// Only those whose channel begins so.
    pub channel_prefix: &'a str,
}

impl Filter<'_> {
    fn admits(&self, record: &Record) -> bool {
        self.app.is_none_or(|app| *record.app == *app) && record.channel.starts_with(self.channel_prefix)
    }
}

/// A bounded log of the last decisions.
#[derive(Debug)]
pub struct Decisions {
    capacity: usize,
    /// A std lock, held for one push and one pop, or to take another handle to each record; records are read, made and dropped outside of it.
    records: Mutex<VecDeque<Arc<Record>>>,
}

impl Decisions {
    /// A log of the last `capacity` decisions; 0 keeps none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, records: Mutex::new(VecDeque::with_capacity(capacity.min(PREALLOCATED))) }
    }

    /// Whether decisions are kept at all: if not, a caller need not make records.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.capacity > 0
    }

    /// Appends a decision; the oldest gives way. Texts longer than [`MAX_TEXT`] are cut at a character's end.
    pub fn push(&self, mut record: Record) {
        if !self.are_kept() {
            return;
        }
        record.cut();
        let record = Arc::new(record);
        let mut records = self.lock();
        let oldest = if records.len() >= self.capacity { records.pop_front() } else { None };
        records.push_back(record);
        drop(records);
        drop(oldest);
    }

    /// The newest `limit` decisions that `filter` admits, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize, filter: Filter<'_>) -> Vec<Arc<Record>> {
        let records: Vec<_> = self.lock().iter().map(Arc::clone).collect();
        records.into_iter().rev().filter(|record| filter.admits(record)).take(limit).collect()
    }

    /// A thread that panicked while it held the lock left a whole log behind: nothing in there can panic half-way.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(app: &str, channel: &str) -> Record {
        Record {
            at: Moment::from_millis(1),
            app: app.into(),
            rule: "staff-assigned".into(),
            channel: channel.into(),
            identity: Some("\"Anna\"".into()),
            decision: Decision::Suppressed,
            reason: "known".into(),
        }
    }

    fn channels(decisions: &Decisions, limit: usize, filter: Filter<'_>) -> Vec<String> {
        decisions.latest(limit, filter).iter().map(|record| record.channel.to_string()).collect()
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_give_way() {
        let decisions = Decisions::new(3);
        for channel in ["a", "b", "c", "d"] {
            decisions.push(record("1", channel));
        }
        assert_eq!(channels(&decisions, 10, Filter::default()), ["d", "c", "b"]);
        assert_eq!(channels(&decisions, 2, Filter::default()), ["d", "c"]);
        assert_eq!(channels(&decisions, 0, Filter::default()), [""; 0]);
    }

    #[test]
    fn no_capacity_keeps_nothing() {
        let decisions = Decisions::new(0);
        decisions.push(record("1", "a"));
        assert!(!decisions.are_kept());
        assert!(decisions.latest(10, Filter::default()).is_empty());
    }

    #[test]
    fn a_filter_applies_before_the_limit() {
        let decisions = Decisions::new(10);
        for (app, channel) in [("1", "inn-room-1-chat"), ("2", "inn-room-2-chat"), ("1", "ritz-room-1-chat"), ("1", "inn-room-3-chat"), ("2", "x")] {
            decisions.push(record(app, channel));
        }
        let filter = Filter { app: Some("1"), channel_prefix: "inn-" };
        assert_eq!(channels(&decisions, 2, filter), ["inn-room-3-chat", "inn-room-1-chat"]);
        assert_eq!(channels(&decisions, 1, Filter { app: None, channel_prefix: "inn-" }), ["inn-room-3-chat"]);
        assert_eq!(channels(&decisions, 9, Filter { app: Some("11"), channel_prefix: "" }), [""; 0]);
    }

    #[test]
    fn long_texts_are_cut_at_a_characters_end() {
        let decisions = Decisions::new(1);
        let long = format!("{}é{}", "x".repeat(MAX_TEXT - 1), "y".repeat(1 << 20));
        let mut long_record = record("1", &long);
        long_record.identity = Some(long.as_str().into());
        long_record.reason = long.into();
        decisions.push(long_record);
        let kept = &decisions.latest(1, Filter::default())[0];
        let expected = "x".repeat(MAX_TEXT - 1);
        assert_eq!((&*kept.channel, kept.identity.as_deref(), &*kept.reason), (&*expected, Some(&*expected), &*expected));
    }

    #[test]
    fn exactly_the_longest_text_is_kept_whole() {
        let decisions = Decisions::new(1);
        let longest = "x".repeat(MAX_TEXT);
        decisions.push(record("1", &longest));
        assert_eq!(channels(&decisions, 1, Filter::default()), [longest]);
    }
}
