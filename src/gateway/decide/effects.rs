//! The effects of a trigger: what it does on each of its channels, for each rule that watches it there.

use std::collections::HashMap;
use std::ptr;

use smallvec::SmallVec;

use crate::assignment::{Announced, Assignment, Digest, Shown, Socket, Value};
use crate::clock::Moment;
use crate::decision::EventDecision;
use crate::gateway::app_rules::RuleRoute;
use crate::gateway::routing::AppRoute;
use crate::pusher::{Event, Trigger, socket_id};
use crate::rules::{self, Mode, Unreadable};

/// Bytes on the stack for the decoded `data` of an announcement.
pub(super) const STACK_DATA: usize = 1024;

/// Nearly all triggers have one effect.
pub(super) type Effects<'a> = SmallVec<[Effect<'a>; 1]>;

/// What one event does on one channel for one rule.
#[derive(Debug)]
pub(super) struct Effect<'a> {
    pub(super) event: usize,
    pub(super) position: usize,
    pub(super) channel: &'a str,
    pub(super) route: &'a RuleRoute,
    pub(super) kind: EffectKind,
    pub(super) novelty: Option<Novelty>,
    /// What the channel was known to show before, if the event announces something else.
    pub(super) before: Option<Assignment>,
}

/// A rule whose event it is, but whose `where` does not match.
#[derive(Debug)]
pub(super) struct Filtered<'a> {
    pub(super) event: usize,
    pub(super) route: &'a RuleRoute,
    /// The index of the part of `where` that does not match.
    pub(super) part: usize,
}

/// What the rules of an app find in a trigger.
#[derive(Debug, Default)]
pub(super) struct Readings<'a> {
    pub(super) effects: Effects<'a>,
    pub(super) filtered: SmallVec<[Filtered<'a>; 1]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EffectKind {
    /// One assignment, and nothing else. The connection that it leaves out.
    Announces(Value, Option<Socket>),
    Unreadable(Unreadable),
    Releases,
    /// It is not known whom it reaches.
    ReachUnknown(EventDecision),
}

/// What the claims say of one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// The channel is known to show this assignment.
    Known(Shown),
    /// The announcement before it in the same batch is the same. Its remainder, if that is another one.
    Repeated(Option<Digest>),
    /// It is redundant, but goes on because the rule only observes.
    Observed {
        decision: EventDecision,
        /// What the channel is known to show, if that is this.
        shown: Option<Shown>,
    },
    /// It goes on.
    News(EventDecision),
}

impl Effect<'_> {
    pub(super) const fn assignment(&self) -> Option<&Assignment> {
        match &self.kind {
            EffectKind::Announces(value, _) => value.shows(),
            EffectKind::Unreadable(_) | EffectKind::Releases | EffectKind::ReachUnknown(_) => None,
        }
    }

    /// What is claimed for it alone, if it announces one assignment.
    pub(super) const fn announced(&self) -> Option<Announced<'_>> {
        match &self.kind {
            EffectKind::Announces(value, left_out) => Some(Announced { value, left_out: *left_out }),
            EffectKind::Unreadable(_) | EffectKind::Releases | EffectKind::ReachUnknown(_) => None,
        }
    }

    /// Since when the channel is known to show this assignment, if the effect is redundant for that reason.
    pub(super) const fn known_since(&self) -> Option<Moment> {
        match self.novelty {
            Some(Novelty::Known(Shown { since, .. }) | Novelty::Observed { shown: Some(Shown { since, .. }), .. }) => {
                Some(since)
            }
            Some(Novelty::Observed { .. } | Novelty::Repeated(_) | Novelty::News(_)) | None => None,
        }
    }

    /// Whether the remainder of its data was compared with that of what guests show, and the digest of that if they
    /// differ.
    pub(super) const fn difference(&self) -> Option<Option<Digest>> {
        match self.novelty {
            Some(Novelty::Known(shown) | Novelty::Observed { shown: Some(shown), .. }) => Some(shown.difference),
            Some(Novelty::Repeated(difference)) => Some(difference),
            Some(Novelty::Observed { shown: None, .. } | Novelty::News(_)) | None => None,
        }
    }

    /// Whether the rule enforces, and the effect is redundant.
    fn is_droppable(&self) -> bool {
        self.route.rule.spec().mode == Mode::Enforce
            && matches!(self.novelty, Some(Novelty::Known(_) | Novelty::Repeated(_)))
    }
}

/// Everything in `trigger` that a rule of the app watches, in the order of events and channels. `is_keyed`: it has an
/// idempotency key.
pub(super) fn readings<'a>(app: &'a AppRoute, trigger: &'a Trigger<'_>, is_keyed: bool) -> Readings<'a> {
    let Readings { mut effects, mut filtered } = Readings::default();
    for (event_index, event) in trigger.events.iter().enumerate() {
        let channels = event.channels.iter().map(AsRef::as_ref);
        let mut concerned = app.rules.concerned(&event.name, channels).peekable();
        if concerned.peek().is_none() {
            continue;
        }
        let mut buffer = [0; STACK_DATA];
        let data = event.data(&mut buffer);
        for route in concerned {
            let first = effects.len();
            for (position, channel) in
                event.channels.iter().enumerate().filter(|(_, channel)| route.rule.watches(channel))
            {
                // The event has the same kind of effect on every channel.
                let kind = match effects.get(first) {
                    Some(Effect { kind, .. }) => kind.clone(),
                    None => match kind(app, route, event, data.as_deref(), is_keyed) {
                        Ok(kind) => kind,
                        Err(part) => {
                            filtered.extend(part.map(|part| Filtered { event: event_index, route, part }));
                            break;
                        }
                    },
                };
                effects.push(Effect {
                    event: event_index,
                    position,
                    channel,
                    route,
                    kind,
                    novelty: None,
                    before: None,
                });
            }
        }
    }
    Readings { effects, filtered }
}

