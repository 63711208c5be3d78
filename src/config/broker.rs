//! `[broker]`: the embedded server, where `upstream.url` is "local".

use std::time::Duration;

use super::problem::quote;
use super::section::Section;
use crate::broker::{AllowedOrigin, Options};

/// Reads the section.
pub(super) fn broker(section: &mut Section<'_>) -> Options {
    let default = Options::default();
    Options {
        client_events: section.flag("client_events", default.client_events),
        subscription_counts: section.flag("subscription_counts", default.subscription_counts),
        max_connections: section.count("max_connections", default.max_connections, 1..=10_000_000),
        max_channels: section.count("max_channels", default.max_channels, 1..=100_000),
        sign_in_timeout: section.duration(
            "sign_in_timeout",
            default.sign_in_timeout,
            Duration::ZERO..=Duration::from_hours(1),
        ),
        activity_timeout: section.duration(
            "activity_timeout",
            default.activity_timeout,
            Duration::from_secs(5)..=Duration::from_hours(1),
        ),
        queue: section.count("queue", default.queue, 16..=1_000_000),
        cache_ttl: section.duration("cache_ttl", default.cache_ttl, Duration::from_secs(1)..=Duration::from_hours(24)),
        max_cached: section.count("max_cached", default.max_cached, 64..=10_000_000),
        allowed_origins: allowed_origins(section),
    }
}

fn allowed_origins(section: &mut Section<'_>) -> Vec<AllowedOrigin> {
    let mut allowed = Vec::new();
    for (text, origin) in section.texts("allowed_origins") {
        if text.is_empty() {
            continue;
        }
        match AllowedOrigin::parse(&text) {
            Ok(one) => allowed.push(one),
            Err(message) => section.problem_at(
                origin,
                "allowed_origins",
                format!("No page has the origin {}. {message}", quote(&text)),
                None,
            ),
        }
    }
    allowed
}
