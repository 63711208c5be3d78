//! Addresses that no other process uses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

/// An address that no other process uses: the next process can listen on the same port.
pub fn own_address() -> IpAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let [_, .., high, low] = std::process::id().to_be_bytes();
    let [.., carry, taken] = TAKEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1 + high.wrapping_add(carry) % 254, low, taken))
}
