//! Tests of the exposition.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use prometheus::{Histogram, HistogramOpts};

use super::label::MAX_VALUES;
use super::*;
use crate::decision::EventDecision;

/// The series of an exposition and their values.
fn series(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    series(&metrics.encode(&Sample::default())).get(name).copied()
}

/// Metrics with at least one sample in every family.
fn busy() -> (Arc<Metrics>, Sample) {
    let metrics = Metrics::new();
    metrics.rule("1001", "staff-assigned").count(EventDecision::SameAssignment);
    let app = metrics.app("1001");
    app.no_rule(3);
    app.inexact();
    app.outcome(TriggerOutcome::Partial);
    app.auth_failure("bad_signature");
    app.latency(Duration::from_micros(80));
    metrics.unknown_app();
    metrics.request(RequestKind::Trigger, 200);
    metrics.error("bad_signature");
    metrics.upstream_answer(200, Duration::from_millis(30));
    metrics.upstream_failure("connect", Duration::from_secs(3));
    metrics.tls_expires_at(2_000_000_000);
    let keys = vec![Keys { app: "1001".into(), rule: "staff-assigned".into(), count: 7 }];
    let modes = vec![RuleState {
        app: "1001".into(),
        rule: "staff-assigned".into(),
        mode: "observe",
        modes: &["enforce", "observe"],
        switched: true,
    }];
    (
        metrics,
        Sample {
            keys,
            max_keys: 1000,
            modes,
            evictions: vec![("capacity", 2)],
            start_doubt_left: Some(Duration::from_secs(7)),
            waiters: 1,
            tasks: 5,
            clusters: vec![ClusterApp {
                app: "1001".into(),
                standing: "blind",
                standings: &["member", "blind"],
                members: Some((2, 1)),
                open: vec![("history", true), ("missing", false)],
                conflicts: 4,
                epochs: vec![("history", 1), ("closed", 2)],
                round_trips: Some(round_trips()),
            }],
            ..Sample::default()
        },
    )
}

/// Nine answers of an app's store.
fn round_trips() -> Histogram {
    let options = HistogramOpts::new("usher_cluster_round_trip_seconds", "Times.").const_label("app", "1001");
    let round_trips = Histogram::with_opts(options.buckets(vec![0.000_25, 0.001])).unwrap();
    // Sums of powers of two are exact.
    let times = [1.0 / 8_192.0; 3].into_iter().chain([1.0 / 2_048.0; 5]).chain([1.0 / 128.0]);
    times.for_each(|took| round_trips.observe(took));
    round_trips
}

#[test]
fn every_decision_of_a_rule_has_a_series_and_the_usual_ones_from_the_start() {
    let metrics = Metrics::new();
    let rule = metrics.rule("1001", "staff-assigned");
    let name = |decision: EventDecision| {
        let (label, reason) = (decision.action().label(), decision.reason());
        format!("usher_triggers_total{{app=\"1001\",decision=\"{label}\",reason=\"{reason}\",rule=\"staff-assigned\"}}")
    };
    for usual in [EventDecision::NothingKnown, EventDecision::SameAssignment, EventDecision::SameInFlight] {
        assert_eq!(value(&metrics, &name(usual)), Some(0.0), "{usual:?}");
    }
    for (times, decision) in EventDecision::ALL.iter().enumerate() {
        (0..times).for_each(|_| rule.count(*decision));
    }
    for (times, decision) in EventDecision::ALL.iter().enumerate().skip(1) {
        assert_eq!(value(&metrics, &name(*decision)), Some(times as f64), "{decision:?}");
    }
}

#[test]
fn the_same_name_is_the_same_series() {
    let metrics = Metrics::new();
    let (one, other) = (metrics.rule("1", "r"), metrics.rule("1", "r"));
    one.count(EventDecision::SameInFlight);
    other.clone().count(EventDecision::SameInFlight);
    metrics.rule("2", "r").count(EventDecision::SameInFlight);
    metrics.app("1").no_rule(1);
    metrics.app("1").no_rule(2);
    assert_eq!(
        value(
            &metrics,
            "usher_triggers_total{app=\"1\",decision=\"suppressed_in_flight\",reason=\"same_in_flight\",rule=\"r\"}"
        ),
        Some(2.0)
    );
    assert_eq!(
        value(&metrics, "usher_triggers_total{app=\"1\",decision=\"forwarded\",reason=\"no_rule\",rule=\"\"}"),
        Some(3.0)
    );
}

