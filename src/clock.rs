//! The time in all modules: milliseconds since the process began, read once per request and passed on. A [`Moment`]
//! fits into a compact memory entry, and tests that pause tokio's time pause this clock as well.
//!
//! A process that takes over the memory of the one before it continues the moments of that one's clock, so that the
//! moments in the memory stay valid ([`Clock::resume`]).

mod calendar;
mod date;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, Sleep, sleep_until};

pub use calendar::Calendar;
pub use date::Date;

/// A point in time: milliseconds since its [`Clock`] was made, or since that of the process whose memory it continues.
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
        Self(self.0.saturating_add(millis(delay)))
    }

    /// How long before this moment `earlier` was; zero if it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds, saturating.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One reading of a [`Clock`], in both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    /// For durations.
    pub instant: Instant,
    /// For the memory and the records.
    pub moment: Moment,
}

/// A monotonic clock with a known wall-clock beginning.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
    began_at: Duration,
    /// The moment at which it began.
    beginning: Moment,
    /// The time that it shows, if that is not the real one.
    virtual_time: Option<VirtualTime>,
}

/// A time that passes only as it is told to: for decisions on triggers of the past, and in tests of rules. A clone is
/// another handle to the same.
///
/// Clocks are copied, so the time that they show is never freed: eight bytes.
#[derive(Debug, Clone, Copy)]
pub struct VirtualTime(&'static AtomicU64);

impl VirtualTime {
    /// A time that stands at `moment`.
    #[must_use]
    pub fn at(moment: Moment) -> Self {
        Self(Box::leak(Box::new(AtomicU64::new(moment.0))))
    }

    /// The present moment.
    #[must_use]
    pub fn now(self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed))
    }

    /// The time is now `moment`, unless it is later already.
    pub fn advance_to(self, moment: Moment) {
        self.0.fetch_max(moment.0, Ordering::Relaxed);
    }
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self::resume(Moment::default())
    }

    /// A clock that begins now, and whose moments go on from `beginning`, the present moment of an earlier clock.
    #[must_use]
    pub fn resume(beginning: Moment) -> Self {
        Self { began: Instant::now(), began_at: Self::unix_now_exact(), beginning, virtual_time: None }
    }

    /// A clock that shows `time`, and begins now.
    #[must_use]
    pub fn showing(time: VirtualTime) -> Self {
        Self { virtual_time: Some(time), ..Self::resume(time.now()) }
    }

    /// The moment at which the clock began: the start of the process.
    #[must_use]
    pub const fn beginning(&self) -> Moment {
        self.beginning
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Moment {
        match self.virtual_time {
            None => self.moment(Instant::now()),
            Some(time) => time.now(),
        }
    }

    /// The moment that `instant` is.
    #[must_use]
    pub fn moment(&self, instant: Instant) -> Moment {
        let since = instant.saturating_duration_since(self.began);
        let millis = since.as_secs().saturating_mul(1000).saturating_add(u64::from(since.subsec_millis()));
        Moment(self.beginning.0.saturating_add(millis))
    }

    /// `moment`, which is not before the beginning, in both forms.
    #[must_use]
    pub fn timestamp_at(&self, moment: Moment) -> Timestamp {
        Timestamp { instant: self.began + moment.since(self.beginning), moment }
    }

    /// `instant` in both forms.
    #[must_use]
    pub fn timestamp(&self, instant: Instant) -> Timestamp {
        Timestamp { instant, moment: self.moment(instant) }
    }

    /// The time since the beginning, unrounded, for measurements.
    #[must_use]
    pub fn running(&self) -> Duration {
        self.began.elapsed()
    }

    /// Seconds since the Unix epoch by the system's clock as it is set now, to compare with timestamps of others. The
    /// moments of this clock do not advance while a machine sleeps, and do not change when its clock is set.
    #[must_use]
    pub fn unix_now() -> u64 {
        Self::unix_now_exact().as_secs()
    }

    /// The same, with its fraction of a second.
    #[must_use]
    pub fn unix_now_exact() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// When the clock began, as the time since the Unix epoch by the system's clock as it was set then. It never
    /// changes, so it distinguishes one process from another; to show a time, use [`Calendar`].
    #[must_use]
    pub const fn stamp(&self) -> Duration {
        self.began_at
    }
}

/// One timer for many short waits in turn. It is set when it is first needed, and checked when it fires: a deadline
/// that was met, or moved to later, costs nothing.
#[derive(Debug, Default)]
pub struct DeadlineTimer(Option<Pin<Box<Sleep>>>);

impl DeadlineTimer {
    /// Ready once `deadline` has passed.
    pub fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= deadline {
                self.0 = None;
                return Poll::Ready(());
            }
            // The timer was set for an earlier wait.
            sleep.as_mut().reset(deadline);
        }
    }

    /// Waits for `work`, at most until `deadline`; `None`: it has passed.
    pub async fn timeout_at<F: Future>(&mut self, deadline: Instant, work: F) -> Option<F::Output> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(deadline, context).map(|()| None),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_day_is_the_systems_whatever_the_moments_say() {
        let clock = Clock::start();
        let before = Clock::unix_now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now().since(Moment::default()).as_secs(), 3600);
        assert!(Clock::unix_now() - before < 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resumed_clock_goes_on_from_its_beginning() {
        let clock = Clock::resume(Moment::from_millis(7_000));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((clock.beginning().as_millis(), clock.now().as_millis()), (7_000, 9_000));
        assert_eq!(clock.running().as_secs(), 2);
        assert_eq!(Clock::start().beginning(), Moment::default());
        let calendar = Calendar::new(clock);
        let time = |millis| calendar.unix_time(Moment::from_millis(millis));
        assert_eq!(time(7_000) - time(6_000), Duration::from_secs(1));
        assert_eq!(time(9_000) - time(7_000), Duration::from_secs(2), "moments before the start are shown as well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_virtual_time_passes_only_as_it_is_told_to() {
        let time = VirtualTime::at(Moment::from_millis(5_000));
        let clock = Clock::showing(time);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((clock.beginning(), clock.now()), (time.now(), Moment::from_millis(5_000)));
        time.advance_to(Moment::from_millis(7_500));
        time.advance_to(Moment::from_millis(6_000));
        assert_eq!(clock.now().as_millis(), 7_500);
        let stamp = clock.timestamp_at(clock.now());
        assert_eq!((stamp, clock.moment(stamp.instant)), (clock.timestamp(stamp.instant), clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_for_the_present_wait() {
        let mut timer = DeadlineTimer::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(timer.timeout_at(at(5), async { 7 }).await, Some(7));
        assert_eq!(timer.timeout_at(at(3), pending::<()>()).await, None);
        assert_eq!(start.elapsed().as_secs(), 3);
        assert_eq!(timer.timeout_at(at(3), async { 7 }).await, Some(7), "what is done is done, however late");
        assert_eq!(timer.timeout_at(at(9), tokio::time::sleep(Duration::from_secs(1))).await, Some(()));
        assert_eq!(timer.timeout_at(at(20), pending::<()>()).await, None, "set for 9, it waits on");
        assert_eq!(start.elapsed().as_secs(), 20);
        assert_eq!(timer.timeout_at(at(100), tokio::time::sleep(Duration::from_secs(1))).await, Some(()));
        assert_eq!(timer.timeout_at(at(30), pending::<()>()).await, None, "set for 100, it is set anew");
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
