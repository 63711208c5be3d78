//! `[limits.rates]`, and `server.trusted_proxies`, which decides on the address of a peer.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::problem::{Origin, quote};
use super::section::Section;
use crate::rate::{Rate, Rates};

/// The largest rate in a second, and the largest burst.
const MAX_RATE: usize = 1_000_000;

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
    let mut number = |key: &str| u32::try_from(section.count(key, 0, 0..=MAX_RATE)).ok().and_then(NonZeroU32::new);
    let (per_second, burst) = (number(key), number(burst_key));
    if per_second.is_none() && burst.is_some() && !section.report.is_faulty(&section.key(key)) {
        let rate = section.key(key);
        section.problem(burst_key, format!("A burst without a rate limits nothing. Set `{rate}` as well, or neither."));
    }
    let rate = per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) });
    if let Some(rate) = rate {
        section.show(burst_key, &usize::try_from(rate.burst.get()).unwrap_or(MAX_RATE));
    }
    rate
}

/// Reads `server.trusted_proxies`. Clients' addresses are compared in their canonical form, so an IPv4 network that is
/// written within IPv6 (`::ffff:10.0.0.0/104`, RFC 4291 2.5.5.2) is taken for the IPv4 network that it means.
pub(super) fn trusted_proxies(section: &mut Section<'_>) -> Vec<IpNet> {
    let mut proxies = Vec::new();
    for (text, origin) in section.texts("trusted_proxies") {
        let read = text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip)));
        match read.ok_or(NetworkError::Unreadable).and_then(canonical) {
            Ok(net) => proxies.push(warn_if_universal(section, net)),
            Err(error) => report_error(section, &text, error, origin),
        }
    }
    proxies
}

/// Why an entry is refused.
enum NetworkError {
    /// It is neither an address nor a network.
    Unreadable,
    /// It is the network of an IPv4 address within IPv6, and wider than all of IPv4.
    WiderThanIpv4,
}

/// The bits of an IPv6 address before the IPv4 address within it.
const MAPPED_PREFIX: u8 = 96;

/// `net` in a form that can contain canonical addresses.
fn canonical(net: IpNet) -> Result<IpNet, NetworkError> {
    let IpAddr::V6(address) = net.addr() else { return Ok(net) };
    let Some(address) = address.to_ipv4_mapped() else { return Ok(net) };
    let prefix = net.prefix_len().checked_sub(MAPPED_PREFIX).ok_or(NetworkError::WiderThanIpv4)?;
    IpNet::new(address.into(), prefix).map_err(|_| NetworkError::Unreadable)
}

fn warn_if_universal(section: &mut Section<'_>, net: IpNet) -> IpNet {
    if net.prefix_len() == 0 {
        let version = if net.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        let message = format!(
            "`{}`: {net} trusts everybody who comes over {version}, so everybody there can choose an address and no limit on peers holds.",
            section.key("trusted_proxies")
        );
        section.warn("trusted_proxies", "everybody_trusted", message, "Name your proxies alone.");
    }
    net
}

fn report_error(section: &mut Section<'_>, text: &str, error: NetworkError, origin: Origin) {
    let shown = quote(text);
    let message = match error {
        NetworkError::Unreadable => {
            format!("{shown} is no address or network. Write \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\".")
        }
        NetworkError::WiderThanIpv4 => format!(
            "{shown} is an IPv4 address within IPv6 with a prefix below {MAPPED_PREFIX}, which is no IPv4 network. Write the IPv4 network itself, such as \
             \"10.0.0.0/8\", or add {MAPPED_PREFIX} to its prefix (\"::ffff:10.0.0.0/104\")."
        ),
    };
    section.problem_at(origin, "trusted_proxies", message, None);
}
