//! Relayed WebSocket connections: their number, messages and ends.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry, opts};

use super::OpenGuard;
use super::label::{CounterPer, label_enum};
use super::register;

label_enum! {
    /// The direction of a message: the `direction` label.
    pub enum WebSocketDirection {
        /// From a client to upstream.
        Up => "up",
        /// From upstream to a client.
        Down => "down",
    }
}

label_enum! {
    /// How a relayed connection ended: the `end` label.
    pub enum WebSocketEnd {
        /// The client sent a close frame.
        ClientClosed => "client_closed",
        /// Upstream sent a close frame.
        UpstreamClosed => "upstream_closed",
        /// The client disconnected without a close frame.
        ClientLost => "client_lost",
        /// Upstream disconnected without a close frame.
        UpstreamLost => "upstream_lost",
        /// The client violated the protocol or a limit.
        ClientFaulty => "client_faulty",
        /// Upstream violated the protocol or a limit.
        UpstreamFaulty => "upstream_faulty",
        /// No message was relayed within the timeout.
        Idle => "idle",
        /// usher was draining.
        Drained => "drained",
    }
}

/// The metrics of this module.
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
            opts!("usher_relay_messages_total", "WebSocket messages relayed, including pings, pongs and closes.");
        let messages: IntCounterVec = register(registry, IntCounterVec::new(messages, &["direction"]));
        let ends = opts!("usher_relay_ends_total", "Relayed WebSocket connections that ended.");
        let ends: IntCounterVec = register(registry, IntCounterVec::new(ends, &["end"]));
        let subscriptions = IntGauge::new(
            "usher_relay_subscriptions",
            "Subscriptions to channels over relayed connections, counted from the relayed frames.",
        );
        let uncounted = IntCounter::new(
            "usher_relay_subscriptions_uncounted_total",
            "Subscriptions over relayed connections that are in no channel's count, because a bound was reached.",
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

    /// How many relayed connections are open.
    pub(super) fn count_open(&self) -> i64 {
        self.open.get()
    }

    pub(super) fn subscription(&self) -> OpenGuard {
        OpenGuard::new(&self.subscriptions)
    }

    pub(super) fn uncounted(&self) {
        self.uncounted.inc();
    }

    pub(super) fn messages(&self, direction: WebSocketDirection, count: u64) {
        self.messages.of(direction).inc_by(count);
    }

    pub(super) fn end(&self, end: WebSocketEnd) {
        self.ends.of(end).inc();
    }
}
