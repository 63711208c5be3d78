//! Relayed WebSocket connections: how many there are, what goes through, and how they end.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry, opts};

use super::OpenGuard;
use super::label::{CounterPer, label_enum};
use super::register;

label_enum! {
    /// Which way a message goes: the `direction` label.
    pub enum WebSocketDirection {
        /// From a client to upstream.
        Up => "up",
        /// From upstream to a client.
        Down => "down",
    }
}

label_enum! {
    /// How a relayed connection came to its end: the `end` label.
    pub enum WebSocketEnd {
        /// The client closed.
        ClientClosed => "client_closed",
        /// Upstream closed.
        UpstreamClosed => "upstream_closed",
        /// The client was gone without a close.
        ClientLost => "client_lost",
        /// Upstream was gone without a close.
        UpstreamLost => "upstream_lost",
        /// The client broke the protocol's rules or a limit.
        ClientFaulty => "client_faulty",
        /// Upstream broke the protocol's rules or a limit.
        UpstreamFaulty => "upstream_faulty",
        /// Nothing went through for too long.
        Idle => "idle",
        /// usher drained.
        Drained => "drained",
    }
}

/// The series of this file.
#[derive(Debug)]
pub(super) struct WebSockets {
    open: IntGauge,
    messages: CounterPer<WebSocketDirection>,
    ends: CounterPer<WebSocketEnd>,
    subscriptions: IntGauge,
    uncounted: IntCounter,
}

impl WebSockets {
    /// Registers the series.
    pub(super) fn new(registry: &Registry) -> Self {
        let messages =
            opts!("usher_relay_messages_total", "WebSocket messages relayed, pings, pongs and closes included.");
        let messages: IntCounterVec = register(registry, IntCounterVec::new(messages, &["direction"]));
        let ends = opts!("usher_relay_ends_total", "Relayed WebSocket connections that came to their end.");
        let ends: IntCounterVec = register(registry, IntCounterVec::new(ends, &["end"]));
        let subscriptions = IntGauge::new(
            "usher_relay_subscriptions",
            "Subscriptions to channels over relayed connections, as seen in passing.",
        );
        let uncounted = IntCounter::new(
            "usher_relay_subscriptions_uncounted_total",
            "Subscriptions over relayed connections that count in no channel's audience, because a bound was reached.",
        );
        Self {
            subscriptions: register(registry, subscriptions),
            uncounted: register(registry, uncounted),
            open: register(
                registry,
                IntGauge::new("usher_relay_connections", "WebSocket connections that are relayed to upstream."),
            ),
            messages: CounterPer::new(|direction| messages.with_label_values(&[direction])),
            ends: CounterPer::new(|end| ends.with_label_values(&[end])),
        }
    }

    pub(super) fn open(&self) -> OpenGuard {
        OpenGuard::new(&self.open)
    }

    pub(super) fn subscription(&self) -> OpenGuard {
        OpenGuard::new(&self.subscriptions)
    }

    pub(super) fn uncounted(&self) {
        self.uncounted.inc();
    }

    pub(super) fn message(&self, direction: WebSocketDirection) {
        self.messages.of(direction).inc();
    }

    pub(super) fn end(&self, end: WebSocketEnd) {
        self.ends.of(end).inc();
    }
}
