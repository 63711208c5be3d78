//! The decision: what a verified trigger would change, what of it is redundant, and what it has to hold while it is under way.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Shared;
use super::observe;
use super::plan::{Parts, Plan, Tickets};
use super::routing::WatchedRule;
use super::target::Form;
use super::trigger::Verified;
use crate::assignment::{Assignment, Before, Claim, Patience, Value, Waiter};
use crate::clock::Moment;
use crate::decisions::Record;
use crate::metrics::Decision;
use crate::pusher::{Event, Inexact, Oddity, Query, Reach, Trigger};
use crate::rules::{Mode, Reading};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Judgement {
    /// All of it is redundant.
    Suppress,
    /// An equal announcement is in flight; nothing is held.
    Wait(Waiter),
    /// It goes on, wholly or in part.
    Forward(Plan),
}

/// Judges `trigger` at this moment. `waited`: it has waited for an equal announcement.
pub(super) fn judge(shared: &Shared, trigger: &Verified, patience: Patience, waited: bool) -> Judgement {
    match read(trigger) {
        Ok(exact) => {
            let now = shared.clock.now();
            let patience = if shared.drain.has_begun() || exact.events.iter().any(|event| event.wants_info) { Patience::Forced } else { patience };
            let mut decision = Deciding { shared, trigger, now, patience, waited, tickets: Tickets::default(), effects: effects(trigger, &exact) };
            match decision.claim_all() {
                Some(waiter) => Judgement::Wait(waiter),
                None => decision.conclude(&exact),
            }
        }
        Err(inexact) => Judgement::Forward(forget(shared, trigger, &inexact)),
    }
}

/// Reads the trigger exactly, or says what it may touch.
fn read(trigger: &Verified) -> Result<Trigger<'_>, Inexact> {
    let endpoint = match &trigger.form {
        Form::Exact(endpoint) => *endpoint,
        Form::Legacy { channel } => return Err(Inexact { oddity: Oddity::LegacyEndpoint, reach: Reach::Channels(vec![channel.clone()]) }),
        Form::Disguised => return Err(Inexact { oddity: Oddity::DisguisedTarget, reach: Reach::App }),
    };
    let headers = &trigger.head.headers;
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Inexact { oddity: Oddity::ContentEncoding, reach: Reach::App });
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    if !types.next().is_some_and(|value| is_json(value.as_bytes())) || types.next().is_some() {
        return Err(Inexact { oddity: Oddity::ContentType, reach: Reach::App });
    }
    if trigger.head.uri.query().is_some_and(|query| Query::parse(query).has_trigger_parameters()) {
        return Err(Inexact { oddity: Oddity::QueryParameters, reach: Reach::App });
    }
    Trigger::parse(endpoint, &trigger.body)
}

/// `application/json`, perhaps with `charset=utf-8`: in any other type or charset the bytes may mean something else.
fn is_json(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"application/json"))
        && parts.all(|parameter| parameter.eq_ignore_ascii_case(b"charset=utf-8") || parameter.eq_ignore_ascii_case(b"charset=\"utf-8\""))
}

/// The plan for a request that cannot be read exactly: it goes on as it is, and what it may touch is unknown until it is settled.
fn forget(shared: &Shared, trigger: &Verified, inexact: &Inexact) -> Plan {
    let app = &trigger.app;
    let mut tickets = Tickets::default();
    let now = shared.clock.now();
    app.metrics.inexact();
    let record = |rule: &str, channel: &str| Record {
        at: now,
        app: app.id.clone(),
        rule: rule.into(),
        channel: channel.into(),
        identity: None,
        decision: Decision::ForwardedInexact,
        reason: Cow::Owned(format!("not read exactly ({}): what it may touch is forgotten", inexact.oddity.label())),
    };
    match &inexact.reach {
        Reach::App => {
            tickets.hold_app(&app.memory);
            shared.decisions.push(record("", "*"));
        }
        Reach::Channels(channels) => {
            for channel in channels {
                for watched in app.rules.iter().filter(|watched| watched.rule.watches(channel)) {
                    hold(&mut tickets, trigger, watched.memory.claim(channel, Value::Nobody, Patience::Forced, now));
                    shared.decisions.push(record(&watched.name, channel));
                }
            }
        }
    }
    let parts = if matches!(trigger.form, Form::Legacy { .. }) { Parts::One } else { Parts::Several };
    Plan { tickets, reduced: None, parts }
}

/// Keeps what a claim that is always forwarded answered.
fn hold(tickets: &mut Tickets, trigger: &Verified, claim: Claim) {
    match claim {
        Claim::Reserved { reservation, .. } => tickets.hold(reservation),
        // A forced claim answers nothing else but `Full`; whatever it is, the app-wide ticket covers it.
        Claim::Full | Claim::Redundant { .. } | Claim::InFlight(_) => tickets.hold_app(&trigger.app.memory),
    }
}

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

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Announces(Assignment),
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
            Kind::Announces(assignment) => Some(assignment),
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
fn effects<'a>(trigger: &'a Verified, exact: &'a Trigger<'_>) -> Vec<Effect<'a>> {
    let mut effects = Vec::new();
    for (event_index, event) in exact.events.iter().enumerate() {
        let mut data: Option<Option<Cow<'_, str>>> = None;
        for watched in trigger.app.rules.iter().filter(|watched| watched.rule.concerns(&event.name)) {
            for (position, channel) in event.channels.iter().enumerate().filter(|(_, channel)| watched.rule.watches(channel)) {
                let data = data.get_or_insert_with(|| event.data());
                let Some(kind) = kind(watched, event, data.as_deref()) else { break };
                effects.push(Effect { event: event_index, position, channel, watched, kind, verdict: None });
            }
        }
    }
    effects
}

