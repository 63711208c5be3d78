//! The Kubernetes file.

use serde_json::Value;

use super::{read, run, said};
use crate::harness::actor::{clients, project, python};
use crate::harness::cli::Cli;

const FILE: &str = "deploy/kubernetes/usher.yaml";

/// The documents of the file, by kind and name.
fn documents() -> Vec<Value> {
    let output = run(python("as_json.py").arg("--all").arg(project(FILE)));
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(kind: &str, name: &str) -> Value {
    let found = documents().into_iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{FILE} has no {kind} {name}"))
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn it_keeps_to_the_schemas() {
    let program = clients().join("python/.venv/bin/kubernetes-validate");
    let output = run(std::process::Command::new(program).arg("--strict").arg(project(FILE)));
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
