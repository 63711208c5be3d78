//! The metrics of three running ushers: one with the embedded broker, one with TLS on both sides and an upstream that
//! sometimes fails, and one that shares its memory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{names, read};
use crate::harness::bodies::{announcement, message};
use crate::harness::redis::Redis;
use crate::harness::tls::{Identity, TlsClient, terminate};
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Fake, Request, Setup, Step, Usher, eventually, sign};

/// Gauges that count things and have no unit; every other one ends in its unit.
const COUNTS: &[&str] = &[
    "usher_broker_channels",
    "usher_cluster_members",
    "usher_cluster_open",
    "usher_cluster_standing",
    "usher_build_info",
    "usher_config_last_reload_successful",
    "usher_connections",
    "usher_draining",
    "usher_max_connections",
    "usher_observe",
    "process_max_fds",
    "process_open_fds",
    "process_threads",
    "usher_rate_waiting",
    "usher_relay_connections",
    "usher_relay_subscriptions",
    "usher_requests_in_flight",
    "usher_rule_mode",
    "usher_rule_switched",
    "usher_state_keys",
    "usher_state_lock_held",
    "usher_state_max_keys",
    "usher_state_restored_channels",
    "usher_tasks",
    "usher_waiters",
    "usher_webhook_events_waiting",
    "usher_ws_connections",
];

/// Traffic with all kinds of faults.
pub(super) struct Evening {
    fake: Fake,
    /// With the embedded broker.
    pub(super) local: Usher,
    /// With another server, and TLS for its callers.
    pub(super) remote: Usher,
    /// That shares its memory.
    shared: Usher,
    _store: Redis,
    identity: Identity,
    /// A guest of the embedded broker who stays.
    _guest: End,
    _directory: tempfile::TempDir,
}

impl Evening {
    pub(super) fn begin() -> Self {
        let fake = Fake::start();
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::new();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = (file("certificate.pem", &identity.certificate), file("key.pem", &identity.key));
        let upstream = format!(
            "url = \"https://localhost:{}\"\nca_file = {certificate:?}\n",
            terminate(fake.address(), &identity).port()
        );
        let remote = Usher::start(&fake, |setup| {
            setup.upstream = upstream;
            setup.more += "[incoming_webhooks]\npath = \"/hooks\"\n";
            setup.server += &format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
        });
        let mut setup = Setup::before_url("local");
        setup.more += "[[events]]\nname = \"staff-assigned\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n";
        // Nobody listens there: what becomes of it is of no interest.
        setup.apps = "[[apps.webhooks]]\nurl = \"http://127.0.0.1:9/\"\nevents = \"channel_occupied\"\n".to_owned();
        let local = Usher::start_with(&setup.toml());
        let store = Redis::start();
        let shared =
            Usher::start(&fake, |setup| store.share(setup, "one", "isolated = \"refuse\"\nmember_timeout = \"12s\""));
        eventually("it has entered", || (shared.admin().call_openly("GET", "/readyz").status == 200).then_some(()));
        let mut client = local.client();
        client.send(&handshake().bytes());
        let mut guest = End::switched(client);
        guest.read();
        guest.send(&Frame::text(
            &json!({ "event": "pusher:subscribe", "data": { "channel": "h-room-1-chat" } }).to_string(),
        ));
        guest.read();
        let evening =
            Self { fake, local, remote, shared, _store: store, identity, _guest: guest, _directory: directory };
        evening.go_on();
        evening
    }

    /// One request of each kind: a change, a repeat, a message, a disconnecting upstream, wrong signatures, an unknown
    /// app.
    pub(super) fn go_on(&self) {
        let unsigned = Request::new("POST", "/apps/3/events", b"{}");
        let late = sign::query_of("POST", "/apps/3/events", "", b"{}", sign::KEY, sign::SECRET, sign::now() - 10_000);
        let late = Request::new("POST", &format!("/apps/3/events?{late}"), b"{}");
        let requests = [
            Request::webhook(
                "/hooks",
                &format!(
                    r#"{{"time_ms":{},"events":[{{"name":"channel_occupied","channel":"a"}}]}}"#,
                    sign::now() * 1000
                ),
            ),
            Request::events(&announcement("h-room-1-chat", "Anna")),
            Request::events(&announcement("h-room-1-chat", "Anna")),
            Request::events(&message("h-room-1-chat", "Good evening!")),
            unsigned,
            late,
            Request::new("POST", "/apps/4/events", b"{}"),
        ];
        self.fake.script([Step::close()]);
        let mut secure = TlsClient::connect(self.remote.gateway(), &self.identity).unwrap();
        let mut plain = self.local.client();
        for request in requests {
            plain.call(&request);
            secure.call(&request);
        }
    }

    /// The metric families of all, by name: type and help text.
    fn families(&self) -> BTreeMap<String, (String, String)> {
        let mut families = BTreeMap::new();
        for usher in [&self.local, &self.remote, &self.shared] {
            let page = usher.admin().call_openly("GET", "/metrics").text();
            let comments = |mark: &str| {
                page.lines().filter_map(|line| line.strip_prefix(mark)?.split_once(' ')).collect::<BTreeMap<_, _>>()
            };
            let help = comments("# HELP ");
            for (name, kind) in comments("# TYPE ") {
                families
                    .insert(name.to_owned(), (kind.to_owned(), help.get(name).copied().unwrap_or_default().to_owned()));
            }
        }
        families
    }

