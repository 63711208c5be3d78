//! The life cycle of usher: draining, ending, reloading, and their logs.

use crate::harness::admin::TOKEN;
use crate::harness::bodies::{ANNOUNCEMENT, Library, announcement, message};
use crate::harness::usher::{Signal, message as said};
use crate::harness::{Fake, Gate, Request, Setup, Step, Usher, eventually, sign};

const CHANNEL: &str = "h-room-1-chat";

/// Waits until the readiness endpoint reports draining.
fn wait_draining(usher: &Usher) {
    eventually("/readyz is 503", || (usher.admin().call_openly("GET", "/readyz").status == 503).then_some(()));
}

#[test]
fn draining_finishes_what_has_begun() {
    for signal in [Signal::Term, Signal::Int] {
        let fake = Fake::start();
        let mut usher = Usher::start(&fake, |_| {});
        assert_eq!(usher.admin().call_openly("GET", "/livez").status, 200);
        assert_eq!(usher.admin().call_openly("GET", "/readyz").status, 200);
        let gate = Gate::new();
        fake.script([Step::hold(&gate, Step::ok())]);
        let mut client = usher.client();
        client.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
        fake.next_request();
        usher.signal(signal);
        wait_draining(&usher);
        assert_eq!(usher.admin().call_openly("GET", "/livez").status, 200, "alive while it drains");
        gate.open();
        let response = client.response();
        response.assert_forwarded();
        assert_eq!(response.header("connection").as_deref(), Some("close"), "{response:?}");
        assert!(client.read_to_close().is_empty());
        assert_eq!(usher.wait_exit(), 0);
    }
}

#[test]
fn draining_closes_idle_connections_and_ends() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |_| {});
    let mut idle = usher.client();
    idle.announce(CHANNEL, "A").assert_forwarded();
    let mut fresh = usher.client();
    usher.signal(Signal::Term);
    assert!(idle.read_to_close().is_empty());
    assert!(fresh.read_to_close().is_empty());
    assert_eq!(usher.wait_exit(), 0);
    assert!(std::net::TcpStream::connect(usher.gateway()).is_err());
}

#[test]
fn a_draining_usher_suppresses_nothing() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    client.announce(CHANNEL, "A").assert_suppressed();
    let request = Request::events(&announcement(CHANNEL, "A")).header("Expect", "100-continue");
    let continued = client.send(&request.head()).response();
    assert_eq!(continued.status, 100);
    usher.signal(Signal::Term);
    wait_draining(&usher);
    client.send(&request.body).response().assert_forwarded();
    assert_eq!(fake.count(), 2);
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_waiting_duplicate_is_forwarded_when_draining_begins() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let request = Request::events(&announcement(CHANNEL, "A")).bytes();
    let (mut leader, mut waiter) = (usher.client(), usher.client());
    leader.send(&request);
    fake.next_request();
    waiter.send(&request);
    // It is forwarded, whether it waits already or is read only after draining has begun.
    let other = usher.client().announce("h-room-2-chat", "A");
    other.assert_forwarded();
    fake.next_request();
    usher.signal(Signal::Term);
    assert!(fake.next_request().text().contains(CHANNEL));
    gate.open();
    leader.response().assert_forwarded();
    waiter.response().assert_forwarded();
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |setup| {
        setup.server = setup.server.replace("10s", "300s");
        setup.timeout = "250s";
        setup.doubt_period = "300s";
    });
    fake.script([Step::silence()]);
    let mut client = usher.client();
    client.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    fake.next_request();
    usher.signal(Signal::Term);
    wait_draining(&usher);
    usher.signal(Signal::Term);
    usher.wait_exit();
}

#[test]
fn draining_is_bounded() {
    let fake = Fake::start();
    let mut usher = Usher::start(&fake, |setup| {
        setup.server = setup.server.replace("10s", "300ms");
        setup.timeout = "250s";
        setup.doubt_period = "300s";
    });
    fake.script([Step::silence()]);
    let mut client = usher.client();
    client.send(&Request::events(&announcement(CHANNEL, "A")).bytes());
    fake.next_request();
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_reload_changes_rules_apps_and_limits_and_keeps_what_is_known() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let mut client = usher.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    let body = announcement(CHANNEL, "A");
    let other = || {
        let query =
            sign::query_of("POST", "/apps/4/events", "", body.as_bytes(), "other-key", "other-secret", sign::now());
        Request::new("POST", &format!("/apps/4/events?{query}"), body.as_bytes())
    };
    client.call(&other()).assert_error(404, "unknown_app");

    let more = Setup {
        more: "[[apps]]\nid = \"4\"\nkey = \"other-key\"\nsecret = \"other-secret\"\n".to_owned(),
        limits: "max_body = \"2KiB\"\n".to_owned(),
        ..setup.clone()
    };
    usher.rewrite_config(&more.toml());
    usher.signal(Signal::Hup);
    eventually("the new app is served", || (client.call(&other()).status == 200).then_some(()));
    client.announce(CHANNEL, "A").assert_suppressed();
    let large = message(CHANNEL, &"x".repeat(3000));
    usher.client().trigger(&large).assert_error(413, "body_too_large");

    let off = Setup { rule: "mode = \"off\"\n".to_owned(), ..setup };
    usher.rewrite_config(&off.toml());
    usher.signal(Signal::Hup);
    eventually("the rule is off", || (client.announce(CHANNEL, "A").decision() == "forwarded").then_some(()));
    client.call(&other()).assert_error(404, "unknown_app");
    usher.client().trigger(&large).assert_forwarded();
    assert_eq!(usher.admin().metric("usher_config_last_reload_successful", &[]), 1.0);
}

