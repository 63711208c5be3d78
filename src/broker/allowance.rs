//! How often something may happen: ten times at once, and once more every tenth of a second. So often may a connection send client events
//! (`pusher-protocol.md` 4.4), and so often are a channel's subscribers told their number.

use std::time::Duration;

use crate::clock::Moment;

/// Times in a second, and at once.
const BURST: u32 = 10;
/// What one time costs.
const COST: Duration = Duration::from_millis(1000 / BURST as u64);

/// What is left of the allowance, as the moment at which all of it is there again.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    whole_at: Moment,
}

impl Allowance {
    /// Takes one time; `false` if none is left, which costs nothing.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let after = self.whole_at.max(now).after(COST);
        let fits = after.since(now) <= COST * BURST;
        if fits {
            self.whole_at = after;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_and_ten_a_second() {
        let mut allowance = Allowance::default();
        let mut taken = |millis, times: usize| (0..times).filter(|_| allowance.take(Moment::from_millis(millis))).count();
        assert_eq!(taken(5_000, 20), 10);
        assert_eq!(taken(5_099, 20), 0);
        assert_eq!(taken(5_100, 20), 1);
        assert_eq!(taken(5_350, 20), 2);
        assert_eq!(taken(60_000, 20), 10);
        assert_eq!((0..1000).map(|tick| taken(61_000 + tick * 10, 1)).sum::<usize>(), 10 + 99);
    }
}
