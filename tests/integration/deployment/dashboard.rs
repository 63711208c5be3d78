//! The dashboard's queries, evaluated by a real Prometheus that scrapes running ushers with the project's own
//! configuration.

use serde_json::Value;

use super::series::Evening;
use super::{all, read};
use crate::harness::eventually;
use crate::harness::prometheus::Prometheus;

/// A query as Grafana sends it, with its variables filled in.
fn filled(query: &str) -> String {
    let query = query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$app", ".*");
    assert!(!query.contains('$'), "{query} has a variable that nobody fills in");
    query
}

#[test]
fn prometheus_answers_every_query_and_evaluates_every_rule() {
    let evening = Evening::begin();
    let prometheus = Prometheus::watching(&[evening.local.admin().0, evening.remote.admin().0]);
    eventually("Prometheus sees both", || (prometheus.query("up == 1").unwrap().len() == 2).then_some(()));

    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    let queries = all(&dashboard["panels"], "expr");
    assert!(queries.len() > 40, "only {} queries", queries.len());
    for query in queries.into_iter().map(|query| filled(query.as_str().unwrap())) {
        eventually(&format!("an answer to {query}"), || {
            let series = prometheus.query(&query).unwrap();
            if series.is_empty() {
                evening.go_on();
            }
            (!series.is_empty()).then_some(())
        });
    }
    for query in all(&dashboard["annotations"], "expr") {
        prometheus.query(&filled(query.as_str().unwrap())).unwrap();
    }

    let rules = eventually("every rule is evaluated", || {
        let rules = prometheus.rules();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() > 15, "{rules:#?}");
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule:#}");
    }
}

#[test]
fn panels_tell_themselves_apart_and_do_not_overlap() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut taken = std::collections::BTreeSet::new();
    for panel in panels {
        assert!(seen.insert(panel["id"].as_u64().unwrap()), "two panels have the id of {}", panel["title"]);
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let [x, y, w, h] = place;
        assert!(x + w <= 24, "{} is too wide", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies over another panel", panel["title"]);
        }
    }
}
