//! The decision: what a verified trigger would change, what of it is redundant, and what it has to hold while it is under way.

use std::iter;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Shared;
use super::observe;
use super::plan::{Parts, Plan, Tickets};
use super::routing::{AppRoute, WatchedRule};
use crate::assignment::{Assignment, Before, Claim, Outcome, Patience, Value, Waiter};
use crate::clock::Moment;
use crate::decisions::{Decided, Reason};
use crate::metrics::Decision;
use crate::pusher::{Event, Inexact, Oddity, Reach, Trigger};
use crate::rate::{Fare, Limited, Passage, Turn};
use crate::rules::{self, Mode};

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
pub(super) fn judge(shared: &Shared, app: &AppRoute, read: Result<Trigger<'_>, Inexact>, standing: Standing, fare: &mut Fare) -> Judgement {
    match read {
        Ok(exact) => {
            let Standing { now, mut patience, waited } = standing;
            if shared.drain.has_begun() || exact.events.iter().any(|event| event.wants_info) {
                patience = Patience::Forced;
            }
            let mut decision = Deciding { shared, app, now, patience, waited, tickets: Tickets::default(), effects: effects(app, &exact) };
            match decision.claim_all() {
                Some(waiter) => Judgement::Wait(Awaited::Equal(waiter)),
                None => decision.conclude(&exact, fare),
            }
        }
        Err(inexact) => judge_inexact(shared, app, &inexact, standing.now, fare),
    }
}

/// What cannot be read may be a handoff: no channel's limit is asked. The app's is before anything is claimed.
pub(super) fn judge_inexact(shared: &Shared, app: &AppRoute, inexact: &Inexact, now: Moment, fare: &mut Fare) -> Judgement {
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

/// The plan for a request that cannot be read exactly: it goes on as it is, and what it may touch is unknown until it is settled.
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

/// Room on the stack for the `data` of an announcement.
const USUAL_DATA: usize = 1024;

/// Nearly all triggers do one thing.
type Effects<'a> = SmallVec<[Effect<'a>; 1]>;

/// What one event does on one channel in the eyes of one rule.
#[derive(Debug)]
struct Effect<'a> {
    event: usize,
    position: usize,
    channel: &'a str,
    watched: &'a WatchedRule,
    kind: Kind,
    verdict: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// One assignment, and nothing else.
    Announces(Value),
    Unreadable,
    Releases,
    ExcludesSocket,
}

/// A claim's answer to one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Known to show just this, since then.
    Known(Moment),
    /// The same batch announced it just before.
    Repeated,
    /// Redundant, and known to show this since then, if at all; it goes on because the rule only observes.
    Observed(Option<Moment>),
    /// It goes on.
    News(Decision),
}

impl Effect<'_> {
    const fn assignment(&self) -> Option<&Assignment> {
        match &self.kind {
            Kind::Announces(value) => value.shows(),
            Kind::Unreadable | Kind::Releases | Kind::ExcludesSocket => None,
        }
    }

    /// When the channel became known to show just this, if it is redundant for that reason.
    const fn known_since(&self) -> Option<Moment> {
        match self.verdict {
            Some(Verdict::Known(since)) => Some(since),
            Some(Verdict::Observed(since)) => since,
            Some(Verdict::Repeated | Verdict::News(_)) | None => None,
        }
    }

    /// Whether this rule would have it dropped, and may.
    fn is_droppable(&self) -> bool {
        self.watched.rule.spec().mode == Mode::Enforce && matches!(self.verdict, Some(Verdict::Known(_) | Verdict::Repeated))
    }
}

/// Everything in `exact` that a rule of the app watches, in the order of events and channels.
fn effects<'a>(app: &'a AppRoute, exact: &'a Trigger<'_>) -> Effects<'a> {
    let mut effects = Effects::new();
    for (event_index, event) in exact.events.iter().enumerate() {
        let mut concerned = app.rules.iter().filter(|watched| watched.rule.concerns(&event.name)).peekable();
        if concerned.peek().is_none() {
            continue;
        }
        let mut room = [0; USUAL_DATA];
        let data = event.data(&mut room);
        for watched in concerned {
            let first = effects.len();
            for (position, channel) in event.channels.iter().enumerate().filter(|(_, channel)| watched.rule.watches(channel)) {
                // It means the same on every channel.
                let kind = match effects.get(first) {
                    Some(Effect { kind, .. }) => kind.clone(),
                    None => match kind(watched, event, data.as_deref()) {
                        Some(kind) => kind,
                        None => break,
                    },
                };
                effects.push(Effect { event: event_index, position, channel, watched, kind, verdict: None });
            }
        }
    }
    effects
}

fn kind(watched: &WatchedRule, event: &Event<'_>, data: Option<&str>) -> Option<Kind> {
    match watched.rule.read(&event.name, data) {
        rules::Reading::Unrelated => None,
        // Whoever is excluded did not see it: what the channel shows is not one thing any more.
        _ if event.excludes_socket => Some(Kind::ExcludesSocket),
        rules::Reading::Announcement(assignment) => Some(Kind::Announces(Value::One(assignment))),
        rules::Reading::Unreadable => Some(Kind::Unreadable),
        rules::Reading::Release => Some(Kind::Releases),
    }
}

/// A decision under way.
struct Deciding<'a> {
    shared: &'a Shared,
    app: &'a AppRoute,
    now: Moment,
    patience: Patience,
    waited: bool,
    tickets: Tickets,
    effects: Effects<'a>,
}

