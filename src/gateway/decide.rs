//! The decision: what a verified trigger would change, what of it is redundant, and what it has to hold while it is
//! under way.

use std::iter;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Shared;
use super::effects::{Effect, EffectKind, Effects, Fates, Novelty, effects, followers};
use super::observe;
use super::plan::{Multiplicity, Plan, Tickets};
use super::routing::{AppRoute, WatchedRule};
use crate::assignment::{Assignment, Before, Claim, ClaimMode, Outcome, Value, Waiter};
use crate::clock::Moment;
use crate::decisions::{Decided, Reason};
use crate::metrics::EventDecision;
use crate::pusher::{AffectedChannels, Inexact, InexactReason, Trigger};
use crate::rate::{Limited, RateDecision, RateReservation, ScheduledSlot};
use crate::rules::Mode;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Decision {
    /// All of it is redundant.
    Suppress,
    /// It has to wait; nothing is held.
    Wait(Awaited),
    /// It goes on, wholly or in part.
    Forward(Plan),
    /// It would go on, but there is no turn for it in time; nothing is held.
    Refuse(Limited),
}

/// What a trigger waits for.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The outcome of an equal announcement that is in flight.
    Equal(Waiter),
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
        Ok(exact) => {
            let DecisionContext { now, mut mode, waited } = context;
            if shared.drain.has_begun() || exact.events.iter().any(|event| event.wants_info) {
                mode = ClaimMode::Forced;
            }
            let effects = effects(app, &exact);
            let followers = followers(&exact, &effects);
            let mut decision = Deciding {
                shared,
                app,
                now,
                mode,
                waited,
                tickets: Tickets::default(),
                exact: &exact,
                effects,
                followers,
            };
            match decision.claim_all() {
                Some(waiter) => Decision::Wait(Awaited::Equal(waiter)),
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
        RateDecision::Admit => Decision::Forward(forget(shared, app, inexact, now)),
        RateDecision::Delay(slot) => Decision::Wait(Awaited::RateSlot(slot)),
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
fn forget(shared: &Shared, app: &AppRoute, inexact: &Inexact, now: Moment) -> Plan {
    let mut tickets = Tickets::default();
    app.metrics.inexact();
    let tell = |rule: &Arc<str>, channel: &str| {
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
            tell(&Arc::default(), "*");
        }
        AffectedChannels::Listed(channels) => {
            for channel in channels {
                for watched in app.rules.iter().filter(|watched| watched.rule.watches(channel)) {
                    hold(&mut tickets, app, watched.memory.claim(channel, &Value::Opaque, ClaimMode::Forced, now));
                    tell(&watched.name, channel);
                }
            }
        }
    }
    tickets.hold_generation(&app.generation);
    let parts = if inexact.reason == InexactReason::LegacyEndpoint { Multiplicity::One } else { Multiplicity::Several };
    Plan { tickets, reduced: None, parts }
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
struct Deciding<'a, 't> {
    shared: &'a Shared,
    app: &'a AppRoute,
    now: Moment,
    mode: ClaimMode,
    waited: bool,
    tickets: Tickets,
    exact: &'a Trigger<'t>,
    effects: Effects<'a>,
    /// See [`followers`].
    followers: Vec<Option<usize>>,
}

impl Deciding<'_, '_> {
    /// Claims every channel that the trigger announces on. A waiter comes back only while nothing is held.
    fn claim_all(&mut self) -> Option<Waiter> {
        for first in 0..self.effects.len() {
            if self.effects[first].novelty.is_some() {
                continue;
            }
            if let Some(waiter) = self.claim_channel(first) {
                return Some(waiter);
            }
        }
        None
    }

    /// Claims one channel for one rule: for all that the trigger (a batch) does there in turn.
    fn claim_channel(&mut self, first: usize) -> Option<Waiter> {
        let group: SmallVec<[usize; 4]> =
            iter::successors(Some(first), |&index| self.followers.get(index).copied().flatten()).collect();
        let mut runs = 0;
        for (place, &index) in group.iter().enumerate() {
            let repeats = place > 0
                && self.effects[index].assignment().is_some()
                && self.effects[index].kind == self.effects[group[place - 1]].kind;
            if repeats {
                self.effects[index].novelty = Some(Novelty::Repeated);
            } else {
                runs += 1;
            }
        }
        let last = group.last().map_or(first, |&last| last);
        let run;
        let value = match (&self.effects[last].kind, runs) {
            (EffectKind::Announces(value), 1) => value,
            (EffectKind::Announces(Value::One(last) | Value::Last(last)), _) => {
                run = Value::Last(last.clone());
                &run
            }
            _ => &Value::Opaque,
        };
        let watched = self.effects[first].watched;
        match watched.memory.claim(self.effects[first].channel, value, self.patience_for(watched), self.now) {
            Claim::InFlight(waiter) => return Some(waiter),
            Claim::Redundant { since } => self.effects[first].novelty = Some(Novelty::Known(since)),
            Claim::Reserved { reservation, before, redundant, since } => {
                self.tickets.hold(reservation);
                self.decide_reserved(&group, runs, before, (redundant, since));
            }
            Claim::Full => {
                self.tickets.hold_app(&self.app.memory);
                self.decide_reserved(&group, runs, Before::Uncertain, (false, None));
            }
        }
        None
    }

    /// Verdicts for a channel that is held: the first is news unless it is what was known; what follows a different one
    /// is a change.
    fn decide_reserved(
        &mut self,
        group: &[usize],
        runs: usize,
        before: Before,
        (redundant, since): (bool, Option<Moment>),
    ) {
        let mut before = before;
        for &index in group {
            let effect = &self.effects[index];
            if effect.novelty.is_some() {
                continue;
            }
            let same = matches!((&before, effect.assignment()), (Before::Known(known), Some(assignment)) if known == assignment);
            let observes = self.observes(effect);
            let novelty = match (&effect.kind, &before) {
                (EffectKind::Announces(_), _) if (redundant || same) && observes => Novelty::Observed(since),
                // The head of a batch's run of changes may be what is known; the run itself always holds the channel.
                (EffectKind::Announces(_), _) if same && runs > 1 && self.mode != ClaimMode::Forced => {
                    Novelty::Known(self.now)
                }
                (EffectKind::Announces(_), _) if redundant || same => Novelty::News(EventDecision::ForwardedExempt),
                (EffectKind::Announces(_), Before::Nothing) => Novelty::News(EventDecision::ForwardedFirst),
                (EffectKind::Announces(_), Before::Known(_)) => Novelty::News(EventDecision::ForwardedChange),
                (EffectKind::Announces(_), Before::Uncertain) => Novelty::News(EventDecision::ForwardedUncertain),
                (EffectKind::Unreadable, _) => Novelty::News(EventDecision::ForwardedUnreadable),
                (EffectKind::Releases, _) => Novelty::News(EventDecision::ForwardedRelease),
                (EffectKind::ExcludesSocket, _) => Novelty::News(EventDecision::ForwardedExempt),
            };
            // Behind a change that cannot be judged, nothing is known, whatever was.
            before = effect.assignment().map_or(Before::Uncertain, |assignment| Before::Known(assignment.clone()));
            self.effects[index].novelty = Some(novelty);
        }
    }

    /// An event that one rule finds redundant and another does not goes on. The first rule then holds its channel as
    /// well: whatever is forwarded and might change what guests see holds a ticket.
    fn cover_mixed(&mut self, fates: &Fates) {
        for index in 0..self.effects.len() {
            let effect = &self.effects[index];
            let (Some(Novelty::Known(_)), EffectKind::Announces(value)) = (effect.novelty, &effect.kind) else {
                continue;
            };
            if !fates.is_dropped(effect.event, effect.position) {
                let claim = effect.watched.memory.claim(effect.channel, value, ClaimMode::Forced, self.now);
                hold(&mut self.tickets, self.app, claim);
            }
        }
    }

    fn patience_for(&self, watched: &WatchedRule) -> ClaimMode {
        if self.mode == ClaimMode::Forced || watched.rule.spec().mode == Mode::Observe {
            ClaimMode::Forced
        } else if self.tickets.is_empty() {
            self.mode
        } else {
            ClaimMode::MustNotWait
        }
    }

    /// Whether a redundant announcement goes on only because its rule observes. What would be exempt if it enforced,
    /// is.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.watched.rule.spec().mode == Mode::Observe && self.mode != ClaimMode::Forced
    }

    /// Asks the limits on rates about what is to go on, counts and logs the decisions, and makes the plan.
    fn conclude(mut self, rate_reservation: &mut RateReservation) -> Decision {
        let fates = Fates::of(self.exact, &self.effects, self.mode == ClaimMode::Forced);
        self.cover_mixed(&fates);
        if fates.are_all_dropped() {
            rate_reservation.refund();
        } else {
            match self.acquire(&fates, rate_reservation) {
                RateDecision::Admit => {}
                // Nothing was sent: the tickets give back what was known before.
                RateDecision::Delay(slot) => {
                    self.tickets.settle(Outcome::Refused);
                    return Decision::Wait(Awaited::RateSlot(slot));
                }
                RateDecision::Reject(limited) => {
                    self.tickets.settle(Outcome::Refused);
                    return Decision::Refuse(limited);
                }
            }
        }
        for effect in &self.effects {
            self.tell(effect, fates.is_dropped(effect.event, effect.position));
        }
        observe::strays(self.shared, self.app, self.exact, self.now);
        let unwatched = self
            .exact
            .events
            .iter()
            .enumerate()
            .filter(|(index, _)| self.effects.iter().all(|effect| effect.event != *index))
            .count();
        if unwatched > 0 {
            self.app.metrics.no_rule(unwatched as u64);
        }
        if fates.are_all_dropped() {
            debug_assert!(self.tickets.is_empty());
            return Decision::Suppress;
        }
        let dropped = fates.dropped();
        let reduced = (!dropped.is_empty()).then(|| self.exact.without(&dropped));
        self.tickets.hold_generation(&self.app.generation);
        let parts = if fates.forwarded() == 1 { Multiplicity::One } else { Multiplicity::Several };
        Decision::Forward(Plan { tickets: self.tickets, reduced, parts })
    }

    /// A trigger with anything on it that a rule watches and that goes on is a handoff, perhaps, and no channel's limit
    /// is asked about it.
    fn acquire(&self, fates: &Fates, rate_reservation: &mut RateReservation) -> RateDecision {
        let asked = if fates.announces() { &[][..] } else { &self.exact.events[..] };
        let channels = asked.iter().enumerate().flat_map(|(index, event)| {
            let positions = event.channels.iter().enumerate();
            positions
                .filter(move |(position, _)| !fates.is_dropped(index, *position))
                .map(|(_, channel)| channel.as_ref())
        });
        acquire(self.app, rate_reservation, channels)
    }

    /// Why it is not certain what a channel shows.
    fn uncertainty(&self) -> Reason {
        match self.app.memory.start_doubt(self.now) {
            Some(running) => Reason::JustStarted(running),
            None if self.shared.success_format.is_never_json() => Reason::Words(
                "upstream's answers to triggers are no JSON objects, so none says that an announcement was accepted: nothing can be suppressed",
            ),
            None => Reason::Words(in_words(EventDecision::ForwardedUncertain)),
        }
    }

    fn tell(&self, effect: &Effect<'_>, drops: bool) {
        let (decision, reason) = match effect.novelty {
            Some(Novelty::Known(since)) if drops => {
                let decision = if self.waited { EventDecision::Coalesced } else { EventDecision::Suppressed };
                (decision, Reason::Known(self.now.since(since)))
            }
            Some(Novelty::Repeated) if drops => {
                (EventDecision::Suppressed, Reason::Words("repeats the announcement before it in the same batch"))
            }
            Some(Novelty::News(EventDecision::ForwardedUncertain)) => {
                (EventDecision::ForwardedUncertain, self.uncertainty())
            }
            Some(Novelty::News(decision)) => (decision, Reason::Words(in_words(decision))),
            Some(Novelty::Repeated) if self.observes(effect) => {
                (EventDecision::ShadowSuppressed, Reason::Words(in_words(EventDecision::ShadowSuppressed)))
            }
            Some(Novelty::Observed(_)) => {
                (EventDecision::ShadowSuppressed, Reason::Words(in_words(EventDecision::ShadowSuppressed)))
            }
            Some(Novelty::Known(_) | Novelty::Repeated) | None => (
                EventDecision::ForwardedExempt,
                Reason::Words("redundant, but the request it came with is not dropped"),
            ),
        };
        effect.watched.metrics.count(decision);
        observe::decided(self.app, effect.watched, effect.channel, decision, effect.known_since(), self.now);
        self.shared.decisions.push(&Decided {
            at: self.now,
            app: &self.app.id,
            rule: &effect.watched.name,
            channel: effect.channel,
            identity: effect.assignment().map(Assignment::identity),
            decision,
            reason,
        });
    }
}

const fn in_words(decision: EventDecision) -> &'static str {
    match decision {
        EventDecision::ForwardedFirst => "nothing was known of this channel",
        EventDecision::ForwardedChange => "another assignment was known",
        EventDecision::ForwardedUncertain => "another announcement is in flight, or the last one's outcome is in doubt",
        EventDecision::ForwardedUnreadable => "the rule's event, but its assignment cannot be read exactly",
        EventDecision::ForwardedExempt => {
            "never dropped: it excludes a socket, has an idempotency key, asks for info, is a duplicate past the waiting bounds, or usher drains"
        }
        EventDecision::ForwardedRelease => "ends the assignment",
        EventDecision::ForwardedInexact => "the request cannot be read exactly",
        EventDecision::ForwardedNoRule => "no rule watches it",
        EventDecision::Suppressed => "same assignment",
        EventDecision::Coalesced => "same assignment, accepted while this one waited",
        EventDecision::ShadowSuppressed => "same assignment; forwarded because the rule only observes",
    }
}
