//! `usher tail` and `usher doctor` of several running ushers.

use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::harness::admin::TOKEN;
use crate::harness::cli::{Cli, Finished};
use crate::harness::usher::Signal;
use crate::harness::{Fake, Setup, Step, Usher};

const CHANNEL: &str = "h-room-1-chat";
const OTHER_TOKEN: &str = "another-token-of-the-tests";

/// A command that asks these admin listeners, with the token of the tests.
fn asking(command: &str, admins: &[SocketAddr]) -> Cli {
    let mut cli = Cli::new(&[command]).env("USHER_ADMIN__TOKEN", TOKEN);
    for admin in admins {
        cli = cli.arg("--admin").arg(&format!("http://{admin}"));
    }
    cli
}

/// The name of an usher among others of this machine.
fn name(admin: SocketAddr) -> String {
    format!(":{}", admin.port())
}

fn announce(usher: &Usher, staff: &str) -> String {
    usher.client().announce(CHANNEL, staff).header("usher-trigger").unwrap()
}

/// A setup whose admin listener has a port that stays the same.
fn with_fixed_port(fake: &Fake) -> (Setup, SocketAddr) {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setup = Setup::before(fake);
    setup.admin = setup.admin.replace("127.0.0.1:0", &admin.to_string());
    (setup, admin)
}

fn token_file(directory: &tempfile::TempDir, name: &str, token: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, token).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_triggers_of_all_are_shown_and_each_line_names_its_usher() {
    let fake = Fake::start();
    let ushers = [Usher::start(&fake, |_| {}), Usher::start(&fake, |_| {})];
    let admins = ushers.each_ref().map(|usher| usher.admin().0);
    let [lines, whole, json] =
        ["--backlog=9", "--verbose", "--json"].map(|style| asking("tail", &admins).arg(style).start());
    // Past triggers and new ones.
    for staff in ["Anna", "Ben"] {
        let column = ushers.each_ref().map(|usher| {
            let (id, name) = (announce(usher, staff), name(usher.admin().0));
            let record: Value = serde_json::from_str(&json.wait_out(&id)).unwrap();
            assert_eq!((&record["usher"], &record["id"]), (&name.clone().into(), &id.clone().into()));
            whole.wait_out(&format!("id           {id}"));
            assert!(whole.out_lines().iter().any(|line| line.starts_with(&format!("{name}  2"))), "{whole:?}");
            let of_this = |line: &&String| line.starts_with(&name) && line.contains(&format!("\"{staff}\""));
            let line = crate::harness::eventually("its line", || lines.out_lines().iter().find(of_this).cloned());
            line.find(CHANNEL).unwrap()
        });
        assert_eq!(column[0], column[1], "{lines:?}");
    }
    for running in [lines, whole, json] {
        running.interrupt();
        let finished = running.finish();
        assert_eq!((finished.code, finished.err.as_str()), (0, ""), "{finished:?}");
    }
}

#[test]
fn one_that_is_away_stops_no_other() {
    let fake = Fake::start();
    let stays = Usher::start(&fake, |_| {});
    let (setup, admin) = with_fixed_port(&fake);
    let comes = name(admin);
    let running = asking("tail", &[stays.admin().0, admin]).arg("--json").start();
    running.wait_error(&format!("{comes}: the admin listener at http://{admin} cannot be reached"));
    running.wait_out(&announce(&stays, "Anna"));
    let first = Usher::start_with(&setup.toml());
    // Before the command has connected: a past trigger.
    let past = announce(&first, "Anna");
    running.wait_out(&past);
    running.wait_error(&format!("{comes}: connected"));
    drop(first);
    running.wait_out(&announce(&stays, "Ben"));
    let second = Usher::start_with(&setup.toml());
    let after = announce(&second, "Cem");
    running.wait_out(&after);
    running.wait_error(&format!("{comes}: connected again"));
    running.wait_out(&announce(&stays, "Dan"));
    running.interrupt();
    let finished = running.finish();
    assert_eq!((finished.code, finished.json().len()), (0, 5), "{finished:?}");
    assert!(finished.err.lines().all(|line| line.starts_with(&comes)), "{finished:?}");
}

