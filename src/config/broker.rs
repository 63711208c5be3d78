//! `[broker]`: the embedded server, where `upstream.url` is "local".

use std::time::Duration;

use super::section::Section;
use crate::broker::Options;

/// Reads the section.
pub(super) fn broker(section: &mut Section<'_>) -> Options {
    let default = Options::default();
    Options {
        client_events: section.flag("client_events", default.client_events),
        subscription_counts: section.flag("subscription_counts", default.subscription_counts),
        max_connections: section.count("max_connections", default.max_connections, 1..=10_000_000),
        max_channels: section.count("max_channels", default.max_channels, 1..=100_000),
        activity_timeout: section.duration("activity_timeout", default.activity_timeout, Duration::from_secs(5)..=Duration::from_hours(1)),
        queue: section.count("queue", default.queue, 16..=1_000_000),
        cache_ttl: section.duration("cache_ttl", default.cache_ttl, Duration::from_secs(1)..=Duration::from_hours(24)),
        max_cached: section.count("max_cached", default.max_cached, 64..=10_000_000),
        allowed_origins: section.texts("allowed_origins").into_iter().map(|(origin, _)| origin).collect(),
    }
}
