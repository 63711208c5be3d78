//! `usher check`: warnings, `--strict`, `--skip-files`, `--json`, and the effective values of `--show`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::actor::project;
use crate::harness::cli::{Cli, Finished};
use crate::harness::tls::Identity;

/// So few that every machine has descriptors for them.
const FEW: &str = "limits.max_connections = 10\nupstream.max_idle = 1\nserver.workers = 2\n";
const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s3cret-of-the-app\"\n";

/// A directory with the file `usher.toml`.
struct Place(tempfile::TempDir);

impl Place {
    fn new(toml: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::write(place.path("usher.toml"), toml).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn check(&self, arguments: &[&str]) -> Finished {
        check(&self.path("usher.toml"), arguments)
    }

    /// The findings of `--json`.
    fn findings(&self, arguments: &[&str]) -> Vec<Value> {
        let checked = self.check(&[&["--json"], arguments].concat());
        assert_eq!(checked.err, "", "{checked:?}");
        let report = &checked.json()[0];
        assert_eq!(report["ok"], checked.code == 0, "{report}");
        report["findings"].as_array().unwrap().clone()
    }

    /// Key, line and code of each warning.
    fn warnings(&self) -> Vec<(String, u64, String)> {
        let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let findings = self.findings(&[]);
        let warnings = findings.iter().filter(|finding| finding["severity"] == "warning");
        warnings
            .map(|finding| (text(finding, "key"), finding["line"].as_u64().unwrap_or(0), text(finding, "code")))
            .collect()
    }
}

fn check(file: &Path, arguments: &[&str]) -> Finished {
    Cli::new(&[&["check", "--config", file.to_str().unwrap()], arguments].concat()).run()
}

fn rule(name: &str, event: &str, channel: &str, more: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\nevent = \"{event}\"\nchannel = \"{channel}\"\nidentity = [\"/i\"]\n{more}\n")
}

fn found(key: &str, line: u64, code: &str) -> (String, u64, String) {
    (key.to_owned(), line, code.to_owned())
}

#[test]
fn references_to_variables_and_wildcards_are_warned_of_with_their_lines() {
    let toml =
        format!("{FEW}[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"${{APP_SECRET}}\"\n{}", rule("r", "*", "c", ""));
    let place = Place::new(&toml);
    assert_eq!(
        place.warnings(),
        [found("apps.0.secret", 7, "unexpanded_reference"), found("rules.0.event", 10, "event_wildcard")]
    );
    let told = place.check(&[]);
    assert!(told.code == 0 && !told.out.contains("APP_SECRET"), "{told:?}");
    assert!(told.out.contains("USHER_APPS__0__SECRET") && told.out.contains("usher.toml:7:1"), "{told:?}");
}

#[test]
fn the_placeholder_of_the_example_is_warned_of_until_there_is_a_secret() {
    let hotel = project("config/hotel.toml");
    let few = ["--set", "limits.max_connections=10", "--set", "server.workers=1", "--set", "upstream.max_idle=1"];
    let told = check(&hotel, &few);
    assert!(told.code == 0 && told.out.contains("warning: `apps.0.secret`: this is the placeholder"), "{told:?}");
    let arguments = [&["check", "--config", hotel.to_str().unwrap(), "--strict"], &few[..]].concat();
    assert_eq!(Cli::new(&arguments).run().code, 78);
    let own = Cli::new(&arguments).env("USHER_APPS__0__SECRET", "its-own").run();
    assert_eq!((own.code, own.err.as_str()), (0, ""), "{own:?}");
}

