//! Claims: a trigger claims each channel that it announces on in the memory; the claims decide what is new.

use smallvec::{SmallVec, smallvec};

use super::DecisionInProgress;
use super::effects::{Deliveries, Effect, EffectKind, Novelty};
use crate::assignment::{
    Announced, Assignment, Before, ClaimMode, Claimed, Prepared, Reach, Renewal, Shown, Socket, Uncertainty, Value,
    Waiter,
};
use crate::decision::EventDecision;
use crate::gateway::app_rules::RuleRoute;
use crate::rules::{LateJoiners, Mode, Unreadable};

/// What a successful claim says of its channel; see [`Claimed::Held`].
struct Reserved {
    before: Previous,
    redundant: bool,
    shown: Option<Shown>,
    renewal: Option<Renewal>,
    /// The decision on an announcement that is redundant and goes on all the same.
    exempt: EventDecision,
}

/// What was known of a channel before an event; see [`Before`].
enum Previous {
    Nothing,
    Known {
        assignment: Assignment,
        reach: Reach,
        is_due: bool,
    },
    /// Unknown: the decision on an announcement.
    Unknown(EventDecision),
}

impl Previous {
    /// The same after an effect, which may be the last one on its channel. After one without a readable assignment
    /// nothing is known of the channel, whatever was known before.
    fn after(&self, effect: &Effect<'_>, is_last: bool) -> Self {
        match (effect.announced(), effect.assignment()) {
            (Some(announced), Some(assignment)) if !is_last => {
                let reached = Reach::without(announced.left_out);
                let reach = match self {
                    Self::Known { assignment: known, reach, .. } if known == assignment => reach.and(reached),
                    Self::Known { .. } | Self::Nothing | Self::Unknown(_) => reached,
                };
                Self::Known { assignment: assignment.clone(), reach, is_due: false }
            }
            _ => Self::Unknown(EventDecision::AfterOtherEvent),
        }
    }
}

/// The effects of a trigger on one channel for one rule, in their order.
type Group = SmallVec<[usize; 4]>;

