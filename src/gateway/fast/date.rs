//! The `Date` of answers, made once a second.

use std::time::{Duration, UNIX_EPOCH};

/// A point in time as HTTP writes it (RFC 9110 5.6.7).
#[derive(Debug, Default)]
pub(super) struct Date {
    /// Seconds since the Unix epoch.
    seconds: u64,
    text: String,
}

impl Date {
    /// Makes it say `seconds` since the Unix epoch.
    pub(super) fn set(&mut self, seconds: u64) {
        if self.seconds != seconds || self.text.is_empty() {
            self.seconds = seconds;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        }
    }

    pub(super) const fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
