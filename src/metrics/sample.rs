//! Values that other modules hold and that are read at each scrape, instead of being updated continuously.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, opts};

use super::cluster::{ClusterApp, register_apps};
use super::register;

/// The values of other modules at a scrape.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The number of remembered channels, for each rule of each app.
    pub keys: Vec<Keys>,
    /// The largest number of channels that each rule remembers.
    pub max_keys: usize,
    /// The mode of each rule of each app.
    pub modes: Vec<RuleState>,
    /// Whether usher is configured to observe.
    pub observe: bool,
    /// The number of evicted entries of the memory, by reason (a constant), since the process began.
    pub evictions: Vec<(&'static str, u64)>,
    /// Bytes of the announcements that are kept for late subscribers.
    pub replay_bytes: usize,
    /// Channels whose announcement was given up for lack of space, since the process began.
    pub replay_evictions: u64,
    /// What is left of the doubt after the start; `None` while it is not known.
    pub start_doubt_left: Option<Duration>,
    /// The number of requests that wait for an equal announcement in flight.
    pub waiters: usize,
    /// The number of tasks that usher runs.
    pub tasks: usize,
    /// The start of the process, as the time since the Unix epoch, computed from the system's current clock.
    pub began_at: Duration,
    /// The apps whose memory is shared with other processes.
    pub clusters: Vec<ClusterApp>,
}

/// The number of channels that a rule of an app remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The number of channels.
    pub count: usize,
}

/// The mode of a rule of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleState {
    /// The app's id.
    pub app: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The mode: one of `modes`.
    pub mode: &'static str,
    /// All possible modes.
    pub modes: &'static [&'static str],
    /// Whether the operator switched it to another mode than the configured one.
    pub switched: bool,
}

impl Sample {
    /// Registers the values in the registry of a scrape, so that a rule removed from the configuration has no series.
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
        let evictions = opts!("usher_state_evictions_total", "Channels that the memory evicted, by reason.");
        let evictions = register(scrape, IntCounterVec::new(evictions, &["reason"]));
        for (reason, count) in &self.evictions {
            evictions.with_label_values(&[reason]).inc_by(*count);
        }
        let replay_bytes =
            IntGauge::new("usher_replay_bytes", "Bytes of the announcements that are kept for late subscribers.");
        register(scrape, replay_bytes).set(gauge_value(self.replay_bytes));
        let replay_evictions = IntCounter::new(
            "usher_replay_evictions_total",
            "Channels whose announcement for late subscribers was given up for lack of space (assignments.replay_bytes).",
        );
        register(scrape, replay_evictions).inc_by(self.replay_evictions);
        let start_doubt = Gauge::new(
            "usher_start_doubt_seconds",
            "What is left of the time after the start in which nothing is suppressed; infinite while another process holds the state directory.",
        );
        let left = self.start_doubt_left.map_or(f64::INFINITY, |left| left.as_secs_f64());
        register(scrape, start_doubt).set(left);
        let waiters =
            IntGauge::new("usher_waiters", "Requests that wait for the outcome of an equal announcement in flight.");
        register(scrape, waiters).set(gauge_value(self.waiters));
        let started =
            Gauge::new("process_start_time_seconds", "When the process began, in seconds since the Unix epoch.");
        register(scrape, started).set(self.began_at.as_secs_f64());
        register_apps(&self.clusters, scrape);
        register(scrape, IntGauge::new("usher_tasks", "Tasks that usher runs.")).set(gauge_value(self.tasks));
    }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