    /// Every label of all: its family, name and value. Those of buckets are left out.
    fn labels(&self) -> BTreeSet<(String, String, String)> {
        let mut labels = BTreeSet::new();
        let families = self.families();
        let series =
            [&self.local, &self.remote, &self.shared].into_iter().flat_map(|usher| usher.admin().series().into_keys());
        for (name, set) in series.filter_map(|series| {
            let (name, set) = series.split_once('{')?;
            Some((name.to_owned(), set.strip_suffix('}')?.to_owned()))
        }) {
            let family = base(&families, &name).unwrap_or(&name);
            let pairs = set.split("\",").filter_map(|pair| pair.split_once("=\""));
            labels.extend(
                pairs.filter(|(label, _)| *label != "le").map(|(label, value)| {
                    (family.to_owned(), label.to_owned(), value.trim_end_matches('"').to_owned())
                }),
            );
        }
        labels
    }
}

/// The histogram that a series is a part of.
fn base<'n>(families: &BTreeMap<String, (String, String)>, series: &'n str) -> Option<&'n str> {
    let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| series.strip_suffix(part));
    parts.filter(|base| families.contains_key(*base))
}

#[test]
fn every_series_says_what_it_is_and_in_what_unit() {
    for (name, (kind, help)) in Evening::begin().families() {
        assert!(help.ends_with('.') && help.len() > 10, "{name} is not explained: {help:?}");
        let has_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
        let fits = match kind.as_str() {
            "counter" => name.ends_with("_total"),
            "histogram" => has_unit,
            "gauge" => has_unit != COUNTS.contains(&name.as_str()),
            _ => false,
        };
        assert!(
            fits,
            "{name} is a {kind}: counters end in _total, everything else in its unit, unless COUNTS says that it has none"
        );
    }
}

/// The rows of the tables of docs/metrics.md whose first cell names one series: its name, type, labels and help text.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>, String)> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    rows.filter_map(|row| {
        let [name, kind, labels, help] = row.splitn(4, " | ").collect::<Vec<_>>().try_into().ok()?;
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((name.trim_end_matches('`').to_owned(), (kind.to_owned(), labels, help.to_owned())))
    })
    .collect()
}

#[test]
fn the_document_has_each_series_with_its_labels_and_no_other() {
    let evening = Evening::begin();
    let labels = evening.labels();
    let known = evening.families().into_iter().map(|(name, (kind, help))| {
        let labels = labels.iter().filter(|(family, ..)| *family == name).map(|(_, label, _)| label.clone()).collect();
        (name, (kind, labels, help))
    });
    assert_eq!(documented(), known.collect());
}

/// Each value of a label that does not come from the configuration stands in the row of its label and series, or that
/// row names the document that has them.
#[test]
fn the_document_has_each_value_of_a_label() {
    let text = read("docs/metrics.md");
    let (_, table) = text.split_once("| label | of | values |\n").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.splitn(3, " | ").collect()).collect();
    for (family, label, value) in Evening::begin().labels() {
        if ["app", "rule", "event", "version"].contains(&label.as_str()) {
            continue;
        }
        let has = |cell: &str, word: &str| cell.contains(&format!("`{word}`"));
        let row = rows.iter().find(|row| row.len() == 3 && has(row[0], &label) && has(row[1], &family));
        let row = row.unwrap_or_else(|| panic!("no row for the label {label} of {family}"));
        assert!(has(row[2], &value) || row[2].contains(".md#"), "{family} has {label}={value:?}: {row:?}");
    }
}

#[test]
fn every_series_that_is_spoken_of_exists() {
    let families = Evening::begin().families();
    for file in [
        "deploy/grafana/dashboard.json",
        "deploy/prometheus/alerts.yml",
        "docs/operations.md",
        "docs/first-deployment.md",
        "docs/reasons.md",
        "README.md",
    ] {
        let text = read(file);
        for name in names(&text).into_iter().filter(|name| !name.contains(':')) {
            let base = base(&families, name);
            let family = families
                .get(base.unwrap_or(name))
                .unwrap_or_else(|| panic!("{file} speaks of {name}, which usher does not tell"));
            // Text refers to a histogram by its name; a query must use one of its series.
            let fits = file.ends_with(".md") || base.is_some() == (family.0 == "histogram");
            assert!(fits, "{file} speaks of {name} as of something that it is not: a {}", family.0);
        }
    }
}

/// Those that Prometheus' own client libraries have, under their names: dashboards for any program read them.
#[test]
fn the_series_of_the_process_have_their_standard_names() {
    let families = Evening::begin().families();
    for (name, kind) in [
        ("process_cpu_seconds_total", "counter"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert_eq!(families.get(name).map(|(kind, _)| kind.as_str()), Some(kind), "{name}");
    }
}
