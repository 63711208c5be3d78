//! The outcomes of triggers: the counters of an app and of a rule, resolved once and then incremented with one relaxed
//! atomic add.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry, histogram_opts, opts};

use super::label::{CounterByConstant, CounterPer, label_enum};
use super::register;
use super::summary::read;
use crate::decision::EventDecision;

label_enum! {
    /// The outcome of a forwarded trigger: the `outcome` label of `usher_trigger_outcomes_total`.
    pub enum TriggerOutcome {
        /// A complete 2xx.
        Accepted => "accepted",
        /// A complete 4xx: no part of it was applied.
        Refused => "refused",
        /// A complete 4xx to a trigger of several parts: some parts may have been applied.
        Partial => "partial",
        /// Provably no part of it reached upstream.
        NotSent => "not_sent",
        /// Anything else: upstream may apply it, now or later.
        Ambiguous => "ambiguous",
    }
}

/// The families with a series for each app or each rule.
#[derive(Debug)]
pub(super) struct Families {
    triggers: IntCounterVec,
    outcomes: IntCounterVec,
    messages_saved: IntCounterVec,
    differences: IntCounterVec,
    bypassed: IntCounterVec,
    replayed: IntCounterVec,
    misplaced: IntCounterVec,
    auth_failures: IntCounterVec,
    latency: HistogramVec,
}

impl Families {
    /// Registers the families.
    pub(super) fn new(registry: &Registry) -> Self {
        let triggers = opts!(
            "usher_triggers_total",
            "Decisions on events, one for each channel of a trigger, with their reasons (docs/reasons.md)."
        );
        let outcomes = opts!("usher_trigger_outcomes_total", "Forwarded triggers by outcome.");
        let messages_saved = opts!(
            "usher_messages_saved_total",
            "Messages that the dropped announcements would have been: one for each call, and one for each subscriber. An estimate: subscribers who do \
             not connect through usher are not seen, unless webhooks tell of them."
        );
        let differences = opts!(
            "usher_differing_announcements_total",
            "Redundant announcements whose data differs from what guests show, outside identity, context and what the rule ignores (GET /report)."
        );
        let bypassed = opts!(
            "usher_bypassed_total",
            "Announcements that clients were sent and usher did not forward: somebody announces beside usher (detect_bypass, GET /report)."
        );
        let replayed = opts!(
            "usher_replayed_total",
            "Announcements that late subscribers were handed behind the confirmation of their subscription."
        );
        let misplaced = opts!(
            "usher_misplaced_events_total",
            "Events seen on a channel where the contract ([[events]]) does not expect them."
        );
        let auth_failures =
            opts!("usher_auth_failures_total", "Requests whose signature, key, timestamp or body digest was rejected.");
        let latency = histogram_opts!(
            "usher_added_latency_seconds",
            "Time that usher itself added to a trigger, without waiting for upstream and for the caller's body.",
            vec![
                0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                1.0
            ]
        );
        Self {
            triggers: register(registry, IntCounterVec::new(triggers, &["app", "rule", "decision", "reason"])),
            outcomes: register(registry, IntCounterVec::new(outcomes, &["app", "outcome"])),
            messages_saved: register(registry, IntCounterVec::new(messages_saved, &["app", "rule"])),
            differences: register(registry, IntCounterVec::new(differences, &["app", "rule"])),
            bypassed: register(registry, IntCounterVec::new(bypassed, &["app", "rule"])),
            replayed: register(registry, IntCounterVec::new(replayed, &["app", "rule"])),
            misplaced: register(registry, IntCounterVec::new(misplaced, &["app", "event"])),
            auth_failures: register(registry, IntCounterVec::new(auth_failures, &["app", "reason"])),
            latency: register(registry, HistogramVec::new(latency, &["app"])),
        }
    }

    /// The series of `rule` of `app`; repeated calls return the same series.
    pub(super) fn rule(&self, app: &str, rule: &str) -> RuleMetrics {
        RuleMetrics {
            decisions: Arc::new(DecisionCounters::new(self.triggers.clone(), app, rule)),
            messages_saved: self.messages_saved.with_label_values(&[app, rule]),
            differences: self.differences.with_label_values(&[app, rule]),
            bypassed: self.bypassed.with_label_values(&[app, rule]),
            replayed: self.replayed.with_label_values(&[app, rule]),
        }
    }

    /// The series of an event of `app`'s contract; repeated calls return the same series.
    pub(super) fn event(&self, app: &str, event: &str) -> EventMetrics {
        EventMetrics { misplaced: self.misplaced.with_label_values(&[app, event]) }
    }

    /// The metric family of the decisions.
    pub(super) fn decisions(&self) -> Vec<MetricFamily> {
        read(&self.triggers)
    }

