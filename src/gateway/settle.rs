//! Settling a trigger: the outcome that follows from upstream's answer, or from its absence.

use super::Refusal;
use super::Shared;
use super::plan::{HeldUntilSettled, Multiplicity};
use super::routing::AppRoute;
use super::upstream_error;
use crate::assignment::Outcome;
use crate::metrics::TriggerOutcome;
use crate::pusher::Acceptance;

/// Upstream's complete answer to a trigger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) status: u16,
    /// Whether it has a `Content-Encoding`: its body is not read then.
    pub(super) is_encoded: bool,
    /// Its only `Content-Type`, if it has one.
    pub(super) content_type: Option<&'a [u8]>,
    pub(super) body: &'a [u8],
}

/// How a trigger that upstream answered was settled.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: TriggerOutcome,
    /// What upstream says of the error, if it did not accept the trigger.
    pub(super) error: Option<String>,
    /// Where upstream says that it did not accept the trigger, if it says so.
    pub(super) fault: Option<Fault>,
}

/// Where an answer says that a trigger was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// In its status.
    Status,
    /// In the body of a 2xx, perhaps with this code.
    Body(Option<u16>),
}

/// Settles a trigger that has a complete answer of upstream (ARCHITECTURE.md "When an announcement is suppressed").
pub(super) fn answered(
    shared: &Shared,
    app: &AppRoute,
    held: HeldUntilSettled,
    multiplicity: Multiplicity,
    answered: Answered<'_>,
) -> Settled {
    let status = answered.status;
    let (outcome, fault) = match status {
        200..=299 => said(shared, app, multiplicity, answered),
        400..=499 => (refused(multiplicity), Some(Fault::Status)),
        _ => (Outcome::Ambiguous, Some(Fault::Status)),
    };
    held.settle(outcome);
    let outcome = match outcome {
        Outcome::Accepted => TriggerOutcome::Accepted,
        Outcome::Refused => TriggerOutcome::Refused,
        Outcome::Partial => TriggerOutcome::Partial,
        Outcome::Ambiguous => TriggerOutcome::Ambiguous,
    };
    app.metrics.outcome(outcome);
    let error = (outcome != TriggerOutcome::Accepted).then(|| upstream_error::describe(answered));
    Settled { outcome, error, fault }
}

/// The outcome that a complete 2xx answer reports, and the fault in it.
fn said(
    shared: &Shared,
    app: &AppRoute,
    multiplicity: Multiplicity,
    Answered { status, is_encoded, body, .. }: Answered<'_>,
) -> (Outcome, Option<Fault>) {
    let acceptance = if is_encoded { Acceptance::NoObject } else { Acceptance::read(body) };
    if acceptance != Acceptance::NoObject {
        shared.success_format.record_json();
    }
    match acceptance {
        Acceptance::Accepted => (Outcome::Accepted, None),
        Acceptance::Refused(code) => (refused(multiplicity), Some(Fault::Body(code))),
        Acceptance::Failed(code) => (Outcome::Ambiguous, Some(Fault::Body(Some(code)))),
        Acceptance::NoObject => {
            let bytes = body.len();
            tracing::debug!(app = %app.id, status, bytes, "upstream's 2xx answer to a trigger is no JSON object: its channels are in doubt");
            shared.success_format.record_other(&app.id);
            (Outcome::Ambiguous, None)
        }
    }
}

/// The outcome of a refusal: of several events or channels, upstream may have applied some.
const fn refused(multiplicity: Multiplicity) -> Outcome {
    match multiplicity {
        Multiplicity::One => Outcome::Refused,
        Multiplicity::Several => Outcome::Partial,
    }
}

/// Settles a trigger that has no complete answer. `why`: the reason (ARCHITECTURE.md "When an announcement is
/// suppressed").
pub(super) fn unanswered(app: &AppRoute, held: HeldUntilSettled, why: &Refusal) -> TriggerOutcome {
    let (outcome, counted) = match why {
        Refusal::Upstream(failure) if failure.nothing_sent() => (Outcome::Refused, TriggerOutcome::NotSent),
        _ => (Outcome::Ambiguous, TriggerOutcome::Ambiguous),
    };
    held.settle(outcome);
    app.metrics.outcome(counted);
    counted
}