#[test]
fn rules_that_match_the_same_event_on_the_same_channel_are_warned_of() {
    let first = rule("first", "e", "{h}-room-{r}-chat", "");
    let overlapping = |second: &str| Place::new(&format!("{FEW}{APP}{first}{second}")).warnings();
    let expected = [found("rules.1.channel", 17, "overlapping_rules")];
    assert_eq!(overlapping(&rule("second", "e", "inn-{x}", "")), expected);
    assert_eq!(overlapping(&rule("second", "e", "inn-{x}", "where = { \"/a\" = 1 }")), expected);
    for apart in [
        rule("second", "other", "inn-{x}", ""),
        rule("second", "e", "inn-{x}-board", ""),
        rule("second", "e", "inn-{x}", "mode = \"off\""),
    ] {
        assert_eq!(overlapping(&apart), [], "{apart}");
    }
    let apart_by_where =
        [1, 2].map(|value| rule(&format!("r{value}"), "e", "c-{x}", &format!("where = {{ \"/a\" = {value} }}")));
    assert_eq!(Place::new(&format!("{FEW}{APP}{}", apart_by_where.concat())).warnings(), []);
    let second_app = "[[apps]]\nid = \"2\"\nkey = \"k2\"\nsecret = \"s\"\n";
    let apart_by_app = ["1", "2"].map(|app| rule(&format!("r{app}"), "e", "c-{x}", &format!("apps = [\"{app}\"]")));
    assert_eq!(Place::new(&format!("{FEW}{APP}{second_app}{}", apart_by_app.concat())).warnings(), []);
    let told = Place::new(&format!("{FEW}{APP}{first}{}", rule("second", "e", "inn-{x}", ""))).check(&[]);
    assert!(told.out.contains("\"first\"") && told.out.contains("\"inn-room-x-chat\""), "{told:?}");
}

#[test]
fn what_a_rule_asks_of_clients_that_usher_cannot_see_is_warned_of() {
    let asking = "late_joiners = \"forward\"\ndetect_bypass = true";
    let warnings = |upstream: &str, more: &str| {
        Place::new(&format!("{FEW}{upstream}\n{APP}{}", rule("r", "e", "inn-{x}", more))).warnings()
    };
    let unseen =
        [found("rules.0.late_joiners", 14, "no_client_seen"), found("rules.0.detect_bypass", 15, "no_client_seen")];
    assert_eq!(warnings("upstream.url = \"https://api.pusherapp.com\"", asking), unseen);
    // Webhooks may tell who comes, and not what they were sent.
    let told = "upstream.url = \"https://api.pusherapp.com\"\nincoming_webhooks.path = \"/webhooks\"";
    assert_eq!(warnings(told, asking), [found("rules.0.detect_bypass", 16, "no_client_seen")]);
    // Clients connect to the server for WebSocket connections, or to any server, or may do so.
    for seen in ["upstream.cluster = \"eu\"", "upstream.url = \"http://127.0.0.1:6002\""] {
        assert_eq!(warnings(seen, asking), [], "{seen}");
    }
    assert_eq!(warnings("upstream.url = \"local\"", asking), [found("rules.0.detect_bypass", 15, "bypass_of_local")]);
    for silent in ["", "late_joiners = \"ignore\"\ndetect_bypass = false", "late_joiners = \"replay\"\nmode = \"off\""]
    {
        assert_eq!(warnings("upstream.url = \"https://api.pusherapp.com\"", silent), [], "{silent}");
    }
}

#[test]
fn rules_that_the_contract_contradicts_are_warned_of() {
    let entry = |name: &str, channel: &str| format!("[[events]]\nname = \"{name}\"\nchannel = \"{channel}\"\n");
    let against = |rule: &str| {
        let contract = entry("staff-assigned", "{h}-room-{r}") + &entry("message", "{h}-conversation-{c}");
        Place::new(&format!("{FEW}{APP}{rule}{contract}"))
    };
    assert_eq!(against(&rule("r", "staff-assigned", "inn-room-{r}", "")).warnings(), []);
    let elsewhere = against(&rule("r", "staff-assigned", "{h}.lobby", ""));
    assert_eq!(elsewhere.warnings(), [found("rules.0.channel", 11, "rule_against_contract")]);
    let misspelt = against(&rule("r", "staff-asigned", "inn-room-{r}", ""));
    assert_eq!(misspelt.warnings(), [found("rules.0.event", 10, "rule_against_contract")]);
    let told = misspelt.check(&[]);
    assert!(told.out.contains("Did you mean `staff-assigned`?"), "{told:?}");
}

/// A crash after the expiry must not become an outage, so only `--strict` refuses.
#[test]
fn an_expired_certificate_is_a_fault_under_strict_alone() {
    let place = Place::new("");
    let (certificate, key) = Identity::expired().write_to(place.0.path());
    let tls = format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    std::fs::write(place.path("usher.toml"), format!("{FEW}{tls}{APP}{}", rule("r", "e", "c", ""))).unwrap();
    assert_eq!(place.warnings(), [found("server.tls.certificate", 5, "certificate_expired")]);
    assert_eq!(place.check(&[]).code, 0);
    let strict = place.check(&["--strict"]);
    assert!(strict.code == 78 && strict.err.contains("--strict: 1 warning"), "{strict:?}");
    assert!(!strict.out.contains("can be used"), "{strict:?}");
    assert_eq!(
        place.findings(&["--strict", "--set", "observe=true"]).iter().filter(|it| it["severity"] == "warning").count(),
        1
    );
}

