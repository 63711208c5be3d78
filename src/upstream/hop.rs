//! Headers that belong to one connection and stay there.

/// Whether the header called `name`, in any case, is hop-by-hop (RFC 9110 7.6.1). What `Connection` nominates is so, too.
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
    // A bit for each length that one of them has: every header line is asked about, and most are none of these.
    const LENGTHS: u32 = {
        let mut lengths = 0;
        let mut index = 0;
        while index < HOP_BY_HOP.len() {
            lengths |= 1 << HOP_BY_HOP[index].len();
            index += 1;
        }
        lengths
    };
    name.len() < 32 && LENGTHS >> name.len() & 1 == 1 && HOP_BY_HOP.iter().any(|header| name.eq_ignore_ascii_case(header))
}
