//! The decision: what a verified trigger would change, what of it is redundant, and which tickets it holds until it is
//! settled.

mod claims;
mod conclusion;
mod effects;
mod observe;

use std::iter;
use std::sync::Arc;

use self::effects::{Effect, Effects, effects, followers};
use super::Shared;
use super::plan::{Multiplicity, Plan, Tickets};
use super::routing::AppRoute;
use crate::assignment::{Claim, ClaimMode, Value, Waiter};
use crate::clock::Moment;
use crate::decisions::{Decided, Reason};
use crate::metrics::EventDecision;
use crate::pusher::{AffectedChannels, Inexact, InexactReason, Trigger};
use crate::rate::{Limited, RateDecision, RateReservation, ScheduledSlot};
use crate::rules::Mode;

/// What to do with a trigger.
#[derive(Debug)]
pub(super) enum Decision {
    /// All of it is redundant.
    Suppress,
    /// It has to wait; nothing is held.
    Wait(WaitReason),
    /// It goes on, wholly or in part.
    Forward(Plan),
    /// It exceeds a rate limit, and no slot is free in time; nothing is held.
    Refuse(Limited),
}

/// What a trigger waits for.
#[derive(Debug)]
pub(super) enum WaitReason {
    /// The settlement of an equal announcement that is in flight.
    Settlement(Waiter),
    /// Its slot under the rate limits.
    RateSlot(ScheduledSlot),
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionContext {
    pub(super) now: Moment,
    pub(super) mode: ClaimMode,
    /// Whether the trigger has waited for an equal announcement.
    pub(super) waited: bool,
}

/// Decides on a trigger of `app` as it was `read`. `rate_reservation`: what the trigger has taken of the rate limits
/// before.
pub(super) fn decide(
    shared: &Shared,
    app: &AppRoute,
    read: Result<Trigger<'_>, Inexact>,
    context: DecisionContext,
    rate_reservation: &mut RateReservation,
) -> Decision {
    match read {
        Ok(trigger) => {
            let DecisionContext { now, mut mode, waited } = context;
            if shared.drain.has_begun() || trigger.events.iter().any(|event| event.wants_info) {
                mode = ClaimMode::Forced;
            }
            let effects = effects(app, &trigger);
            let followers = followers(&trigger, &effects);
            let mut decision = DecisionInProgress {
                shared,
                app,
                now,
                mode,
                waited,
                tickets: Tickets::default(),
                trigger: &trigger,
                effects,
                followers,
            };
            match decision.claim_all() {
                Some(waiter) => Decision::Wait(WaitReason::Settlement(waiter)),
                None => decision.conclude(rate_reservation),
            }
        }
        Err(inexact) => decide_inexact(shared, app, &inexact, context.now, rate_reservation),
    }
}

/// [`decide`] for a trigger that cannot be read exactly. It may be a handoff, so channels' rate limits do not apply to
/// it. The app's is checked before anything is claimed.
pub(super) fn decide_inexact(
    shared: &Shared,
    app: &AppRoute,
    inexact: &Inexact,
    now: Moment,
    rate_reservation: &mut RateReservation,
) -> Decision {
    match acquire(app, rate_reservation, iter::empty()) {
        RateDecision::Admit => Decision::Forward(plan_inexact(shared, app, inexact, now)),
        RateDecision::Delay(slot) => Decision::Wait(WaitReason::RateSlot(slot)),
        RateDecision::Reject(limited) => Decision::Refuse(limited),
    }
}

/// Checks the rate limits, if there are any, for a trigger of `app` with an event on each of `channels`.
fn acquire<'a>(
    app: &AppRoute,
    rate_reservation: &mut RateReservation,
    channels: impl Iterator<Item = &'a str>,
) -> RateDecision {
    app.rates.as_ref().map_or(RateDecision::Admit, |limits| rate_reservation.acquire(limits, channels))
}

/// The plan for a trigger that cannot be read exactly: it goes on as received, and every channel that it may touch is
/// uncertain until it is settled.
fn plan_inexact(shared: &Shared, app: &AppRoute, inexact: &Inexact, now: Moment) -> Plan {
    let mut tickets = Tickets::default();
    app.metrics.inexact();
    let record = |rule: &Arc<str>, channel: &str| {
        shared.decisions.push(&Decided {
            at: now,
            app: &app.id,
            rule,
            channel,
            identity: None,
            decision: EventDecision::ForwardedInexact,
            reason: Reason::Inexact(inexact.reason.label()),
        });
    };
    match &inexact.affected {
        AffectedChannels::All => {
            tickets.hold_app(&app.memory);
            record(&Arc::default(), "*");
        }
        AffectedChannels::Listed(channels) => {
            for channel in channels {
                for route in app.rules.iter().filter(|route| route.rule.watches(channel)) {
                    hold(&mut tickets, app, route.memory.claim(channel, &Value::Opaque, ClaimMode::Forced, now));
                    record(&route.name, channel);
                }
            }
        }
    }
    tickets.hold_generation(&app.generation);
    let multiplicity =
        if inexact.reason == InexactReason::LegacyEndpoint { Multiplicity::One } else { Multiplicity::Several };
    Plan { tickets, reduced: None, multiplicity }
}

/// Keeps the ticket of a forced claim.
fn hold(tickets: &mut Tickets, app: &AppRoute, claim: Claim) {
    match claim {
        Claim::Reserved { reservation, .. } => tickets.hold(reservation),
        // A forced claim returns none of these but `Full`; the ticket for all of the app covers any.
        Claim::Full | Claim::Redundant { .. } | Claim::InFlight(_) => tickets.hold_app(&app.memory),
    }
}

/// A decision in progress.
struct DecisionInProgress<'a, 't> {
    shared: &'a Shared,
    app: &'a AppRoute,
    now: Moment,
    mode: ClaimMode,
    waited: bool,
    tickets: Tickets,
    trigger: &'a Trigger<'t>,
    effects: Effects<'a>,
    /// See [`followers`].
    followers: Vec<Option<usize>>,
}

impl DecisionInProgress<'_, '_> {
    /// Whether a redundant announcement goes on only because its rule observes. An announcement that would be exempt if
    /// the rule enforced is exempt here, too.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.route.rule.spec().mode == Mode::Observe && self.mode != ClaimMode::Forced
    }
}