impl Deciding<'_> {
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
        self.cover_mixed();
        None
    }

    /// Claims one channel for one rule: for all that the trigger (a batch) does there in turn.
    fn claim_channel(&mut self, first: usize) -> Option<Waiter> {
        // Nearly all triggers announce once.
        let alone = [first];
        let several: Vec<usize>;
        let group = if self.effects.len() == 1 {
            &alone[..]
        } else {
            several = (first..self.effects.len()).filter(|&other| self.same_channel(first, other)).collect();
            &several
        };
        let mut runs = 0;
        for (place, &index) in group.iter().enumerate() {
            let repeats = place > 0 && self.effects[index].assignment().is_some() && self.effects[index].kind == self.effects[group[place - 1]].kind;
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
                self.judge_reserved(group, runs, before, (redundant, since));
            }
            Claim::Full => {
                self.tickets.hold_app(&self.app.memory);
                self.judge_reserved(group, runs, Before::Uncertain, (false, None));
            }
        }
        None
    }

    /// Verdicts for a channel that is held: the first is news unless it is what was known; what follows a different one is a change.
    fn judge_reserved(&mut self, group: &[usize], runs: usize, before: Before, (redundant, since): (bool, Option<Moment>)) {
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
                (Kind::Announces(_), _) if same && runs > 1 && self.patience != Patience::Forced => Verdict::Known(self.now),
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

    /// An event that one rule finds redundant and another does not goes on. The first rule then holds its channel as well: whatever is forwarded
    /// and might change what guests see holds a ticket.
    fn cover_mixed(&mut self) {
        for index in 0..self.effects.len() {
            let effect = &self.effects[index];
            let (Some(Verdict::Known(_)), Kind::Announces(value)) = (effect.verdict, &effect.kind) else { continue };
            if !self.is_dropped(effect.event, effect.position) {
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

    fn same_channel(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.effects[one], &self.effects[other]);
        std::ptr::eq(one.watched, other.watched) && one.channel == other.channel
    }

    /// Whether a redundant announcement goes on only because its rule observes. What would be exempt if it enforced, is.
    fn observes(&self, effect: &Effect<'_>) -> bool {
        effect.watched.rule.spec().mode == Mode::Observe && self.patience != Patience::Forced
    }

    /// An event on a channel is dropped if every rule that watches it there says so.
    fn is_dropped(&self, event: usize, position: usize) -> bool {
        let mut here = self.effects.iter().filter(|effect| effect.event == event && effect.position == position).peekable();
        here.peek().is_some() && self.patience != Patience::Forced && here.all(Effect::is_droppable)
    }

    /// Asks the limits on rates about what is to go on, counts and logs the decisions, and makes the plan.
    fn conclude(mut self, exact: &Trigger<'_>, fare: &mut Fare) -> Judgement {
        let mut dropped: SmallVec<[(usize, usize); 4]> = SmallVec::new();
        for effect in &self.effects {
            if self.is_dropped(effect.event, effect.position) && !dropped.contains(&(effect.event, effect.position)) {
                dropped.push((effect.event, effect.position));
            }
        }
        let all: usize = exact.events.iter().map(|event| event.channels.len()).sum();
        if dropped.len() == all {
            fare.refund();
        } else {
            match self.pay(exact, &dropped, fare) {
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
            self.tell(effect, dropped.contains(&(effect.event, effect.position)));
        }
        observe::strays(self.shared, self.app, exact, self.now);
        let unwatched = exact.events.iter().enumerate().filter(|(index, _)| self.effects.iter().all(|effect| effect.event != *index)).count();
        if unwatched > 0 {
            self.app.metrics.no_rule(unwatched as u64);
        }
        if dropped.len() == all {
            debug_assert!(self.tickets.is_empty());
            return Judgement::Suppress;
        }
        let reduced = (!dropped.is_empty()).then(|| exact.without(&dropped));
        self.tickets.hold_generation(&self.app.generation);
        let parts = if all - dropped.len() == 1 { Parts::One } else { Parts::Several };
        Judgement::Forward(Plan { tickets: self.tickets, reduced, parts })
    }

    /// A trigger with anything on it that a rule watches and that goes on is a handoff, perhaps, and no channel's limit is asked about it.
    fn pay(&self, exact: &Trigger<'_>, dropped: &[(usize, usize)], fare: &mut Fare) -> Passage {
        let announces = self.effects.iter().any(|effect| !dropped.contains(&(effect.event, effect.position)));
        let asked = if announces { &[][..] } else { &exact.events[..] };
        let places = asked
            .iter()
            .enumerate()
            .flat_map(|(index, event)| event.channels.iter().enumerate().filter(move |(position, _)| !dropped.contains(&(index, *position))));
        pay(self.app, fare, places.map(|(_, channel)| channel.as_ref()))
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
            Some(Verdict::Repeated) if drops => (Decision::Suppressed, Reason::Words("repeats the announcement before it in the same batch")),
            Some(Verdict::News(Decision::ForwardedUncertain)) => (Decision::ForwardedUncertain, self.uncertainty()),
            Some(Verdict::News(decision)) => (decision, Reason::Words(in_words(decision))),
            Some(Verdict::Repeated) if self.observes(effect) => (Decision::ShadowSuppressed, Reason::Words(in_words(Decision::ShadowSuppressed))),
            Some(Verdict::Observed(_)) => (Decision::ShadowSuppressed, Reason::Words(in_words(Decision::ShadowSuppressed))),
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
