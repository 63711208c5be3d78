//! What those who record get of a trigger.

use std::sync::Arc;

use tokio::time::Instant;

use super::decide::Decision;
use super::record::{Arrival, RequestLine};
use super::verified::{Reading, Verified};
use super::{Refusal, Shared};
use crate::decision::EventDecision;
use crate::metrics::TriggerOutcome;
use crate::pusher::InexactReason;
use crate::recording::{Capture, CapturedEnd, CapturedRequest, HeadForm, RecordedOutcome};

/// Keeps the request of a decided trigger for those who record, unless it waits.
#[inline]
pub(super) fn capture(
    shared: &Shared,
    trigger: &Verified<'_, '_>,
    arrival: &Arrival,
    line: RequestLine<'_>,
    decision: &Decision,
) -> Option<Box<Capture>> {
    if !shared.recorders.is_active() || matches!(decision, Decision::Wait(_)) {
        return None;
    }
    let Verified { app, reading, body, .. } = trigger;
    let bytes = CapturedRequest::bytes(&app.id, line.path, body);
    let received = arrival.came.instant;
    shared.recorders.capture(bytes, received, || CapturedRequest {
        id: arrival.id.to_string(),
        received,
        app: Arc::clone(&app.id),
        path: line.path.into(),
        body: (*body).into(),
        head: head_form(reading),
    })
}

/// The end of a trigger that was sent.
pub(super) const fn sent(
    ended: Instant,
    outcome: TriggerOutcome,
    decision: &'static str,
    reason: &'static str,
) -> CapturedEnd {
    let outcome = match outcome {
        TriggerOutcome::Accepted => RecordedOutcome::Accepted,
        TriggerOutcome::Refused | TriggerOutcome::Partial => RecordedOutcome::Refused,
        TriggerOutcome::Ambiguous => RecordedOutcome::Ambiguous,
        TriggerOutcome::NotSent => RecordedOutcome::NotSent,
    };
    CapturedEnd { settled: Some(ended), outcome, decision, reason }
}

/// The end of a trigger that was dropped.
pub(super) fn suppressed(decision: EventDecision) -> CapturedEnd {
    CapturedEnd {
        settled: None,
        outcome: RecordedOutcome::Suppressed,
        decision: decision.action().label(),
        reason: decision.reason(),
    }
}

/// The end of a trigger that usher refused.
pub(super) fn refused(refusal: &Refusal) -> CapturedEnd {
    CapturedEnd { settled: None, outcome: RecordedOutcome::NotSent, decision: "refused", reason: refusal.code() }
}

/// What of the head the reading tells; what its path tells is in the path.
fn head_form(reading: &Reading) -> Option<HeadForm> {
    match reading {
        Reading::Exact(_) => None,
        Reading::Keyed(_) => Some(HeadForm::Keyed),
        Reading::Inexact(inexact) => match inexact.reason {
            InexactReason::ContentEncoding => Some(HeadForm::Encoded),
            InexactReason::ContentType => Some(HeadForm::OtherType),
            InexactReason::QueryParameters => Some(HeadForm::QueryParameters),
            _ => None,
        },
    }
}
