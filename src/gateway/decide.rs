//! The decision: what a verified trigger would change, what of it is redundant, and what it has to hold while it is
//! under way.

use std::iter;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Shared;
use super::effects::{Effect, Effects, Fates, Kind, Verdict, effects, followers};
use super::observe;
use super::plan::{Parts, Plan, Tickets};
use super::routing::{AppRoute, WatchedRule};
use crate::assignment::{Assignment, Before, Claim, Outcome, Patience, Value, Waiter};
use crate::clock::Moment;
use crate::decisions::{Decided, Reason};
use crate::metrics::Decision;
use crate::pusher::{Inexact, Oddity, Reach, Trigger};
use crate::rate::{Fare, Limited, Passage, Turn};
use crate::rules::Mode;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Judgement {
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
    Turn(Turn),
}

/// How a trigger stands when it is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) now: Moment,
    pub(super) patience: Patience,
    /// Whether it has waited for an equal announcement.
    pub(super) waited: bool,
}

/// Judges a trigger of `app` as it was read. `fare`: what it has taken of the limits on rates before.
pub(super) fn judge(
    shared: &Shared,
    app: &AppRoute,
    read: Result<Trigger<'_>, Inexact>,
    standing: Standing,
    fare: &mut Fare,
) -> Judgement {
    match read {
        Ok(exact) => {
            let Standing { now, mut patience, waited } = standing;
            if shared.drain.has_begun() || exact.events.iter().any(|event| event.wants_info) {
                patience = Patience::Forced;
            }
            let effects = effects(app, &exact);
            let followers = followers(&exact, &effects);
            let mut decision = Deciding {
                shared,
                app,
                now,
                patience,
                waited,
                tickets: Tickets::default(),
                exact: &exact,
                effects,
                followers,
            };
            match decision.claim_all() {
                Some(waiter) => Judgement::Wait(Awaited::Equal(waiter)),
                None => decision.conclude(fare),
            }
        }
        Err(inexact) => judge_inexact(shared, app, &inexact, standing.now, fare),
    }
}

/// What cannot be read may be a handoff: no channel's limit is asked. The app's is before anything is claimed.
pub(super) fn judge_inexact(
    shared: &Shared,
    app: &AppRoute,
    inexact: &Inexact,
    now: Moment,
    fare: &mut Fare,
) -> Judgement {
    match pay(app, fare, iter::empty()) {
        Passage::Open => Judgement::Forward(forget(shared, app, inexact, now)),
        Passage::After(turn) => Judgement::Wait(Awaited::Turn(turn)),
        Passage::Closed(limited) => Judgement::Refuse(limited),
    }
}