#[test]
fn a_machine_without_the_files_can_check_everything_else() {
    let files =
        "[server.tls]\ncertificate = \"/none/cert\"\nkey = \"/none/key\"\n[admin]\ntoken_file = \"/none/token\"\n";
    let upstream = "[upstream]\nurl = \"https://h\"\nca_file = \"/none/ca\"\n";
    let app = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret_file = \"/none/secret\"\n";
    let few = "limits.max_connections = 10\n";
    let place = Place::new(&format!("{few}{files}{upstream}{app}{}", rule("r", "e", "c", "")));
    let opened = place.findings(&[]);
    let keys: Vec<_> = opened.iter().map(|finding| finding["key"].as_str().unwrap()).collect();
    let expected =
        ["server.tls.certificate", "server.tls.key", "admin.token_file", "upstream.ca_file", "apps.0.secret_file"];
    assert_eq!(keys, expected);
    assert!(
        opened.iter().all(|finding| finding["code"] == "unusable_file" && finding["severity"] == "fault"),
        "{opened:?}"
    );
    let skipped =
        place.check(&["--skip-files", "--strict", "--set", "upstream.max_idle=1", "--set", "server.workers=2"]);
    assert_eq!((skipped.code, skipped.err.as_str()), (0, ""), "{skipped:?}");
    let typo = place.check(&["--skip-files", "--set", "apps.0.secrt=x"]);
    assert!(typo.code == 78 && typo.err.contains("apps.0.secrt"), "{typo:?}");
    assert_eq!(place.check(&[]).code, 78);
}

#[test]
fn a_rule_without_a_test_is_noted_and_a_faulty_test_is_named() {
    let step = "[[tests.steps]]\nchannel = \"c-1\"\nevent = \"e\"\ndata = { i = 1 }\nexpect = \"forwarded\"\n";
    let rules = [rule("tested", "e", "c-{x}", ""), rule("untested", "f", "c-{x}", "")].concat();
    let place = Place::new(&format!("{FEW}{APP}{rules}[[tests]]\nname = \"t\"\n{step}"));
    let told = place.check(&["--strict"]);
    assert!(told.code == 0 && told.out.contains("note: no test reads an event for: untested."), "{told:?}");
    let advice = place.findings(&[]);
    let noted = advice.iter().find(|finding| finding["code"] == "rule_without_test").unwrap();
    assert_eq!(noted["severity"], "advice", "{noted}");
    let faulty = Place::new(&format!("{FEW}{APP}{rules}[[tests]]\nname = \"t\"\n{step}expects = 1\n"));
    let told = faulty.check(&[]);
    assert!(told.code == 78 && told.err.contains("tests.0.steps.0.expects"), "{told:?}");
    assert!(told.err.contains("Did you mean `tests.0.steps.0.expect`?"), "{told:?}");
    let all = Place::new(&format!("{FEW}{APP}{}[[tests]]\nname = \"t\"\n{step}", rule("tested", "e", "c-{x}", "")));
    assert!(!all.check(&[]).out.contains("no test"), "{all:?}", all = all.check(&[]));
}

#[test]
fn findings_in_json_have_file_line_key_code_and_cure() {
    let place = Place::new(&format!("[server]\nwrkers = 2\nlisten = \"here\"\n{APP}{}", rule("r", "e", "c", "")));
    let findings = place.findings(&[]);
    let file = place.path("usher.toml");
    let [unknown, invalid] = &findings[..] else { panic!("{findings:?}") };
    assert_eq!(
        *unknown,
        json!({
            "file": file, "line": 2, "variable": null, "key": "server.wrkers", "severity": "fault", "code": "unknown_key",
            "message": "There is no such key. Remove it or mend its name.", "cure": "Did you mean `server.workers`?",
        })
    );
    assert_eq!((&invalid["line"], &invalid["code"]), (&json!(3), &json!("invalid_value")));
    let missing = Place::new("").findings(&[]);
    assert!(missing[0]["message"].as_str().unwrap().contains("There is no app"), "{missing:?}");
    let variable = Cli::new(&["check", "--json"]).env("USHER_SERVER__WORKERS", "many").run();
    assert_eq!(variable.json()[0]["findings"][0]["variable"], "USHER_SERVER__WORKERS", "{variable:?}");
    let unreadable = Cli::new(&["check", "--json", "--config", "/nowhere/usher.toml"]).run();
    assert_eq!((unreadable.code, &unreadable.json()[0]["findings"][0]["code"]), (78, &json!("unusable_file")));
}

