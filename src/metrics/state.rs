//! The memory across restarts.

use std::time::Duration;

use prometheus::{Gauge, IntGauge, Registry};

use super::register;

/// The metrics of the state directory.
#[derive(Debug)]
pub(super) struct Families {
    lock_held: IntGauge,
    channels: IntGauge,
    seconds: Gauge,
}

impl Families {
    pub(super) fn new(registry: &Registry) -> Self {
        let lock_held = IntGauge::new(
            "usher_state_lock_held",
            "1 while another process holds the state directory: until then, and for assignments.start_doubt after, nothing is suppressed.",
        );
        let channels = IntGauge::new(
            "usher_state_restored_channels",
            "Channels that the start took over from the process before.",
        );
        let seconds = Gauge::new(
            "usher_state_restore_seconds",
            "Time that the start needed to take over the process before's channels.",
        );
        Self {
            lock_held: register(registry, lock_held),
            channels: register(registry, channels),
            seconds: register(registry, seconds),
        }
    }

    pub(super) fn set_lock_held(&self, held: bool) {
        self.lock_held.set(i64::from(held));
    }

    pub(super) fn restored(&self, channels: u64, took: Duration) {
        self.channels.set(i64::try_from(channels).unwrap_or(i64::MAX));
        self.seconds.set(took.as_secs_f64());
    }
}
