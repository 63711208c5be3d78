//! Values that live in other rooms and are read when Prometheus asks, instead of being kept in step all the time.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, IntCounterVec, IntGauge, IntGaugeVec, Registry, opts};

use super::register;

/// What other rooms tell at a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Channels remembered, for each rule of each app.
    pub keys: Vec<Keys>,
    /// How many channels each rule may remember.
    pub max_keys: usize,
    /// The mode of each rule of each app.
    pub modes: Vec<RuleState>,
    /// Whether usher is configured to observe.
    pub observe: bool,
    /// How many entries of the memory were given up, by reason (a constant), since the process began.
    pub evictions: Vec<(&'static str, u64)>,
    /// Requests that wait for an equal announcement in flight.
    pub waiters: usize,
    /// Tasks that usher runs.
    pub tasks: usize,
    /// When the process began, as the time since the Unix epoch by the system's clock as it is set now.
    pub began_at: Duration,
}

/// How many channels one rule of one app remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The number of channels.
    pub count: usize,
}

/// Which of the possible modes a rule of an app is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleState {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The mode: one of `modes`.
    pub mode: &'static str,
    /// Every mode that there is.
    pub modes: &'static [&'static str],
    /// Whether the operator switched it to another mode than the configured one.
    pub switched: bool,
}

impl Sample {
    /// Registers the values in a scrape's own registry, so that a rule that was taken out of the configuration leaves
    /// no series behind.
    pub(super) fn register(&self, scrape: &Registry) {
        let keys = opts!("usher_state_keys", "Channels remembered.");
        let keys = register(scrape, IntGaugeVec::new(keys, &["app", "rule"]));
        for held in &self.keys {
            keys.with_label_values(&[&held.app, &held.rule]).set(gauge_value(held.count));
        }
        let max_keys = IntGauge::new("usher_state_max_keys", "Channels that each rule may remember.");
        register(scrape, max_keys).set(gauge_value(self.max_keys));
        let modes = opts!(
            "usher_rule_mode",
            "1 for the mode that a rule is in, as configured or as the operator switched it; 0 for the others."
        );
        let modes = register(scrape, IntGaugeVec::new(modes, &["app", "rule", "mode"]));
        let switched = opts!(
            "usher_rule_switched",
            "1 while a rule is in another mode than the configured one, because the operator switched it."
        );
        let switched = register(scrape, IntGaugeVec::new(switched, &["app", "rule"]));
        for state in &self.modes {
            switched.with_label_values(&[&*state.app, &*state.rule]).set(i64::from(state.switched));
            for mode in state.modes {
                modes.with_label_values(&[&*state.app, &*state.rule, mode]).set(i64::from(*mode == state.mode));
            }
        }
        let observe = IntGauge::new(
            "usher_observe",
            "1 if usher is configured to observe: every rule that is to enforce observes instead.",
        );
        register(scrape, observe).set(i64::from(self.observe));
        let evictions = opts!("usher_state_evictions_total", "Channels that the memory gave up, by reason.");
        let evictions = register(scrape, IntCounterVec::new(evictions, &["reason"]));
        for (reason, count) in &self.evictions {
            evictions.with_label_values(&[reason]).inc_by(*count);
        }
        let waiters =
            IntGauge::new("usher_waiters", "Requests that wait for the outcome of an equal announcement in flight.");
        register(scrape, waiters).set(gauge_value(self.waiters));
        let started =
            Gauge::new("process_start_time_seconds", "When the process began, in seconds since the Unix epoch.");
        register(scrape, started).set(self.began_at.as_secs_f64());
        register(scrape, IntGauge::new("usher_tasks", "Tasks that usher runs.")).set(gauge_value(self.tasks));
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