#[test]
fn every_effective_value_is_shown_with_where_it_comes_from_and_without_secrets() {
    let place = Place::new(&format!(
        "{FEW}[admin]\ntoken = \"t0ken-of-the-operator\"\n{APP}{}",
        rule("r", "e", "c-{x}", "where = { \"/u\" = \"redis://user:pa55@h\" }")
    ));
    let shown = Cli::new(&["check", "--json", "--show", "--config", place.path("usher.toml").to_str().unwrap()])
        .arg("--set")
        .arg("upstream.timeout=2s")
        .arg("--cluster=eu")
        .env("USHER_LIMITS__MAX_HEAD", "9KiB")
        .run();
    assert_eq!(shown.code, 0, "{shown:?}");
    for secret in ["s3cret-of-the-app", "t0ken-of-the-operator", "pa55"] {
        assert!(!shown.out.contains(secret), "{secret}: {shown:?}");
    }
    let values = shown.json()[0]["values"].as_array().unwrap().clone();
    let of = |key: &str| values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("no {key}")).clone();
    let file = place.path("usher.toml");
    for expected in [
        json!({ "key": "upstream.timeout", "value": "2s", "source": "flag" }),
        json!({ "key": "upstream.url", "value": "https://api-eu.pusher.com", "source": "default" }),
        json!({ "key": "upstream.cluster", "value": "eu", "source": "flag" }),
        json!({ "key": "upstream.websocket_url", "value": "wss://ws-eu.pusher.com", "source": "default" }),
        json!({ "key": "limits.max_head", "value": "9KiB", "source": "variable", "variable": "USHER_LIMITS__MAX_HEAD" }),
        json!({ "key": "limits.max_body", "value": "1MiB", "source": "default" }),
        json!({ "key": "server.workers", "value": 2, "source": "file", "file": file, "line": 3 }),
        json!({ "key": "assignments.start_doubt", "value": "36s", "source": "default" }),
        json!({ "key": "admin.token", "value": "MASKED", "source": "file", "file": file, "line": 5 }),
        json!({ "key": "apps.0.secret", "value": "MASKED", "source": "file", "file": file, "line": 9 }),
        json!({ "key": "apps.0.secret_file", "value": "", "source": "default" }),
        json!({ "key": "rules.0.channel", "value": "c-{x}", "source": "file", "file": file, "line": 13 }),
        json!({ "key": "rules.0.where", "value": { "/u": "redis://MASKED@h" }, "source": "file", "file": file, "line": 15 }),
        json!({ "key": "rules.0.mode", "value": "enforce", "source": "default" }),
    ] {
        assert_eq!(of(expected["key"].as_str().unwrap()), expected);
    }

    let lines = place.check(&["--show"]);
    let line = |key: &str| lines.out.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap_or_default();
    assert!(line("limits.max_head").ends_with("# default"), "{lines:?}");
    assert!(line("admin.token").starts_with("admin.token = \"MASKED\" "), "{lines:?}");
    assert!(line("admin.token").contains("usher.toml:5"), "{lines:?}");
}

/// The reference describes every key, and `--show` shows each of them.
#[test]
fn what_is_shown_are_the_keys_of_the_reference() {
    let reference = check(&project("config/usher.toml"), &["--show", "--json"]);
    let report = &reference.json()[0];
    let keys: BTreeSet<_> =
        report["values"].as_array().unwrap().iter().map(|value| value["key"].as_str().unwrap()).collect();
    let text = std::fs::read_to_string(project("config/usher.toml")).unwrap();
    let written = text.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    assert_eq!(keys.len(), written, "{keys:?}");
}
