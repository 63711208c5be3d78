//! The few numbers that a person looks at, read back from the series.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use super::Metrics;

/// What the operator's page counts, since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Events judged, by app, rule and decision; the rule is empty where none is concerned.
    pub decisions: Vec<Counted>,
    /// Requests that upstream answered.
    pub upstream_answers: u64,
    /// Requests that upstream did not answer completely.
    pub upstream_failures: u64,
    /// Seconds from handing a request to upstream until its answer or failure: upper bounds, ascending, and how many
    /// took no longer.
    pub upstream_seconds: Vec<(f64, u64)>,
}

/// How often something was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The app's id.
    pub app: String,
    /// The rule's name.
    pub rule: String,
    /// The label of the decision.
    pub decision: String,
    /// How often.
    pub count: u64,
}

impl Metrics {
    /// Reads the numbers. They are read one after the other, while others are counted.
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

/// What a collector holds at present.
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

/// An integer counter's value, which the exposition's types carry as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, not negative, and below 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}
