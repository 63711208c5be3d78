//! WebSocket connections, their messages and their ends, and what the embedded broker holds.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, opts};

use super::label::{CounterPer, label_enum};
use super::register;
use super::traffic::OpenGuard;

label_enum! {
    /// Why a WebSocket connection ended: the `reason` label of `usher_ws_closed_total`.
    pub enum SocketEnd {
        /// The client closed it.
        Client => "client",
        /// It broke off, or ended without a closing handshake.
        Lost => "lost",
        /// The client broke the WebSocket protocol.
        Protocol => "protocol_error",
        /// The client sent a message beyond the limits.
        TooLarge => "too_large",
        /// The client did not read fast enough.
        SlowReader => "slow_reader",
        /// Closed with a code of 4000 to 4099: not to come back.
        Refused => "refused",
        /// Closed for want of a place: to come back after a pause.
        Busy => "busy",
        /// Closed because the server goes away: to come back after a pause.
        Reconnect => "reconnect",
        /// No sign of life in time.
        Silent => "silent",
    }
}

label_enum! {
    /// Which way a message went: the `direction` label of `usher_ws_messages_total`.
    pub enum Direction {
        /// From the client.
        In => "in",
        /// To the client.
        Out => "out",
    }
}

/// The series of one app's WebSocket connections. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct RealtimeMetrics {
    connections: IntGauge,
    messages: CounterPer<Direction>,
    channels: IntGauge,
    slow_readers: IntCounter,
    /// Of all apps, as for all limits on rates.
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

    /// Counts a pause in reading from a client of the embedded broker that subscribes more often than it may.
    pub fn subscribing_delayed(&self) {
        self.subscribing_delayed.inc();
    }
}

/// The series of this file.
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
            "Messages over WebSocket connections, pings and pongs of the WebSocket layer left out."
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

    /// The series of `app`, and what counts the pauses of clients that subscribe too often.
    pub(super) fn app(&self, app: &str, subscribing_delayed: IntCounter) -> RealtimeMetrics {
        RealtimeMetrics {
            connections: self.connections.with_label_values(&[app]),
            messages: CounterPer::new(|direction| self.messages.with_label_values(&[app, direction])),
            channels: self.channels.with_label_values(&[app]),
            slow_readers: self.slow_readers.with_label_values(&[app]),
            subscribing_delayed,
        }
    }

    /// Counts a connection's end.
    pub(super) fn closed(&self, end: SocketEnd) {
        self.closed.of(end).inc();
    }
}
