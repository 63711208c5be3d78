//! The Kubernetes file.

use serde_json::Value;

use super::{read, run, said};
use crate::harness::actor::{clients, project, python};
use crate::harness::cli::Cli;

const FILE: &str = "deploy/kubernetes/usher.yaml";
/// That for several ushers.
const SEVERAL: &str = "deploy/kubernetes/cluster.yaml";

/// The documents of a file.
fn documents(file: &str) -> Vec<Value> {
    let output = run(python("as_json.py").arg("--all").arg(project(file)));
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(kind: &str, name: &str) -> Value {
    document_of(FILE, kind, name)
}

fn document_of(file: &str, kind: &str, name: &str) -> Value {
    let found = documents(file).into_iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{file} has no {kind} {name}"))
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn they_keep_to_the_schemas() {
    let program = clients().join("python/.venv/bin/kubernetes-validate");
    let output = run(std::process::Command::new(program).arg("--strict").args([FILE, SEVERAL].map(project)));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn usher_accepts_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("usher.toml");
    std::fs::write(&config, document("ConfigMap", "usher")["data"]["usher.toml"].as_str().unwrap()).unwrap();
    let secret = document("Secret", "usher");
    let pod = &document("Deployment", "usher")["spec"]["template"]["spec"];
    let mut check = Cli::new(&["check", "--config", config.to_str().unwrap()]);
    for variable in pod["containers"][0]["env"].as_array().unwrap() {
        let key = variable["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap();
        check = check.env(variable["name"].as_str().unwrap(), secret["stringData"][key].as_str().unwrap());
    }
    let checked = check.run();
    assert_eq!(checked.code, 0, "{checked:?}");
}

/// Two ushers of one app lose handoffs, and a drain must not be cut short.
#[test]
fn one_usher_runs_and_may_drain() {
    let deployment = &document("Deployment", "usher")["spec"];
    assert_eq!((&deployment["replicas"], &deployment["strategy"]["type"]), (&1.into(), &"Recreate".into()));
    let pod = &deployment["template"]["spec"];
    let config: toml::Table = read("config/usher.toml").parse().unwrap();
    let period = config["server"]["drain_period"].as_str().filter(|text| !text.is_empty()).map_or(0, seconds);
    let timeout = seconds(config["upstream"]["timeout"].as_str().unwrap());
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > 5 + period + timeout + 1);
    let container = &pod["containers"][0];
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
        let asked = &container[probe]["httpGet"];
        assert_eq!((&asked["path"], &asked["port"]), (&path.into(), &"admin".into()), "{probe}");
    }
    let ports: Vec<u64> =
        container["ports"].as_array().unwrap().iter().map(|port| port["containerPort"].as_u64().unwrap()).collect();
    assert_eq!(ports, [6001, 9601]);
}

/// Of several ushers one more starts before one ends, each has a name of its own, and everything else is as for one.
#[test]
fn several_ushers_are_replaced_one_by_one() {
    let deployment = &document_of(SEVERAL, "Deployment", "usher")["spec"];
    let one = &document("Deployment", "usher")["spec"]["template"]["spec"];
    assert!(deployment["replicas"].as_u64().unwrap() > 1);
    assert_eq!(deployment["strategy"]["rollingUpdate"], serde_json::json!({ "maxUnavailable": 0, "maxSurge": 1 }));
    let pod = &deployment["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], one["terminationGracePeriodSeconds"]);
    let (container, alone) = (&pod["containers"][0], &one["containers"][0]);
    for key in
        ["image", "args", "ports", "readinessProbe", "livenessProbe", "resources", "securityContext", "volumeMounts"]
    {
        assert_eq!(container[key], alone[key], "{key}");
    }
    let variables = container["env"].as_array().unwrap();
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(variable("USHER_CLUSTER__NODE")["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    let secret = document_of(SEVERAL, "Secret", "usher");
    for reference in variables.iter().filter_map(|variable| variable["valueFrom"].get("secretKeyRef")) {
        assert!(secret["stringData"][reference["key"].as_str().unwrap()].is_string(), "{reference}");
    }
    let labels = &deployment["template"]["metadata"]["labels"];
    let budget = &document_of(SEVERAL, "PodDisruptionBudget", "usher")["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["selector"]["matchLabels"]), (&1.into(), labels));
    for service in ["usher", "usher-admin"] {
        assert_eq!(&document_of(SEVERAL, "Service", service)["spec"]["selector"], labels, "{service}");
    }
    let config = document_of(SEVERAL, "ConfigMap", "usher")["data"]["usher.toml"].as_str().unwrap().to_owned();
    let config: toml::Table = config.parse().unwrap();
    // One server alone has no replicas.
    assert_eq!(config["cluster"]["redis_url"].as_str(), Some("redis://redis:6379"));
    assert_eq!(config["cluster"]["replicas"].as_integer(), Some(0));
    let drain = seconds(config["server"]["drain_delay"].as_str().unwrap());
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > super::longest_end(drain));
}