#[test]
fn a_token_is_for_all_or_for_each() {
    let (fake, directory) = (Fake::start(), tempfile::tempdir().unwrap());
    let one = Usher::start(&fake, |_| {});
    // On an address that others can reach, every reader needs the token.
    let other = Usher::start(&fake, |setup| {
        setup.admin = format!("listen = \"0.0.0.0:0\"\ntoken = \"{OTHER_TOKEN}\"\n");
    });
    let admins = [one.admin().0, SocketAddr::from(([127, 0, 0, 1], other.admin().0.port()))];
    let (first, second) = (token_file(&directory, "one", TOKEN), token_file(&directory, "other", OTHER_TOKEN));
    let running = asking("tail", &admins).arg("--token-file").arg(&first).arg("--token-file").arg(&second).start();
    announce(&one, "Anna");
    announce(&other, "Ben");
    running.wait_out("\"Anna\"");
    running.wait_out("\"Ben\"");
    running.interrupt();
    assert_eq!(running.finish().code, 0);
    let third = SocketAddr::from(([127, 0, 0, 1], 9));
    for (admins, files, expected) in [
        (&admins[..], &[&first][..], "refuses the token"),
        (&admins, &[], "refuses the token"),
        (&[admins[0], admins[1], third], &[&first, &second], "give one token for all, or one for each"),
        (&[admins[0], admins[0]], &[], "twice"),
    ] {
        for command in ["tail", "doctor"] {
            let mut cli = asking(command, admins);
            for file in files {
                cli = cli.arg("--token-file").arg(file);
            }
            let finished = cli.run();
            let said = finished.out.clone() + &finished.err;
            let expected = if command == "doctor" {
                expected.replace("refuses the", "does not take the")
            } else {
                expected.to_owned()
            };
            assert!(finished.code == 1 && said.contains(&expected), "{command}: {expected:?}: {finished:?}");
            assert!(!said.contains(TOKEN) && !said.contains(OTHER_TOKEN), "{finished:?}");
        }
    }
}

#[test]
fn where_none_can_be_reached_it_ends() {
    let closed = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let finished = asking("tail", &closed).run();
    assert_eq!((finished.code, finished.out.as_str()), (1, ""), "{finished:?}");
    assert_eq!(finished.err.matches("cannot be reached: connection refused").count(), 2, "{finished:?}");
}

/// The findings of `usher doctor` about these.
fn examined(admins: &[SocketAddr]) -> (i32, Vec<Value>) {
    let finished: Finished = asking("doctor", admins).arg("--json").arg("--timeout").arg("15s").run();
    let report = &finished.json()[0];
    assert_eq!((&report["ok"], finished.err.as_str()), (&(finished.code == 0).into(), ""), "{finished:?}");
    let findings = report["findings"].as_array().unwrap().clone();
    for finding in &findings {
        assert!(finding["verdict"] == "ok" || finding["advice"] != "", "{finding}");
    }
    (finished.code, findings)
}

/// Fails unless exactly these have the verdict `verdict`: the check, its subject, and a part of what was found.
#[track_caller]
fn assert_found(findings: &[Value], verdict: &str, expected: &[(&str, &str, &str)]) {
    let found: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == verdict).collect();
    assert_eq!(found.len(), expected.len(), "{verdict}: {findings:#?}");
    for (check, about, part) in expected {
        let fits = |finding: &&&Value| finding["check"] == *check && finding["about"] == *about;
        let text = found.iter().find(fits).map(|finding| finding["found"].to_string());
        assert!(text.as_deref().is_some_and(|text| text.contains(part)), "{check} {about} {part:?}: {findings:#?}");
    }
}

#[test]
fn doctor_finds_equal_ushers_equal() {
    let fake = Fake::start();
    let ushers = [Usher::start(&fake, |setup| setup.level = "debug"), Usher::start(&fake, |_| {})];
    let admins = ushers.each_ref().map(|usher| usher.admin().0);
    let (code, findings) = examined(&admins);
    assert_eq!(code, 0, "{findings:#?}");
    let names = admins.map(name);
    assert_found(
        &findings,
        "ok",
        &[
            ("usher", &names[0], ", ready"),
            ("usher", &names[1], ", ready"),
            ("version", "", "all are usher 0.1.0"),
            ("environment", "", "none has a name"),
            ("clock", "", "do not differ"),
            ("rules", "", "secrets are not compared"),
            ("configuration", "", "belongs to each machine: log.level"),
        ],
    );
    // One alone is compared with nothing.
    let (code, findings) = examined(&admins[..1]);
    assert_eq!((code, findings.len(), &findings[0]["about"]), (0, 1, &"127.0.0.1".into()), "{findings:#?}");
    let both = asking("doctor", &admins).arg("--observe").run();
    assert!(both.code == 1 && both.err.contains("once for each"), "{both:?}");
    let without = Cli::new(&["doctor", "--token-file", "/nowhere"]).run();
    assert!(without.code == 1 && without.err.contains("belong to --admin"), "{without:?}");
}

