//! Headers that belong to one connection and stay there.

/// Whether the header called `name`, in any case, is hop-by-hop (RFC 9110 7.6.1). What `Connection` nominates is so,
/// too.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    const HOP_BY_HOP: [&str; 11] = [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "http2-settings",
    ];
    HOP_BY_HOP.iter().any(|header| name.eq_ignore_ascii_case(header))
}
