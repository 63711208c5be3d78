//! How long something took, in buckets. A duration costs two atomic additions to neighbours in memory. The library's
//! histogram takes five, in three places, so that a scrape sees the sum and the buckets at the same moment; here the
//! sum may be a duration or two ahead of the buckets, or behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The durations of one series. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(super) struct Durations {
    /// Upper bounds of the buckets in microseconds, ascending.
    bounds: &'static [u64],
    /// The sum in nanoseconds (enough for centuries), then how many fell into each bucket and into none before it, and
    /// at last those beyond all.
    cells: Arc<[AtomicU64]>,
}

impl Durations {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, cells: std::iter::repeat_with(AtomicU64::default).take(1 + bounds.len() + 1).collect() }
    }

    /// Counts one that took so long.
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Nearly all are in one of the first.
        let bucket = self.bounds.iter().take_while(|bound| **bound * 1000 < nanos).count();
        self.cells[0].fetch_add(nanos, Ordering::Relaxed);
        self.cells[1 + bucket].fetch_add(1, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "the exposition's numbers are floats")]
    fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut so_far = |cell: &AtomicU64| {
            count += cell.load(Ordering::Relaxed);
            count
        };
        let counts = &self.cells[1..];
        let bucket = |(bound, cell): (&u64, &AtomicU64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(so_far(cell));
            bucket
        };
        let buckets = self.bounds.iter().zip(counts).map(bucket).collect();
        let all = counts.last().map_or(0, so_far);
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(all);
        histogram.set_sample_sum(self.cells[0].load(Ordering::Relaxed) as f64 / 1e9);
        histogram
    }
}

/// A family of them: one series for each value of a label, or one without. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub(super) struct DurationsPer(Arc<Family>);

#[derive(Debug)]
struct Family {
    desc: Desc,
    bounds: &'static [u64],
    /// By the label's value. A std lock: held to look one up when the configuration is read, or to read all.
    series: Mutex<BTreeMap<Box<str>, Durations>>,
}

impl DurationsPer {
    /// A family with no series yet. `bounds` are those of the buckets, in microseconds, ascending.
    ///
    /// # Errors
    /// The name or the label is none that Prometheus takes.
    pub(super) fn new(name: &str, help: &str, label: Option<&str>, bounds: &'static [u64]) -> prometheus::Result<Self> {
        let desc =
            Desc::new(name.to_owned(), help.to_owned(), label.into_iter().map(Into::into).collect(), HashMap::new())?;
        Ok(Self(Arc::new(Family { desc, bounds, series: Mutex::default() })))
    }

    /// The series of this value of the label, at 0 if it is new; whatever is given, where there is no label.
    pub(super) fn of(&self, value: &str) -> Durations {
        let mut series = self.0.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.entry(value.into()).or_insert_with(|| Durations::new(self.0.bounds)).clone()
    }
}

impl Collector for DurationsPer {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Family { desc, series, .. } = &*self.0;
        let metric = |value: &str, durations: &Durations| {
            let mut metric = Metric::from_label(desc.variable_labels.iter().map(|name| pair(name, value)).collect());
            metric.set_histogram(durations.histogram());
            metric
        };
        let mut family = MetricFamily::default();
        family.set_name(desc.fq_name.clone());
        family.set_help(desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        let series = series.lock().unwrap_or_else(PoisonError::into_inner);
        family.set_metric(series.iter().map(|(value, durations)| metric(value, durations)).collect());
        drop(series);
        vec![family]
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramVec, Registry, TextEncoder, histogram_opts};

    use super::*;

    fn encoded(collector: impl Collector + 'static) -> String {
        let registry = Registry::new();
        registry.register(Box::new(collector)).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn it_is_told_as_the_librarys_own() {
        let ours = DurationsPer::new("took_seconds", "Time.", Some("app"), &[25, 1_000, 2_500_000]).unwrap();
        let theirs =
            HistogramVec::new(histogram_opts!("took_seconds", "Time.", vec![25e-6, 1e-3, 2.5]), &["app"]).unwrap();
        assert_eq!(encoded(ours.clone()), encoded(theirs.clone()), "no series");
        for (app, nanos) in [
            ("1", 0),
            ("2", 24_999),
            ("1", 25_000),
            ("1", 25_001),
            ("2", 1_000_000),
            ("1", 2_500_000_000),
            ("2", 2_500_000_001),
        ] {
            let took = Duration::from_nanos(nanos);
            ours.of(app).observe(took);
            theirs.with_label_values(&[app]).observe(took.as_secs_f64());
        }
        let (ours, theirs) = (encoded(ours), encoded(theirs));
        let but_sums = |text: &str| text.lines().filter(|line| !line.contains("_sum")).collect::<Vec<_>>().join("\n");
        assert_eq!(but_sums(&ours), but_sums(&theirs));
        assert!(ours.contains("\ntook_seconds_sum{app=\"1\"} 2.500050001\n"), "{ours}");
    }

    #[test]
    fn without_a_label_there_is_one_series() {
        let alone = DurationsPer::new("took_seconds", "Time.", None, &[1_000_000]).unwrap();
        alone.of("").observe(Duration::MAX);
        alone.of("").observe(Duration::ZERO);
        let text = encoded(alone);
        assert!(
            text.contains("\ntook_seconds_bucket{le=\"1\"} 1\n") && text.contains("\ntook_seconds_count 2\n"),
            "{text}"
        );
    }
}
