//! A real Prometheus with the project's own configuration, and its query results.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::actor::project;
use super::{Client, Monitor, Request, Response, eventually};

/// A running Prometheus. Killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it with deploy/prometheus, except for these targets and a scrape interval of 1 s instead of 15 s.
    pub fn watching(targets: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let targets = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
        let config = std::fs::read_to_string(project("deploy/prometheus/prometheus.yml")).unwrap();
        let config = replaced(&replaced(&config, "\"usher:9601\"", &targets), "_interval: 15s", "_interval: 1s");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        std::fs::copy(project("deploy/prometheus/alerts.yml"), directory.path().join("alerts.yml")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let started = command.spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!("prometheus: {error}; `tests/run` installs it (Debian's package prometheus)")
        });
        let log = Arc::new(Monitor::<Vec<String>>::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let seen = Arc::clone(&log);
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| seen.change(|lines| lines.push(line)))
        });
        let address = log.wait(|lines| {
            lines.iter().find_map(|line| line.split_once("\"Listening on\" address=")?.1.trim().parse().ok())
        });
        let address = address.unwrap_or_else(|| panic!("prometheus does not listen:\n{}", log.lock().join("\n")));
        let prometheus = Self { child, address, _directory: directory };
        eventually("Prometheus is ready", || (prometheus.call("/-/ready").status == 200).then_some(()));
        prometheus
    }

    /// The value of a query at this moment: a list of series, or the error of the query.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("/api/v1/query?query={}", escaped(query)));
        match answer["data"]["result"].as_array() {
            Some(series) if answer["status"] == "success" => Ok(series.clone()),
            _ => Err(format!("{query}: {answer}")),
        }
    }

    /// All rules, each as it was evaluated last.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().unwrap_or_else(|| panic!("no groups in {answer}"));
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    fn get(&self, target: &str) -> Value {
        self.call(target).json()
    }

    fn call(&self, target: &str) -> Response {
        let mut request = Request::new("GET", target, b"").host("localhost");
        request.headers.retain(|(name, _)| name != "Accept-Encoding");
        Client::connect(self.address).call(&request)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// `text` with a required part replaced.
fn replaced(text: &str, what: &str, by: &str) -> String {
    assert!(text.contains(what), "{what:?} is not in {text}");
    text.replace(what, by)
}

fn escaped(query: &str) -> String {
    query
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
