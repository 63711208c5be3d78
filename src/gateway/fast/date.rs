//! The time of day as requests and answers need it, read now and then.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use crate::clock::Clock;

/// How long the time of day is taken for what it was, within a second: the clock may be set meanwhile.
const FRESH: Duration = Duration::from_millis(100);

/// The time of day, also as HTTP writes it (RFC 9110 5.6.7).
#[derive(Debug, Default)]
pub(super) struct Date {
    /// When the system's clock is to be read again: at the end of its second at the latest, so that a signature of just the greatest age is judged by the
    /// second that it is.
    until: Option<Instant>,
    /// Seconds since the Unix epoch.
    seconds: u64,
    text: String,
}

impl Date {
    /// From here on it says the time of `now`.
    pub(super) fn set(&mut self, now: Instant) {
        if self.until.is_none_or(|until| now >= until) {
            self.until = Some(now + self.read_clock());
        }
    }

    /// Seconds since the Unix epoch.
    pub(super) const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Reads the system's clock; for how long that is right.
    fn read_clock(&mut self) -> Duration {
        let time = Clock::unix_now_exact();
        let seconds = time.as_secs();
        if self.seconds != seconds || self.text.is_empty() {
            self.seconds = seconds;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        }
        FRESH.min(Duration::from_secs(1) - Duration::from_nanos(time.subsec_nanos().into()))
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
