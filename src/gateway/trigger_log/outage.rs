//! Since when upstream does not answer triggers, and how many have failed since.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest time between two ends of outages: if upstream fails now and then, they count as one.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// Whether upstream answers.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether `state` has an outage: read for every answer, so without the lock. Relaxed, for nothing else is published
    /// through it.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    failed: u64,
    last_end: Option<Instant>,
}

/// An outage that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) lasted: Duration,
    /// Triggers that failed in it.
    pub(super) failed: u64,
}

impl Outage {
    /// A trigger failed because upstream gave no answer, or one that says that upstream itself failed.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state.lock();
        state.began.get_or_insert(now);
        state.failed += 1;
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Upstream has answered a trigger. Returns the outage that this ends, if there was one.
    pub(super) fn answered(&self) -> Option<Ended> {
        // Nearly always, so before the clock is read.
        if self.is_on.load(Ordering::Relaxed) { self.end(Instant::now()) } else { None }
    }

    fn end(&self, now: Instant) -> Option<Ended> {
        let mut state = self.state.lock();
        if state.last_end.is_some_and(|end| now.duration_since(end) < MIN_INTERVAL) {
            return None;
        }
        let began = state.began.take()?;
        state.last_end = Some(now);
        self.is_on.store(false, Ordering::Relaxed);
        Some(Ended { lasted: now.duration_since(began), failed: std::mem::take(&mut state.failed) })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasted.as_secs();
        f.write_str("upstream answers again after ")?;
        match seconds {
            0 => write!(f, "{} ms", self.lasted.as_millis()),
            1..=119 => write!(f, "{seconds} s"),
            120..=7199 => write!(f, "{} min", seconds / 60),
            _ => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }?;
        write!(f, "; {} {} failed", self.failed, if self.failed == 1 { "trigger" } else { "triggers" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_ends_an_outage() {
        let outage = Outage::default();
        let now = Instant::now();
        assert_eq!(outage.end(now), None);
        for _ in 0..312 {
            outage.failed(now);
        }
        let ended = outage.end(now + Duration::from_secs(250)).unwrap();
        assert_eq!(ended.to_string(), "upstream answers again after 4 min; 312 triggers failed");
        assert_eq!(outage.end(now + Duration::from_secs(251)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn short_outages_in_a_row_are_one() {
        let outage = Outage::default();
        let now = Instant::now();
        outage.failed(now);
        assert!(outage.end(now).is_some());
        outage.failed(now);
        assert_eq!(outage.end(now), None);
        outage.failed(now);
        let ended = outage.end(now + MIN_INTERVAL).unwrap();
        assert_eq!(ended, Ended { lasted: MIN_INTERVAL, failed: 2 });
    }
}
