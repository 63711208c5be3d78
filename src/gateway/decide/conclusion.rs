//! The conclusion of a decision after its claims: rate limits, the counts, the record, and the plan.

use smallvec::SmallVec;

use super::effects::{Deliveries, Effect, EffectKind, Novelty};
use super::observe::Observation;
use super::{Conclusion, Decision, DecisionInProgress, WaitReason, acquire, observe};
use crate::assignment::Denied;
use crate::decision::EventDecision;
use crate::gateway::Refusal;
use crate::gateway::bypass::{self, InTransit, Sent};
use crate::gateway::plan::{HeldUntilSettled, Multiplicity, Plan};
use crate::gateway::record::primary;
use crate::rate::{RateDecision, RateReservation};

impl DecisionInProgress<'_, '_> {
    /// Checks the rate limits for what goes on, counts and records the decisions, and makes the plan.
    pub(super) fn conclude(self, deliveries: &Deliveries, rate_reservation: &mut RateReservation) -> Decision {
        if deliveries.are_all_dropped() {
            rate_reservation.refund();
        } else {
            match self.acquire(deliveries, rate_reservation) {
                RateDecision::Admit => {}
                // Nothing was sent: the tickets give back what was known before.
                RateDecision::Delay(slot) => {
                    self.claims.give_back();
                    return Decision::Wait(WaitReason::RateSlot(slot));
                }
                RateDecision::Reject(limited) => {
                    let draft = self.draft(deliveries.count(), &[], None);
                    self.claims.give_back();
                    return Decision::Refuse(Refusal::RateLimited(limited), draft);
                }
            }
        }
        let mut decisions: SmallVec<[EventDecision; 4]> = SmallVec::new();
        let mut observation = Observation::new(self.app, self.trigger, self.now);
        for effect in &self.effects {
            let decision = self.decision_on(effect, deliveries.is_dropped(effect.event, effect.position));
            effect.route.metrics.count(decision);
            observation.record(effect, decision);
            decisions.push(decision);
        }
        observe::record_misplaced(self.shared, self.app, self.trigger, self.now);
        observe::discover(self.shared, self.app, self.trigger, self.now);
        let unwatched = self
            .trigger
            .events
            .iter()
            .enumerate()
            .filter(|(index, _)| self.effects.iter().all(|effect| effect.event != *index))
            .count();
        if unwatched > 0 {
            self.app.metrics.no_rule(unwatched as u64);
        }
        let primary = primary(decisions.iter().copied()).unwrap_or(EventDecision::NoRule);
        let conclusion =
            Conclusion { decision: primary, draft: self.draft(deliveries.count(), &decisions, Some(primary)) };
        if deliveries.are_all_dropped() {
            debug_assert!(self.claims.is_empty());
            return Decision::Suppress(conclusion);
        }
        let dropped = deliveries.dropped();
        let reduced = (!dropped.is_empty()).then(|| self.trigger.without(&dropped));
        let multiplicity = if deliveries.forwarded() == 1 { Multiplicity::One } else { Multiplicity::Several };
        // Before anything is sent or settled: what late subscribers may get of it, and what deliveries may say.
        let (candidates, in_transit) = (self.candidates(deliveries), self.in_transit(deliveries));
        let held = HeldUntilSettled::new(self.claims.into_tickets(), candidates, in_transit);
        Decision::Forward(Plan { held, reduced, multiplicity, conclusion })
    }

    /// What deliveries may say because of what goes on.
    #[inline]
    fn in_transit(&self, deliveries: &Deliveries) -> InTransit {
        if self.effects.iter().all(|effect| effect.route.forwarded.is_none()) {
            return InTransit::default();
        }
        let goes_on = |effect: &&Effect<'_>| !deliveries.is_dropped(effect.event, effect.position);
        let sent = self.effects.iter().filter(goes_on).map(|effect| Sent {
            route: effect.route,
            channel: effect.channel,
            assignment: effect.assignment(),
            is_release: effect.kind == EffectKind::Releases,
            before: effect.before.as_ref(),
        });
        bypass::in_transit(self.shared.clock, self.now, sent)
    }

    /// Refuses the trigger, of which nothing is claimed.
    pub(super) fn deny(self, denied: Denied) -> Decision {
        let channels = self.trigger.events.iter().map(|event| event.channels.len()).sum();
        let draft = self.draft(channels, &[], None);
        Decision::Refuse(Refusal::Denied(denied), draft)
    }

    /// A trigger of which an event goes on that a rule watches may be a handoff: channels' rate limits do not apply to
    /// it.
    fn acquire(&self, deliveries: &Deliveries, rate_reservation: &mut RateReservation) -> RateDecision {
        let limited = if deliveries.announces() { &[][..] } else { &self.trigger.events[..] };
        let channels = limited.iter().enumerate().flat_map(|(index, event)| {
            let positions = event.channels.iter().enumerate();
            positions
                .filter(move |(position, _)| !deliveries.is_dropped(index, *position))
                .map(|(_, channel)| channel.as_ref())
        });
        acquire(self.app, rate_reservation, channels)
    }

    /// The decision on one effect, which is dropped or goes on.
    fn decision_on(&self, effect: &Effect<'_>, drops: bool) -> EventDecision {
        match effect.novelty {
            Some(Novelty::Known(_)) if drops && self.waited => EventDecision::SameInFlight,
            Some(Novelty::Known(_)) if drops => EventDecision::SameAssignment,
            Some(Novelty::Repeated(_)) if drops => EventDecision::RepeatedInBatch,
            Some(Novelty::News(decision) | Novelty::Observed { decision, .. }) => decision,
            Some(Novelty::Repeated(_)) if self.observes(effect) => EventDecision::WouldRepeatedInBatch,
            Some(Novelty::Known(_) | Novelty::Repeated(_)) | None => self.forced.unwrap_or(EventDecision::OtherRule),
        }
    }
}
