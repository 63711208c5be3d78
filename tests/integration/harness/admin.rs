//! The operator's view of a running usher.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Client, Request, Response, sign};

/// usher's admin listener.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

/// The token that [`super::Setup`] configures.
pub const TOKEN: &str = "admin-token-of-the-tests";

impl Admin {
    /// Any request, with the token.
    pub fn call(self, method: &str, target: &str) -> Response {
        self.send(
            &Request::new(method, target, b"").header("Authorization", &format!("Bearer {TOKEN}")).host("localhost"),
        )
    }

    /// Switches `rule` of the only app to `mode`.
    pub fn switch(self, rule: &str, mode: &str) -> Response {
        let body = json!({ "app": sign::APP, "rule": rule, "mode": mode }).to_string();
        let request = Request::new("POST", "/rules/mode", body.as_bytes());
        self.send(&request.header("Authorization", &format!("Bearer {TOKEN}")).host("localhost"))
    }

    /// A request without the token.
    pub fn call_openly(self, method: &str, target: &str) -> Response {
        self.send(&Request::new(method, target, b"").host("localhost"))
    }

    /// Exactly this request.
    pub fn send(self, request: &Request) -> Response {
        Client::connect(self.0).call(request)
    }

    /// A JSON document.
    pub fn json(self, target: &str) -> Value {
        let response = self.call("GET", target);
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// The entry of `channel` in `/assignments`.
    pub fn assignment(self, channel: &str) -> Option<Value> {
        let document = self.json(&format!("/assignments?app=3&channel={channel}"));
        list(&document, "assignments").into_iter().find(|entry| entry["channel"] == channel)
    }

    /// The records of triggers, newest first.
    pub fn triggers(self) -> Vec<Value> {
        list(&self.json("/triggers?limit=10000"), "triggers")
    }

    /// The decisions of rules on events, those of the newest trigger first.
    pub fn decisions(self) -> Vec<Value> {
        self.triggers().iter().flat_map(|trigger| list(trigger, "rules")).collect()
    }

    /// The report.
    pub fn report(self) -> Value {
        self.json("/report")
    }

    /// All series of the metrics page: `name{labels}` and value.
    pub fn series(self) -> BTreeMap<String, f64> {
        let page = self.call("GET", "/metrics");
        assert_eq!(page.status, 200, "{page:?}");
        let text = page.text();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// The sum of the series of this name that have all these labels (`decision="suppressed"`).
    pub fn metric(self, name: &str, labels: &[&str]) -> f64 {
        let fits =
            |series: &str| series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
        self.series().into_iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }
}

/// A document that is a list, or holds one under `key`.
fn list(document: &Value, key: &str) -> Vec<Value> {
    document.as_array().or_else(|| document[key].as_array()).unwrap_or_else(|| panic!("no list in {document}")).clone()
}
