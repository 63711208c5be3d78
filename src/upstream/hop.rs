//! Headers that apply to one connection only.

/// Whether the header `name`, in upper or lower case, is hop-by-hop (RFC 9110 7.6.1). Headers that `Connection` lists
/// are hop-by-hop, too; this function does not know them.
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
