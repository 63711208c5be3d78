//! The time of day for requests and answers, read at intervals.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use super::Clock;

/// How long a reading is used, within a second: the clock may be set meanwhile.
const FRESH: Duration = Duration::from_millis(100);

/// The time of day, also as HTTP writes it (RFC 9110 5.6.7).
#[derive(Debug, Default)]
pub struct Date {
    /// When the system's clock has to be read again: at the end of its second at the latest, so that the age of a
    /// signature is exact to the second.
    until: Option<Instant>,
    /// Seconds since the Unix epoch.
    seconds: u64,
    text: Bytes,
}

impl Date {
    /// The time of day as HTTP writes it, read by this thread 100 ms ago at most.
    #[must_use]
    pub fn text_now() -> Bytes {
        thread_local!(static DATE: RefCell<Date> = RefCell::default());
        DATE.with_borrow_mut(|date| {
            date.set(Instant::now());
            date.text.clone()
        })
    }

    /// Sets the time to that of `now`.
    pub fn set(&mut self, now: Instant) {
        self.set_by(Clock::unix_now_exact, now);
    }

    fn set_by(&mut self, system: impl FnOnce() -> Duration, now: Instant) {
        if self.until.is_none_or(|until| now >= until) {
            self.until = Some(now + self.take(system()));
        }
    }

    /// Stores the system's `time`. Returns how long it is valid.
    fn take(&mut self, time: Duration) -> Duration {
        let seconds = time.as_secs();
        if self.seconds != seconds || self.text.is_empty() {
            self.seconds = seconds;
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)).into();
        }
        FRESH.min(Duration::from_secs(1) - Duration::from_nanos(time.subsec_nanos().into()))
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The time as HTTP writes it; empty before the time was first set.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_systems_clock_forward_and_back() {
        let (mut date, start) = (Date::default(), Instant::now());
        let mut read = |at: u64, system: u64| {
            date.set_by(|| Duration::from_millis(system), start + Duration::from_millis(at));
            (date.seconds(), String::from_utf8(date.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(read(0, 784_111_777_300), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
        assert_eq!(read(99, 784_111_800_000).0, 784_111_777, "it is read every 100 ms");
        assert_eq!(
            read(100, 784_111_700_000),
            (784_111_700, "Sun, 06 Nov 1994 08:48:20 GMT".to_owned()),
            "the clock was set back"
        );
        assert_eq!(read(200, 784_111_700_950).0, 784_111_700);
        assert_eq!(
            read(250, 784_111_701_000),
            (784_111_701, "Sun, 06 Nov 1994 08:48:21 GMT".to_owned()),
            "a second ends"
        );
        assert_eq!(read(350, 0), (0, "Thu, 01 Jan 1970 00:00:00 GMT".to_owned()));
    }

    #[test]
    fn a_thread_reads_the_time_of_day() {
        let read = std::str::from_utf8(&Date::text_now()).map(httpdate::parse_http_date).unwrap().unwrap();
        let apart = Clock::unix_now_exact().abs_diff(read.duration_since(UNIX_EPOCH).unwrap());
        assert!(apart < Duration::from_secs(60), "{apart:?}");
    }
}
