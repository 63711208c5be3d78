//! The record of one trigger, and its encoding.
//!
//! A record is encoded in two parts: the [`Head`] when the trigger is decided or refused, the [`Tail`] when it is
//! answered. Both are borrowed from the request, and from the encoding when they are read.

use std::net::IpAddr;

use serde::Deserialize;
use smallvec::SmallVec;

use super::encoding::Encode;
use crate::decision::EventDecision;

/// Longest text of a record in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 512;
/// Longest data of an event in bytes; what is longer is cut.
pub const MAX_DATA: usize = 2048;
/// Most entries of a list; the others are counted.
pub const MAX_LIST: usize = 20;
/// Bytes of most records.
const TYPICAL: usize = 384;
/// Longest encoding of a [`Head`] in bytes; of a longer one, only the first event and finding are kept, without data.
const MAX_HEAD: usize = 48 * 1024;

/// What a record keeps of a trigger that is too large for a whole record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of each list of events and findings.
    pub list: usize,
    /// Longest data of an event in bytes.
    pub data: usize,
}

/// What is known of a trigger when it is decided or refused.
///
/// The lists are of other types ([`List`](super::List)) where a record is written: what they hold is then written as it
/// is made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Head<
    'a,
    Events = SmallVec<[EventRecord<'a>; 1]>,
    Findings = SmallVec<[Finding<'a>; 1]>,
    Rules = SmallVec<[Filtered<'a>; 1]>,
> {
    /// The request.
    #[serde(borrow)]
    pub request: RequestRecord<'a>,
    /// Why the request was not read exactly: a code.
    pub inexact: Option<&'a str>,
    /// The events, in their order. Empty if they were not read.
    pub events: Events,
    /// The number of all events, of which those after the first [`MAX_LIST`] are left out.
    pub all_events: u32,
    /// What rules found, in the order of events, rules and channels.
    pub findings: Findings,
    /// The number of all findings.
    pub all_findings: u32,
    /// The rules of whose event and channel an event is, but whose `where` does not match.
    pub filtered: Rules,
    /// The decision whose reason is the trigger's reason; `None` if it was refused before.
    pub decision: Option<EventDecision>,
}

/// The request of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct RequestRecord<'a> {
    /// The number of its id.
    pub number: u64,
    /// When it came, in milliseconds of the process's clock.
    pub at: u64,
    /// The app's id; for an app that is not configured, as the caller wrote it.
    pub app: &'a str,
    /// The address of the caller.
    pub caller: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// Bytes of the body, as far as it was received.
    pub size: u32,
}

/// One event of a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct EventRecord<'a, Channels = SmallVec<[&'a str; 1]>> {
    /// The event's name.
    pub name: &'a str,
    /// Its channels.
    pub channels: Channels,
    /// The number of all channels.
    pub all_channels: u32,
    /// Whether it has a `socket_id`.
    pub excludes_socket: bool,
    /// Whether it asks for `info`.
    pub asks_info: bool,
    /// The JSON token of its data, if data is recorded.
    pub data: Option<&'a str>,
    /// Bytes of that token, before it was cut.
    pub data_size: u32,
}

/// What one rule found about one event on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Finding<'a, Assignment = AssignmentRecord<'a>> {
    /// The index of the event.
    pub event: u16,
    /// The index of the channel.
    pub channel: u16,
    /// The rule's name.
    pub rule: &'a str,
    /// The decision.
    pub decision: EventDecision,
    /// The assignment that was read.
    pub assignment: Option<Assignment>,
    /// Another assignment that the channel was known to show before.
    pub before: Option<Assignment>,
    /// When the channel became known to show `assignment`, if it was known to before: in milliseconds of the process's
    /// clock.
    pub known_since: Option<u64>,
    /// Whether something else in its data differed from the announcement that guests show.
    pub differs: bool,
}

impl Head<'_> {
    /// How many events are left out.
    #[must_use]
    pub fn more_events(&self) -> u32 {
        left_out(self.all_events, self.events.len())
    }

    /// How many findings are left out.
    #[must_use]
    pub fn more_findings(&self) -> u32 {
        left_out(self.all_findings, self.findings.len())
    }
}

impl EventRecord<'_> {
    /// How many channels are left out.
    #[must_use]
    pub fn more_channels(&self) -> u32 {
        left_out(self.all_channels, self.channels.len())
    }
}

fn left_out(all: u32, kept: usize) -> u32 {
    all.saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX))
}

impl<'a> Finding<'a> {
    /// What the channel was known to show before.
    #[must_use]
    pub fn known_before(&self) -> Option<&AssignmentRecord<'a>> {
        self.before.as_ref().or_else(|| self.assignment.as_ref().filter(|_| self.known_since.is_some()))
    }
}

/// An assignment, as JSON tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct AssignmentRecord<'a, Context = SmallVec<[(&'a str, &'a str); 2]>> {
    /// The pointer that the identity was read from.
    pub pointer: &'a str,
    /// The identity's token.
    pub identity: &'a str,
    /// The pointers and tokens of the context.
    pub context: Context,
}

