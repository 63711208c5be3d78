//! WebSocket connections, their messages and ends, and the state of the embedded broker.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, opts};

use super::label::{CounterPer, label_enum};
use super::register;
use super::traffic::OpenGuard;

label_enum! {
    /// Why a WebSocket connection ended: the `reason` label of `usher_ws_closed_total`.
    pub enum SocketEnd {
        /// The client closed it.
        Client => "client",
        /// The connection ended without a closing handshake.
        Lost => "lost",
        /// The client violated the WebSocket protocol.
        Protocol => "protocol_error",
        /// The client sent a message that exceeds the limits.
        TooLarge => "too_large",
        /// The client did not read fast enough.
        SlowReader => "slow_reader",
        /// Closed with a code of 4000 to 4099: the client does not reconnect.
        Refused => "refused",
        /// Closed because a limit is reached: the client reconnects after a pause.
        Busy => "busy",
        /// Closed because the server shuts down: the client reconnects after a pause.
        Reconnect => "reconnect",
        /// No activity within the timeout.
        Silent => "silent",
    }
}

label_enum! {
    /// The direction of a message: the `direction` label of `usher_ws_messages_total`.
    pub enum Direction {
        /// From the client.
        In => "in",
        /// To the client.
        Out => "out",
    }
}

/// The series of an app's WebSocket connections. Clones are handles to the same series.
#[derive(Debug, Clone)]
pub struct RealtimeMetrics {
    connections: IntGauge,
    messages: CounterPer<Direction>,
    channels: IntGauge,
    slow_readers: IntCounter,
    /// Counted for all apps together, like all rate limits.
    subscribing_delayed: IntCounter,
}

impl RealtimeMetrics {
    /// Counts a WebSocket connection as open until the guard is dropped.
    pub fn connection(&self) -> OpenGuard {
        OpenGuard::new(&self.connections)
    }

    /// Counts messages.
    pub fn messages(&self, direction: Direction, count: u64) {
        self.messages.of(direction).inc_by(count);
    }

    /// Counts a channel of the embedded broker as occupied until the guard is dropped.
    pub fn channel(&self) -> OpenGuard {
        OpenGuard::new(&self.channels)
    }

    /// Counts a connection of the embedded broker that was closed because it did not read fast enough.
    pub fn slow_reader(&self) {
        self.slow_readers.inc();
    }

    /// Counts a pause in reading from a client of the embedded broker that exceeds the rate limit of subscriptions.
    pub fn subscribing_delayed(&self) {
        self.subscribing_delayed.inc();
    }
}

/// The metrics of this module.
#[derive(Debug)]
pub(super) struct Families {
    connections: IntGaugeVec,
    messages: IntCounterVec,
    closed: CounterPer<SocketEnd>,
    channels: IntGaugeVec,
    slow_readers: IntCounterVec,
}

impl Families {
    /// Registers the series.
    pub(super) fn new(registry: &Registry) -> Self {
        let connections = opts!("usher_ws_connections", "WebSocket connections open.");
        let messages = opts!(
            "usher_ws_messages_total",
            "Messages over WebSocket connections, without pings and pongs of the WebSocket layer."
        );
        let closed = opts!("usher_ws_closed_total", "WebSocket connections that ended, by the reason.");
        let closed: IntCounterVec = register(registry, IntCounterVec::new(closed, &["reason"]));
        let channels = opts!("usher_broker_channels", "Channels of the embedded broker with subscribers.");
        let slow_readers = opts!(
            "usher_broker_slow_readers_total",
            "Connections that the embedded broker closed because they did not read fast enough."
        );
        Self {
            connections: register(registry, IntGaugeVec::new(connections, &["app"])),
            messages: register(registry, IntCounterVec::new(messages, &["app", "direction"])),
            closed: CounterPer::new(|reason| closed.with_label_values(&[reason])),
            channels: register(registry, IntGaugeVec::new(channels, &["app"])),
            slow_readers: register(registry, IntCounterVec::new(slow_readers, &["app"])),
        }
    }

    /// The series of `app`, with the counter of pauses by the rate limit of subscriptions.
    pub(super) fn app(&self, app: &str, subscribing_delayed: IntCounter) -> RealtimeMetrics {
        RealtimeMetrics {
            connections: self.connections.with_label_values(&[app]),
            messages: CounterPer::new(|direction| self.messages.with_label_values(&[app, direction])),
            channels: self.channels.with_label_values(&[app]),
            slow_readers: self.slow_readers.with_label_values(&[app]),
            subscribing_delayed,
        }
    }

    /// Counts the end of a connection.
    pub(super) fn closed(&self, end: SocketEnd) {
        self.closed.of(end).inc();
    }
}
