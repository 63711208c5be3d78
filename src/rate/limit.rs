//! One rate limit, with a state for each key.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

use super::Rate;
use super::table::{Fingerprint, States, Table};
use crate::clock::Clock;

type Limiter = RateLimiter<Fingerprint, States, Ticks, NoOpMiddleware<Nanos>>;

/// A rate, and the state of each key.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) rate: Rate,
    table: Arc<Table>,
    ticks: Ticks,
    /// Grants permits that are available now.
    immediate: Limiter,
    /// Grants permits that become available within `max_wait` as well: on the same states, with a burst that is larger
    /// by the permits of that time. A granted permit keeps its time; permits are granted in the order of the calls.
    with_wait: Limiter,
    max_wait: Duration,
}

/// A permit. It is consumed unless it is refunded.
#[must_use = "refund it if it is not used"]
#[derive(Debug)]
pub(super) struct Permit {
    limit: Arc<Limit>,
    key: Fingerprint,
    /// The time until the permit is valid.
    pub(super) wait: Duration,
}

/// usher's clock, for governor.
#[derive(Debug, Clone, Copy)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.running().into()
    }
}

impl Limit {
    /// A limit without keys. It holds about `max_keys` keys.
    pub(super) fn new(rate: Rate, max_wait: Duration, max_keys: usize, clock: Clock) -> Self {
        let (table, ticks) = (Table::new(max_keys), Ticks(clock));
        let quota = Quota::per_second(rate.per_second);
        let permits = max_wait.as_nanos().div_ceil(quota.replenish_interval().as_nanos().max(1));
        let burst = rate.burst.saturating_add(u32::try_from(permits).unwrap_or(u32::MAX));
        // Each limiter counts from the moment it is created: the two differ by nanoseconds, and so do their waits.
        let limiter = |burst: NonZeroU32| RateLimiter::new(quota.allow_burst(burst), States(Arc::clone(&table)), ticks);
        Self { rate, immediate: limiter(rate.burst), with_wait: limiter(burst), table, ticks, max_wait }
    }

    /// Acquires a permit that is valid within `max_wait`.
    ///
    /// # Errors
    /// The time until a retry may succeed; nothing is acquired then.
    pub(super) fn acquire(self: &Arc<Self>, key: Fingerprint) -> Result<Permit, Duration> {
        let wait = match self.acquire_now(key) {
            Ok(()) => Duration::ZERO,
            // A permit granted between the two checks delays this one by one interval, so `wait` is too short by that.
            // The permits are counted correctly.
            Err(wait) if wait <= self.max_wait && self.with_wait.check_key(&key).is_ok() => wait,
            Err(wait) => return Err(wait.saturating_sub(self.max_wait).max(self.interval())),
        };
        Ok(Permit { limit: Arc::clone(self), key, wait })
    }

    /// Acquires a permit that is valid now.
    ///
    /// # Errors
    /// The time until the next one; nothing is acquired then.
    pub(super) fn acquire_now(&self, key: Fingerprint) -> Result<(), Duration> {
        self.immediate
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(governor::clock::Clock::now(&self.ticks)))
    }

    /// Forgets the keys whose burst is full again. Returns how many other keys were forgotten at the bound since the
    /// last call.
    pub(super) fn sweep(&self) -> u64 {
        self.immediate.retain_recent();
        self.immediate.shrink_to_fit();
        self.table.take_forgotten()
    }

    /// The number of remembered keys.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.immediate.len()
    }

    fn interval(&self) -> Duration {
        Quota::per_second(self.rate.per_second).replenish_interval()
    }
}

impl Permit {
    /// Refunds the permit: the next one is valid one interval earlier.
    pub(super) fn refund(self) {
        self.limit.table.refund(self.key, self.limit.interval().into());
    }
}
