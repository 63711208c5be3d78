//! The decision: what a verified trigger would change, what of it is redundant, and what it has to hold while it is
//! under way.

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
use crate::pusher::{Inexact, Oddity, Reach, Trigger};
use crate::rate::{Limited, RateDecision, RateReservation, ScheduledSlot};
use crate::rules::Mode;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// All of it is redundant.
    Suppress,
    /// It has to wait; nothing is held.
    Wait(WaitReason),
    /// It goes on, wholly or in part.
    Forward(Plan),
    /// It would go on, but there is no turn for it in time; nothing is held.
    Refuse(Limited),
}

/// What a trigger waits for.
#[derive(Debug)]
pub(super) enum WaitReason {
    /// The settlement of an equal announcement that is in flight.
    Settlement(Waiter),
    /// Its turn, as the limits on rates give it.
    RateSlot(ScheduledSlot),
}

/// How a trigger stands when it is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionContext {
    pub(super) now: Moment,
    pub(super) mode: ClaimMode,
    /// Whether it has waited for an equal announcement.
    pub(super) waited: bool,
}

/// Judges a trigger of `app` as it was read. `rate_reservation`: what it has taken of the limits on rates before.
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

/// What cannot be read may be a handoff: no channel's limit is asked. The app's is before anything is claimed.
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

/// Asks the limits on rates, if there are any, for a turn of a trigger of `app` with an event on each of `channels`.
fn acquire<'a>(
    app: &AppRoute,
    rate_reservation: &mut RateReservation,
    channels: impl Iterator<Item = &'a str>,
) -> RateDecision {
    app.rates.as_ref().map_or(RateDecision::Admit, |limits| rate_reservation.acquire(limits, channels))
}

/// The plan for a request that cannot be read exactly: it goes on as it is, and what it may touch is unknown until it
/// is settled.
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
            reason: Reason::Inexact(inexact.oddity.label()),
        });
    };
    match &inexact.reach {
        Reach::App => {
            tickets.hold_app(&app.memory);
            record(&Arc::default(), "*");
        }
        Reach::Channels(channels) => {
            for channel in channels {
                for watched in app.rules.iter().filter(|watched| watched.rule.watches(channel)) {
                    hold(&mut tickets, app, watched.memory.claim(channel, &Value::Opaque, ClaimMode::Forced, now));
                    record(&watched.name, channel);
                }
            }
        }
    }
    tickets.hold_generation(&app.generation);
    let multiplicity = if inexact.oddity == Oddity::LegacyEndpoint { Multiplicity::One } else { Multiplicity::Several };
    Plan { tickets, reduced: None, multiplicity }
}

/// Keeps what a claim that is always forwarded answered.
fn hold(tickets: &mut Tickets, app: &AppRoute, claim: Claim) {
    match claim {
        Claim::Reserved { reservation, .. } => tickets.hold(reservation),
        // A forced claim answers nothing else but `Full`; whatever it is, the app-wide ticket covers it.
        Claim::Full | Claim::Redundant { .. } | Claim::InFlight(_) => tickets.hold_app(&app.memory),
    }
}

/// A decision under way.
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
    /// Whether a redundant announcement goes on only because its rule observes. What would be exempt if it enforced,
    /// is.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.watched.rule.spec().mode == Mode::Observe && self.mode != ClaimMode::Forced
    }
}