#[test]
fn a_new_rule_begins_in_doubt_and_then_works() {
    let fake = Fake::start();
    let setup = Setup { timeout: "1s", doubt_period: "2s", ..Setup::before(&fake) };
    let usher = Usher::start_with(&setup.toml());
    let mut client = usher.client();
    let watched = Request::events(&Library::Node.body("more", &["anything"], r#"{"who":1}"#));
    client.call(&watched).assert_forwarded();
    client.call(&watched).assert_forwarded();
    let rule = "[[rules]]\nname = \"more\"\nevent = \"more\"\nchannel = \"{any}\"\nidentity = [\"/who\"]\n";
    usher.rewrite_config(&Setup { more: rule.to_owned(), ..setup }.toml());
    usher.signal(Signal::Hup);
    eventually("the new rule acts", || (client.call(&watched).decision() == "suppressed").then_some(()));
}

#[test]
fn an_invalid_new_configuration_changes_nothing_and_is_logged() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let mut client = usher.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    for broken in [
        "this is = not [toml".to_owned(),
        setup.toml().replace("[limits]", "[limits]\nmax_bodyy = 1\n"),
        setup.toml().replace("identity", "identiti"),
    ] {
        let from = usher.log_lines();
        usher.rewrite_config(&broken);
        usher.signal(Signal::Hup);
        usher.wait_log_after(from, |event| event["level"] == "ERROR");
        eventually("the failure is counted", || {
            (usher.admin().metric("usher_config_last_reload_successful", &[]) == 0.0).then_some(())
        });
        client.announce(CHANNEL, "A").assert_suppressed();
        assert!(!usher.logs().contains(sign::SECRET), "a broken file is not quoted with its secrets");
    }
    usher.rewrite_config(&setup.toml());
    usher.signal(Signal::Hup);
    eventually("the old file loads again", || {
        (usher.admin().metric("usher_config_last_reload_successful", &[]) == 1.0).then_some(())
    });
    client.announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn a_reload_never_brings_a_lost_handoff() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let gate = Gate::new();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    fake.next_request();
    // B is in flight under the old rule while the rule is replaced by another one.
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut held = usher.client();
    held.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    fake.next_request();
    let limit = |body: &str| Setup {
        rule: "released_by = [\"over\"]\n".to_owned(),
        limits: format!("max_body = \"{body}\"\n"),
        ..setup.clone()
    };
    usher.rewrite_config(&limit("2KiB").toml());
    usher.signal(Signal::Hup);
    let large = message("other", &"x".repeat(3000));
    eventually("the new limits hold", || (usher.client().trigger(&large).status == 413).then_some(()));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    gate.open();
    held.response().assert_forwarded();
    // B may have been the last one applied: A must not be dropped.
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

#[test]
fn a_configuration_that_does_not_hold_refuses_to_start() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("usher.toml");
    std::fs::write(&file, Setup::before(&fake).toml().replace("[limits]", "[limits]\nmax_bodyy = 1\n")).unwrap();
    for command in ["serve", "check"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_usher"))
            .arg(command)
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(78), "{command}: {told}");
        assert!(told.contains("max_bodyy") && told.contains("max_body"), "{command}: {told}");
        assert!(!told.contains(sign::SECRET), "{command}: {told}");
    }
}

#[test]
fn neither_secrets_nor_payloads_nor_signatures_are_logged() {
    let fake = Fake::start();
    let toml = Setup::before(&fake).toml().replace("level = \"info\"", "level = \"trace\"");
    let mut usher = Usher::start_with(&toml);
    let canary = "canary-5f1e";
    let body =
        Library::Node.body(ANNOUNCEMENT, &[CHANNEL], &format!(r#"{{"staff_name":"{canary}","note":"{canary}"}}"#));
    let mut signatures = Vec::new();
    let mut call = |request: Request| {
        let signature = sign::parameters(request.target.split('?').nth(1).unwrap_or_default())
            .into_iter()
            .find(|(key, _)| key == "auth_signature");
        signatures.extend(signature.map(|(_, value)| value));
        usher.client().send(&request.bytes()).try_response().map_or(0, |response| response.status)
    };
    assert_eq!(call(Request::events(&body)), 200);
    assert_eq!(call(Request::events(&body)), 200);
    assert_eq!(call(Request::events(&body.replace("\"data\"", "\"dada\""))), 200);
    let mut unsigned = Request::events(&body);
    unsigned.body.push(b' ');
    assert_eq!(call(unsigned), 401);
    fake.script([Step::reset(), Step::status(503), Step::cut()]);
    for _ in 0..3 {
        assert!(call(Request::events(&body)) >= 500);
    }
    assert_eq!(call(Request::signed("GET", "/apps/3/channels", "", b"")), 200);
    call(Request::new("POST", &format!("/apps/3/events?auth_signature={canary}"), body.as_bytes()));
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
    let logs = usher.logs();
    assert!(logs.lines().count() > 5, "there are logs to look at: {logs}");
    for secret in [canary, sign::SECRET, TOKEN].into_iter().chain(signatures.iter().map(String::as_str)) {
        assert!(!logs.contains(secret), "{secret} was logged");
    }
    assert!(logs.lines().all(|line| line.starts_with('{')), "every line is JSON");
    assert!(logs.lines().any(|line| said(&serde_json::from_str(line).unwrap()) == "listening"));
}
