//! Claims: a trigger claims each channel that it announces on in the memory; the claims decide what is new.

use std::iter;

use smallvec::SmallVec;

use super::effects::{Deliveries, EffectKind, Novelty};
use super::{DecisionInProgress, hold};
use crate::assignment::{Before, Claim, ClaimMode, Value, Waiter};
use crate::clock::Moment;
use crate::gateway::routing::RuleRoute;
use crate::metrics::EventDecision;
use crate::rules::Mode;

/// What a successful claim says of its channel; see [`Claim::Reserved`].
struct Reserved {
    before: Before,
    redundant: bool,
    since: Option<Moment>,
}

impl DecisionInProgress<'_, '_> {
    /// Claims every channel that the trigger announces on. Returns a waiter only while nothing is held.
    pub(super) fn claim_all(&mut self) -> Option<Waiter> {
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

    /// Claims one channel for one rule: for everything that the trigger, if it is a batch, does there in turn.
    fn claim_channel(&mut self, first: usize) -> Option<Waiter> {
        let group: SmallVec<[usize; 4]> =
            iter::successors(Some(first), |&index| self.followers.get(index).copied().flatten()).collect();
        let mut runs = 0;
        for (position, &index) in group.iter().enumerate() {
            let repeats = position > 0
                && self.effects[index].assignment().is_some()
                && self.effects[index].kind == self.effects[group[position - 1]].kind;
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
        let route = self.effects[first].route;
        match route.memory.claim(self.effects[first].channel, value, self.claim_mode_for(route), self.now) {
            Claim::InFlight(waiter) => return Some(waiter),
            Claim::Redundant { since } => self.effects[first].novelty = Some(Novelty::Known(since)),
            Claim::Reserved { reservation, before, redundant, since } => {
                self.tickets.hold(reservation);
                self.decide_reserved(&group, runs, Reserved { before, redundant, since });
            }
            Claim::Full => {
                self.tickets.hold_app(&self.app.memory);
                self.decide_reserved(
                    &group,
                    runs,
                    Reserved { before: Before::Uncertain, redundant: false, since: None },
                );
            }
        }
        None
    }

    /// Decides the novelty of the effects on a reserved channel: the first one is new unless it was known; one that
    /// follows a different one is a change.
    fn decide_reserved(&mut self, group: &[usize], runs: usize, reserved: Reserved) {
        let Reserved { mut before, redundant, since } = reserved;
        for &index in group {
            let effect = &self.effects[index];
            if effect.novelty.is_some() {
                continue;
            }
            let same = matches!((&before, effect.assignment()), (Before::Known(known), Some(assignment)) if known == assignment);
            let observes = self.observes(effect);
            let novelty = match (&effect.kind, &before) {
                (EffectKind::Announces(_), _) if (redundant || same) && observes => Novelty::Observed(since),
                // The first of a batch's several changes may be known; the batch as a whole always holds the channel.
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
            // After an effect without a readable assignment, nothing is known of the channel, whatever was known
            // before.
            before = effect.assignment().map_or(Before::Uncertain, |assignment| Before::Known(assignment.clone()));
            self.effects[index].novelty = Some(novelty);
        }
    }

    /// An event that one rule finds redundant and another does not goes on. The first rule then reserves its channel as
    /// well: every forwarded event that might change what guests see holds a ticket.
    pub(super) fn reserve_redundant_that_go_on(&mut self, deliveries: &Deliveries) {
        for index in 0..self.effects.len() {
            let effect = &self.effects[index];
            let (Some(Novelty::Known(_)), EffectKind::Announces(value)) = (effect.novelty, &effect.kind) else {
                continue;
            };
            if !deliveries.is_dropped(effect.event, effect.position) {
                let claim = effect.route.memory.claim(effect.channel, value, ClaimMode::Forced, self.now);
                hold(&mut self.tickets, self.app, claim);
            }
        }
    }

    fn claim_mode_for(&self, route: &RuleRoute) -> ClaimMode {
        if self.mode == ClaimMode::Forced || route.rule.spec().mode == Mode::Observe {
            ClaimMode::Forced
        } else if self.tickets.is_empty() {
            self.mode
        } else {
            ClaimMode::MustNotWait
        }
    }
}
