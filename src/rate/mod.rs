//! Rate limits with bursts. Each limit keeps the state of its keys in a table of bounded size.
//!
//! `limiters` holds all limits of a configuration. A `limit` applies governor's algorithm (GCRA) to usher's own
//! `table`. A trigger acquires a `reservation` and is admitted, delayed (`waiters`) or rejected (`limited`); `pace`
//! limits the rate at which a WebSocket client's messages are read.

mod limit;
mod limited;
mod limiters;
mod pace;
mod reservation;
mod table;
#[cfg(test)]
mod tests;
mod waiters;

use std::num::NonZeroU32;
use std::time::Duration;

pub use limited::Limited;
pub use limiters::{AppLimits, Limiters};
pub use pace::Pace;
pub use reservation::{RateDecision, RateReservation, ScheduledSlot};

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Permits in a second, evenly spaced.
    pub per_second: NonZeroU32,
    /// Permits that are available at once after a pause.
    pub burst: NonZeroU32,
}

/// The configured rate limits. `None`: not limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Triggers of one app that go upstream.
    pub app_triggers: Option<Rate>,
    /// Events on one channel of one app that go upstream, except announcements.
    pub channel_triggers: Option<Rate>,
    /// New WebSocket connections from one address.
    pub peer_connections: Option<Rate>,
    /// Messages over all WebSocket connections from one address.
    pub peer_messages: Option<Rate>,
    /// The longest time that a trigger waits for its permits.
    pub max_wait: Duration,
    /// The largest number of triggers that wait for permits.
    pub max_waiters: usize,
    /// The approximate number of apps, channels or addresses that each limit remembers.
    pub max_keys: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            app_triggers: None,
            channel_triggers: None,
            peer_connections: None,
            peer_messages: None,
            max_wait: Duration::from_secs(1),
            max_waiters: 1000,
            max_keys: 100_000,
        }
    }
}
