//! Time as the rooms see it: milliseconds since the process began, read once per request and handed on.
//! A [`Moment`] fits into a compact memory entry, and tests that pause tokio's time pause this clock as well.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time: milliseconds since its [`Clock`] was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The moment `millis` after the clock's beginning.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's beginning.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment plus `delay`, saturating.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long before this moment `earlier` was; zero if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A monotonic clock with a known wall-clock beginning.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_at: Duration,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::default().after(self.began.elapsed())
    }

    /// The time since the beginning, unrounded: for what is measured, not remembered.
    #[must_use]
    pub fn running(&self) -> Duration {
        self.began.elapsed()
    }

    /// Wall-clock time of `moment` as the time since the Unix epoch.
    #[must_use]
    pub const fn unix_time(&self, moment: Moment) -> Duration {
        self.began_at.saturating_add(Duration::from_millis(moment.0))
    }
}
