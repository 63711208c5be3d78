//! Webhooks that are sent for the embedded broker, and those that come in.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Registry, opts};

use super::label::{CounterPer, label_enum};
use super::register;

label_enum! {
    /// What became of a request with a webhook: the `result` label of `usher_webhook_requests_total`.
    pub enum WebhookResult {
        /// The receiver answered with 2xx.
        Taken => "taken",
        /// The receiver answered with another status.
        Refused => "refused",
        /// There was no whole answer.
        Failed => "failed",
    }
}

label_enum! {
    /// What became of an event: the `outcome` label of `usher_webhook_events_total`.
    pub enum WebhookOutcome {
        /// The receiver took it.
        Delivered => "delivered",
        /// The receiver did not take it for as long as it was sent again.
        GivenUp => "given_up",
        /// Too many events waited.
        QueueFull => "queue_full",
        /// It waited when the webhook or the process ended.
        Ended => "ended",
    }
}

label_enum! {
    /// What became of a webhook that came in and is authentic: the `result` label of `usher_incoming_webhooks_total`.
    pub enum IncomingWebhook {
        /// It was taken in, and handed on if it had to be.
        Taken => "taken",
        /// It was taken before.
        Repeated => "repeated",
        /// It was taken in, but its receiver did not take it.
        NotForwarded => "not_forwarded",
    }
}

label_enum! {
    /// The kind of an event of such a webhook: the `event` label of `usher_incoming_webhook_events_total`.
    pub enum IncomingEvent {
        /// A channel has its first subscriber.
        ChannelOccupied => "channel_occupied",
        /// A channel's last subscriber is gone.
        ChannelVacated => "channel_vacated",
        /// A user came to a presence channel.
        MemberAdded => "member_added",
        /// A user left a presence channel.
        MemberRemoved => "member_removed",
        /// A client sent an event.
        ClientEvent => "client_event",
        /// A client came to a cache channel without a cached event.
        CacheMiss => "cache_miss",
        /// The number of a channel's subscribers changed.
        SubscriptionCount => "subscription_count",
        /// Another event.
        Other => "other",
    }
}

/// The series of the webhooks of an app. Clones are handles to the same series.
#[derive(Debug, Clone)]
pub struct WebhookMetrics {
    requests: CounterPer<WebhookResult>,
    events: CounterPer<WebhookOutcome>,
    waiting: IntGauge,
}

impl WebhookMetrics {
    /// Counts a request.
    pub fn request(&self, result: WebhookResult) {
        self.requests.of(result).inc();
    }

    /// Counts events.
    pub fn events(&self, outcome: WebhookOutcome, count: u64) {
        self.events.of(outcome).inc_by(count);
    }

    /// Notes that `now` events of a webhook wait, and `before` did until now.
    pub fn waiting(&self, before: usize, now: usize) {
        if before != now {
            let count = |events| i64::try_from(events).unwrap_or(i64::MAX);
            self.waiting.add(count(now) - count(before));
        }
    }
}

/// The metrics of this module.
#[derive(Debug)]
pub(super) struct Families {
    requests: IntCounterVec,
    events: IntCounterVec,
    waiting: IntGaugeVec,
    incoming: IntCounterVec,
    incoming_events: IntCounterVec,
    incoming_arrivals: IntCounterVec,
}

impl Families {
    /// Registers the series.
    pub(super) fn new(registry: &Registry) -> Self {
        let requests =
            opts!("usher_webhook_requests_total", "Requests with webhooks to the apps' receivers, by result.");
        let events = opts!("usher_webhook_events_total", "Events of webhooks, by what became of them.");
        let waiting = opts!("usher_webhook_events_waiting", "Events of webhooks that are not delivered yet.");
        let incoming = opts!("usher_incoming_webhooks_total", "Authentic webhooks that came in, by result.");
        let incoming_events = opts!("usher_incoming_webhook_events_total", "Events of webhooks that came in, by kind.");
        let incoming_arrivals = opts!(
            "usher_incoming_webhook_arrivals_total",
            "Events of webhooks that came in by which somebody has subscribed to a channel."
        );
        Self {
            incoming: register(registry, IntCounterVec::new(incoming, &["app", "result"])),
            incoming_events: register(registry, IntCounterVec::new(incoming_events, &["app", "event"])),
            incoming_arrivals: register(registry, IntCounterVec::new(incoming_arrivals, &["app"])),
            requests: register(registry, IntCounterVec::new(requests, &["app", "result"])),
            events: register(registry, IntCounterVec::new(events, &["app", "outcome"])),
            waiting: register(registry, IntGaugeVec::new(waiting, &["app"])),
        }
    }

    /// The series of `app`.
    pub(super) fn app(&self, app: &str) -> WebhookMetrics {
        WebhookMetrics {
            requests: CounterPer::new(|result| self.requests.with_label_values(&[app, result])),
            events: CounterPer::new(|outcome| self.events.with_label_values(&[app, outcome])),
            waiting: self.waiting.with_label_values(&[app]),
        }
    }

    /// Counts a webhook that came in.
    pub(super) fn incoming(&self, app: &str, result: IncomingWebhook) {
        self.incoming.with_label_values(&[app, result.label()]).inc();
    }

    /// Counts an event of such a webhook.
    pub(super) fn incoming_event(&self, app: &str, event: IncomingEvent) {
        self.incoming_events.with_label_values(&[app, event.label()]).inc();
    }

    /// Counts an event by which somebody came.
    pub(super) fn incoming_arrival(&self, app: &str) {
        self.incoming_arrivals.with_label_values(&[app]).inc();
    }
}