#[test]
fn doctor_says_what_differs_between_ushers() {
    let fake = Fake::start();
    let of = |environment: &str| format!("name = \"{environment}\"\n");
    let one = Usher::start(&fake, |setup| setup.admin += &of("production"));
    let mut setup = Setup::before(&fake);
    setup.admin += &of("staging");
    setup.limits = "max_requests = 77\n".to_owned();
    setup.rule = "remember_for = \"1h\"\n".to_owned();
    setup.server += "drain_delay = \"60s\"\n";
    let other = Usher::start_with(&setup.toml());
    // What a reload does not apply, and what a person has switched.
    setup.server += "fast_path = false\n";
    other.rewrite_config(&setup.toml());
    other.signal(Signal::Hup);
    other.wait_log(|event| crate::harness::usher::message(event) == "the configuration was reloaded");
    assert_eq!(other.admin().switch("staff-assigned", "observe").status, 200);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (first, second) = (one.admin().0, other.admin().0);
    let (code, findings) = examined(&[first, second, closed]);
    assert_eq!(code, 1);
    let (first, second, closed) = (name(first), name(second), name(closed));
    assert_found(
        &findings,
        "problem",
        &[
            ("usher", &closed, "cannot connect"),
            ("rules", "", &format!("rules.0.remember_for is \\\"1d\\\" at {first}, but \\\"1h\\\" at {second}")),
        ],
    );
    assert_found(
        &findings,
        "warning",
        &[
            (
                "running",
                &second,
                "server.fast_path is true, and false then; and was switched by the operator: rules.0.mode",
            ),
            ("environment", "", &format!("\\\"production\\\" at {first}, but \\\"staging\\\" at {second}")),
            ("configuration", "", &format!("it differs: limits.max_requests is 4096 at {first}, but 77 at {second}")),
        ],
    );
    other.signal(Signal::Term);
    crate::harness::eventually("it is not ready", || {
        (other.admin().call_openly("GET", "/readyz").status == 503).then_some(())
    });
    let (_, findings) = examined(&[one.admin().0, other.admin().0]);
    let drains = |finding: &Value| finding["check"] == "usher" && finding["verdict"] == "warning";
    let drains = findings.iter().find(|finding| drains(finding)).unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(drains["found"].as_str().unwrap().contains("not ready: "), "{drains}");
}

#[test]
fn doctor_compares_the_clocks_of_ushers() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let (admin, late) = (usher.admin(), Fake::start());
    // What usher answers, on a machine whose clock is an hour behind.
    late.otherwise(move |request| {
        let answer = admin.call("GET", &request.target());
        let hour = std::time::Duration::from_secs(3600);
        let date = httpdate::fmt_http_date(std::time::SystemTime::now() - hour);
        let body = answer.text();
        Step::answer(&format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    });
    let (code, findings) = examined(&[admin.0, late.address()]);
    assert_eq!(code, 1);
    let (ahead, behind) = (name(admin.0), name(late.address()));
    assert_found(&findings, "problem", &[("clock", "", &format!("of {ahead} is at least 35"))]);
    assert!(findings[0]["found"].as_str().unwrap().ends_with(&format!("ahead of that of {behind}")), "{findings:#?}");
    // A program that is no usher.
    let other = Fake::start();
    let (code, findings) = examined(&[admin.0, other.address(), usher.gateway()]);
    assert_eq!(code, 1);
    assert_found(
        &findings,
        "problem",
        &[
            ("usher", &name(other.address()), "not that of an usher"),
            ("usher", &name(usher.gateway()), "not that of an usher"),
        ],
    );
}