    /// The series of `app`; repeated calls return the same series.
    pub(super) fn app(&self, app: &str) -> AppMetrics {
        let unruled = |decision: EventDecision| {
            self.triggers.with_label_values(&[app, "", decision.action().label(), decision.reason()])
        };
        AppMetrics {
            no_rule: unruled(EventDecision::NoRule),
            inexact: unruled(EventDecision::Inexact),
            outcomes: CounterPer::new(|outcome| self.outcomes.with_label_values(&[app, outcome])),
            auth_failures: CounterByConstant::new(self.auth_failures.clone(), Some(app)),
            latency: self.latency.with_label_values(&[app]),
        }
    }
}

/// The counters of the decisions of one rule of one app. Those of [`EAGER`] exist from the start, so that a rate exists
/// before the first event; the others from their first event on.
#[derive(Debug)]
struct DecisionCounters {
    counters: Box<[OnceLock<IntCounter>]>,
    triggers: IntCounterVec,
    app: Box<str>,
    rule: Box<str>,
}

/// Decisions that every rule makes sooner or later.
const EAGER: [EventDecision; 5] = [
    EventDecision::NothingKnown,
    EventDecision::Changed,
    EventDecision::SameAssignment,
    EventDecision::SameInFlight,
    EventDecision::WouldSameAssignment,
];

impl DecisionCounters {
    fn new(triggers: IntCounterVec, app: &str, rule: &str) -> Self {
        let counters = EventDecision::ALL.iter().map(|_| OnceLock::new()).collect();
        let counters = Self { counters, triggers, app: app.into(), rule: rule.into() };
        for decision in EAGER {
            counters.of(decision);
        }
        counters
    }

    /// The counter of one decision: an index, no look-up.
    fn of(&self, decision: EventDecision) -> &IntCounter {
        let Self { counters, triggers, app, rule } = self;
        counters[decision as usize].get_or_init(|| {
            triggers.with_label_values(&[&**app, &**rule, decision.action().label(), decision.reason()])
        })
    }
}

/// Counters of one rule of one app. Clones are handles to the same series.
#[derive(Debug, Clone)]
pub struct RuleMetrics {
    decisions: Arc<DecisionCounters>,
    messages_saved: IntCounter,
    differences: IntCounter,
    bypassed: IntCounter,
    replayed: IntCounter,
}

impl RuleMetrics {
    /// Counts one event on one channel.
    pub fn count(&self, decision: EventDecision) {
        self.decisions.of(decision).inc();
    }

    /// How often `decision` was counted.
    #[must_use]
    pub fn counted(&self, decision: EventDecision) -> u64 {
        self.decisions.counters[decision as usize].get().map_or(0, IntCounter::get)
    }

    /// Counts the messages that a dropped announcement would have caused.
    pub fn saved(&self, messages: u64) {
        self.messages_saved.inc_by(messages);
    }

    /// Counts an announcement that a late subscriber was handed.
    pub fn replayed(&self) {
        self.replayed.inc();
    }

    /// Counts an announcement of the assignment that guests show whose other data differs.
    pub fn differs(&self) {
        self.differences.inc();
    }

    /// Counts an announcement that came another way than through usher.
    pub fn bypassed(&self) {
        self.bypassed.inc();
    }
}

/// The counter of an event that the contract names. Clones are handles to the same series.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    misplaced: IntCounter,
}

impl EventMetrics {
    /// Counts the event on a channel where the contract does not expect it.
    pub fn misplaced(&self) {
        self.misplaced.inc();
    }
}

/// Series of one app. Clones are handles to the same series.
#[derive(Debug, Clone)]
pub struct AppMetrics {
    no_rule: IntCounter,
    inexact: IntCounter,
    outcomes: CounterPer<TriggerOutcome>,
    auth_failures: CounterByConstant,
    latency: Histogram,
}

impl AppMetrics {
    /// Counts `n` events that no rule watches (`reason="no_rule"`, `rule=""`).
    pub fn no_rule(&self, n: u64) {
        self.no_rule.inc_by(n);
    }

    /// Counts a trigger that could not be read exactly (`reason="inexact"`, `rule=""`).
    pub fn inexact(&self) {
        self.inexact.inc();
    }

    /// Counts the outcome of a forwarded trigger.
    pub fn outcome(&self, outcome: TriggerOutcome) {
        self.outcomes.of(outcome).inc();
    }

    /// Counts a request of this app that was rejected as not authentic. `reason` is one of a few constants.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.count(reason);
    }

    /// Records the time that usher itself spent on a trigger.
    pub fn latency(&self, added: Duration) {
        self.latency.observe(added.as_secs_f64());
    }
}