#[test]
fn each_fact_is_counted_in_its_series() {
    let (metrics, sample) = busy();
    let page = series(&metrics.encode(&sample));
    for (name, expected) in [
        (
            "usher_triggers_total{app=\"1001\",decision=\"suppressed\",reason=\"same_assignment\",rule=\"staff-assigned\"}",
            1.0,
        ),
        ("usher_triggers_total{app=\"1001\",decision=\"forwarded\",reason=\"no_rule\",rule=\"\"}", 3.0),
        ("usher_triggers_total{app=\"1001\",decision=\"forwarded\",reason=\"inexact\",rule=\"\"}", 1.0),
        ("usher_trigger_outcomes_total{app=\"1001\",outcome=\"partial\"}", 1.0),
        ("usher_trigger_outcomes_total{app=\"1001\",outcome=\"accepted\"}", 0.0),
        ("usher_auth_failures_total{app=\"1001\",reason=\"bad_signature\"}", 1.0),
        ("usher_added_latency_seconds_bucket{app=\"1001\",le=\"0.00005\"}", 0.0),
        ("usher_added_latency_seconds_bucket{app=\"1001\",le=\"0.0001\"}", 1.0),
        ("usher_unknown_app_requests_total", 1.0),
        ("usher_http_requests_total{code_class=\"2xx\",kind=\"trigger\"}", 1.0),
        ("usher_http_requests_total{code_class=\"5xx\",kind=\"refused\"}", 0.0),
        ("usher_errors_total{code=\"bad_signature\"}", 1.0),
        ("usher_upstream_requests_total{code_class=\"2xx\"}", 1.0),
        ("usher_upstream_failures_total{reason=\"connect\"}", 1.0),
        ("usher_upstream_request_duration_seconds_count", 2.0),
        ("usher_tls_certificate_expires_at_timestamp_seconds", 2e9),
        ("usher_state_keys{app=\"1001\",rule=\"staff-assigned\"}", 7.0),
        ("usher_state_max_keys", 1000.0),
        ("usher_state_evictions_total{reason=\"capacity\"}", 2.0),
        ("usher_rule_mode{app=\"1001\",mode=\"enforce\",rule=\"staff-assigned\"}", 0.0),
        ("usher_rule_mode{app=\"1001\",mode=\"observe\",rule=\"staff-assigned\"}", 1.0),
        ("usher_waiters", 1.0),
        ("usher_tasks", 5.0),
        ("usher_cluster_standing{app=\"1001\",standing=\"blind\"}", 1.0),
        ("usher_cluster_standing{app=\"1001\",standing=\"member\"}", 0.0),
        ("usher_cluster_members{app=\"1001\",state=\"in\"}", 2.0),
        ("usher_cluster_members{app=\"1001\",state=\"missing\"}", 1.0),
        ("usher_cluster_open{app=\"1001\",reason=\"history\"}", 1.0),
        ("usher_cluster_open{app=\"1001\",reason=\"missing\"}", 0.0),
        ("usher_cluster_conflicts_total{app=\"1001\"}", 4.0),
        ("usher_cluster_epochs_total{app=\"1001\",cause=\"closed\"}", 2.0),
        ("usher_cluster_round_trip_seconds_bucket{app=\"1001\",le=\"0.00025\"}", 3.0),
        ("usher_cluster_round_trip_seconds_bucket{app=\"1001\",le=\"+Inf\"}", 9.0),
        ("usher_cluster_round_trip_seconds_sum{app=\"1001\"}", 0.010_620_117_187_5),
        (concat!("usher_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(page.get(name), Some(&expected), "{name} in {page:#?}");
    }
}

#[test]
fn the_summary_reads_the_series_back() {
    let (metrics, _) = busy();
    let summary = metrics.summary();
    let count = |rule: &str, decision: &str, reason: &str| {
        let mut counted = summary
            .decisions
            .iter()
            .filter(|counted| (&*counted.rule, &*counted.decision, &*counted.reason) == (rule, decision, reason));
        counted.next().map(|counted| (counted.app.as_str(), counted.count))
    };
    assert_eq!(
        (count("staff-assigned", "suppressed", "same_assignment"), count("", "forwarded", "no_rule")),
        (Some(("1001", 1)), Some(("1001", 3)))
    );
    assert_eq!(count("staff-assigned", "suppressed_in_flight", "same_in_flight"), Some(("1001", 0)));
    assert_eq!((summary.upstream_answers, summary.upstream_failures), (1, 1));
    let within = |seconds: f64| summary.upstream_seconds.iter().find(|(bound, _)| *bound >= seconds).unwrap().1;
    assert_eq!((within(0.025), within(0.03), within(10.0)), (0, 1, 2));
}

#[test]
fn status_codes_fall_into_classes() {
    let metrics = Metrics::new();
    for status in [0, 99, 101, 200, 302, 404, 499, 503, 600, u16::MAX] {
        metrics.request(RequestKind::Passthrough, status);
    }
    let counted = |class: &str| {
        value(&metrics, &format!("usher_http_requests_total{{code_class=\"{class}\",kind=\"passthrough\"}}")).unwrap()
    };
    assert_eq!(["1xx", "2xx", "3xx", "4xx", "5xx", "other"].map(counted), [1.0, 1.0, 1.0, 2.0, 1.0, 4.0]);
}

#[test]
fn gauges_follow_what_is_open() {
    let metrics = Metrics::new();
    let (one, other) = (metrics.connection(), metrics.connection());
    assert!(metrics.in_flight().begin(1) && !metrics.in_flight().begin(1));
    let open = || (value(&metrics, "usher_connections"), value(&metrics, "usher_requests_in_flight"));
    assert_eq!(open(), (Some(2.0), Some(1.0)));
    drop(one);
    metrics.in_flight().end();
    assert_eq!(open(), (Some(1.0), Some(0.0)));
    drop(other);
    assert_eq!(open(), (Some(0.0), Some(0.0)));
}

#[test]
fn a_failed_reload_keeps_the_time_of_the_last_good_one() {
    let metrics = Metrics::new();
    let name = "usher_config_last_reload_success_timestamp_seconds";
    assert_eq!(value(&metrics, "usher_config_last_reload_successful"), Some(1.0));
    let page =
        |began_at| series(&metrics.encode(&Sample { began_at: Duration::from_millis(began_at), ..Sample::default() }));
    assert_eq!(page(1_800_000_000_500)[name], 1.8e9);
    metrics.reload(true, Duration::from_secs(300));
    metrics.reload(false, Duration::from_secs(400));
    // From the system's clock, which may be adjusted meanwhile.
    for began_at in [1_800_000_000_500, 1_900_000_000_500] {
        let page = page(began_at);
        assert_eq!(page["process_start_time_seconds"], began_at as f64 / 1000.0);
        assert_eq!((page["usher_config_last_reload_successful"], page[name]), (0.0, (began_at / 1000) as f64 + 300.0));
    }
}

#[test]
fn draining_shows_and_a_certificate_only_if_there_is_one() {
    let metrics = Metrics::new();
    assert_eq!(
        (value(&metrics, "usher_draining"), value(&metrics, "usher_tls_certificate_expires_at_timestamp_seconds")),
        (Some(0.0), None)
    );
    metrics.set_draining();
    assert_eq!(value(&metrics, "usher_draining"), Some(1.0));
}

#[test]
fn constants_beyond_the_bound_share_a_series() {
    let metrics = Metrics::new();
    for n in 0..MAX_VALUES + 40 {
        metrics.error(Box::leak(format!("code_{n}").into_boxed_str()));
    }
    metrics.error("code_0");
    let page = series(&metrics.encode(&Sample::default()));
    let codes: Vec<_> = page.iter().filter(|(name, _)| name.starts_with("usher_errors_total")).collect();
    assert_eq!(codes.len(), MAX_VALUES + 1);
    assert_eq!(page["usher_errors_total{code=\"other\"}"], 40.0);
    assert_eq!(page["usher_errors_total{code=\"code_0\"}"], 2.0);
}

#[test]
fn counting_adds_no_series() {
    let (metrics, sample) = busy();
    let names = |metrics: &Metrics| series(&metrics.encode(&sample)).into_keys().collect::<Vec<_>>();
    let (app, rule) = (metrics.app("1001"), metrics.rule("1001", "staff-assigned"));
    EventDecision::ALL.iter().for_each(|decision| rule.count(*decision));
    let before = names(&metrics);
    for n in 0..10_000_u16 {
        rule.count(EventDecision::ALL[usize::from(n) % EventDecision::ALL.len()]);
        app.auth_failure("bad_signature");
        app.outcome(TriggerOutcome::Ambiguous);
        app.latency(Duration::from_micros(n.into()));
        metrics.request(RequestKind::Refused, n);
        metrics.upstream_answer(n, Duration::from_millis(n.into()));
    }
    assert_eq!(names(&metrics), before);
}

#[test]
fn label_values_cannot_break_out_of_their_line() {
    let metrics = Metrics::new();
    metrics.rule("1\"} 1\nevil_total 9", "back\\slash").count(EventDecision::SameAssignment);
    let page = metrics.encode(&Sample::default());
    assert!(!page.lines().any(|line| line.starts_with("evil")));
    assert!(
        page.contains(
            r#"{app="1\"} 1\nevil_total 9",decision="suppressed",reason="same_assignment",rule="back\\slash"} 1"#
        ),
        "{page}"
    );
}

#[test]
fn every_family_is_ours_and_has_help() {
    let is_ours = |family: &str| family.starts_with("usher_") || family.starts_with("process_");
    let (metrics, sample) = busy();
    let page = metrics.encode(&sample);
    let families: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(families.len() > 20 && families.is_sorted());
    for family in families {
        assert!(is_ours(family) && page.contains(&format!("# HELP {family} ")), "{family}");
    }
}

/// `promtool check metrics` reports nothing. If promtool is not installed (Debian: prometheus), this test prints that
/// and checks nothing.
#[test]
fn promtool_reports_nothing() {
    let (metrics, sample) = busy();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("promtool is not installed: the metrics page was not checked with it");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    promtool.stdin.take().unwrap().write_all(metrics.encode(&sample).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.trim().is_empty(), "{text}");
}
