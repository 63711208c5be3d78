//! What a trigger does on each of its channels, in the eyes of each rule that watches it there.

use std::collections::HashMap;
use std::ptr;

use smallvec::SmallVec;

use super::routing::{AppRoute, WatchedRule};
use crate::assignment::{Assignment, Value};
use crate::clock::Moment;
use crate::metrics::EventDecision;
use crate::pusher::{Event, Trigger};
use crate::rules::{self, Mode};

/// Room on the stack for the `data` of an announcement.
const USUAL_DATA: usize = 1024;

/// Nearly all triggers do one thing.
pub(super) type Effects<'a> = SmallVec<[Effect<'a>; 1]>;

/// What one event does on one channel in the eyes of one rule.
#[derive(Debug)]
pub(super) struct Effect<'a> {
    pub(super) event: usize,
    pub(super) position: usize,
    pub(super) channel: &'a str,
    pub(super) watched: &'a WatchedRule,
    pub(super) kind: EffectKind,
    pub(super) novelty: Option<Novelty>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EffectKind {
    /// One assignment, and nothing else.
    Announces(Value),
    Unreadable,
    Releases,
    ExcludesSocket,
}

/// A claim's answer to one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Known to show just this, since then.
    Known(Moment),
    /// The same batch announced it just before.
    Repeated,
    /// Redundant, and known to show this since then, if at all; it goes on because the rule only observes.
    Observed(Option<Moment>),
    /// It goes on.
    News(EventDecision),
}

impl Effect<'_> {
    pub(super) const fn assignment(&self) -> Option<&Assignment> {
        match &self.kind {
            EffectKind::Announces(value) => value.shows(),
            EffectKind::Unreadable | EffectKind::Releases | EffectKind::ExcludesSocket => None,
        }
    }

    /// When the channel became known to show just this, if it is redundant for that reason.
    pub(super) const fn known_since(&self) -> Option<Moment> {
        match self.novelty {
            Some(Novelty::Known(since)) => Some(since),
            Some(Novelty::Observed(since)) => since,
            Some(Novelty::Repeated | Novelty::News(_)) | None => None,
        }
    }

    /// Whether this rule would have it dropped, and may.
    fn is_droppable(&self) -> bool {
        self.watched.rule.spec().mode == Mode::Enforce
            && matches!(self.novelty, Some(Novelty::Known(_) | Novelty::Repeated))
    }
}

/// Everything in `exact` that a rule of the app watches, in the order of events and channels.
pub(super) fn effects<'a>(app: &'a AppRoute, exact: &'a Trigger<'_>) -> Effects<'a> {
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
            for (position, channel) in
                event.channels.iter().enumerate().filter(|(_, channel)| watched.rule.watches(channel))
            {
                // It means the same on every channel.
                let kind = match effects.get(first) {
                    Some(Effect { kind, .. }) => kind.clone(),
                    None => match kind(watched, event, data.as_deref()) {
                        Some(kind) => kind,
                        None => break,
                    },
                };
                effects.push(Effect { event: event_index, position, channel, watched, kind, novelty: None });
            }
        }
    }
    effects
}

fn kind(watched: &WatchedRule, event: &Event<'_>, data: Option<&str>) -> Option<EffectKind> {
    match watched.rule.read(&event.name, data) {
        rules::EventMeaning::Unrelated => None,
        // Whoever is excluded did not see it: what the channel shows is not one thing any more.
        _ if event.excludes_socket => Some(EffectKind::ExcludesSocket),
        rules::EventMeaning::Announcement(assignment) => Some(EffectKind::Announces(Value::One(assignment))),
        rules::EventMeaning::Unreadable => Some(EffectKind::Unreadable),
        rules::EventMeaning::Release => Some(EffectKind::Releases),
    }
}

/// For each effect of a batch, the next one of the same rule on the same channel. Empty for a single event, which names
/// no channel twice.
pub(super) fn followers(exact: &Trigger<'_>, effects: &[Effect<'_>]) -> Vec<Option<usize>> {
    if exact.events.len() < 2 {
        return Vec::new();
    }
    let mut followers = vec![None; effects.len()];
    let mut last = HashMap::with_capacity(effects.len());
    for (index, effect) in effects.iter().enumerate() {
        if let Some(before) = last.insert((ptr::from_ref(effect.watched), effect.channel), index) {
            followers[before] = Some(index);
        }
    }
    followers
}

/// What becomes of each event on each of its channels, once every effect has its verdict.
#[derive(Debug)]
pub(super) struct Fates {
    /// Where the channels of each event begin in `each`.
    starts: SmallVec<[usize; 2]>,
    each: SmallVec<[Fate; 8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No rule watches it.
    Unwatched,
    /// Every rule that watches it says that it is redundant.
    Dropped,
    Forwarded,
}

impl Fates {
    /// An event on a channel is dropped if every rule that watches it there says so, and nothing of the trigger is
    /// exempt.
    pub(super) fn of(exact: &Trigger<'_>, effects: &[Effect<'_>], is_exempt: bool) -> Self {
        let mut starts = SmallVec::new();
        let mut count = 0;
        for event in &exact.events {
            starts.push(count);
            count += event.channels.len();
        }
        let mut fates = Self { starts, each: SmallVec::from_elem(Fate::Unwatched, count) };
        for effect in effects {
            let fate = &mut fates.each[fates.starts[effect.event] + effect.position];
            if is_exempt || !effect.is_droppable() {
                *fate = Fate::Forwarded;
            } else if *fate == Fate::Unwatched {
                *fate = Fate::Dropped;
            }
        }
        fates
    }

    pub(super) fn is_dropped(&self, event: usize, position: usize) -> bool {
        self.each[self.starts[event] + position] == Fate::Dropped
    }

    /// All that is dropped, as event and place among its channels.
    pub(super) fn dropped(&self) -> SmallVec<[(usize, usize); 4]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.each.len()]);
        let events = self.starts.iter().copied().zip(ends).enumerate();
        let pairs = events.flat_map(|(event, (start, end))| (0..end - start).map(move |position| (event, position)));
        pairs.filter(|&(event, position)| self.is_dropped(event, position)).collect()
    }

    /// Whether all of the trigger is dropped.
    pub(super) fn are_all_dropped(&self) -> bool {
        self.each.iter().all(|fate| *fate == Fate::Dropped)
    }

    /// How many events on channels go on.
    pub(super) fn forwarded(&self) -> usize {
        self.each.iter().filter(|fate| **fate != Fate::Dropped).count()
    }

    /// Whether anything goes on that a rule watches.
    pub(super) fn announces(&self) -> bool {
        self.each.contains(&Fate::Forwarded)
    }
}
