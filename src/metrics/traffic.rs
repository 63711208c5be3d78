//! Requests, errors, connections and upstream exchanges of all apps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry, histogram_opts, opts};

use super::label::{CounterByConstant, CounterPer, Label, label_enum};
use super::register;
use super::summary::read;

label_enum! {
    /// The kind of a request: the `kind` label of `usher_http_requests_total`.
    pub enum RequestKind {
        /// A trigger or a batch of a known app.
        Trigger => "trigger",
        /// Any other request that is forwarded.
        Passthrough => "passthrough",
        /// A WebSocket handshake.
        WebSocket => "websocket",
        /// A webhook of the server behind usher.
        Webhook => "webhook",
        /// Rejected by usher with an error before anything was forwarded.
        Refused => "refused",
    }
}

label_enum! {
    /// Why a connection of the public listener was closed to respect a limit: the `reason` label of
    /// `usher_connections_closed_total`.
    pub enum ConnectionClosed {
        /// It never sent a request, and the limit was reached.
        NoRequest => "no_request",
        /// It was idle, and the limit was reached.
        Idle => "idle",
        /// Its address has too many connections (`limits.max_connections_per_peer`).
        PeerLimit => "peer_limit",
    }
}

label_enum! {
    /// The class of a status code: the `code_class` label.
    pub enum CodeClass {
        /// 100 to 199.
        Informational => "1xx",
        /// 200 to 299.
        Success => "2xx",
        /// 300 to 399.
        Redirection => "3xx",
        /// 400 to 499.
        ClientError => "4xx",
        /// 500 to 599.
        ServerError => "5xx",
        /// A class that HTTP does not define.
        Other => "other",
    }
}

impl CodeClass {
    /// The class of `status`.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::Other,
        }
    }
}

/// Counts one item as open until it is dropped.
#[must_use = "dropped, it is counted as closed"]
#[derive(Debug)]
pub struct OpenGuard(IntGauge);

impl OpenGuard {
    /// Counts one more in `gauge`.
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The number of requests in progress: one count, for their bound and for the series, which is set at a scrape.
#[derive(Debug, Default)]
pub struct InFlight(AtomicUsize);

impl InFlight {
    /// The number of requests in progress.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, unless there are `most`. After `true`, the caller has to report the end.
    #[must_use]
    pub fn begin(&self, most: usize) -> bool {
        let fits = self.0.fetch_add(1, Ordering::Relaxed) < most;
        if !fits {
            self.end();
        }
        fits
    }

    /// Counts one less.
    pub fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The metrics of this module.
#[derive(Debug)]
pub(super) struct Traffic {
    /// One set for each [`RequestKind`], in its order.
    requests: Vec<CounterPer<CodeClass>>,
    unknown_app: IntCounter,
    errors: CounterByConstant,
    connections: IntGauge,
    max_connections: IntGauge,
    connections_closed: CounterPer<ConnectionClosed>,
    in_flight: InFlight,
    in_flight_told: IntGauge,
    upstream_answers: CounterPer<CodeClass>,
    /// The metric family of `upstream_answers`.
    upstream_answered: IntCounterVec,
    upstream_failures: CounterByConstant,
    upstream_duration: Histogram,
}

impl Traffic {
    /// Registers the series.
    pub(super) fn new(registry: &Registry) -> Self {
        let requests = opts!("usher_http_requests_total", "Requests answered on the public listener.");
        let closed = opts!(
            "usher_connections_closed_total",
            "Connections of the public listener that were closed to respect a limit, by reason."
        );
        let closed: IntCounterVec = register(registry, IntCounterVec::new(closed, &["reason"]));
        let requests: IntCounterVec = register(registry, IntCounterVec::new(requests, &["kind", "code_class"]));
        let errors = opts!("usher_errors_total", "Answers made by usher with an error, by the error's code.");
        let answers =
            opts!("usher_upstream_requests_total", "Requests that upstream answered, by the class of its status.");
        let answers: IntCounterVec = register(registry, IntCounterVec::new(answers, &["code_class"]));
        let failures = opts!("usher_upstream_failures_total", "Requests to upstream that got no complete answer.");
        let duration = histogram_opts!(
            "usher_upstream_request_duration_seconds",
            "Time from sending a request upstream until its response or failure.",
            vec![0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        );
        let unknown_app =
            IntCounter::new("usher_unknown_app_requests_total", "Requests for an app that is not configured.");
        Self {
            requests: RequestKind::ALL
                .iter()
                .map(|kind| CounterPer::new(|class| requests.with_label_values(&[kind.label(), class])))
                .collect(),
            unknown_app: register(registry, unknown_app),
            errors: CounterByConstant::new(register(registry, IntCounterVec::new(errors, &["code"])), None),
            connections_closed: CounterPer::new(|reason| closed.with_label_values(&[reason])),
            connections: register(
                registry,
                IntGauge::new("usher_connections", "Connections open on the public listener."),
            ),
            max_connections: register(
                registry,
                IntGauge::new(
                    "usher_max_connections",
                    "The largest number of open connections on the public listener: limits.max_connections, or as many as the file descriptors allow.",
                ),
            ),
            in_flight: InFlight::default(),
            in_flight_told: register(registry, IntGauge::new("usher_requests_in_flight", "Requests in progress.")),
            upstream_answers: CounterPer::new(|class| answers.with_label_values(&[class])),
            upstream_answered: answers,
            upstream_failures: CounterByConstant::new(
                register(registry, IntCounterVec::new(failures, &["reason"])),
                None,
            ),
            upstream_duration: register(registry, Histogram::with_opts(duration)),
        }
    }

    pub(super) fn request(&self, kind: RequestKind, status: u16) {
        self.requests[kind.index()].of(CodeClass::of(status)).inc();
    }

    pub(super) fn unknown_app(&self) {
        self.unknown_app.inc();
    }

    pub(super) fn error(&self, code: &'static str) {
        self.errors.count(code);
    }

    /// How many connections of the public listener are open.
    pub(super) fn connections(&self) -> i64 {
        self.connections.get()
    }

    pub(super) fn connection(&self) -> OpenGuard {
        OpenGuard::new(&self.connections)
    }

    pub(super) fn set_max_connections(&self, most: usize) {
        self.max_connections.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    pub(super) fn connection_closed(&self, reason: ConnectionClosed) {
        self.connections_closed.of(reason).inc();
    }

    pub(super) const fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Sets the values that are set only at a scrape.
    pub(super) fn tell(&self) {
        self.in_flight_told.set(i64::try_from(self.in_flight.count()).unwrap_or(i64::MAX));
    }

    pub(super) fn upstream_answer(&self, status: u16, took: Duration) {
        self.upstream_answers.of(CodeClass::of(status)).inc();
        self.upstream_duration.observe(took.as_secs_f64());
    }

    pub(super) fn upstream_failure(&self, reason: &'static str, took: Duration) {
        self.upstream_failures.count(reason);
        self.upstream_duration.observe(took.as_secs_f64());
    }

    /// The families of upstream exchanges: responses, failures and their durations.
    pub(super) fn upstream(&self) -> (Vec<MetricFamily>, Vec<MetricFamily>, Vec<MetricFamily>) {
        (read(&self.upstream_answered), read(self.upstream_failures.family()), read(&self.upstream_duration))
    }
}
