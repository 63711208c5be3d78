//! One decision: as it is told, and as it is kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::metrics::EventDecision;

/// Longest text kept of a channel or an identity, in bytes; the rest is cut off.
pub const MAX_TEXT: usize = 256;

/// A record's memory for texts grows in steps of so many bytes: nearly all texts of a deployment fit into the same few.
const TEXT_STEP: usize = 32;

/// A decision about one event on one channel, as whoever made it tells it.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// When.
    pub at: Moment,
    /// The app's id.
    pub app: &'a Arc<str>,
    /// The rule's name; empty when the request could not be read exactly.
    pub rule: &'a Arc<str>,
    /// The channel; `*` when it could not be told.
    pub channel: &'a str,
    /// The identity's JSON token, if it was read.
    pub identity: Option<&'a str>,
    /// What was decided.
    pub decision: EventDecision,
    /// Why.
    pub reason: Reason,
}

/// Why something was decided; in words when it is shown. Most records are never looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// This.
    Words(&'static str),
    /// The channel has shown just this for so long.
    Known(Duration),
    /// The process has run for so long only: what one before it has sent may still be applied.
    JustStarted(Duration),
    /// The request could not be read exactly, because of this.
    Inexact(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Known(time) => match time.as_secs() {
                seconds @ 0..120 => write!(f, "same assignment, announced {seconds} s ago"),
                seconds @ 120..7200 => write!(f, "same assignment, announced {} min ago", seconds / 60),
                seconds => write!(f, "same assignment, announced {} h ago", seconds / 3600),
            },
            Self::JustStarted(running) => write!(
                f,
                "usher started {} s ago: what was sent before may still be applied, so nothing is suppressed yet (assignments.start_doubt)",
                running.as_secs()
            ),
            Self::Inexact(oddity) => write!(f, "not read exactly ({oddity}): what it may touch is forgotten"),
        }
    }
}

/// A decision as it is kept: one that a reader got is his own, those in the log are overwritten in place.
#[derive(Debug, Clone)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name; empty when the request could not be read exactly.
    pub rule: Arc<str>,
    /// What was decided.
    pub decision: EventDecision,
    /// Why.
    pub reason: Reason,
    /// The channel, and behind it the identity. Its memory is as large as the longest texts that were here, and so
    /// never more than `2 * MAX_TEXT`: too little to be worth giving back.
    texts: String,
    /// How much of `texts` is the channel.
    channel: usize,
    /// Whether an identity was read; it may be of no length.
    identified: bool,
}

impl Record {
    /// The channel; `*` when it could not be told.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.texts[..self.channel]
    }

    /// The identity's JSON token, if it was read.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identified.then(|| &self.texts[self.channel..])
    }

    /// A record of `decided`.
    pub(super) fn new(decided: &Decided<'_>) -> Self {
        let mut record = Self {
            at: decided.at,
            app: Arc::clone(decided.app),
            rule: Arc::clone(decided.rule),
            decision: decided.decision,
            reason: decided.reason,
            texts: String::new(),
            channel: 0,
            identified: false,
        };
        record.overwrite(decided);
        record
    }

    /// Becomes a record of `decided`, in the memory that it has. If the app and the rule are those of before, and the
    /// texts no longer than any here before, it neither allocates nor touches anything else.
    pub(super) fn overwrite(&mut self, decided: &Decided<'_>) {
        self.at = decided.at;
        share(&mut self.app, decided.app);
        share(&mut self.rule, decided.rule);
        self.decision = decided.decision;
        self.reason = decided.reason;
        let (channel, identity) = (cut(decided.channel), cut(decided.identity.unwrap_or_default()));
        self.texts.clear();
        if self.texts.capacity() < channel.len() + identity.len() {
            self.texts = room(channel.len() + identity.len());
        }
        self.texts.push_str(channel);
        self.texts.push_str(identity);
        self.channel = channel.len();
        self.identified = decided.identity.is_some();
    }
}

/// Another handle to `name` in `kept`, unless it is one already.
fn share(kept: &mut Arc<str>, name: &Arc<str>) {
    if !Arc::ptr_eq(kept, name) {
        *kept = Arc::clone(name);
    }
}

/// As much of `text` as is kept.
fn cut(text: &str) -> &str {
    if text.len() > MAX_TEXT { &text[..text.floor_char_boundary(MAX_TEXT)] } else { text }
}

#[cold]
fn room(bytes: usize) -> String {
    String::with_capacity(bytes.next_multiple_of(TEXT_STEP))
}
