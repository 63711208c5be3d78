//! The address of a client behind proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::handshake::X_FORWARDED_FOR;

/// The values of the `X-Forwarded-For` lines of `headers`, last line first.
pub(super) fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(X_FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes)
}

/// The address of the client that sent a request over a socket whose other end is `socket`: the last hop in
/// `X-Forwarded-For`, whose `lines` come last line first, that is not one of the `trusted` proxies. The hops before it are not trusted. If no proxy is
/// trusted, it is `socket`.
pub(super) fn address<'h>(socket: IpAddr, lines: impl Iterator<Item = &'h [u8]>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut peer = socket.to_canonical();
    if trusted.is_empty() {
        return peer;
    }
    for hop in lines.flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !is_trusted(peer) {
            break;
        }
        // The address of a proxy that names no client counts for all its clients.
        let Some(before) = read(hop) else { break };
        peer = before;
    }
    peer
}

/// One hop as proxies write it: an address, perhaps with a port.
fn read(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.parse().ok().or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    bare.or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip())).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(socket: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8:f::/48"].map(|net| net.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        address(socket.parse().unwrap(), forwarded_for(&headers), &trusted).to_string()
    }

    #[test]
    fn the_last_hop_that_is_no_trusted_proxy_is_the_peer() {
        assert_eq!(peer("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &["198.51.100.1, 203.0.113.9 ,192.0.2.7"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &["198.51.100.1", "203.0.113.9, 10.1.2.3"]), "203.0.113.9");
        assert_eq!(peer("2001:db8:f::1", &["2001:db8:1::5"]), "2001:db8:1::5");
        assert_eq!(peer("::ffff:10.0.0.1", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn hops_before_an_untrusted_one_are_ignored() {
        assert_eq!(peer("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(peer("203.0.113.9", &["198.51.100.1, 10.0.0.1"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn a_proxy_that_names_no_client_is_the_peer() {
        assert_eq!(peer("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &["203.0.113.9, _hidden, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(peer("10.0.0.1", &["", ", ,"]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn hops_may_have_ports() {
        assert_eq!(peer("10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(peer("10.0.0.1", &["[2001:db8:1::5]:4711"]), "2001:db8:1::5");
        assert_eq!(peer("10.0.0.1", &["[2001:db8:1::5]"]), "2001:db8:1::5");
    }
}
