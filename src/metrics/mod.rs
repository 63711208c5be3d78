//! All metrics in one struct. Label values come from the configuration or from enums, never from a request: no label
//! holds a channel, a user or an address, and the number of series is fixed once the configuration is read. The hot
//! path uses resolved handles; counting is one relaxed atomic add.

mod cluster;
mod label;
mod process;
mod rate;
mod realtime;
mod sample;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod trigger;
mod webhook;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{IntGauge, IntGaugeVec, Registry, TextEncoder, opts};

pub use cluster::ClusterApp;
pub use rate::RateScope;
pub use realtime::{Direction, RealtimeMetrics, SocketEnd};
pub use sample::{Keys, RuleState, Sample};
pub use summary::{Counted, Summary};
pub use tls::HandshakeFailure;
pub use traffic::{CodeClass, ConnectionClosed, InFlight, OpenGuard, RequestKind};
pub use trigger::{AppMetrics, EventMetrics, RuleMetrics, TriggerOutcome};
pub use webhook::{IncomingEvent, IncomingWebhook, WebhookMetrics, WebhookOutcome, WebhookResult};
pub use websocket::{WebSocketDirection, WebSocketEnd};

/// All metrics of this process, in a separate registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    triggers: trigger::Families,
    traffic: traffic::Traffic,
    realtime: realtime::Families,
    websockets: websocket::WebSockets,
    webhooks: webhook::Families,
    rates: rate::Families,
    draining: IntGauge,
    reload_successful: IntGauge,
    /// When the configuration was last loaded, in seconds since the process began.
    reloaded: AtomicU64,
    tls: tls::Families,
    state: state::Families,
}

