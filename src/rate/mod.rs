//! How often: limits on rates, each with what may come at once, kept by key in tables that stay small.
//!
//! `limiters` holds all limits of a configuration. A `limit` is governor's arithmetic over a `table` of usher's own. A
//! trigger takes a `reservation` and may have to wait (`waiters`) or be refused (`limited`); `pace` slows down the
//! clients of WebSockets.

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

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times in a second, evenly.
    pub per_second: NonZeroU32,
    /// Times at once, after a pause.
    pub burst: NonZeroU32,
}

/// Which rates are limited. `None`: not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rates {
    /// Triggers of one app that go upstream.
    pub app_triggers: Option<Rate>,
    /// Events on one channel of one app that go upstream, announcements left out.
    pub channel_triggers: Option<Rate>,
    /// New WebSocket connections from one address.
    pub peer_connections: Option<Rate>,
    /// Messages over all WebSocket connections from one address.
    pub peer_messages: Option<Rate>,
    /// How long a trigger may wait for its turn.
    pub max_wait: Duration,
    /// How many triggers may wait for their turns.
    pub max_waiters: usize,
    /// How many apps, channels or addresses each limit remembers, about.
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
