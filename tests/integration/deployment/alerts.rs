//! The alerting rules: validated by promtool, tested in both directions, and each with a paragraph in the runbook.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{all, read, run, said, yaml};
use crate::harness::actor::project;

#[test]
fn promtool_finds_nothing_wrong() {
    for (arguments, file) in [
        (["check", "config"], "prometheus.yml"),
        (["check", "config"], "cluster.yml"),
        (["check", "rules"], "alerts.yml"),
        (["test", "rules"], "alerts.test.yml"),
    ] {
        let output = run(Command::new("promtool").args(arguments).arg(file).current_dir(project("deploy/prometheus")));
        assert!(output.status.success(), "{arguments:?} {file}:\n{}", said(&output));
    }
}

#[test]
fn every_alert_has_a_severity_and_a_runbook_paragraph() {
    let runbook = read("docs/operations.md");
    let alerts = yaml("deploy/prometheus/alerts.yml");
    let mut names = BTreeSet::new();
    for rule in all(&alerts, "rules").into_iter().flat_map(|rules| rules.as_array().unwrap()) {
        let Some(name) = rule["alert"].as_str() else { continue };
        names.insert(name.to_owned());
        assert!(
            ["critical", "warning"].iter().any(|severity| rule["labels"]["severity"] == *severity),
            "{name} has no severity"
        );
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_else(|| panic!("{name} has no {key}"));
        assert!(!annotation("summary").is_empty());
        let description = annotation("description");
        assert!(
            description.contains("$labels.app") || description.contains("all its apps"),
            "{name} does not say which app: {description}"
        );
        assert_eq!(annotation("runbook_url"), format!("docs/operations.md#{}", name.to_lowercase()));
        assert!(
            runbook.lines().any(|line| line == format!("### {name}")),
            "docs/operations.md has no paragraph `### {name}`"
        );
    }
    assert!(names.len() >= 10, "{names:?}");
    let told: BTreeSet<String> =
        runbook.lines().filter_map(|line| line.strip_prefix("### Usher")).map(|rest| format!("Usher{rest}")).collect();
    assert_eq!(names, told, "the runbook has a paragraph for each alert, and for nothing else that looks like one");
}

#[test]
fn every_alert_is_tested_in_both_directions() {
    let names = |document: &Value| {
        all(document, "alert").iter().map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let (alerts, tests) = (yaml("deploy/prometheus/alerts.yml"), yaml("deploy/prometheus/alerts.test.yml"));
    let checks: Vec<&Value> =
        all(&tests, "alert_rule_test").into_iter().flat_map(|checks| checks.as_array().unwrap()).collect();
    for name in names(&alerts) {
        for fires in [true, false] {
            let found = checks.iter().any(|check| {
                check["alertname"] == name.as_str() && check["exp_alerts"].as_array().unwrap().is_empty() != fires
            });
            assert!(found, "alerts.test.yml does not show when {name} {}", if fires { "fires" } else { "is silent" });
        }
    }
}
