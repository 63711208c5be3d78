//! A token bucket: it allows a burst, and then one more event per interval. It limits the client events of a connection
//! (`pusher-protocol.md` 4.4) and the subscription counts of a channel to ten per second; [`super::session`] has the
//! limit of subscribing.

use std::time::Duration;

use crate::clock::Moment;

/// A token bucket, stored as the moment at which it is full again.
#[derive(Debug)]
pub(super) struct TokenBucket {
    full_at: Moment,
    /// The capacity in tokens.
    burst: u32,
    /// The time until one taken token is back, in milliseconds. The fields are small, because every connection has two
    /// buckets.
    cost: u32,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that regains one token every `cost` milliseconds.
    pub(super) const fn new(burst: u32, cost: u32) -> Self {
        Self { full_at: Moment::from_millis(0), burst, cost }
    }

    /// A bucket of ten tokens that regains ten per second.
    pub(super) const fn ten_per_second() -> Self {
        Self::new(10, 100)
    }

    /// Takes a token. Returns `false` if there is none, and takes nothing then.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        let after = self.after_one_more(now);
        let fits = after.since(now) <= self.times(self.burst);
        if fits {
            self.full_at = after;
        }
        fits
    }

    /// Takes a token even if there is none: the missing tokens are a debt.
    pub(super) fn take_with_debt(&mut self, now: Moment) {
        self.full_at = self.after_one_more(now);
    }

    /// The time until the debt is paid.
    pub(super) fn debt(&self, now: Moment) -> Duration {
        self.full_at.since(now).saturating_sub(self.times(self.burst))
    }

    fn after_one_more(&self, now: Moment) -> Moment {
        self.full_at.max(now).after(self.times(1))
    }

    /// The time in which `count` tokens come back.
    const fn times(&self, count: u32) -> Duration {
        Duration::from_millis(self.cost as u64).saturating_mul(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_and_ten_a_second() {
        let mut allowance = TokenBucket::ten_per_second();
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
        let mut allowance = TokenBucket::new(3, 50);
        let mut charged = |millis| {
            allowance.take_with_debt(Moment::from_millis(millis));
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
        let mut allowance = TokenBucket::new(1, 50);
        (0..2).for_each(|_| allowance.take_with_debt(Moment::from_millis(1_000)));
        let taken = [1_000, 1_050, 1_099, 1_100, 1_100].map(|millis| allowance.take(Moment::from_millis(millis)));
        assert_eq!(taken, [false, false, false, true, false]);
    }

    #[test]
    fn the_largest_burst_can_be_counted() {
        let mut allowance = TokenBucket::new(u32::MAX, 50);
        (0..1_000).for_each(|_| allowance.take_with_debt(Moment::from_millis(1)));
        assert_eq!(allowance.debt(Moment::from_millis(1)), Duration::ZERO);
    }
}
