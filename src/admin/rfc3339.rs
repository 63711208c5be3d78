//! Formats times of day according to RFC 3339, in UTC, with milliseconds.

use std::time::Duration;

use time::OffsetDateTime;

/// `unix` (time since the Unix epoch) as `2026-01-31T08:09:10.123Z`. RFC 3339 has no years after 9999: a later time is
/// shown as the end of that year.
pub(super) fn rfc3339(unix: Duration) -> String {
    let time = OffsetDateTime::UNIX_EPOCH.saturating_add(unix.try_into().unwrap_or(time::Duration::MAX));
    let ((year, month, day), (hour, minute, second, milli)) = (time.to_calendar_date(), time.to_hms_milli());
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        // Made with `date -u -d @N +%FT%TZ`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_353_088_179, "2012-11-16T17:49:39.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(rfc3339(Duration::from_millis(1_353_088_179_042)), "2012-11-16T17:49:39.042Z");
    }

    #[test]
    fn a_year_of_more_than_four_digits_is_cut_to_the_last_one() {
        for unix in [Duration::from_secs(253_402_300_800), Duration::MAX] {
            assert_eq!(rfc3339(unix), "9999-12-31T23:59:59.999Z");
        }
    }
}
