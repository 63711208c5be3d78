//! Settling a trigger: the outcome that follows from upstream's answer, or from its absence.

use super::Refusal;
use super::Shared;
use super::plan::{Multiplicity, Tickets};
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
}

/// Settles a trigger that has a complete answer of upstream (ARCHITECTURE.md "When an announcement is dropped").
pub(super) fn answered(
    shared: &Shared,
    app: &AppRoute,
    tickets: Tickets,
    multiplicity: Multiplicity,
    answered: Answered<'_>,
) -> Settled {
    let status = answered.status;
    let outcome = match status {
        200..=299 => said(shared, app, multiplicity, answered),
        400..=499 => refused(multiplicity),
        _ => {
            tracing::warn!(app = %app.id, status, "upstream answered a trigger with neither 2xx nor 4xx: its channels are in doubt");
            Outcome::Ambiguous
        }
    };
    tickets.settle(outcome);
    let outcome = match outcome {
        Outcome::Accepted => TriggerOutcome::Accepted,
        Outcome::Refused => TriggerOutcome::Refused,
        Outcome::Partial => TriggerOutcome::Partial,
        Outcome::Ambiguous => TriggerOutcome::Ambiguous,
    };
    app.metrics.outcome(outcome);
    let error = (outcome != TriggerOutcome::Accepted).then(|| upstream_error::describe(answered));
    Settled { outcome, error }
}

/// The outcome that a complete 2xx answer reports.
fn said(
    shared: &Shared,
    app: &AppRoute,
    multiplicity: Multiplicity,
    Answered { status, is_encoded, body, .. }: Answered<'_>,
) -> Outcome {
    let acceptance = if is_encoded { Acceptance::NoObject } else { Acceptance::read(body) };
    if acceptance != Acceptance::NoObject {
        shared.success_format.record_json();
    }
    match acceptance {
        Acceptance::Accepted => Outcome::Accepted,
        Acceptance::Refused(code) => {
            tracing::warn!(app = %app.id, status, code, "upstream refused a trigger in the body of a 2xx answer: nothing is known from it");
            refused(multiplicity)
        }
        Acceptance::Failed(code) => {
            tracing::warn!(app = %app.id, status, code, "upstream failed at a trigger by the body of a 2xx answer: its channels are in doubt");
            Outcome::Ambiguous
        }
        Acceptance::NoObject => {
            let bytes = body.len();
            tracing::debug!(app = %app.id, status, bytes, "upstream's 2xx answer to a trigger is no JSON object: its channels are in doubt");
            shared.success_format.record_other(&app.id);
            Outcome::Ambiguous
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
/// dropped").
pub(super) fn unanswered(app: &AppRoute, tickets: Tickets, why: &Refusal) -> TriggerOutcome {
    let (outcome, counted) = match why {
        Refusal::Upstream(failure) if failure.nothing_sent() => (Outcome::Refused, TriggerOutcome::NotSent),
        _ => (Outcome::Ambiguous, TriggerOutcome::Ambiguous),
    };
    tickets.settle(outcome);
    app.metrics.outcome(counted);
    tracing::warn!(app = %app.id, error = %why, outcome = counted.label(), "a trigger was not answered by upstream");
    counted
}