fn kind(watched: &WatchedRule, event: &Event<'_>, data: Option<&str>) -> Option<Kind> {
    match watched.rule.read(&event.name, data) {
        Reading::Unrelated => None,
        // Whoever is excluded did not see it: what the channel shows is not one thing any more.
        _ if event.excludes_socket => Some(Kind::ExcludesSocket),
        Reading::Announcement(assignment) => Some(Kind::Announces(assignment)),
        Reading::Unreadable => Some(Kind::Unreadable),
        Reading::Release => Some(Kind::Releases),
    }
}

/// A decision under way.
struct Deciding<'a> {
    shared: &'a Shared,
    trigger: &'a Verified,
    now: Moment,
    patience: Patience,
    waited: bool,
    tickets: Tickets,
    effects: Vec<Effect<'a>>,
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
        let group: Vec<usize> = (first..self.effects.len()).filter(|&other| self.same_channel(first, other)).collect();
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
        let value = match (self.effects[last].assignment(), runs) {
            (Some(assignment), 1) => Value::One(assignment.clone()),
            (Some(assignment), _) => Value::Last(assignment.clone()),
            (None, _) => Value::Nobody,
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
                self.tickets.hold_app(&self.trigger.app.memory);
                self.judge_reserved(&group, runs, Before::Uncertain, (false, None));
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
            let (Some(Verdict::Known(_)), Some(assignment)) = (effect.verdict, effect.assignment()) else { continue };
            if !self.is_dropped(effect.event, effect.position) {
                let claim = effect.watched.memory.claim(effect.channel, Value::One(assignment.clone()), Patience::Forced, self.now);
                hold(&mut self.tickets, self.trigger, claim);
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

    /// Counts and logs the decisions, and makes the plan.
    fn conclude(self, exact: &Trigger<'_>) -> Judgement {
        let mut dropped = Vec::new();
        for effect in &self.effects {
            let drops = self.is_dropped(effect.event, effect.position);
            if drops && !dropped.contains(&(effect.event, effect.position)) {
                dropped.push((effect.event, effect.position));
            }
            self.tell(effect, drops);
        }
        observe::strays(self.shared, &self.trigger.app, exact, self.now);
        let unwatched = exact.events.iter().enumerate().filter(|(index, _)| self.effects.iter().all(|effect| effect.event != *index)).count();
        if unwatched > 0 {
            self.trigger.app.metrics.no_rule(unwatched as u64);
        }
        let all: usize = exact.events.iter().map(|event| event.channels.len()).sum();
        if dropped.len() == all {
            debug_assert!(self.tickets.is_empty());
            return Judgement::Suppress;
        }
        let reduced = (!dropped.is_empty()).then(|| exact.without(&dropped));
        let parts = if all - dropped.len() == 1 { Parts::One } else { Parts::Several };
        Judgement::Forward(Plan { tickets: self.tickets, reduced, parts })
    }

    fn tell(&self, effect: &Effect<'_>, drops: bool) {
        let (decision, reason) = match effect.verdict {
            Some(Verdict::Known(since)) if drops => {
                let decision = if self.waited { Decision::Coalesced } else { Decision::Suppressed };
                (decision, Cow::Owned(format!("same assignment, announced {} ago", ago(self.now.since(since)))))
            }
            Some(Verdict::Repeated) if drops => (Decision::Suppressed, "repeats the announcement before it in the same batch".into()),
            Some(Verdict::News(decision)) => (decision, Cow::Borrowed(in_words(decision))),
            Some(Verdict::Repeated) if self.observes(effect) => (Decision::ShadowSuppressed, Cow::Borrowed(in_words(Decision::ShadowSuppressed))),
            Some(Verdict::Observed(_)) => (Decision::ShadowSuppressed, Cow::Borrowed(in_words(Decision::ShadowSuppressed))),
            Some(Verdict::Known(_) | Verdict::Repeated) | None => {
                (Decision::ForwardedExempt, "redundant, but the request it came with is not dropped".into())
            }
        };
        effect.watched.metrics.count(decision);
        observe::decided(&self.trigger.app, effect.watched, effect.channel, decision, effect.known_since(), self.now);
        self.shared.decisions.push(Record {
            at: self.now,
            app: self.trigger.app.id.clone(),
            rule: effect.watched.name.clone(),
            channel: effect.channel.into(),
            identity: effect.assignment().map(|assignment| assignment.identity().into()),
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
        Decision::ForwardedExempt => "never dropped: it excludes a socket, asks for info, is a duplicate past the waiting bounds, or usher drains",
        Decision::ForwardedRelease => "ends the assignment",
        Decision::ForwardedInexact => "the request cannot be read exactly",
        Decision::ForwardedNoRule => "no rule watches it",
        Decision::Suppressed => "same assignment",
        Decision::Coalesced => "same assignment, accepted while this one waited",
        Decision::ShadowSuppressed => "same assignment; forwarded because the rule only observes",
    }
}

/// A duration as a person would say it.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