/// A rule whose `where` does not match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Filtered<'a> {
    /// The index of the event.
    pub event: u16,
    /// The rule's name.
    pub rule: &'a str,
    /// The pointer in `where` whose value differs.
    pub pointer: &'a str,
}

/// What became of a trigger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Tail<'a> {
    /// Microseconds from its arrival to its answer.
    pub took: u64,
    /// The status of the answer.
    pub status: u16,
    /// If usher refused it, or upstream gave no answer: the code, and the cause in a sentence.
    #[serde(borrow)]
    pub refusal: Option<(&'a str, &'a str)>,
    /// The exchange with upstream, if it was sent.
    #[serde(borrow)]
    pub upstream: Option<UpstreamRecord<'a>>,
}

/// An exchange with upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct UpstreamRecord<'a> {
    /// Whether a part of the trigger was left out.
    pub reduced: bool,
    /// The status of upstream's answer, if it has one.
    pub status: Option<u16>,
    /// Microseconds until its answer or failure.
    pub took: u64,
    /// How often it was sent again, on another connection, because nothing of it had been sent before.
    pub retries: u8,
    /// What upstream says of the error, or why there is no answer.
    pub error: Option<&'a str>,
    /// What follows for the channels: `accepted`, `refused`, `partial`, `ambiguous`, `not_sent`.
    pub outcome: &'a str,
}

/// A whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The first part.
    pub head: Head<'a>,
    /// The second part.
    pub tail: Tail<'a>,
}

impl<'a> Record<'a> {
    /// Reads an encoding. `None` cannot happen for what `encoding` wrote.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = postcard::take_from_bytes(bytes).ok()?;
        Some(Self { head, tail: postcard::from_bytes(rest).ok()? })
    }

    /// The number of an encoded record.
    pub(super) fn number(bytes: &[u8]) -> Option<u64> {
        postcard::take_from_bytes(bytes).ok().map(|(number, _rest)| number)
    }

    /// What happened to it, in one word: `refused`, `failed` (upstream did not take it), `reduced`, or the label of the
    /// decision.
    #[must_use]
    pub fn decision(&self) -> &'static str {
        self.tail.decision(self.head.decision)
    }

    /// The code of the reason.
    #[must_use]
    pub fn reason(&self) -> &'a str {
        let decided = self.head.decision.map_or("no_rule", EventDecision::reason);
        self.tail.refusal.map_or(decided, |(code, _)| code)
    }

    /// Whether upstream was asked and did not take it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.tail.upstream.as_ref().is_some_and(UpstreamRecord::failed)
    }
}

impl Tail<'_> {
    /// See [`Record::decision`]. `decided`: [`Head::decision`].
    #[must_use]
    pub fn decision(&self, decided: Option<EventDecision>) -> &'static str {
        match &self.upstream {
            Some(upstream) if upstream.failed() => "failed",
            None if self.refusal.is_some() => "refused",
            Some(upstream) if upstream.reduced => "reduced",
            Some(_) | None => decided.map_or("forwarded", |decision| decision.action().label()),
        }
    }
}

impl UpstreamRecord<'_> {
    /// Whether upstream gave no answer, or one that says that the trigger was not accepted.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.outcome != "accepted" && (self.error.is_some() || self.status.is_none_or(|status| status >= 300))
    }
}

impl Limits {
    /// Those of most records.
    const USUAL: Self = Self { list: MAX_LIST, data: MAX_DATA };
    /// Those of a record that would be longer than [`MAX_HEAD`].
    const LEAST: Self = Self { list: 1, data: 0 };
}

/// The encoding of the head that `head` makes within limits.
#[inline]
pub(super) fn encoding<H: Encode>(head: impl Fn(Limits) -> H) -> Vec<u8> {
    let mut encoding = Vec::with_capacity(TYPICAL);
    encode_within(Limits::USUAL, &head, &mut encoding);
    if encoding.len() > MAX_HEAD {
        encoding.clear();
        encode_within(Limits::LEAST, &head, &mut encoding);
    }
    encoding
}

// Once for both limits: large, and executed once for each trigger.
#[inline(never)]
fn encode_within<H: Encode>(limits: Limits, head: &impl Fn(Limits) -> H, to: &mut Vec<u8>) {
    head(limits).encode(to);
}

impl Tail<'_> {
    /// The encoding of the whole record, whose first part is `head`.
    pub(super) fn encode_behind(self, head: Vec<u8>) -> Vec<u8> {
        let mut encoding = head;
        self.encode(&mut encoding);
        encoding
    }
}

/// As much of `text` as a record keeps.
#[must_use]
pub fn cut(text: &str, limit: usize) -> &str {
    if text.len() > limit { cut_long(text, limit) } else { text }
}

#[cold]
#[inline(never)]
fn cut_long(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
