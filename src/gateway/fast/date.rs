//! The time of day as requests and answers need it, read now and then.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::clock::Clock;

/// How old the time of day may be: whoever compares it with what others say of the time allows for much more.
const FRESH: Duration = Duration::from_millis(100);

/// The time of day, also as HTTP writes it (RFC 9110 5.6.7).
#[derive(Debug, Default)]
pub(super) struct Date {
    /// When the system's clock was read.
    read: Option<Instant>,
    /// Seconds since the Unix epoch.
    seconds: u64,
    text: String,
}

impl Date {
    /// From here on it says the time of `now`.
    pub(super) fn set(&mut self, now: Instant) {
        if self.read.is_none_or(|read| now.saturating_duration_since(read) >= FRESH) {
            self.read = Some(now);
            self.read_clock();
        }
    }

    /// Seconds since the Unix epoch.
    pub(super) const fn seconds(&self) -> u64 {
        self.seconds
    }

    fn read_clock(&mut self) {
        let seconds = Clock::unix_now();
        if self.seconds != seconds || self.text.is_empty() {
            self.seconds = seconds;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        }
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
