//! Moments as times of day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Clock, Moment};

/// By how many milliseconds a new estimate of the beginning may differ from the last one without replacing it. Two
/// readings of the same clocks differ a little, and the same moment has to be shown as the same time.
const TOLERANCE: i64 = 1000;

/// Converts moments to times of day, by the system's clock as it is set at the conversion: a process that began before
/// the clock was set right shows right times from then on. While the clock is not set, a moment is converted to the
/// same time each time.
#[derive(Debug)]
pub struct Calendar {
    clock: Clock,
    /// The last estimate of the clock's beginning, in milliseconds since the Unix epoch; below zero if the system's
    /// clock shows less than the process has run.
    began_at: AtomicI64,
}

impl Calendar {
    /// A calendar for the moments of `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, began_at: AtomicI64::new(millis(clock.began_at)) }
    }

    /// The clock whose moments it converts.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The time of day at `moment`, which may be in the future, as the time since the Unix epoch; zero before the
    /// epoch.
    #[must_use]
    pub fn unix_time(&self, moment: Moment) -> Duration {
        self.unix_time_by(Clock::unix_now_exact, moment)
    }

    fn unix_time_by(&self, system: impl FnOnce() -> Duration, moment: Moment) -> Duration {
        // Read between two moments: a pause of the process in between widens the interval, and changes no estimate.
        let before = millis(self.clock.running());
        let now = millis(system());
        let after = millis(self.clock.running());
        let last = self.began_at.load(Ordering::Relaxed);
        let (earliest, latest) = (now.saturating_sub(after), now.saturating_sub(before));
        let began_at = if last > earliest.saturating_sub(TOLERANCE) && last < latest.saturating_add(TOLERANCE) {
            last
        } else {
            self.began_at.store(latest, Ordering::Relaxed);
            latest
        };
        let number = |moment: Moment| i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
        let at = began_at.saturating_add(number(moment) - number(self.clock.beginning()));
        Duration::from_millis(u64::try_from(at).unwrap_or_default())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A calendar whose clock has run for an hour, and the system's time of its beginning.
    async fn calendar() -> (Calendar, Duration) {
        let clock = Clock::start();
        let calendar = Calendar::new(clock);
        tokio::time::advance(HOUR).await;
        (calendar, clock.began_at)
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_is_converted_by_the_clock_as_it_is_set_now() {
        let (calendar, began_at) = calendar().await;
        let (first, now) = (Moment::default(), calendar.clock().now());
        let system = Cell::new(began_at + HOUR);
        let convert = |moment: Moment| calendar.unix_time_by(|| system.get(), moment).as_secs();
        assert_eq!((convert(first), convert(now)), (began_at.as_secs(), (began_at + HOUR).as_secs()));
        // Set forward, back, and to before there was a beginning.
        for set in [HOUR * 500_000, HOUR * 40, HOUR / 2] {
            system.set(set);
            assert_eq!(convert(now), set.as_secs());
            assert_eq!(convert(first), set.saturating_sub(HOUR).as_secs());
            assert_eq!(convert(now.after(HOUR)), (set + HOUR).as_secs(), "a moment that is yet to come");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_differences_between_readings_are_not_shown() {
        let (calendar, began_at) = calendar().await;
        let base = began_at + HOUR;
        let convert = |system: Duration| calendar.unix_time_by(|| system, Moment::default());
        let last = convert(base);
        for off in [1, 400, 999] {
            let off = Duration::from_millis(off);
            assert_eq!((convert(base + off), convert(base - off)), (last, last), "{off:?}");
        }
        let later = convert(base + Duration::from_millis(1001));
        assert_eq!(later - last, Duration::from_millis(1001));
        assert_eq!(convert(base + Duration::from_millis(500)), later, "back by less than a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_two_readings_changes_nothing() {
        let (calendar, began_at) = calendar().await;
        let last = calendar.unix_time_by(|| began_at + HOUR, Moment::default());
        let clock = calendar.clock();
        let held_up = || {
            // Time goes on between the reading of the system's clock and that of the other one.
            futures_util::FutureExt::now_or_never(tokio::time::advance(HOUR));
            began_at + HOUR
        };
        assert_eq!(calendar.unix_time_by(held_up, Moment::default()), last);
        assert!(clock.running() >= HOUR * 2);
    }
}
