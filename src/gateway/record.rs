//! What the gateway records of a trigger, and what its answer says of the record.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::decide::Conclusion;
use super::trigger_log::Decided;
use super::{Refusal, Shared};
use crate::clock::Timestamp;
use crate::decision::EventDecision;
use crate::triggers::{Draft, Head, Kind, MAX_TEXT, RequestRecord, Tail, TriggerId, cut};

/// The header with the trigger's id.
pub(super) const TRIGGER: HeaderName = HeaderName::from_static("usher-trigger");
/// The header with the code of the reason.
pub(super) const REASON: HeaderName = HeaderName::from_static("usher-reason");

/// The arrival of a trigger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) id: TriggerId,
    pub(super) came: Timestamp,
    /// The address of the caller, as the trusted proxies say.
    pub(super) caller: IpAddr,
}

/// What a record says of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLine<'r> {
    pub(super) method: &'r str,
    /// Without the query: it has the signature.
    pub(super) path: &'r str,
    /// Bytes of the body.
    pub(super) size: usize,
}

/// What an answer to a trigger says of its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    pub(super) id: TriggerId,
    /// The code of the reason.
    pub(super) reason: &'static str,
}

impl Arrival {
    /// The arrival of a trigger at `came`.
    pub(super) fn new(shared: &Shared, came: Timestamp, caller: IpAddr) -> Self {
        Self { id: shared.triggers.next_id(), came, caller }
    }

    /// What is recorded of the request.
    #[inline]
    pub(super) fn request<'r>(&self, app: &'r str, line: RequestLine<'r>) -> RequestRecord<'r> {
        RequestRecord {
            number: self.id.number(),
            at: self.came.moment.as_millis(),
            app: cut(app, MAX_TEXT),
            caller: self.caller,
            method: cut(line.method, MAX_TEXT),
            path: cut(line.path, MAX_TEXT),
            size: u32::try_from(line.size).unwrap_or(u32::MAX),
        }
    }

    /// The first part of the record of a trigger whose events are not read.
    pub(super) fn unread<'r>(&self, app: &'r str, line: RequestLine<'r>) -> Head<'r> {
        Head {
            request: self.request(app, line),
            inexact: None,
            events: SmallVec::new(),
            all_events: 0,
            findings: SmallVec::new(),
            all_findings: 0,
            filtered: SmallVec::new(),
            decision: None,
        }
    }

    /// The tag of an answer with this reason.
    pub(super) const fn tag(&self, reason: &'static str) -> Tag {
        Tag { id: self.id, reason }
    }

    /// Records that the trigger was refused, before it was decided. Returns the tag of the answer.
    pub(super) fn refused(&self, shared: &Shared, app: &str, line: RequestLine<'_>, refusal: &Refusal) -> Tag {
        let is_kept = shared.triggers.are_kept();
        let draft = if is_kept { Draft::new(Kind::Refused, |_| self.unread(app, line)) } else { Draft::none() };
        self.push_refused(shared, app, draft, self.came.instant.elapsed(), refusal);
        self.tag(refusal.code())
    }

    /// Records and logs that the trigger for `app` was refused.
    #[cold]
    pub(super) fn push_refused(&self, shared: &Shared, app: &str, draft: Draft, took: Duration, refusal: &Refusal) {
        shared.trigger_log.refused(shared, self, app, refusal);
        self.decided(shared, app, || "refused", refusal.code(), &draft);
        if !shared.triggers.are_kept() {
            return;
        }
        let cause = refusal.to_string();
        let tail = Tail {
            took: micros(took),
            status: refusal.status().as_u16(),
            refusal: Some((refusal.code(), cut(&cause, MAX_TEXT))),
            upstream: None,
        };
        shared.triggers.push(draft, &tail);
    }

    /// Logs what was decided on the trigger.
    pub(super) fn decided(
        &self,
        shared: &Shared,
        app: &str,
        decision: impl FnOnce() -> &'static str,
        reason: &str,
        draft: &Draft,
    ) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            Decided { id: self.id, app, decision: decision(), reason, channels: draft.channels() }.log(shared);
        }
    }

    /// Records and logs that the trigger of `app` was suppressed.
    pub(super) fn push_suppressed(
        &self,
        shared: &Shared,
        app: &str,
        Conclusion { decision, draft }: Conclusion,
        took: Duration,
    ) {
        self.decided(shared, app, || decision.action().label(), decision.reason(), &draft);
        shared.triggers.push(draft, &Tail { took: micros(took), status: 200, refusal: None, upstream: None });
    }
}

impl Tag {
    /// Adds the tag to the headers of an answer.
    pub(super) fn insert(self, headers: &mut HeaderMap) {
        let mut id = Vec::with_capacity(29);
        self.id.write(&mut id);
        if let Ok(id) = HeaderValue::from_maybe_shared(bytes::Bytes::from(id)) {
            headers.insert(TRIGGER, id);
        }
        headers.insert(REASON, HeaderValue::from_static(self.reason));
    }
}

/// The decision that explains what happens to a trigger: the first one that kept it from being dropped, else the first.
pub(super) fn primary(decisions: impl Iterator<Item = EventDecision>) -> Option<EventDecision> {
    // `min_by_key` returns the first of equal ones.
    decisions.min_by_key(|decision| decision.action() as u8)
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