/// The kind of effect that `event` has under a rule. An error: it has none; the part of `where` that does not match.
fn kind(
    app: &AppRoute,
    route: &RuleRoute,
    event: &Event<'_>,
    data: Option<&str>,
    is_keyed: bool,
) -> Result<EffectKind, Option<usize>> {
    let meaning = route.rule.read(&event.name, data, &app.remainder_key);
    match meaning {
        rules::EventMeaning::Unrelated => Err(None),
        rules::EventMeaning::Filtered(part) => Err(Some(part)),
        // Upstream may take it for a repetition, and then it reaches nobody.
        _ if is_keyed => Ok(EffectKind::ReachUnknown(EventDecision::IdempotencyKey)),
        rules::EventMeaning::Announcement(assignment) => Ok(match event.socket_id.as_deref().map(socket_id) {
            None => EffectKind::Announces(Value::One(assignment), None),
            Some(Some(numbers)) => EffectKind::Announces(Value::One(assignment), Some(Socket::of(numbers))),
            // Which client does not receive it is not known.
            Some(None) => EffectKind::ReachUnknown(EventDecision::ExcludesSocket),
        }),
        rules::EventMeaning::Unreadable(cause) => Ok(EffectKind::Unreadable(cause)),
        rules::EventMeaning::Release => Ok(EffectKind::Releases),
    }
}

/// For each effect of a batch, the next one of the same rule on the same channel. Empty for a single event, which names
/// no channel twice.
pub(super) fn followers(trigger: &Trigger<'_>, effects: &[Effect<'_>]) -> Vec<Option<usize>> {
    if trigger.events.len() < 2 {
        return Vec::new();
    }
    followers_in_batch(effects)
}

#[cold]
fn followers_in_batch(effects: &[Effect<'_>]) -> Vec<Option<usize>> {
    let mut followers = vec![None; effects.len()];
    let mut last = HashMap::with_capacity(effects.len());
    for (index, effect) in effects.iter().enumerate() {
        if let Some(before) = last.insert((ptr::from_ref(effect.route), effect.channel), index) {
            followers[before] = Some(index);
        }
    }
    followers
}

/// What happens to each event on each of its channels, once the novelty of every effect is known.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// Where the channels of each event begin in `each`.
    starts: SmallVec<[usize; 2]>,
    each: SmallVec<[Delivery; 8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// No rule watches it.
    Unwatched,
    /// It is redundant for every rule that watches it.
    Dropped,
    Forwarded,
}

impl Deliveries {
    /// An event on a channel is dropped if it is droppable for every rule that watches it there, and the trigger is not
    /// exempt.
    pub(super) fn of(trigger: &Trigger<'_>, effects: &[Effect<'_>], is_exempt: bool) -> Self {
        let mut starts = SmallVec::new();
        let mut count = 0;
        for event in &trigger.events {
            starts.push(count);
            count += event.channels.len();
        }
        let mut deliveries = Self { starts, each: SmallVec::from_elem(Delivery::Unwatched, count) };
        for effect in effects {
            let delivery = &mut deliveries.each[deliveries.starts[effect.event] + effect.position];
            if is_exempt || !effect.is_droppable() {
                *delivery = Delivery::Forwarded;
            } else if *delivery == Delivery::Unwatched {
                *delivery = Delivery::Dropped;
            }
        }
        deliveries
    }

    pub(super) fn is_dropped(&self, event: usize, position: usize) -> bool {
        self.each[self.starts[event] + position] == Delivery::Dropped
    }

    /// Everything that is dropped, as the indices of the event and of its channel.
    pub(super) fn dropped(&self) -> SmallVec<[(usize, usize); 4]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.each.len()]);
        let events = self.starts.iter().copied().zip(ends).enumerate();
        let pairs = events.flat_map(|(event, (start, end))| (0..end - start).map(move |position| (event, position)));
        pairs.filter(|&(event, position)| self.is_dropped(event, position)).collect()
    }

    /// Whether all of the trigger is dropped.
    pub(super) fn are_all_dropped(&self) -> bool {
        self.each.iter().all(|delivery| *delivery == Delivery::Dropped)
    }

    /// How many pairs of event and channel there are.
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// How many pairs of event and channel go on.
    pub(super) fn forwarded(&self) -> usize {
        self.each.iter().filter(|delivery| **delivery != Delivery::Dropped).count()
    }

    /// Whether an event goes on that a rule watches.
    pub(super) fn announces(&self) -> bool {
        self.each.contains(&Delivery::Forwarded)
    }
}
