//! How often something may happen: so many times at once, and once more whenever a time has passed. Ten times in a
//! second a connection may send client events (`pusher-protocol.md` 4.4), and a channel's subscribers be told their
//! number; [`super::session`] has how often a client may subscribe.

use std::time::Duration;

use crate::clock::Moment;

/// What is left of an allowance, as the moment at which all of it is there again.
#[derive(Debug)]
pub(super) struct Allowance {
    whole_at: Moment,
    /// Times at once.
    burst: u32,
    /// How long until one time that was taken is there again, in milliseconds: every connection has two of these, so
    /// they are small.
    cost: u32,
}

impl Allowance {
    /// `burst` times at once, and once more whenever `cost` milliseconds have passed; all of it is there.
    pub(super) const fn new(burst: u32, cost: u32) -> Self {
        Self { whole_at: Moment::from_millis(0), burst, cost }
    }

    /// Ten times at once, and ten times a second.
    pub(super) const fn ten_a_second() -> Self {
        Self::new(10, 100)
    }

    /// Takes one time; `false` if none is left, which costs nothing.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let after = self.after_one_more(now);
        let fits = after.since(now) <= self.times(self.burst);
        if fits {
            self.whole_at = after;
        }
        fits
    }

    /// Takes one time even if none is left: what is missing is a debt.
    pub(super) fn charge(&mut self, now: Moment) {
        self.whole_at = self.after_one_more(now);
    }

    /// How long until there is no debt.
    pub(super) fn debt(&self, now: Moment) -> Duration {
        self.whole_at.since(now).saturating_sub(self.times(self.burst))
    }

    fn after_one_more(&self, now: Moment) -> Moment {
        self.whole_at.max(now).after(self.times(1))
    }

    /// How long until so many times are there again.
    const fn times(&self, count: u32) -> Duration {
        Duration::from_millis(self.cost as u64).saturating_mul(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_and_ten_a_second() {
        let mut allowance = Allowance::ten_a_second();
        let mut taken =
            |millis, times: usize| (0..times).filter(|_| allowance.take(Moment::from_millis(millis))).count();
        assert_eq!(taken(5_000, 20), 10);
        assert_eq!(taken(5_099, 20), 0);
        assert_eq!(taken(5_100, 20), 1);
        assert_eq!(taken(5_350, 20), 2);
        assert_eq!(taken(60_000, 20), 10);
        assert_eq!((0..1000).map(|tick| taken(61_000 + tick * 10, 1)).sum::<usize>(), 10 + 99);
    }

    #[test]
    fn what_is_charged_beyond_the_burst_is_a_debt() {
        let mut allowance = Allowance::new(3, 50);
        let mut charged = |millis| {
            allowance.charge(Moment::from_millis(millis));
            allowance.debt(Moment::from_millis(millis)).as_millis()
        };
        assert_eq!([1_000; 5].map(&mut charged), [0, 0, 0, 50, 100]);
        assert_eq!([1_100; 2].map(&mut charged), [50, 100]);
        assert_eq!([60_000; 4].map(&mut charged), [0, 0, 0, 50]);
        assert_eq!(
            [40, 49, 50, 1_000].map(|later| allowance.debt(Moment::from_millis(60_000 + later)).as_millis()),
            [10, 1, 0, 0]
        );
    }

    #[test]
    fn a_debt_leaves_nothing_to_take() {
        let mut allowance = Allowance::new(1, 50);
        (0..2).for_each(|_| allowance.charge(Moment::from_millis(1_000)));
        let taken = [1_000, 1_050, 1_099, 1_100, 1_100].map(|millis| allowance.take(Moment::from_millis(millis)));
        assert_eq!(taken, [false, false, false, true, false]);
    }

    #[test]
    fn the_largest_burst_can_be_counted() {
        let mut allowance = Allowance::new(u32::MAX, 50);
        (0..1_000).for_each(|_| allowance.charge(Moment::from_millis(1)));
        assert_eq!(allowance.debt(Moment::from_millis(1)), Duration::ZERO);
    }
}
