//! Which triggers are decided otherwise: than by other rules, or than when they were recorded.

use std::collections::{BTreeMap, HashMap};

use usher::simulation::{Fate, Verdict};

use super::recorded::Recorded;

/// The comparison of two decisions on each trigger.
pub(super) struct Comparison {
    /// Whether the old decisions are verdicts, and not those of the recording.
    has_verdicts: bool,
    /// Triggers of which a decision is still to come.
    open: HashMap<u64, Open>,
    /// How many triggers are compared.
    pub(super) compared: u64,
    /// How many are decided otherwise, by their old and new decision.
    pub(super) changed: BTreeMap<(&'static str, &'static str), u64>,
    /// The first of them.
    pub(super) changes: Vec<Change>,
    /// How many of them are kept.
    most: usize,
}

struct Open {
    recorded: Recorded,
    old: Option<Decided>,
    new: Option<Decided>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// In one word: what is done with the trigger, whatever upstream says.
    pub(super) word: &'static str,
    /// The code of its reason.
    pub(super) reason: Box<str>,
}

/// A trigger that is decided otherwise.
pub(super) struct Change {
    pub(super) recorded: Recorded,
    pub(super) old: Decided,
    pub(super) new: Decided,
}

impl Decided {
    fn of(verdict: &Verdict) -> Self {
        let word = match verdict.end.decision {
            "would_suppress" => "would_suppress",
            _ => verdict.fate().label(),
        };
        Self { word, reason: verdict.end.reason.into() }
    }

    /// The decision in a recording.
    fn recorded(recorded: &Recorded) -> Self {
        let word = match &*recorded.decision {
            "suppressed" | "suppressed_in_flight" => Fate::Suppressed.label(),
            "would_suppress" => "would_suppress",
            "reduced" => Fate::Reduced.label(),
            "refused" => Fate::Refused.label(),
            _ => Fate::Forwarded.label(),
        };
        Self { word, reason: recorded.reason.clone() }
    }
}

impl Comparison {
    /// Keeps the first `most` triggers that are decided otherwise.
    pub(super) fn new(has_verdicts: bool, most: usize) -> Self {
        Self { has_verdicts, open: HashMap::new(), compared: 0, changed: BTreeMap::new(), changes: Vec::new(), most }
    }

    /// A trigger came.
    pub(super) fn arrived(&mut self, number: u64, recorded: Recorded) {
        let old = if self.has_verdicts { None } else { Some(Decided::recorded(&recorded)) };
        self.open.insert(number, Open { recorded, old, new: None });
    }

    /// The new decision on a trigger.
    pub(super) fn new_verdict(&mut self, verdict: &Verdict) {
        if let Some(open) = self.open.get_mut(&verdict.number) {
            open.new = Some(Decided::of(verdict));
        }
        self.close(verdict.number);
    }

    /// The old decision on a trigger.
    pub(super) fn old_verdict(&mut self, verdict: &Verdict) {
        if let Some(open) = self.open.get_mut(&verdict.number) {
            open.old = Some(Decided::of(verdict));
        }
        self.close(verdict.number);
    }

    /// Compares, once both decisions are known.
    fn close(&mut self, number: u64) {
        if self.open.get(&number).is_none_or(|open| open.old.is_none() || open.new.is_none()) {
            return;
        }
        let Some(Open { recorded, old: Some(old), new: Some(new) }) = self.open.remove(&number) else { return };
        self.compared += 1;
        // What was sent of a trigger that failed is not recorded.
        let is_sent =
            |decided: &Decided| [Fate::Forwarded, Fate::Reduced].iter().any(|fate| fate.label() == decided.word);
        let is_same = !self.has_verdicts && &*recorded.decision == "failed" && is_sent(&new);
        if old.word != new.word && !is_same {
            *self.changed.entry((old.word, new.word)).or_default() += 1;
            if self.changes.len() < self.most {
                self.changes.push(Change { recorded, old, new });
            }
        }
    }

    /// How many triggers are decided otherwise.
    pub(super) fn total(&self) -> u64 {
        self.changed.values().sum()
    }
}
