//! The decision: what a verified trigger would change, what of it is redundant, and which tickets it holds until it is
//! settled.

mod candidates;
mod claims;
mod conclusion;
mod draft;
mod effects;
mod observe;

use std::iter;

use smallvec::SmallVec;

use self::effects::{Effect, Effects, Filtered, Readings, followers, readings};
use super::bypass::{self, Sent};
use super::plan::{HeldUntilSettled, Multiplicity, Plan};
use super::record::{Arrival, RequestLine};
use super::routing::AppRoute;
use super::{Refusal, Shared};
use crate::assignment::{Ask, Carried, ClaimMode, Claims, Prepared, Value, Waiter};
use crate::clock::Moment;
use crate::decision::EventDecision;
use crate::pusher::{AffectedChannels, Inexact, InexactReason, Trigger};
use crate::rate::{RateDecision, RateReservation, ScheduledSlot};
use crate::rules::Mode;
use crate::triggers::Draft;

/// What to do with a trigger.
#[derive(Debug)]
pub(super) enum Decision {
    /// All of it is redundant.
    Suppress(Conclusion),
    /// It has to wait; nothing is held.
    Wait(WaitReason),
    /// It goes on, wholly or in part.
    Forward(Plan),
    /// usher does not serve it; nothing is held.
    Refuse(Refusal, Draft),
}

/// Why a trigger is dropped or goes on, and what is recorded of it.
#[derive(Debug)]
pub(super) struct Conclusion {
    /// The decision that explains it.
    pub(super) decision: EventDecision,
    pub(super) draft: Draft,
}

/// What a trigger waits for.
#[derive(Debug)]
pub(super) enum WaitReason {
    /// The settlement of an equal announcement that is in flight.
    Settlement(Waiter),
    /// Its slot under the rate limits.
    RateSlot(ScheduledSlot),
    /// What the memory is that processes share; then it claims in this mode.
    Store(Box<Ask>, ClaimMode),
}

/// What a trigger has got by earlier decisions.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// What it has taken of the rate limits.
    pub(super) rate_reservation: RateReservation,
    /// What it has learned of a shared memory.
    pub(super) carried: Carried,
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionContext {
    pub(super) now: Moment,
    pub(super) mode: ClaimMode,
    /// Whether the trigger has waited for an equal announcement.
    pub(super) waited: bool,
    /// Whether the trigger has an idempotency key.
    pub(super) is_keyed: bool,
}

/// The request that a decision is about, for the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'r> {
    pub(super) arrival: &'r Arrival,
    pub(super) line: RequestLine<'r>,
}

/// Decides on a trigger of `app` as it was `read`, in three steps: reads what it means under the app's rules, claims its
/// channels, and concludes. Only the claims ask the memory; they alone may have to wait, and then the trigger is decided
/// again, with the `progress` that it has made.
pub(super) fn decide(
    shared: &Shared,
    app: &AppRoute,
    read: Result<Trigger<'_>, Inexact>,
    subject: Subject<'_>,
    context: DecisionContext,
    progress: &mut Progress,
) -> Decision {
    match read {
        Ok(trigger) => {
            let carried = std::mem::take(&mut progress.carried);
            let mut decision = DecisionInProgress::read(shared, app, &trigger, subject, context, carried);
            match decision.prepare() {
                Prepared::Ready => {}
                Prepared::Wait(ask) => return Decision::Wait(WaitReason::Store(ask, context.mode)),
                Prepared::Denied(denied) => return decision.deny(denied),
            }
            if let Some(waiter) = decision.claim_all() {
                return Decision::Wait(WaitReason::Settlement(waiter));
            }
            let deliveries = decision.deliveries();
            match decision.claims.commit() {
                Some(ask) => Decision::Wait(WaitReason::Store(ask, context.mode)),
                None => decision.conclude(&deliveries, &mut progress.rate_reservation),
            }
        }
        Err(inexact) => decide_inexact(shared, app, &inexact, subject, context, progress),
    }
}

