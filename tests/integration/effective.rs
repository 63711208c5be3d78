//! The effective configuration of a running usher: `GET /config`, after reloads and switches as well, and what
//! `usher doctor` says where the file says something else.

use serde_json::{Value, json};

use crate::doctor::examined;
use crate::harness::admin::TOKEN;
use crate::harness::cli::Cli;
use crate::harness::{Fake, Setup, Usher, sign};

/// What the process runs with.
fn running(usher: &Usher) -> Vec<Value> {
    usher.admin().json("/config").as_array().unwrap().clone()
}

fn of<'a>(values: &'a [Value], key: &str) -> &'a Value {
    values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("no {key}: {values:?}"))
}

/// The finding of `doctor` about the process, for this configuration and the process's own listeners.
fn compared(usher: &Usher, setup: &Setup) -> Value {
    let mut setup = setup.clone();
    setup.server = setup.server.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", usher.gateway()));
    setup.admin = setup.admin.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", usher.admin().0));
    let (_, findings) = examined(&setup.toml());
    let found: Vec<_> = findings.iter().filter(|finding| finding["check"] == "running").collect();
    let [finding] = found[..] else { panic!("{findings:?}") };
    finding.clone()
}

#[test]
fn the_running_process_shows_what_check_shows() {
    let setup = Setup::before_url("local");
    let usher = Usher::start_with(&setup.toml());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usher.toml");
    std::fs::write(&path, setup.toml()).unwrap();
    let checked = Cli::new(&["check", "--show", "--json", "--config", path.to_str().unwrap()]).run();
    let pair = |value: &Value| (value["key"].clone(), value["value"].clone(), value["line"].clone());
    let shown: Vec<_> = checked.json()[0]["values"].as_array().unwrap().iter().map(pair).collect();
    let values = running(&usher);
    assert_eq!(values.iter().map(pair).collect::<Vec<_>>(), shown);
    assert!(values.iter().all(|value| value["pending"].is_null() && value["switched"].is_null()), "{values:?}");
    assert_eq!(of(&values, "apps.0.secret")["value"], "MASKED");
    assert_eq!(of(&values, "admin.token")["value"], "MASKED");
    let text = Value::from(values).to_string();
    assert!(!text.contains(sign::SECRET) && !text.contains(TOKEN), "{text}");
}

#[test]
fn after_a_reload_the_new_values_are_shown_and_those_that_wait_for_a_restart_are_marked() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    setup.limits = "max_body = \"2MiB\"\n".to_owned();
    setup.timeout = "14s";
    setup.upstream = setup.upstream.replace("http://", "https://");
    usher.reload(&setup.toml());
    let values = running(&usher);
    assert_eq!(of(&values, "limits.max_body")["value"], "2MiB");
    let timeout = of(&values, "upstream.timeout");
    assert_eq!((&timeout["value"], &timeout["pending"]["value"]), (&json!("15s"), &json!("14s")));
    assert_eq!(timeout["pending"]["source"], "file");
    let url = of(&values, "upstream.url");
    assert_eq!(url["value"], format!("http://{}", fake.address()));
    assert_eq!(url["pending"]["value"], format!("https://{}", fake.address()));
    let waiting: Vec<_> =
        values.iter().filter(|value| !value["pending"].is_null()).map(|value| value["key"].clone()).collect();
    assert_eq!(waiting, ["upstream.url", "upstream.timeout"]);
    // Back again: nothing waits any more.
    usher.reload(&Setup::before(&fake).toml());
    let values = running(&usher);
    assert!(values.iter().all(|value| value["pending"].is_null()), "{values:?}");
}

#[test]
fn a_switched_rule_is_marked() {
    let usher = Usher::start_with(&Setup::before_url("local").toml());
    assert_eq!(usher.admin().switch("staff-assigned", "observe").status, 200);
    let values = running(&usher);
    let mode = of(&values, "rules.0.mode");
    assert_eq!((&mode["value"], &mode["switched"]), (&json!("enforce"), &json!({ sign::APP: "observe" })));
}

#[test]
fn doctor_says_where_the_file_and_the_process_differ() {
    let mut setup = Setup::before_url("local");
    let usher = Usher::start_with(&setup.toml());
    // The listeners' addresses are others than written, since the port is 0 there: the only difference.
    let same = compared(&usher, &setup);
    let found = same["found"].as_str().unwrap();
    assert!(found.contains("server.listen is \"127.0.0.1:0\" there"), "{same}");
    assert!(!found.contains("limits.") && !found.contains("upstream."), "{same}");

    setup.limits = "max_body = \"2MiB\"\n".to_owned();
    let differs = compared(&usher, &setup);
    assert_eq!(differs["verdict"], "warning", "{differs}");
    let found = differs["found"].as_str().unwrap();
    assert!(found.contains("limits.max_body is \"1MiB\" there and \"2MiB\" here"), "{differs}");
    assert!(differs["advice"].as_str().unwrap().contains("SIGHUP"), "{differs}");

    setup.timeout = "14s";
    usher.reload(&setup.toml());
    let waits = compared(&usher, &setup);
    let found = waits["found"].as_str().unwrap();
    assert!(found.contains("waits for a restart: ") && found.contains("upstream.timeout is \"15s\" there"), "{waits}");
    assert!(!found.contains("max_body") && waits["advice"].as_str().unwrap().contains("restart"), "{waits}");

    setup.admin = setup.admin.replace(TOKEN, "another-token-of-the-operator");
    let other = compared(&usher, &setup);
    assert!(!other.to_string().contains("another-token"), "{other}");
}
