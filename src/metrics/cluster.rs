//! The memory that several processes share, as this one sees it. The values are read at each scrape.

use std::sync::Arc;

use prometheus::{Histogram, IntCounterVec, IntGaugeVec, Registry, opts};

use super::register;

/// One app.
#[derive(Debug, Clone, Default)]
pub struct ClusterApp {
    /// The app's id.
    pub app: Arc<str>,
    /// What this process may do: one of `standings`.
    pub standing: &'static str,
    /// All that it may be.
    pub standings: &'static [&'static str],
    /// How many members there were when this process saw them last, present and missing; `None`: it has not yet.
    pub members: Option<(u64, u64)>,
    /// Each reason for which nobody may suppress, and whether it is the present one.
    pub open: Vec<(&'static str, bool)>,
    /// How often another process was faster.
    pub conflicts: u64,
    /// How many epochs were seen to begin, by cause.
    pub epochs: Vec<(&'static str, u64)>,
    /// The times until the store's answers: a histogram with the app as a constant label.
    pub round_trips: Option<Histogram>,
}

/// Registers the values in the registry of a scrape. Without a cluster there is none.
pub(super) fn register_apps(apps: &[ClusterApp], scrape: &Registry) {
    if apps.is_empty() {
        return;
    }
    let gauges =
        |name: &str, help: &str, label: &str| register(scrape, IntGaugeVec::new(opts!(name, help), &["app", label]));
    let members = gauges(
        "usher_cluster_members",
        "Members of the app's shared memory, as this usher saw them last, by state.",
        "state",
    );
    let open = gauges(
        "usher_cluster_open",
        "1 for the reason why no member of the app's shared memory suppresses anything; 0 for the others.",
        "reason",
    );
    let standings = gauges(
        "usher_cluster_standing",
        "1 for what this usher may do in the app's shared memory now; 0 for the others.",
        "standing",
    );
    let conflicts = opts!(
        "usher_cluster_conflicts_total",
        "Claims and settlements that were made again because another member was faster."
    );
    let conflicts = register(scrape, IntCounterVec::new(conflicts, &["app"]));
    let epochs =
        opts!("usher_cluster_epochs_total", "Epochs of the shared memory that this usher has seen begin, by cause.");
    let epochs = register(scrape, IntCounterVec::new(epochs, &["app", "cause"]));
    for it in apps {
        let app = &*it.app;
        if let Some((present, missing)) = it.members {
            members.with_label_values(&[app, "in"]).set(i64::try_from(present).unwrap_or(i64::MAX));
            members.with_label_values(&[app, "missing"]).set(i64::try_from(missing).unwrap_or(i64::MAX));
        }
        for (reason, is_so) in &it.open {
            open.with_label_values(&[app, reason]).set(i64::from(*is_so));
        }
        for standing in it.standings {
            standings.with_label_values(&[app, standing]).set(i64::from(*standing == it.standing));
        }
        conflicts.with_label_values(&[app]).inc_by(it.conflicts);
        for (cause, count) in &it.epochs {
            epochs.with_label_values(&[app, cause]).inc_by(*count);
        }
        if let Some(round_trips) = &it.round_trips {
            register(scrape, Ok(round_trips.clone()));
        }
    }
}
