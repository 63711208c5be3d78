//! How long the store takes to answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the classes, in microseconds.
const BOUNDS: [u64; 13] =
    [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 125_000, 250_000, 500_000, 1_000_000];

/// Counts requests by the time until their answers.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    /// One for each bound, and one for those beyond the last.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// Of all, in microseconds.
    sum: AtomicU64,
}

/// How often requests took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// Upper bounds, ascending, each with the number of requests within it.
    pub within: Vec<(Duration, u64)>,
    /// All requests.
    pub count: u64,
    /// The time of all together.
    pub total: Duration,
}

impl RoundTrips {
    /// A request took so long.
    pub(super) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < micros)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Those of two together.
    pub(super) fn times(&self, other: &Self) -> Times {
        let of =
            |index: usize| self.counts[index].load(Ordering::Relaxed) + other.counts[index].load(Ordering::Relaxed);
        let mut count = 0;
        let within = BOUNDS.iter().enumerate().map(|(index, bound)| {
            count += of(index);
            (Duration::from_micros(*bound), count)
        });
        let within = within.collect();
        let sum = self.sum.load(Ordering::Relaxed) + other.sum.load(Ordering::Relaxed);
        Times { within, count: count + of(BOUNDS.len()), total: Duration::from_micros(sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_in_the_classes_from_its_own_on() {
        let (one, other) = (RoundTrips::default(), RoundTrips::default());
        one.note(Duration::from_micros(250));
        one.note(Duration::from_micros(251));
        other.note(Duration::from_secs(9));
        let times = one.times(&other);
        let micros = Duration::from_micros;
        assert_eq!(times.within[..3], [(micros(250), 1), (micros(500), 2), (micros(1_000), 2)]);
        assert_eq!((times.within.last(), times.count), (Some(&(Duration::from_secs(1), 2)), 3));
        assert_eq!(times.total, micros(9_000_501));
    }
}