impl Metrics {
    /// A new set of metrics. The configuration counts as loaded at the beginning of the process.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let build = opts!("usher_build_info", "Always 1; the label is the version.");
        register(&registry, IntGaugeVec::new(build, &["version"]))
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let reload_successful =
            opts!("usher_config_last_reload_successful", "Whether the last load of the configuration succeeded.");
        let metrics = Self {
            triggers: trigger::Families::new(&registry),
            traffic: traffic::Traffic::new(&registry),
            realtime: realtime::Families::new(&registry),
            websockets: websocket::WebSockets::new(&registry),
            webhooks: webhook::Families::new(&registry),
            rates: rate::Families::new(&registry),
            draining: register(
                &registry,
                IntGauge::new("usher_draining", "1 once the end of usher is announced: /readyz answers 503."),
            ),
            reload_successful: register(&registry, IntGauge::with_opts(reload_successful)),
            reloaded: AtomicU64::new(0),
            tls: tls::Families::new(&registry),
            state: state::Families::new(&registry),
            registry,
        };
        metrics.reload(true, Duration::ZERO);
        Arc::new(metrics)
    }

    /// The series of `rule` of `app`, at 0 if they are new. Resolve it once and keep it.
    #[must_use]
    pub fn rule(&self, app: &str, rule: &str) -> RuleMetrics {
        self.triggers.rule(app, rule)
    }

    /// The series of an event that `app`'s contract names, at 0 if it is new. `event` comes from the configuration.
    /// Resolve it once and keep it.
    #[must_use]
    pub fn event(&self, app: &str, event: &str) -> EventMetrics {
        self.triggers.event(app, event)
    }

    /// The series of `app`, at 0 if they are new. Resolve it once and keep it.
    #[must_use]
    pub fn app(&self, app: &str) -> AppMetrics {
        self.triggers.app(app)
    }

    /// The series of `app`'s WebSocket connections, at 0 if they are new. Resolve it once and keep it.
    #[must_use]
    pub fn realtime(&self, app: &str) -> RealtimeMetrics {
        self.realtime.app(app, self.rates.delays(RateScope::Subscriptions))
    }

    /// The series of `app`'s webhooks, at 0 if they are new. Resolve it once and keep it.
    #[must_use]
    pub fn webhooks(&self, app: &str) -> WebhookMetrics {
        self.webhooks.app(app)
    }

    /// Counts an authentic webhook that came in for `app`, which is configured.
    pub fn incoming_webhook(&self, app: &str, result: IncomingWebhook) {
        self.webhooks.incoming(app, result);
    }

    /// Counts an event of such a webhook.
    pub fn incoming_webhook_event(&self, app: &str, event: IncomingEvent) {
        self.webhooks.incoming_event(app, event);
    }

    /// Counts an event of such a webhook by which somebody has subscribed to a channel.
    pub fn incoming_webhook_arrival(&self, app: &str) {
        self.webhooks.incoming_arrival(app);
    }

    /// Counts the end of a WebSocket connection.
    pub fn socket_closed(&self, end: SocketEnd) {
        self.realtime.closed(end);
    }

    /// Counts a request for an app that is not configured.
    pub fn unknown_app(&self) {
        self.traffic.unknown_app();
    }

    /// Counts a response on the public listener.
    pub fn request(&self, kind: RequestKind, status: u16) {
        self.traffic.request(kind, status);
    }

    /// Counts a response of usher itself, by its error code. `code` is one of a few constants; beyond 64 of them, it
    /// counts as `other`.
    pub fn error(&self, code: &'static str) {
        self.traffic.error(code);
    }

    /// Counts a response of upstream and its duration.
    pub fn upstream_answer(&self, status: u16, took: Duration) {
        self.traffic.upstream_answer(status, took);
    }

    /// Counts a request without a complete response from upstream, and the time until the failure. `reason` is one of a
    /// few constants.
    pub fn upstream_failure(&self, reason: &'static str, took: Duration) {
        self.traffic.upstream_failure(reason, took);
    }

    /// Counts a connection of the public listener as open until the guard is dropped.
    pub fn connection(&self) -> OpenGuard {
        self.traffic.connection()
    }

    /// Sets the largest number of open connections of the public listener.
    pub fn set_max_connections(&self, most: usize) {
        self.traffic.set_max_connections(most);
    }

    /// Counts a connection of the public listener that was closed to respect a limit.
    pub fn connection_closed(&self, reason: ConnectionClosed) {
        self.traffic.connection_closed(reason);
    }

    /// The requests in progress.
    #[must_use]
    pub const fn in_flight(&self) -> &InFlight {
        self.traffic.in_flight()
    }

    /// Counts a relayed WebSocket connection as open until the guard is dropped.
    pub fn websocket(&self) -> OpenGuard {
        self.websockets.open()
    }

    /// Counts messages that are relayed.
    pub fn websocket_messages(&self, direction: WebSocketDirection, count: u64) {
        self.websockets.messages(direction, count);
    }

    /// Counts the end of a relayed WebSocket connection.
    pub fn websocket_end(&self, end: WebSocketEnd) {
        self.websockets.end(end);
    }

    /// Counts a rejection by a rate limit.
    pub fn rate_limited(&self, scope: RateScope) {
        self.rates.limited(scope);
    }

    /// Counts a delay by a rate limit.
    pub fn rate_delayed(&self, scope: RateScope) {
        self.rates.delayed(scope);
    }

    /// Counts keys that a rate limit forgot because its table was full.
    pub fn rate_forgotten(&self, scope: RateScope, count: u64) {
        self.rates.forgotten(scope, count);
    }

    /// Counts a trigger as waiting for its permits until the guard is dropped.
    pub fn rate_waiting(&self) -> OpenGuard {
        self.rates.waiting()
    }

    /// Counts a subscription over a relayed connection until the guard is dropped.
    pub fn relayed_subscription(&self) -> OpenGuard {
        self.websockets.subscription()
    }

    /// Counts a subscription over a relayed connection that is in no audience count, because a bound was reached.
    pub fn uncounted_subscription(&self) {
        self.websockets.uncounted();
    }

    /// Notes that the end of the process is announced.
    pub fn set_draining(&self) {
        self.draining.set(1);
    }

    /// What is open on the public listener.
    #[must_use]
    pub fn open(&self) -> Open {
        Open {
            connections: self.traffic.connections(),
            relays: self.websockets.count_open(),
            requests: self.traffic.in_flight().count(),
        }
    }

    /// Sets whether another process holds the state directory.
    pub fn set_state_lock_held(&self, held: bool) {
        self.state.set_lock_held(held);
    }

    /// Records how many channels were restored at the start, and how long that took.
    pub fn restored(&self, channels: u64, took: Duration) {
        self.state.restored(channels, took);
    }

    /// Records the result and the time of a load of the configuration; the time is relative to the start of the
    /// process.
    pub fn reload(&self, ok: bool, running: Duration) {
        self.reload_successful.set(i64::from(ok));
        if ok {
            self.reloaded.store(running.as_secs(), Ordering::Relaxed);
        }
    }

    /// Registers the time of the last load in the registry of a scrape, for a process that began at `began_at`.
    fn tell_reload(&self, began_at: Duration, scrape: &Registry) {
        let name = "usher_config_last_reload_success_timestamp_seconds";
        let at = began_at.as_secs().saturating_add(self.reloaded.load(Ordering::Relaxed));
        let reloaded = IntGauge::new(name, "When the configuration was last loaded, in seconds since the Unix epoch.");
        register(scrape, reloaded).set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// Sets when the public listener's certificate expires, in seconds since the Unix epoch.
    pub fn tls_expires_at(&self, unix_seconds: i64) {
        self.tls.expires_at(unix_seconds);
    }

    /// Sets the callback that returns, at each scrape, the earliest expiry of the certificates that upstream presented,
    /// in seconds since the Unix epoch. Only the first call has an effect.
    pub fn watch_upstream_certificates(&self, expiry: impl Fn() -> Option<i64> + Send + Sync + 'static) {
        self.tls.watch(Box::new(expiry));
    }

    /// Counts a TLS handshake on the public listener that failed.
    pub fn handshake_failure(&self, reason: HandshakeFailure) {
        self.tls.failed(reason);
    }

    /// All metrics in Prometheus' text format 0.0.4, with those of `sample`, whose values other modules hold.
    #[must_use]
    pub fn encode(&self, sample: &Sample) -> String {
        let scrape = Registry::new();
        self.traffic.tell();
        self.tls.tell();
        sample.register(&scrape);
        self.tell_reload(sample.began_at, &scrape);
        process::Process::read().register(&scrape);
        let mut families = self.registry.gather();
        families.extend(scrape.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("gathered families have a name and a series, and a string takes any text")
    }
}

/// What is open on the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Connections, those that were switched to WebSocket included.
    pub connections: i64,
    /// WebSocket connections that are relayed to upstream.
    pub relays: i64,
    /// Requests in progress.
    pub requests: usize,
}

/// Registers a collector whose name and labels are constants of this module.
fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("names and labels are valid constants");
    registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}
