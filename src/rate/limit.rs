//! One limit, for all keys of its kind.

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
    /// Lets through what may go now.
    immediate: Limiter,
    /// Lets through what may go within `max_wait` as well: on the same states, with a burst that is larger by the turns
    /// in that time. What it lets through has its turn from then on, in the order of asking, whoever asks later.
    with_wait: Limiter,
    max_wait: Duration,
}

/// A turn that was taken. It is spent unless it is given back.
#[must_use = "give it back if it is not used"]
#[derive(Debug)]
pub(super) struct Permit {
    limit: Arc<Limit>,
    key: Fingerprint,
    /// How long until it comes.
    pub(super) wait: Duration,
}

/// usher's clock as governor reads it.
#[derive(Debug, Clone, Copy)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.running().into()
    }
}

impl Limit {
    /// A limit with no keys yet. It holds about `max_keys` keys.
    pub(super) fn new(rate: Rate, max_wait: Duration, max_keys: usize, clock: Clock) -> Self {
        let (table, ticks) = (Table::new(max_keys), Ticks(clock));
        let quota = Quota::per_second(rate.per_second);
        let permits = max_wait.as_nanos().div_ceil(quota.replenish_interval().as_nanos().max(1));
        let burst = rate.burst.saturating_add(u32::try_from(permits).unwrap_or(u32::MAX));
        // Each counts from the moment it is made: the two differ by nanoseconds, and so do their answers.
        let limiter = |burst: NonZeroU32| RateLimiter::new(quota.allow_burst(burst), States(Arc::clone(&table)), ticks);
        Self { rate, immediate: limiter(rate.burst), with_wait: limiter(burst), table, ticks, max_wait }
    }

    /// Takes a turn that comes within `max_wait`.
    ///
    /// # Errors
    /// How long until one might; nothing is taken then.
    pub(super) fn acquire(self: &Arc<Self>, key: Fingerprint) -> Result<Permit, Duration> {
        let wait = match self.acquire_now(key) {
            Ok(()) => Duration::ZERO,
            // A turn taken between the two checks moves this one back by one, so `wait` is that much too short. The
            // turns are counted all the same.
            Err(wait) if wait <= self.max_wait && self.with_wait.check_key(&key).is_ok() => wait,
            Err(wait) => return Err(wait.saturating_sub(self.max_wait).max(self.interval())),
        };
        Ok(Permit { limit: Arc::clone(self), key, wait })
    }

    /// Takes a turn that is there now.
    ///
    /// # Errors
    /// How long until the next one; nothing is taken then.
    pub(super) fn acquire_now(&self, key: Fingerprint) -> Result<(), Duration> {
        self.immediate
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(governor::clock::Clock::now(&self.ticks)))
    }

    /// Forgets the keys whose burst is full again. Returns how many others were forgotten at the bound since the last
    /// call.
    pub(super) fn sweep(&self) -> u64 {
        self.immediate.retain_recent();
        self.immediate.shrink_to_fit();
        self.table.take_forgotten()
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.immediate.len()
    }

    fn interval(&self) -> Duration {
        Quota::per_second(self.rate.per_second).replenish_interval()
    }
}

impl Permit {
    /// Gives it back: the next one comes that much sooner.
    pub(super) fn refund(self) {
        self.limit.table.refund(self.key, self.limit.interval().into());
    }
}