/// The runs of equal announcements in a group.
struct Runs {
    count: usize,
    /// The connection that the last run has not reached, if there is one.
    last_left_out: Option<Socket>,
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
        let mut group: Group = smallvec![first];
        let mut last = first;
        while let Some(&Some(next)) = self.followers.get(last) {
            group.push(next);
            last = next;
        }
        let Runs { count, last_left_out } = self.note_repeats(&group);
        let batch;
        let value = match (&self.effects[last].kind, count) {
            (EffectKind::Announces(value, _), 1) => value,
            (EffectKind::Announces(Value::One(last) | Value::Last(last), _), _) => {
                batch = Value::Last(last.clone());
                &batch
            }
            _ => &Value::Opaque,
        };
        let announced = Announced { value, left_out: last_left_out };
        let route = self.effects[first].route;
        let is_blind = self.is_blind(route);
        let mode = if is_blind { ClaimMode::Forced } else { self.claim_mode_for(route) };
        let exempt = self.exemption(mode);
        let reserved = match self.claims.claim(route.number, self.effects[first].channel, announced, mode) {
            Claimed::Wait(waiter) => return Some(waiter),
            Claimed::Redundant(shown) => {
                for &index in &group {
                    self.effects[index].novelty.get_or_insert(Novelty::Known(shown));
                }
                return None;
            }
            Claimed::Held { before, redundant, shown, renewal } => {
                let before = match before {
                    Before::Nothing => Previous::Nothing,
                    Before::Known { assignment, reach, is_due } => {
                        Previous::Known { assignment, reach: if is_blind { Reach::NotAll } else { reach }, is_due }
                    }
                    Before::Uncertain(cause) => Previous::Unknown(self.uncertain(cause)),
                };
                // What would be redundant goes on for somebody who may have come.
                let renewal = renewal.or_else(|| (is_blind && redundant).then_some(Renewal::LateJoiner));
                Reserved { before, redundant: redundant && !is_blind, shown, renewal, exempt }
            }
            Claimed::HeldAll(cause) => {
                let before = Previous::Unknown(self.uncertain(cause));
                Reserved { before, redundant: false, shown: None, renewal: None, exempt }
            }
        };
        self.decide_reserved(&group, count, reserved);
        None
    }

    /// Notes which effects of a group say nothing to anybody that those before them in the same run have not said.
    fn note_repeats(&mut self, group: &[usize]) -> Runs {
        let mut count = 0;
        // Whom the present run has reached.
        let mut reach = Reach::All;
        for (position, &index) in group.iter().enumerate() {
            let this = self.effects[index].announced();
            let before = position.checked_sub(1).and_then(|before| self.effects[group[before]].announced());
            let left_out = this.and_then(|this| this.left_out);
            let continued = match (this, before) {
                (Some(this), Some(before)) if this.value == before.value => Some((this, before)),
                _ => None,
            };
            let Some((this, before)) = continued else {
                count += 1;
                reach = Reach::without(left_out);
                continue;
            };
            if reach.covers(left_out) {
                let difference = this.value.shows().zip(before.value.shows());
                let difference = difference.and_then(|(this, before)| this.difference_from(before));
                self.effects[index].novelty = Some(Novelty::Repeated(difference));
            }
            reach = reach.and(Reach::without(left_out));
        }
        let last_left_out = if let Reach::AllBut(socket) = reach { Some(socket) } else { None };
        Runs { count, last_left_out }
    }

    /// Decides the novelty of the effects on a reserved channel: the first one is new unless it was known; one that
    /// follows a different one is a change.
    fn decide_reserved(&mut self, group: &[usize], runs: usize, reserved: Reserved) {
        let Reserved { mut before, redundant, shown, mut renewal, exempt } = reserved;
        for &index in group {
            let effect = &self.effects[index];
            if effect.novelty.is_some() {
                continue;
            }
            let (same, own_renewal) = self.compare(effect, &before);
            let observes = self.observes(effect);
            // That of the claim is about the first effect, and there is one only if the whole group announces the same.
            let renewal = renewal.take().or(own_renewal);
            let novelty = match (&effect.kind, &before) {
                (EffectKind::Announces(..), _) if (redundant || same.is_some()) && observes => {
                    let decision = if shown.is_some() || same.is_some() {
                        EventDecision::WouldSameAssignment
                    } else {
                        EventDecision::WouldSameInFlight
                    };
                    Novelty::Observed { decision, shown }
                }
                (EffectKind::Announces(..), _) if redundant || same.is_some() => match same {
                    // The first of a batch's several changes may be known; the batch as a whole always holds the channel.
                    Some(same) if runs > 1 && self.mode != ClaimMode::Forced => Novelty::Known(same),
                    Some(_) | None => Novelty::News(exempt),
                },
                (EffectKind::Announces(..), _) if let Some(renewal) = renewal => Novelty::News(renewed(renewal)),
                (EffectKind::Announces(..), Previous::Nothing) => Novelty::News(EventDecision::NothingKnown),
                (EffectKind::Announces(..), Previous::Known { assignment, .. })
                    if effect.assignment().is_some_and(|announced| assignment.is_of_same(announced)) =>
                {
                    Novelty::News(EventDecision::ChangedElsewhere)
                }
                (EffectKind::Announces(..), Previous::Known { .. }) => Novelty::News(EventDecision::Changed),
                (EffectKind::Announces(..), Previous::Unknown(decision)) => Novelty::News(*decision),
                (EffectKind::Unreadable(cause), _) => Novelty::News(unreadable(*cause)),
                (EffectKind::Releases, _) => Novelty::News(EventDecision::Released),
                (EffectKind::ReachUnknown(decision), _) => Novelty::News(*decision),
            };
            let after = before.after(effect, group.last() == Some(&index));
            let effect = &mut self.effects[index];
            effect.novelty = Some(novelty);
            if let Previous::Known { assignment, .. } = std::mem::replace(&mut before, after) {
                effect.before = Some(assignment);
            }
        }
    }

    /// What the channel was known to show before an effect, if that makes it redundant; if it is the same and does not,
    /// why not.
    fn compare(&self, effect: &Effect<'_>, before: &Previous) -> (Option<Shown>, Option<Renewal>) {
        match (before, effect.announced(), effect.assignment()) {
            (Previous::Known { assignment: known, reach, is_due }, Some(announced), Some(assignment))
                if known == assignment =>
            {
                let shown = Shown { since: self.now, difference: assignment.difference_from(known) };
                match reach.renewal(announced.left_out, *is_due) {
                    None => (Some(shown), None),
                    renewal => (None, renewal),
                }
            }
            _ => (None, None),
        }
    }

    /// The decision on a redundant announcement that a claim in `mode` lets through.
    fn exemption(&self, mode: ClaimMode) -> EventDecision {
        match (self.forced, mode) {
            (Some(forced), _) => forced,
            (None, ClaimMode::MayWait) => EventDecision::TooManyWaiting,
            (None, ClaimMode::MustNotWait | ClaimMode::Forced | ClaimMode::Observed)
                if self.mode == ClaimMode::MustNotWait =>
            {
                EventDecision::WaitOver
            }
            (None, ClaimMode::MustNotWait | ClaimMode::Forced | ClaimMode::Observed) => EventDecision::CannotWait,
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
            let (Some(Novelty::Known(_)), Some(announced)) = (effect.novelty, effect.announced()) else { continue };
            if !deliveries.is_dropped(effect.event, effect.position) {
                self.claims.hold(effect.route.number, effect.channel, announced);
            }
        }
    }

    /// Whether somebody may have subscribed to a channel of a rule that asks for it, and usher would not have seen it.
    fn is_blind(&self, route: &RuleRoute) -> bool {
        route.rule.spec().late_joiners != LateJoiners::Ignore && !self.app.sees_clients()
    }

    fn claim_mode_for(&self, route: &RuleRoute) -> ClaimMode {
        if self.mode == ClaimMode::Forced {
            ClaimMode::Forced
        } else if route.rule.spec().mode == Mode::Observe {
            ClaimMode::Observed
        } else if self.claims.is_empty() {
            self.mode
        } else {
            ClaimMode::MustNotWait
        }
    }
}

/// The decision on an announcement that goes on although its channel shows its assignment.
const fn renewed(renewal: Renewal) -> EventDecision {
    match renewal {
        Renewal::LateJoiner => EventDecision::LateJoiner,
        Renewal::LeftOut => EventDecision::LeftOut,
        Renewal::Refresh => EventDecision::Refresh,
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
