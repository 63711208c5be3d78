//! Claims: a trigger claims each channel that it announces on in the memory; the claims decide what is new.

use smallvec::{SmallVec, smallvec};

use super::DecisionInProgress;
use super::effects::{Deliveries, EffectKind, Novelty};
use crate::assignment::{Assignment, Before, ClaimMode, Claimed, Prepared, Shown, Uncertainty, Value, Waiter};
use crate::decision::EventDecision;
use crate::gateway::routing::RuleRoute;
use crate::rules::{Mode, Unreadable};

/// What a successful claim says of its channel; see [`Claimed::Held`].
struct Reserved {
    before: Previous,
    redundant: bool,
    shown: Option<Shown>,
    /// The decision on an announcement that is redundant and goes on all the same.
    exempt: EventDecision,
}

/// What was known of a channel before an event.
enum Previous {
    Nothing,
    Known(Assignment),
    /// Unknown: the decision on an announcement.
    Unknown(EventDecision),
}

impl DecisionInProgress<'_, '_> {
    /// Prepares the claims of every channel that the trigger announces on.
    pub(super) fn prepare(&mut self) -> Prepared {
        self.claims.prepare(self.effects.iter().map(|effect| (effect.route.number, effect.channel)), false)
    }

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
        let mut group: SmallVec<[usize; 4]> = smallvec![first];
        let mut last = first;
        while let Some(&Some(next)) = self.followers.get(last) {
            group.push(next);
            last = next;
        }
        let mut runs = 0;
        for (position, &index) in group.iter().enumerate() {
            let repeats = position > 0
                && self.effects[index].assignment().is_some()
                && self.effects[index].kind == self.effects[group[position - 1]].kind;
            if repeats {
                let [this, other] = [index, group[position - 1]].map(|index| self.effects[index].assignment());
                let difference = this.zip(other).and_then(|(this, other)| this.difference_from(other));
                self.effects[index].novelty = Some(Novelty::Repeated(difference));
            } else {
                runs += 1;
            }
        }
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
        let mode = self.claim_mode_for(route);
        let exempt = self.exemption(mode);
        match self.claims.claim(route.number, self.effects[first].channel, value, mode) {
            Claimed::Wait(waiter) => return Some(waiter),
            Claimed::Redundant(shown) => self.effects[first].novelty = Some(Novelty::Known(shown)),
            Claimed::Held { before, redundant, shown } => {
                let before = match before {
                    Before::Nothing => Previous::Nothing,
                    Before::Known(assignment) => Previous::Known(assignment),
                    Before::Uncertain(cause) => Previous::Unknown(self.uncertain(cause)),
                };
                self.decide_reserved(&group, runs, Reserved { before, redundant, shown, exempt });
            }
            Claimed::HeldAll(cause) => {
                let before = Previous::Unknown(self.uncertain(cause));
                self.decide_reserved(&group, runs, Reserved { before, redundant: false, shown: None, exempt });
            }
        }
        None
    }

    /// Decides the novelty of the effects on a reserved channel: the first one is new unless it was known; one that
    /// follows a different one is a change.
    fn decide_reserved(&mut self, group: &[usize], runs: usize, reserved: Reserved) {
        let Reserved { mut before, redundant, shown, exempt } = reserved;
        for &index in group {
            let effect = &self.effects[index];
            if effect.novelty.is_some() {
                continue;
            }
            // What it was known to show, if that is the same.
            let same = match (&before, effect.assignment()) {
                (Previous::Known(known), Some(assignment)) if known == assignment => {
                    Some(Shown { since: self.now, difference: assignment.difference_from(known) })
                }
                _ => None,
            };
            let observes = self.observes(effect);
            let novelty = match (&effect.kind, &before) {
                (EffectKind::Announces(_), _) if (redundant || same.is_some()) && observes => {
                    let decision = if shown.is_some() || same.is_some() {
                        EventDecision::WouldSameAssignment
                    } else {
                        EventDecision::WouldSameInFlight
                    };
                    Novelty::Observed { decision, shown }
                }
                (EffectKind::Announces(_), _) if redundant || same.is_some() => match same {
                    // The first of a batch's several changes may be known; the batch as a whole always holds the channel.
                    Some(same) if runs > 1 && self.mode != ClaimMode::Forced => Novelty::Known(same),
                    Some(_) | None => Novelty::News(exempt),
                },
                (EffectKind::Announces(_), Previous::Nothing) => Novelty::News(EventDecision::NothingKnown),
                (EffectKind::Announces(_), Previous::Known(known))
                    if effect.assignment().is_some_and(|assignment| known.is_of_same(assignment)) =>
                {
                    Novelty::News(EventDecision::ChangedElsewhere)
                }
                (EffectKind::Announces(_), Previous::Known(_)) => Novelty::News(EventDecision::Changed),
                (EffectKind::Announces(_), Previous::Unknown(decision)) => Novelty::News(*decision),
                (EffectKind::Unreadable(cause), _) => Novelty::News(unreadable(*cause)),
                (EffectKind::Releases, _) => Novelty::News(EventDecision::Released),
                (EffectKind::ExcludesSocket, _) if self.is_keyed => Novelty::News(EventDecision::IdempotencyKey),
                (EffectKind::ExcludesSocket, _) => Novelty::News(EventDecision::ExcludesSocket),
            };
            // After an effect without a readable assignment, nothing is known of the channel, whatever was known
            // before.
            let after = match effect.assignment() {
                Some(assignment) if group.last() != Some(&index) => Previous::Known(assignment.clone()),
                Some(_) | None => Previous::Unknown(EventDecision::AfterOtherEvent),
            };
            let effect = &mut self.effects[index];
            effect.novelty = Some(novelty);
            if let Previous::Known(assignment) = std::mem::replace(&mut before, after) {
                effect.before = Some(assignment);
            }
        }
    }

    /// The decision on a redundant announcement that a claim in `mode` lets through.
    fn exemption(&self, mode: ClaimMode) -> EventDecision {
        match (self.forced, mode) {
            (Some(forced), _) => forced,
            (None, ClaimMode::MayWait) => EventDecision::TooManyWaiting,
            (None, ClaimMode::MustNotWait | ClaimMode::Forced) if self.mode == ClaimMode::MustNotWait => {
                EventDecision::WaitOver
            }
            (None, ClaimMode::MustNotWait | ClaimMode::Forced) => EventDecision::CannotWait,
        }
    }

    /// The decision on an announcement on a channel of which nothing is known for this cause.
    fn uncertain(&self, cause: Uncertainty) -> EventDecision {
        match cause {
            Uncertainty::InFlight => EventDecision::OtherInFlight,
            Uncertainty::AppInFlight => EventDecision::AppInFlight,
            Uncertainty::AppInDoubt if self.app.store.in_start_doubt(self.now) => EventDecision::JustStarted,
            Uncertainty::InDoubt | Uncertainty::AppInDoubt if self.shared.success_format.is_never_json() => {
                EventDecision::NoSuccessFormat
            }
            Uncertainty::InDoubt => EventDecision::InDoubt,
            Uncertainty::AppInDoubt => EventDecision::AppInDoubt,
            Uncertainty::Full => EventDecision::MemoryFull,
            Uncertainty::Open => EventDecision::ClusterOpen,
            Uncertainty::Unreached => EventDecision::ClusterUnreached,
            Uncertainty::Isolated => EventDecision::ClusterIsolated,
        }
    }

    /// What happens to each event on each channel; what goes on is claimed.
    pub(super) fn deliveries(&mut self) -> Deliveries {
        let deliveries = Deliveries::of(self.trigger, &self.effects, self.mode == ClaimMode::Forced);
        self.reserve_redundant_that_go_on(&deliveries);
        deliveries
    }

    /// An event that one rule finds redundant and another does not goes on. The first rule then reserves its channel as
    /// well: every forwarded event that might change what guests see holds a ticket.
    fn reserve_redundant_that_go_on(&mut self, deliveries: &Deliveries) {
        for index in 0..self.effects.len() {
            let effect = &self.effects[index];
            let (Some(Novelty::Known(_)), EffectKind::Announces(value)) = (effect.novelty, &effect.kind) else {
                continue;
            };
            if !deliveries.is_dropped(effect.event, effect.position) {
                self.claims.hold(effect.route.number, effect.channel, value);
            }
        }
    }

    fn claim_mode_for(&self, route: &RuleRoute) -> ClaimMode {
        if self.mode == ClaimMode::Forced || route.rule.spec().mode == Mode::Observe {
            ClaimMode::Forced
        } else if self.claims.is_empty() {
            self.mode
        } else {
            ClaimMode::MustNotWait
        }
    }
}

/// The decision on an announcement whose assignment cannot be read exactly.
const fn unreadable(cause: Unreadable) -> EventDecision {
    match cause {
        Unreadable::NotText => EventDecision::DataNotText,
        Unreadable::Inexact => EventDecision::DataInexact,
        Unreadable::WhereUnclear => EventDecision::WhereUnclear,
        Unreadable::NoIdentity => EventDecision::NoIdentity,
        Unreadable::Identity => EventDecision::IdentityUnusable,
        Unreadable::Context => EventDecision::ContextUnusable,
    }
}
