//! `[limits.rates]`, and `server.trusted_proxies`, by which peers are told apart.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::problem::{Origin, quote};
use super::section::Section;
use crate::rate::{Rate, Rates};

/// Most times in a second, and at once.
const MOST: usize = 1_000_000;

/// Reads the section.
pub(super) fn rates(section: &mut Section<'_>) -> Rates {
    let default = Rates::default();
    Rates {
        app_triggers: rate(section, "app_triggers", "app_triggers_burst"),
        channel_triggers: rate(section, "channel_triggers", "channel_triggers_burst"),
        peer_connections: rate(section, "peer_connections", "peer_connections_burst"),
        peer_messages: rate(section, "peer_messages", "peer_messages_burst"),
        max_wait: section.duration("max_wait", default.max_wait, Duration::ZERO..=Duration::from_mins(1)),
        max_waiters: section.count("max_waiters", default.max_waiters, 0..=1_000_000),
        max_keys: section.count("max_keys", default.max_keys, 1000..=100_000_000),
    }
}

fn rate(section: &mut Section<'_>, key: &str, burst_key: &str) -> Option<Rate> {
    let mut number = |key: &str| u32::try_from(section.count(key, 0, 0..=MOST)).ok().and_then(NonZeroU32::new);
    let (per_second, burst) = (number(key), number(burst_key));
    if per_second.is_none() && burst.is_some() && !section.report.is_faulty(&section.key(key)) {
        let rate = section.key(key);
        section.problem(burst_key, format!("A burst without a rate limits nothing. Set `{rate}` as well, or neither."));
    }
    per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) })
}

/// Reads `server.trusted_proxies`.
pub(super) fn trusted_proxies(section: &mut Section<'_>) -> Vec<IpNet> {
    let mut proxies = Vec::new();
    for (text, origin) in section.texts("trusted_proxies") {
        match text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip.to_canonical()))) {
            Some(net) => proxies.push(trusted(section, net)),
            None => refuse(section, &text, origin),
        }
    }
    proxies
}

fn trusted(section: &mut Section<'_>, net: IpNet) -> IpNet {
    if net.prefix_len() == 0 {
        section.report.warnings.push(format!(
            "`{}`: {net} trusts everybody, so everybody can choose an address and no limit on peers holds. Name your proxies alone.",
            section.key("trusted_proxies")
        ));
    }
    net
}

fn refuse(section: &mut Section<'_>, text: &str, origin: Origin) {
    let message = format!("{} is no address or network. Write \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\".", quote(text));
    section.problem_at(origin, "trusted_proxies", message, None);
}
