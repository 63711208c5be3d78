//! Reloads of a file whose rules or apps were removed, and of files that can be read only once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::harness::eventually;
use crate::harness::usher::{Signal, field, message};
use crate::harness::{Fake, Setup, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";

/// The file of `setup` up to the first `[[key]]`.
fn without(setup: &Setup, key: &str) -> String {
    setup.toml().split_once(&format!("[[{key}]]")).unwrap().0.to_owned()
}

/// Triggers a reload and waits until it is logged.
fn reload(usher: &Usher) -> Value {
    let from = usher.log_lines();
    usher.signal(Signal::Hup);
    usher.wait_log_after(from, |event| message(event) == "the configuration was reloaded")
}

/// The same for a rejected reload; returns the logged faults, one a line. The metric reports the failure, and known assignments
/// remain known.
fn refused(usher: &Usher) -> String {
    let from = usher.log_lines();
    usher.signal(Signal::Hup);
    let faults = usher.wait_faults_after(from);
    eventually("the failure is counted", || {
        (usher.admin().metric("usher_config_last_reload_successful", &[]) == 0.0).then_some(())
    });
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    faults
}

/// A named pipe, and a thread that writes `text` into it once.
fn pipe(directory: &Path, text: String) -> (PathBuf, JoinHandle<()>) {
    let path = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, text).unwrap()
    });
    (path, writer)
}

#[test]
fn a_rule_that_was_taken_out_is_no_longer_in_force_not_even_as_the_built_in_one() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    for file in [without(&setup, "rules"), without(&setup, "rules").replace("[server]", "rules = []\n[server]")] {
        let from = usher.log_lines();
        usher.rewrite_config(&file);
        let told = reload(&usher);
        assert_eq!((field(&told, "apps"), field(&told, "rules")), (&Value::from(1), &Value::from(0)));
        usher.wait_log_after(from, |event| {
            event["level"] == "WARN" && message(event).starts_with("nothing is watched: no rule")
        });
        for _ in 0..2 {
            usher.client().announce(CHANNEL, "A").assert_forwarded();
        }
    }
    usher.rewrite_config(&setup.toml());
    assert_eq!(field(&reload(&usher), "rules"), 1);
}

#[test]
fn a_file_that_has_lost_its_apps_changes_nothing() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let no_app = without(&setup, "apps").replace("[server]", "apps = []\n[server]");
    for emptied in ["", "# to be written\n", &without(&setup, "apps"), &no_app] {
        usher.rewrite_config(emptied);
        let problems = refused(&usher);
        assert!(problems.contains("There is no app"), "{problems}");
    }
    usher.rewrite_config(&setup.toml());
    reload(&usher);
    eventually("the success is told", || {
        (usher.admin().metric("usher_config_last_reload_successful", &[]) == 1.0).then_some(())
    });
}

#[test]
fn a_file_without_apps_or_rules_is_logged_at_the_start() {
    let fake = Fake::start();
    let usher = Usher::start_with(&without(&Setup::before(&fake), "rules"));
    usher.wait_log(|event| event["level"] == "WARN" && message(event).starts_with("nothing is watched: no rule"));
    for _ in 0..2 {
        usher.client().announce(CHANNEL, "A").assert_forwarded();
    }
}

#[test]
fn variables_without_a_file_change_the_built_in_app_and_keep_its_rule() {
    let fake = Fake::start();
    let url = format!("http://{}", fake.address());
    let variables = [
        ("USHER_SERVER__LISTEN", "127.0.0.1:0"),
        ("USHER_ADMIN__LISTEN", "127.0.0.1:0"),
        ("USHER_LOG__FORMAT", "json"),
        ("USHER_ASSIGNMENTS__START_DOUBT", "0s"),
        ("USHER_UPSTREAM__URL", &url),
        ("USHER_APPS__0__ID", sign::APP),
        ("USHER_APPS__0__KEY", sign::KEY),
        ("USHER_APPS__0__SECRET", sign::SECRET),
    ];
    let usher = Usher::serve(&[], &variables, "");
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    assert_eq!(field(&reload(&usher), "rules"), 1);
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn a_configuration_from_standard_input_stays_in_force() {
    let fake = Fake::start();
    let usher = Usher::serve(&["--config", "/dev/stdin"], &[], &Setup::before(&fake).toml());
    usher.wait_log(|event| event["level"] == "WARN" && message(event).contains("/dev/stdin is no regular file"));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    for _ in 0..2 {
        let problems = refused(&usher);
        assert!(problems.starts_with("/dev/stdin: ") && problems.contains("no regular file"), "{problems}");
    }
}

/// No process writes into the pipe again: a reload that waited for it would also prevent usher from ending.
#[test]
fn a_configuration_from_a_named_pipe_stays_in_force() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let (path, writer) = pipe(directory.path(), Setup::before(&fake).toml());
    let mut usher = Usher::serve(&["--config", path.to_str().unwrap()], &[], "");
    writer.join().unwrap();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let problems = refused(&usher);
    assert!(problems.starts_with(path.to_str().unwrap()) && problems.contains("no regular file"), "{problems}");
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn a_secret_that_came_from_a_pipe_is_read_once_as_well() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let (path, writer) = pipe(directory.path(), sign::SECRET.to_owned());
    let secret_file = format!("secret_file = {path:?}");
    let mut usher = Usher::start_with(
        &Setup::before(&fake).toml().replace(&format!("secret = \"{}\"", sign::SECRET), &secret_file),
    );
    writer.join().unwrap();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let problems = refused(&usher);
    assert!(problems.contains("apps.0.secret_file") && problems.contains("no regular file"), "{problems}");
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
}
