//! Staggered closing: connections that have to be closed for the same reason are not closed at the same moment, or
//! their clients would all reconnect at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// 2³² divided by the golden ratio: its multiples modulo 2³² are spread evenly, whatever their number.
const GOLDEN: u32 = 0x9E37_79B9;

/// State of all relays of a process.
#[derive(Debug, Default)]
pub struct Relays {
    opened: AtomicU32,
}

/// One relay's position in a closing period.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloseStagger(u32);

impl Relays {
    /// The next relay's position. The first one is at the beginning.
    pub(super) fn close_stagger(&self) -> CloseStagger {
        CloseStagger(self.opened.fetch_add(1, Ordering::Relaxed).wrapping_mul(GOLDEN))
    }
}

impl CloseStagger {
    /// When in `period` this relay closes.
    pub(super) fn within(self, period: Duration) -> Duration {
        period.mul_f64(f64::from(self.0) / (f64::from(u32::MAX) + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_spread_evenly_whatever_their_number() {
        let (relays, period) = (Relays::default(), Duration::from_secs(10));
        let mut delays: Vec<Duration> = Vec::new();
        for count in 1..=1000_u32 {
            delays.push(relays.close_stagger().within(period));
            let mut sorted = delays.clone();
            sorted.sort();
            let widest = sorted.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
            assert!(widest <= period * 2 / count, "{widest:?} without a close among {count}");
        }
        assert_eq!(delays[0], Duration::ZERO);
        assert!(delays.iter().all(|delay| *delay < period));
    }
}