/// Asks the limits on rates, if there are any, for a turn of a trigger of `app` with an event on each of `channels`.
fn pay<'a>(app: &AppRoute, fare: &mut Fare, channels: impl Iterator<Item = &'a str>) -> Passage {
    app.rates.as_ref().map_or(Passage::Open, |limits| fare.pay(limits, channels))
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
            decision: Decision::ForwardedInexact,
            reason: Reason::Inexact(inexact.oddity.label()),
        });
    };
    match &inexact.reach {
        Reach::App => {
            tickets.hold_app(&app.memory);
            tell(&Arc::default(), "*");
        }
        Reach::Channels(channels) => {
            for channel in channels {
                for watched in app.rules.iter().filter(|watched| watched.rule.watches(channel)) {
                    hold(&mut tickets, app, watched.memory.claim(channel, &Value::Nobody, Patience::Forced, now));
                    tell(&watched.name, channel);
                }
            }
        }
    }
    tickets.hold_generation(&app.generation);
    let parts = if inexact.oddity == Oddity::LegacyEndpoint { Parts::One } else { Parts::Several };
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
    patience: Patience,
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
            if self.effects[first].verdict.is_some() {
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
                self.effects[index].verdict = Some(Verdict::Repeated);
            } else {
                runs += 1;
            }
        }
        let last = group.last().map_or(first, |&last| last);
        let run;
        let value = match (&self.effects[last].kind, runs) {
            (Kind::Announces(value), 1) => value,
            (Kind::Announces(Value::One(last) | Value::Last(last)), _) => {
                run = Value::Last(last.clone());
                &run
            }
            _ => &Value::Nobody,
        };
        let watched = self.effects[first].watched;
        match watched.memory.claim(self.effects[first].channel, value, self.patience_for(watched), self.now) {
            Claim::InFlight(waiter) => return Some(waiter),
            Claim::Redundant { since } => self.effects[first].verdict = Some(Verdict::Known(since)),
            Claim::Reserved { reservation, before, redundant, since } => {
                self.tickets.hold(reservation);
                self.judge_reserved(&group, runs, before, (redundant, since));
            }
            Claim::Full => {
                self.tickets.hold_app(&self.app.memory);
                self.judge_reserved(&group, runs, Before::Uncertain, (false, None));
            }
        }
        None
    }

    /// Verdicts for a channel that is held: the first is news unless it is what was known; what follows a different one
    /// is a change.
    fn judge_reserved(
        &mut self,
        group: &[usize],
        runs: usize,
        before: Before,
        (redundant, since): (bool, Option<Moment>),
    ) {
        let mut before = before;
        for &index in group {
            let effect = &self.effects[index];
            if effect.verdict.is_some() {
                continue;
            }
            let same = matches!((&before, effect.assignment()), (Before::Known(known), Some(assignment)) if known == assignment);
            let observes = self.observes(effect);
            let verdict = match (&effect.kind, &before) {
                (Kind::Announces(_), _) if (redundant || same) && observes => Verdict::Observed(since),
                // The head of a batch's run of changes may be what is known; the run itself always holds the channel.
                (Kind::Announces(_), _) if same && runs > 1 && self.patience != Patience::Forced => {
                    Verdict::Known(self.now)
                }
                (Kind::Announces(_), _) if redundant || same => Verdict::News(Decision::ForwardedExempt),
                (Kind::Announces(_), Before::Nothing) => Verdict::News(Decision::ForwardedFirst),
                (Kind::Announces(_), Before::Known(_)) => Verdict::News(Decision::ForwardedChange),
                (Kind::Announces(_), Before::Uncertain) => Verdict::News(Decision::ForwardedUncertain),
                (Kind::Unreadable, _) => Verdict::News(Decision::ForwardedUnreadable),
                (Kind::Releases, _) => Verdict::News(Decision::ForwardedRelease),
                (Kind::ExcludesSocket, _) => Verdict::News(Decision::ForwardedExempt),
            };
            // Behind a change that cannot be judged, nothing is known, whatever was.
            before = effect.assignment().map_or(Before::Uncertain, |assignment| Before::Known(assignment.clone()));
            self.effects[index].verdict = Some(verdict);
        }
    }

    /// An event that one rule finds redundant and another does not goes on. The first rule then holds its channel as
    /// well: whatever is forwarded and might change what guests see holds a ticket.
    fn cover_mixed(&mut self, fates: &Fates) {
        for index in 0..self.effects.len() {
            let effect = &self.effects[index];
            let (Some(Verdict::Known(_)), Kind::Announces(value)) = (effect.verdict, &effect.kind) else { continue };
            if !fates.is_dropped(effect.event, effect.position) {
                let claim = effect.watched.memory.claim(effect.channel, value, Patience::Forced, self.now);
                hold(&mut self.tickets, self.app, claim);
            }
        }
    }

    fn patience_for(&self, watched: &WatchedRule) -> Patience {
        if self.patience == Patience::Forced || watched.rule.spec().mode == Mode::Observe {
            Patience::Forced
        } else if self.tickets.is_empty() {
            self.patience
        } else {
            Patience::Holds
        }
    }

    /// Whether a redundant announcement goes on only because its rule observes. What would be exempt if it enforced,
    /// is.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.watched.rule.spec().mode == Mode::Observe && self.patience != Patience::Forced
    }

    /// Asks the limits on rates about what is to go on, counts and logs the decisions, and makes the plan.
    fn conclude(mut self, fare: &mut Fare) -> Judgement {
        let fates = Fates::of(self.exact, &self.effects, self.patience == Patience::Forced);
        self.cover_mixed(&fates);
        if fates.are_all_dropped() {
            fare.refund();
        } else {
            match self.pay(&fates, fare) {
                Passage::Open => {}
                // Nothing was sent: the tickets give back what was known before.
                Passage::After(turn) => {
                    self.tickets.settle(Outcome::Refused);
                    return Judgement::Wait(Awaited::Turn(turn));
                }
                Passage::Closed(limited) => {
                    self.tickets.settle(Outcome::Refused);
                    return Judgement::Refuse(limited);
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
            return Judgement::Suppress;
        }
        let dropped = fates.dropped();
        let reduced = (!dropped.is_empty()).then(|| self.exact.without(&dropped));
        self.tickets.hold_generation(&self.app.generation);
        let parts = if fates.forwarded() == 1 { Parts::One } else { Parts::Several };
        Judgement::Forward(Plan { tickets: self.tickets, reduced, parts })
    }

    /// A trigger with anything on it that a rule watches and that goes on is a handoff, perhaps, and no channel's limit
    /// is asked about it.
    fn pay(&self, fates: &Fates, fare: &mut Fare) -> Passage {
        let asked = if fates.announces() { &[][..] } else { &self.exact.events[..] };
        let channels = asked.iter().enumerate().flat_map(|(index, event)| {
            let positions = event.channels.iter().enumerate();
            positions
                .filter(move |(position, _)| !fates.is_dropped(index, *position))
                .map(|(_, channel)| channel.as_ref())
        });
        pay(self.app, fare, channels)
    }

    /// Why it is not certain what a channel shows.
    fn uncertainty(&self) -> Reason {
        match self.app.memory.start_doubt(self.now) {
            Some(running) => Reason::JustStarted(running),
            None if self.shared.success_format.is_never_json() => Reason::Words(
                "upstream's answers to triggers are no JSON objects, so none says that an announcement was accepted: nothing can be suppressed",
            ),
            None => Reason::Words(in_words(Decision::ForwardedUncertain)),
        }
    }

    fn tell(&self, effect: &Effect<'_>, drops: bool) {
        let (decision, reason) = match effect.verdict {
            Some(Verdict::Known(since)) if drops => {
                let decision = if self.waited { Decision::Coalesced } else { Decision::Suppressed };
                (decision, Reason::Known(self.now.since(since)))
            }
            Some(Verdict::Repeated) if drops => {
                (Decision::Suppressed, Reason::Words("repeats the announcement before it in the same batch"))
            }
            Some(Verdict::News(Decision::ForwardedUncertain)) => (Decision::ForwardedUncertain, self.uncertainty()),
            Some(Verdict::News(decision)) => (decision, Reason::Words(in_words(decision))),
            Some(Verdict::Repeated) if self.observes(effect) => {
                (Decision::ShadowSuppressed, Reason::Words(in_words(Decision::ShadowSuppressed)))
            }
            Some(Verdict::Observed(_)) => {
                (Decision::ShadowSuppressed, Reason::Words(in_words(Decision::ShadowSuppressed)))
            }
            Some(Verdict::Known(_) | Verdict::Repeated) | None => {
                (Decision::ForwardedExempt, Reason::Words("redundant, but the request it came with is not dropped"))
            }
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

const fn in_words(decision: Decision) -> &'static str {
    match decision {
        Decision::ForwardedFirst => "nothing was known of this channel",
        Decision::ForwardedChange => "another assignment was known",
        Decision::ForwardedUncertain => "another announcement is in flight, or the last one's outcome is in doubt",
        Decision::ForwardedUnreadable => "the rule's event, but its assignment cannot be read exactly",
        Decision::ForwardedExempt => {
            "never dropped: it excludes a socket, has an idempotency key, asks for info, is a duplicate past the waiting bounds, or usher drains"
        }
        Decision::ForwardedRelease => "ends the assignment",
        Decision::ForwardedInexact => "the request cannot be read exactly",
        Decision::ForwardedNoRule => "no rule watches it",
        Decision::Suppressed => "same assignment",
        Decision::Coalesced => "same assignment, accepted while this one waited",
        Decision::ShadowSuppressed => "same assignment; forwarded because the rule only observes",
    }
}