/// [`decide`] for a trigger that cannot be read exactly. It may be a handoff, so channels' rate limits do not apply to
/// it. The app's is checked before anything is claimed.
#[cold]
pub(super) fn decide_inexact(
    shared: &Shared,
    app: &AppRoute,
    inexact: &Inexact,
    subject: Subject<'_>,
    context: DecisionContext,
    progress: &mut Progress,
) -> Decision {
    match acquire(app, &mut progress.rate_reservation, iter::empty()) {
        RateDecision::Admit => {
            let carried = std::mem::take(&mut progress.carried);
            forward_inexact(shared, app, inexact, subject, context, carried)
        }
        RateDecision::Delay(slot) => Decision::Wait(WaitReason::RateSlot(slot)),
        RateDecision::Reject(limited) => {
            Decision::Refuse(Refusal::RateLimited(limited), draft::inexact(shared, app, inexact, subject))
        }
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

/// A trigger that cannot be read exactly goes on as received, and every channel that it may touch is uncertain until it
/// is settled.
fn forward_inexact(
    shared: &Shared,
    app: &AppRoute,
    inexact: &Inexact,
    subject: Subject<'_>,
    context: DecisionContext,
    carried: Carried,
) -> Decision {
    let listed = match &inexact.affected {
        AffectedChannels::All => None,
        AffectedChannels::Listed(channels) => Some(channels),
    };
    let watched = || {
        let named = listed.into_iter().flatten();
        named.flat_map(|channel| app.rules.watching(channel).map(move |route| (route, channel.as_str())))
    };
    let touched = || watched().map(|(route, channel)| (route.number, channel));
    let mut claims = app.store.claims(context.now, carried);
    match claims.prepare(touched(), listed.is_none()) {
        Prepared::Ready => {}
        Prepared::Wait(ask) => return Decision::Wait(WaitReason::Store(ask, context.mode)),
        Prepared::Denied(denied) => {
            return Decision::Refuse(Refusal::Denied(denied), draft::inexact(shared, app, inexact, subject));
        }
    }
    if listed.is_none() {
        claims.claim_all();
    }
    for (rule, channel) in touched() {
        claims.hold(rule, channel, &Value::Opaque);
    }
    if let Some(ask) = claims.commit() {
        return Decision::Wait(WaitReason::Store(ask, context.mode));
    }
    app.metrics.inexact();
    // Deliveries may say anything on these channels, or on any.
    let everywhere = listed.is_none().then(|| app.rules.iter().map(|route| (route, ""))).into_iter().flatten();
    let unread = everywhere.chain(watched());
    let unread =
        unread.map(|(route, channel)| Sent { route, channel, assignment: None, is_release: false, before: None });
    let in_transit = bypass::in_transit(shared.clock, context.now, unread);
    let tickets = claims.into_tickets();
    let multiplicity =
        if inexact.reason == InexactReason::LegacyEndpoint { Multiplicity::One } else { Multiplicity::Several };
    let draft = draft::inexact(shared, app, inexact, subject);
    let conclusion = Conclusion { decision: EventDecision::Inexact, draft };
    let candidates = candidates::unread(app, listed.map(Vec::as_slice));
    let held = HeldUntilSettled::new(tickets, candidates, in_transit);
    Decision::Forward(Plan { held, reduced: None, multiplicity, conclusion })
}

/// A decision in progress.
struct DecisionInProgress<'a, 't> {
    shared: &'a Shared,
    app: &'a AppRoute,
    subject: Subject<'a>,
    now: Moment,
    mode: ClaimMode,
    /// Why nothing of the trigger may be dropped, if that is so.
    forced: Option<EventDecision>,
    waited: bool,
    claims: Claims<'a>,
    trigger: &'a Trigger<'t>,
    effects: Effects<'a>,
    filtered: SmallVec<[Filtered<'a>; 1]>,
    /// See [`followers`].
    followers: Vec<Option<usize>>,
}

impl<'a, 't> DecisionInProgress<'a, 't> {
    /// Reads what a trigger means under the app's rules. Nothing is claimed.
    // The only caller. Left to itself, the optimizer inlines much of the JSON scanner differently: 500 instructions more.
    #[inline(always)]
    fn read(
        shared: &'a Shared,
        app: &'a AppRoute,
        trigger: &'a Trigger<'t>,
        subject: Subject<'a>,
        context: DecisionContext,
        carried: Carried,
    ) -> Self {
        let DecisionContext { now, mut mode, waited, is_keyed } = context;
        let forced = if !shared.drain.suppresses() || mode == ClaimMode::Forced {
            Some(EventDecision::Draining)
        } else if trigger.events.iter().any(|event| event.wants_info) {
            Some(EventDecision::AsksInfo)
        } else {
            None
        };
        if forced.is_some() {
            mode = ClaimMode::Forced;
        }
        let Readings { effects, filtered } = readings(app, trigger, is_keyed);
        let followers = followers(trigger, &effects);
        let claims = app.store.claims(now, carried);
        Self { shared, app, subject, now, mode, forced, waited, claims, trigger, effects, filtered, followers }
    }

    /// Whether a redundant announcement goes on only because its rule observes. An announcement that would be exempt if
    /// the rule enforced is exempt here, too.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.route.rule.spec().mode == Mode::Observe && self.mode != ClaimMode::Forced
    }
}
