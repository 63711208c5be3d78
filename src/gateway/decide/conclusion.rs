//! The conclusion of a decision after its claims: rate limits, the log of decisions, and the plan.

use super::effects::{Deliveries, Effect, Novelty};
use super::{Decision, DecisionInProgress, WaitReason, acquire, observe};
use crate::assignment::{Assignment, ClaimMode, Outcome};
use crate::decisions::{Decided, Reason};
use crate::gateway::plan::{Multiplicity, Plan};
use crate::metrics::EventDecision;
use crate::rate::{RateDecision, RateReservation};

impl DecisionInProgress<'_, '_> {
    /// Checks the rate limits for what goes on, counts and logs the decisions, and makes the plan.
    pub(super) fn conclude(mut self, rate_reservation: &mut RateReservation) -> Decision {
        let deliveries = Deliveries::of(self.trigger, &self.effects, self.mode == ClaimMode::Forced);
        self.reserve_redundant_that_go_on(&deliveries);
        if deliveries.are_all_dropped() {
            rate_reservation.refund();
        } else {
            match self.acquire(&deliveries, rate_reservation) {
                RateDecision::Admit => {}
                // Nothing was sent: the tickets give back what was known before.
                RateDecision::Delay(slot) => {
                    self.tickets.settle(Outcome::Refused);
                    return Decision::Wait(WaitReason::RateSlot(slot));
                }
                RateDecision::Reject(limited) => {
                    self.tickets.settle(Outcome::Refused);
                    return Decision::Refuse(limited);
                }
            }
        }
        for effect in &self.effects {
            self.record(effect, deliveries.is_dropped(effect.event, effect.position));
        }
        observe::record_misplaced(self.shared, self.app, self.trigger, self.now);
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
        if deliveries.are_all_dropped() {
            debug_assert!(self.tickets.is_empty());
            return Decision::Suppress;
        }
        let dropped = deliveries.dropped();
        let reduced = (!dropped.is_empty()).then(|| self.trigger.without(&dropped));
        self.tickets.hold_generation(&self.app.generation);
        let multiplicity = if deliveries.forwarded() == 1 { Multiplicity::One } else { Multiplicity::Several };
        Decision::Forward(Plan { tickets: self.tickets, reduced, multiplicity })
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

    /// Why the assignment that a channel shows is uncertain.
    fn uncertainty(&self) -> Reason {
        match self.app.memory.start_doubt(self.now) {
            Some(running) => Reason::JustStarted(running),
            None if self.shared.success_format.is_never_json() => Reason::Words(
                "upstream's answers to triggers are no JSON objects, so none says that an announcement was accepted: nothing can be suppressed",
            ),
            None => Reason::Words(reason_text(EventDecision::ForwardedUncertain)),
        }
    }

    fn record(&self, effect: &Effect<'_>, drops: bool) {
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
            Some(Novelty::News(decision)) => (decision, Reason::Words(reason_text(decision))),
            Some(Novelty::Repeated) if self.observes(effect) => {
                (EventDecision::ShadowSuppressed, Reason::Words(reason_text(EventDecision::ShadowSuppressed)))
            }
            Some(Novelty::Observed(_)) => {
                (EventDecision::ShadowSuppressed, Reason::Words(reason_text(EventDecision::ShadowSuppressed)))
            }
            Some(Novelty::Known(_) | Novelty::Repeated) | None => (
                EventDecision::ForwardedExempt,
                Reason::Words("redundant, but the request it came with is not dropped"),
            ),
        };
        effect.route.metrics.count(decision);
        observe::record_decision(self.app, effect.route, effect.channel, decision, effect.known_since(), self.now);
        self.shared.decisions.push(&Decided {
            at: self.now,
            app: &self.app.id,
            rule: &effect.route.name,
            channel: effect.channel,
            identity: effect.assignment().map(Assignment::identity),
            decision,
            reason,
        });
    }
}

const fn reason_text(decision: EventDecision) -> &'static str {
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
