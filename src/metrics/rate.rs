//! Rate limits: delays and rejections by each limit.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry, opts};

use super::OpenGuard;
use super::label::{CounterPer, label_enum};
use super::register;

label_enum! {
    /// The scope of a rate limit: the `scope` label.
    pub enum RateScope {
        /// Triggers of one app.
        App => "app",
        /// Events on one channel.
        Channel => "channel",
        /// New WebSocket connections of one peer.
        PeerConnections => "peer_connections",
        /// WebSocket messages of one peer.
        PeerMessages => "peer_messages",
        /// Subscriptions that one connection requests from the embedded broker.
        Subscriptions => "subscriptions",
    }
}

/// The metrics of this module.
#[derive(Debug)]
pub(super) struct Families {
    limited: CounterPer<RateScope>,
    delayed: CounterPer<RateScope>,
    forgotten: CounterPer<RateScope>,
    waiting: IntGauge,
}

impl Families {
    /// Registers the series.
    pub(super) fn new(registry: &Registry) -> Self {
        let limited =
            opts!("usher_rate_limited_total", "Triggers and WebSocket connections that a rate limit rejected.");
        let delayed = opts!(
            "usher_rate_delayed_total",
            "Triggers that waited for a permit, and pauses in reading from WebSocket clients."
        );
        let forgotten = opts!(
            "usher_rate_keys_forgotten_total",
            "Apps, channels and peers that a limit forgot because its table was full."
        );
        let per_scope = |opts| {
            let family: IntCounterVec = register(registry, IntCounterVec::new(opts, &["scope"]));
            CounterPer::new(|scope| family.with_label_values(&[scope]))
        };
        Self {
            limited: per_scope(limited),
            delayed: per_scope(delayed),
            forgotten: per_scope(forgotten),
            waiting: register(registry, IntGauge::new("usher_rate_waiting", "Triggers that wait for a permit.")),
        }
    }

    /// Counts a rejection.
    pub(super) fn limited(&self, scope: RateScope) {
        self.limited.of(scope).inc();
    }

    /// Counts a delay.
    pub(super) fn delayed(&self, scope: RateScope) {
        self.delayed.of(scope).inc();
    }

    /// The counter of delays.
    pub(super) fn delays(&self, scope: RateScope) -> IntCounter {
        self.delayed.of(scope).clone()
    }

    /// Counts forgotten keys.
    pub(super) fn forgotten(&self, scope: RateScope, count: u64) {
        self.forgotten.of(scope).inc_by(count);
    }

    /// Counts a trigger as waiting until the guard is dropped.
    pub(super) fn waiting(&self) -> OpenGuard {
        OpenGuard::new(&self.waiting)
    }
}
