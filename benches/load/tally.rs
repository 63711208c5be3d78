//! What a round of load amounted to, as the generator saw it.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::answer::{Answer, Decision};
use crate::mixes::Expected;

/// The largest distinguishable latency, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Counts of one round, its warm-up and its end included where nothing else is said.
pub(crate) struct Tally {
    /// Responses in the measured part.
    pub(crate) completed: u64,
    /// The length of the measured part.
    pub(crate) seconds: f64,
    /// Latencies in the measured part, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// The delay of requests of an open loop on a free connection, in nanoseconds: the generator's own part of the
    /// latency.
    pub(crate) lateness: Histogram<u64>,
    /// Requests of an open loop that were due in the counted part and never sent.
    pub(crate) unsent: u64,
    /// All answers.
    pub(crate) answers: u64,
    /// Those with another status than 200; the first such status.
    pub(crate) refused: u64,
    pub(crate) first_refusal: Option<u16>,
    /// Requests whose connection ended without an answer.
    pub(crate) lost: u64,
    /// Connections opened anew.
    pub(crate) reconnects: u64,
    /// Answers that say "suppressed".
    pub(crate) suppressed: u64,
    /// Answers that say "reduced".
    pub(crate) reduced: u64,
    /// Successful responses without a decision.
    pub(crate) unsaid: u64,
    /// Changes that were suppressed or reduced: never permitted.
    pub(crate) wrong: u64,
    /// Redundant announcements that were forwarded: permitted, but not what is to be measured.
    pub(crate) missed: u64,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1_000, LONGEST, 3).expect("1 µs to 60 s in three digits is a valid range");
        Self {
            completed: 0,
            seconds: 0.0,
            latency: histogram(),
            lateness: histogram(),
            unsent: 0,
            answers: 0,
            refused: 0,
            first_refusal: None,
            lost: 0,
            reconnects: 0,
            suppressed: 0,
            reduced: 0,
            unsaid: 0,
            wrong: 0,
            missed: 0,
        }
    }

    /// Counts a response.
    pub(crate) fn answer(&mut self, answer: &Answer, expected: Expected) {
        self.answers += 1;
        if answer.status != 200 {
            self.refused += 1;
            self.first_refusal.get_or_insert(answer.status);
            return;
        }
        self.suppressed += u64::from(answer.decision == Decision::Suppressed);
        self.reduced += u64::from(answer.decision == Decision::Reduced);
        self.unsaid += u64::from(answer.decision == Decision::Unsaid);
        match (expected, answer.decision) {
            (Expected::Forwarded, Decision::Suppressed | Decision::Reduced)
            | (Expected::Reduced, Decision::Suppressed) => self.wrong += 1,
            (Expected::Suppressed, Decision::Forwarded | Decision::Reduced)
            | (Expected::Reduced, Decision::Forwarded) => self.missed += 1,
            // A target without this header is no gateway.
            (_, Decision::Unsaid)
            | (Expected::Forwarded, Decision::Forwarded)
            | (Expected::Reduced, Decision::Reduced)
            | (Expected::Suppressed, Decision::Suppressed) => {}
        }
    }

    /// Adds a latency of the measured part.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.latency.saturating_record(nanoseconds(latency));
    }

    /// Adds the delay of a request on a free connection.
    pub(crate) fn late(&mut self, lateness: Duration) {
        self.lateness.saturating_record(nanoseconds(lateness));
    }

    /// Adds the time that a due request waited for a connection.
    pub(crate) fn unsent(&mut self, waited: Duration) {
        self.unsent += 1;
        self.record(waited);
    }

    /// A quantile of the latency in microseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
