//! The numbers of the operator's page, read back from the metrics.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::Metrics;

/// The counts of the operator's page since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Decisions on events, by app, rule, decision and reason; the rule is empty if none applies.
    pub decisions: Vec<Counted>,
    /// Requests that upstream answered.
    pub upstream_answers: u64,
    /// Requests without a complete response from upstream.
    pub upstream_failures: u64,
    /// The seconds from sending a request upstream until its response or failure: ascending upper bounds, and the
    /// number of requests within each.
    pub upstream_seconds: Vec<(f64, u64)>,
}

/// The number of times that a decision was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The app's id.
    pub app: String,
    /// The rule's name.
    pub rule: String,
    /// The label of the decision.
    pub decision: String,
    /// The code of the reason.
    pub reason: String,
    /// The number.
    pub count: u64,
}

impl Metrics {
    /// Reads the numbers. They are read one after the other, without a common snapshot.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (answers, failures, seconds) = self.traffic.upstream();
        Summary {
            decisions: self.triggers.decisions().iter().flat_map(counted).collect(),
            upstream_answers: total(&answers),
            upstream_failures: total(&failures),
            upstream_seconds: seconds.iter().flat_map(buckets).collect(),
        }
    }
}

/// The current metric families of a collector.
pub(super) fn read(collector: &impl Collector) -> Vec<MetricFamily> {
    collector.collect()
}

fn counted(family: &MetricFamily) -> Vec<Counted> {
    let series = family.get_metric().iter();
    series
        .map(|series| {
            let label = |name: &str| {
                series.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value().to_owned())
            };
            Counted {
                app: label("app").unwrap_or_default(),
                rule: label("rule").unwrap_or_default(),
                decision: label("decision").unwrap_or_default(),
                reason: label("reason").unwrap_or_default(),
                count: whole(series.get_counter().get_value()),
            }
        })
        .collect()
}

fn total(families: &[MetricFamily]) -> u64 {
    families.iter().flat_map(MetricFamily::get_metric).map(|series| whole(series.get_counter().get_value())).sum()
}

fn buckets(family: &MetricFamily) -> Vec<(f64, u64)> {
    let histograms = family.get_metric().iter().map(prometheus::proto::Metric::get_histogram);
    histograms
        .flat_map(|histogram| {
            histogram
                .get_bucket()
                .iter()
                .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The value of an integer counter, which the exposition's types store as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, not negative, and below 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
