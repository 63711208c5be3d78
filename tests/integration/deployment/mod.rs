//! The operator's files: the image, the compose file, Prometheus' rules, Grafana's dashboard, the systemd unit and
//! their runbook. They refer to usher's metrics, keys, flags and ports, and these tests keep them consistent.

mod alerts;
mod cluster;
mod compose;
mod dashboard;
mod kubernetes;
mod runbook;
mod series;
mod systemd;

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::actor::{project, python};

/// The text of a file of the project.
fn read(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A YAML file of the project.
fn yaml(path: &str) -> Value {
    let output = run(python("as_json.py").arg(project(path)));
    assert!(output.status.success(), "{path}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The default of a key.
fn default(section: &str, key: &str) -> toml::Value {
    read("config/usher.toml").parse::<toml::Table>().unwrap()[section][key].clone()
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap()
}

/// How long usher takes at most to end, in seconds, if `server.drain_delay` has this many.
fn longest_end(delay: u64) -> u64 {
    assert_eq!(default("server", "drain_period").as_str(), Some(""), "`upstream.timeout` and a second");
    delay + seconds(default("upstream", "timeout").as_str().unwrap()) + 1
}

/// Every value under `key`, however deep, in the order of the document.
fn all<'a>(document: &'a Value, key: &str) -> Vec<&'a Value> {
    match document {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| if name == key { vec![value] } else { all(value, key) }).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| all(item, key)).collect(),
        _ => Vec::new(),
    }
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs what the tests need"))
}

/// The output of a command on both streams.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The names of usher's series in a text: a query, a rule, a runbook.
fn names(text: &str) -> Vec<&str> {
    let words =
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != ':');
    words.filter(|word| word.starts_with("usher_") || word.starts_with("process_")).collect()
}
