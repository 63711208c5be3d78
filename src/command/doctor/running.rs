//! Compares the configuration with that of the usher that runs with it (`GET /config`). Secrets are masked there, and
//! are not compared.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use usher::config::{Config, EffectiveValue};
use usher::tls;

use super::finding::Finding;
use crate::command::healthcheck::reachable;
use crate::command::http_client::HttpClient;
use crate::command::party::Role;

/// The name of the check.
const CHECK: &str = "running";

/// The most differences that are listed.
const MAX_LISTED: usize = 10;

/// A value of the process.
#[derive(Debug, Deserialize)]
pub(super) struct Running {
    pub(super) key: String,
    pub(super) value: Value,
    /// Another value was reloaded and waits for a restart.
    pending: Option<Pending>,
    /// The modes that the operator has set, by app.
    #[serde(default)]
    switched: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Pending {
    value: Value,
}

impl Running {
    /// The modes that the operator has set, in words.
    fn switches(&self) -> impl Iterator<Item = String> {
        self.switched.iter().map(|(app, mode)| format!("{} is {mode} for app {app}", self.key))
    }
}

/// The finding about what waits in the usher `name` for a restart or for the operator, if anything does.
pub(super) fn waiting(name: &str, running: &[Running]) -> Option<Finding> {
    let pending =
        |value: &Running| Some(format!("{} is {}, and {} then", value.key, value.value, value.pending.as_ref()?.value));
    let waiting = running.iter().filter_map(pending).collect();
    let switched = running.iter().flat_map(Running::switches).collect();
    let differences = Differences { of_file: Vec::new(), waiting, switched };
    (!differences.are_none()).then(|| differences.finding(name, "it"))
}

/// What differs, in words.
#[derive(Default)]
struct Differences {
    /// What a reload may change.
    of_file: Vec<String>,
    /// What a restart changes.
    waiting: Vec<String>,
    /// What the operator has switched.
    switched: Vec<String>,
}

/// The finding about the process at `admin.listen`; `None` if no usher answers there, which another finding is about.
pub(super) async fn difference(config: &Config, time_limit: Duration) -> Option<Finding> {
    let address = reachable(config.admin.listen);
    if address.port() == 0 {
        return None;
    }
    let url = format!("http://{address}").parse().ok()?;
    let client = HttpClient::new(Role::Admin, &url, tls::Client::default(), time_limit).ok()?;
    let client = match &config.admin.token {
        Some(token) => client.with_token(&token.0).ok()?,
        None => client,
    };
    let answer = client.get("/config").await.ok()?;
    let refused = |found: &str, advice: &str| {
        answer.headers().contains_key("usher-error").then(|| Finding::warning(CHECK, "", found, advice))
    };
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return refused(
                &format!(
                    "the usher at {address} does not take the token of this configuration, so nothing can be compared"
                ),
                "give doctor the token that the process has (admin.token_file or USHER_ADMIN__TOKEN), or restart usher if the file has a new one",
            );
        }
        status => {
            return refused(
                &format!("the usher at {address} answers GET /config with {status}, so nothing can be compared"),
                "it may be of an older version: restart it",
            );
        }
    }
    let running: Vec<Running> = serde_json::from_slice(answer.body()).ok()?;
    Some(Differences::between(&config.values, &running).finding("", &format!("the usher at {address}")))
}

impl Differences {
    fn between(file: &[EffectiveValue], running: &[Running]) -> Self {
        let mut differences = Self::default();
        for value in running {
            let here = file.iter().find(|here| here.key == value.key);
            if let Some(pending) = &value.pending
                && here.is_some_and(|here| here.value == pending.value)
            {
                differences.waiting.push(format!("{} is {} there and {} here", value.key, value.value, pending.value));
            } else if let Some(here) = here.filter(|here| here.value != value.value) {
                let text =
                    format!("{} is {} there and {} here ({})", value.key, value.value, here.value, here.source());
                differences.of_file.push(text);
            } else if here.is_none() {
                differences.of_file.push(format!("{} is {} there and not set here", value.key, value.value));
            }
            differences.switched.extend(value.switches());
        }
        let missing = file.iter().filter(|here| !running.iter().any(|value| value.key == here.key));
        let text = |here: &EffectiveValue| {
            format!("{} is {} here ({}) and not set there", here.key, here.value, here.source())
        };
        differences.of_file.extend(missing.map(text));
        differences
    }

    const fn are_none(&self) -> bool {
        self.of_file.is_empty() && self.waiting.is_empty() && self.switched.is_empty()
    }

    fn finding(self, about: &str, subject: &str) -> Finding {
        let Self { of_file, waiting, switched } = self;
        let groups = [
            (
                of_file,
                "differs from this configuration",
                "send it SIGHUP (systemctl reload usher); if the difference stays, it runs with other variables, flags or another file than doctor",
            ),
            (waiting, "waits for a restart", "restart usher to apply what a reload cannot"),
            (
                switched,
                "was switched by the operator",
                "write the mode into the file: the next reload or restart ends the switch",
            ),
        ];
        let groups: Vec<_> = groups.into_iter().filter(|(differences, ..)| !differences.is_empty()).collect();
        if groups.is_empty() {
            return Finding::ok(
                CHECK,
                about,
                format!("{subject} runs what this configuration says; secrets are not compared"),
            );
        }
        let found: Vec<_> =
            groups.iter().map(|(differences, what, _)| format!("{what}: {}", listed(differences))).collect();
        let advice: Vec<_> = groups.iter().map(|(.., advice)| *advice).collect();
        Finding::warning(CHECK, about, format!("{subject} {}", found.join("; and ")), advice.join("; "))
    }
}

pub(super) fn listed(differences: &[String]) -> String {
    let shown: Vec<_> = differences.iter().take(MAX_LISTED).map(String::as_str).collect();
    let rest = differences.len() - shown.len();
    let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
    shown.join(", ") + &more
}
