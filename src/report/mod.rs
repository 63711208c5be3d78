//! The operator's figures about a rule, in observe and in enforce mode: the number of redundant announcements, of
//! subscribers they would have reached, and of subscribers that joined after the previous announcement; and the events
//! on channels where the contract does not expect them. Counted since the process began, in memory that the
//! configuration bounds.

mod channel_sample;
mod differences;
mod heavy;
mod savings;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::clock::Moment;
use crate::discovery::Discovery;
use crate::rules::{LateJoiners, OnDifference};

pub use channel_sample::HashedChannel;
pub use differences::{DifferenceSummary, FrequentDifference};
pub use savings::{REFRESH_PERIODS, Saved, Savings};
pub use tally::{Bypassed, Redundant, RedundantOutcome, RuleTally, Summary};

/// The largest number of kinds of misplaced events that are counted separately: more than any plausible configuration
/// has.
const MAX_MISPLACED: usize = 4096;

/// The report of all apps.
#[derive(Debug, Default)]
pub struct Report {
    /// A lock: held to copy a few handles, or to count a misplaced event; never across an await.
    state: Mutex<State>,
    discovery: Discovery,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<RuleReport>,
    misplaced: BTreeMap<Misplaced, Occurrences>,
}

/// A rule of an app, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRule {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// Its current mode: `enforce` or `observe`.
    pub mode: &'static str,
    /// What happens to an announcement of which something else differs.
    pub on_difference: OnDifference,
    /// What it does for clients that come late.
    pub late_joiners: LateJoiners,
    /// The fingerprint of what decides which announcements are redundant, and what differs beside.
    pub definition: [u8; 32],
}

/// A rule of an app with its counts.
#[derive(Debug, Clone)]
pub struct RuleReport {
    /// The rule.
    pub rule: ReportedRule,
    /// Its counts.
    pub tally: Arc<RuleTally>,
}

/// A kind of misplaced events. All fields come from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misplaced {
    /// The app's id.
    pub app: Arc<str>,
    /// The event.
    pub event: Arc<str>,
    /// The family of the channel of the event: a template of the contract, or `other`.
    pub channel_family: Arc<str>,
    /// The expected channels: one template or several, joined by `or`.
    pub expected: Arc<str>,
}

/// The occurrences of a kind of misplaced events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrences {
    /// Their number.
    pub count: u64,
    /// The time of the last one.
    pub last: Moment,
}

impl Report {
    /// Replaces the reported rules, and returns the tally of each, in this order. Rules that were reported before keep
    /// their tallies, but for the differences under another definition. Misplaced events for which `expects` returns `false` are forgotten.
    pub fn configure(&self, rules: &[ReportedRule], expects: impl Fn(&Misplaced) -> bool) -> Vec<Arc<RuleTally>> {
        let mut state = self.lock();
        let before = std::mem::take(&mut state.rules);
        let same =
            |report: &&RuleReport, rule: &ReportedRule| report.rule.app == rule.app && report.rule.rule == rule.rule;
        let tally = |rule: &ReportedRule| {
            let Some(found) = before.iter().find(|report| same(report, rule)) else { return Arc::default() };
            if found.rule.definition != rule.definition {
                found.tally.forget_differences();
            }
            Arc::clone(&found.tally)
        };
        state.rules = rules.iter().map(|rule| RuleReport { rule: rule.clone(), tally: tally(rule) }).collect();
        state.misplaced.retain(|misplaced, _| expects(misplaced));
        state.rules.iter().map(|report| Arc::clone(&report.tally)).collect()
    }

    /// Counts a misplaced event.
    pub fn misplaced(&self, misplaced: Misplaced, at: Moment) {
        let mut state = self.lock();
        if state.misplaced.len() < MAX_MISPLACED || state.misplaced.contains_key(&misplaced) {
            let known = state.misplaced.entry(misplaced).or_insert(Occurrences { count: 0, last: at });
            known.count += 1;
            known.last = known.last.max(at);
        }
    }

    /// What comes, whether a rule names it or not.
    #[must_use]
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The rules, in the order of the configuration.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleReport> {
        self.lock().rules.clone()
    }

    /// The misplaced events, ordered by app, event and family.
    #[must_use]
    pub fn all_misplaced(&self) -> Vec<(Misplaced, Occurrences)> {
        self.lock().misplaced.iter().map(|(misplaced, occurrences)| (misplaced.clone(), *occurrences)).collect()
    }

    /// The state is consistent whenever the lock is free: no code under the lock panics between two changes.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(rule: &str, mode: &'static str) -> ReportedRule {
        ReportedRule {
            app: "1".into(),
            rule: rule.into(),
            mode,
            on_difference: OnDifference::Count,
            late_joiners: LateJoiners::Ignore,
            definition: [7; 32],
        }
    }

    fn redundant(at: u64, outcome: RedundantOutcome, audience: Option<usize>) -> Redundant<'static> {
        Redundant {
            channel: RuleTally::default().channel("inn-room-1-chat"),
            at: Moment::from_millis(at),
            outcome,
            audience,
            sees_clients: true,
            late_joiner: at == 2,
            differs: None,
        }
    }

    #[test]
    fn a_tally_adds_up_and_survives_a_reload() {
        let report = Report::default();
        let tallies = report.configure(&[rule("a", "observe"), rule("b", "observe")], |_| true);
        assert_eq!(tallies[0].summary(), Summary::default());
        assert_eq!(tallies[0].count(redundant(1, RedundantOutcome::Observed, None)), 1);
        assert!(!tallies[0].summary().audience_known);
        assert_eq!(tallies[0].count(redundant(3, RedundantOutcome::Suppressed, Some(3))), 4);
        assert_eq!(tallies[0].count(redundant(2, RedundantOutcome::Suppressed, Some(0))), 1);
        let kept = report.configure(&[rule("c", "enforce"), rule("a", "enforce")], |_| true);
        let expected = Summary {
            suppressed: 2,
            would_suppress: 1,
            messages_saved: 6,
            audience_known: true,
            first: Some(Moment::from_millis(1)),
            last: Some(Moment::from_millis(3)),
            late_joiners: 1,
            top_channels: vec![("inn-room-1-chat".to_owned(), 3)],
        };
        assert_eq!(kept[1].summary(), expected);
        let summaries: Vec<_> =
            report.rules().into_iter().map(|report| (report.rule, report.tally.summary())).collect();
        assert_eq!(summaries, [(rule("c", "enforce"), Summary::default()), (rule("a", "enforce"), expected)]);
    }

    #[test]
    fn misplaced_events_are_counted_by_kind_and_forgotten_with_the_contract() {
        let report = Report::default();
        let misplaced = |event: &str| Misplaced {
            app: "1".into(),
            event: event.into(),
            channel_family: "other".into(),
            expected: "{a}-chat".into(),
        };
        for (event, at) in [("b", 5), ("a", 6), ("b", 4)] {
            report.misplaced(misplaced(event), Moment::from_millis(at));
        }
        let occurrences = |count, last| Occurrences { count, last: Moment::from_millis(last) };
        assert_eq!(report.all_misplaced(), [(misplaced("a"), occurrences(1, 6)), (misplaced("b"), occurrences(2, 5))]);
        report.configure(&[], |misplaced| &*misplaced.event == "a");
        assert_eq!(report.all_misplaced(), [(misplaced("a"), occurrences(1, 6))]);
    }
}
