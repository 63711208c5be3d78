//! The memory across restarts (`state.path`): what the next process takes over, and when it starts in doubt instead.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::cli::{self, Cli};
use crate::harness::usher::{Signal, field, message, text};
use crate::harness::{Fake, Gate, Request, Setup, Step, Usher, bodies::announcement, eventually};

const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// A configuration with a state directory, in which a start without a memory is in doubt for an hour.
fn setup(fake: &Fake, directory: &Path) -> Setup {
    let mut setup = Setup::before(fake);
    setup.start_doubt = "1h";
    setup.more += &format!("[state]\npath = \"{}\"\n", directory.display());
    setup
}

fn stop(mut usher: Usher) -> String {
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
    usher.logs()
}

/// A process that knows who is on [`CHANNEL`], without the doubt of its start.
fn knowing(fake: &Fake, directory: &Path) -> Usher {
    let usher = Usher::start_with(&Setup { start_doubt: "0s", ..setup(fake, directory) }.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    usher
}

/// A directory with the memory of such a process, which has ended.
fn left_behind(fake: &Fake) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let logs = stop(knowing(fake, directory.path()));
    assert!(logs.contains("the memory is written"), "{logs}");
    assert!(directory.path().join("usher.state").exists());
    directory
}

/// A start in doubt; the code of its reason, from the one line that says it.
#[track_caller]
fn doubting(usher: &Usher) -> String {
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    assert_eq!(usher.admin().decisions()[0]["reason"], "just_started");
    let told: Vec<Value> = usher.events().into_iter().filter(|event| !text(event, "code").is_empty()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(field(&told[0], "seconds"), 3600.0, "{told:?}");
    assert_eq!(usher.admin().json("/overview")["start_doubt_reason"], text(&told[0], "reason"));
    text(&told[0], "code").to_owned()
}

#[test]
fn after_a_clean_stop_the_first_trigger_is_suppressed() {
    let fake = Fake::start();
    let directory = left_behind(&fake);
    for _ in 0..2 {
        let usher = Usher::start_with(&setup(&fake, directory.path()).toml());
        assert!(!directory.path().join("usher.state").exists(), "it is removed before usher listens");
        usher.client().announce(CHANNEL, "A").assert_suppressed();
        let told = usher.wait_log(|event| message(event) == "the memory of the process before is restored");
        assert_eq!((field(&told, "channels"), &told["level"]), (&1.into(), &"INFO".into()));
        let overview = usher.admin().json("/overview");
        assert!(overview["state"].as_str().unwrap().starts_with("1 channels"), "{overview}");
        assert_eq!((&overview["start_doubt_until"], &overview["start_doubt_reason"]), (&Value::Null, &Value::Null));
        let metric = |name| usher.admin().metric(name, &[]);
        assert_eq!((metric("usher_state_restored_channels"), metric("usher_start_doubt_seconds")), (1.0, 0.0));
        stop(usher);
    }
    let usher = Usher::start_with(&setup(&fake, directory.path()).toml());
    usher.client().announce(CHANNEL, "B").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

#[test]
fn without_a_file_it_starts_in_doubt() {
    let fake = Fake::start();
    let directory = left_behind(&fake);
    let usher = Usher::start_with(&Setup { more: String::new(), ..setup(&fake, directory.path()) }.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let told = usher.wait_log(|event| message(event).starts_with("nothing is suppressed at first"));
    assert!(text(&told, "reason").contains("state.path is not set"), "{told}");
    drop(usher);
    drop(Usher::start_with(&setup(&fake, directory.path()).toml()));
    // That one was killed.
    let usher = Usher::start_with(&setup(&fake, directory.path()).toml());
    assert_eq!(doubting(&usher), "no_file");
    assert!(usher.admin().metric("usher_start_doubt_seconds", &[]) > 3_500.0);
}

#[test]
fn what_was_in_doubt_stays_in_doubt() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let usher = knowing(&fake, directory.path());
    fake.script([Step::close()]);
    usher.client().announce(OTHER, "A");
    stop(usher);
    let usher = Usher::start_with(&setup(&fake, directory.path()).toml());
    usher.client().announce(OTHER, "A").assert_forwarded();
    assert_eq!(usher.admin().decisions()[0]["reason"], "in_doubt");
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

/// The drain's time is over while upstream has not answered: what is cut off is in doubt.
#[test]
fn what_a_drain_cuts_off_is_in_doubt() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let toml = |start_doubt| {
        let mut setup = Setup { start_doubt, ..setup(&fake, directory.path()) };
        setup.server = setup.server.replace("drain_period = \"10s\"", "drain_period = \"100ms\"");
        setup.toml()
    };
    let usher = Usher::start_with(&toml("0s"));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(OTHER, "A").assert_forwarded();
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut client = usher.client();
    client.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    eventually("B is in flight", || (fake.count() == 3).then_some(()));
    let logs = stop(usher);
    assert!(logs.contains("the drain period is over") && logs.contains("the memory is written"), "{logs}");
    let usher = Usher::start_with(&toml("1h"));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    assert_eq!(usher.admin().decisions()[0]["reason"], "in_doubt");
    gate.open();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(OTHER, "A").assert_suppressed();
}

#[test]
fn a_damaged_file_and_another_upstream_are_not_used() {
    let fake = Fake::start();
    let directory = left_behind(&fake);
    let file = directory.path().join("usher.state");
    let mut content = std::fs::read(&file).unwrap();
    let copy = content.clone();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &content).unwrap();
    let usher = Usher::start_with(&setup(&fake, directory.path()).toml());
    assert_eq!(doubting(&usher), "damaged");
    drop(usher);
    std::fs::write(&file, &copy).unwrap();
    let other = Fake::start();
    assert_eq!(doubting(&Usher::start_with(&setup(&other, directory.path()).toml())), "other_upstream");
}

#[test]
fn a_rule_that_means_something_else_begins_anew() {
    let fake = Fake::start();
    let directory = left_behind(&fake);
    let mut changed = setup(&fake, directory.path());
    changed.rule += "released_by = [\"closed\"]\n";
    let usher = Usher::start_with(&changed.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    assert_eq!(usher.admin().decisions()[0]["reason"], "just_started");
    let overview = usher.admin().json("/overview");
    assert!(overview["start_doubt_reason"].as_str().unwrap().contains("1 of its rules"), "{overview}");
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let first = knowing(&fake, directory.path());
    let second = Usher::start_with(&Setup { start_doubt: "1s", ..setup(&fake, directory.path()) }.toml());
    let held = || second.admin().metric("usher_state_lock_held", &[]);
    assert_eq!(held(), 1.0);
    assert_eq!(second.admin().metric("usher_start_doubt_seconds", &[]), f64::INFINITY);
    let overview = second.admin().json("/overview");
    assert_eq!(overview["start_doubt_until"], Value::Null);
    assert_eq!(overview["start_doubt_reason"], "another process holds the state directory");
    second.client().announce(CHANNEL, "B").assert_forwarded();
    let logs = stop(first);
    assert!(logs.contains("another process has served beside this one"), "{logs}");
    second.wait_log(|event| message(event).starts_with("the state directory is free"));
    eventually("suppression begins", || {
        (second.client().announce(CHANNEL, "B").decision() == "suppressed").then_some(())
    });
    assert_eq!(held(), 0.0);
    stop(second);
    let third = Usher::start_with(&setup(&fake, directory.path()).toml());
    third.client().announce(CHANNEL, "B").assert_suppressed();
}

/// It ends with 0, says so in one line, and leaves nothing that could be used.
#[track_caller]
fn assert_not_written(usher: Usher, cause: &str) {
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let logs = stop(usher);
    let errors: Vec<&str> = logs.lines().filter(|line| line.contains("\"ERROR\"")).collect();
    assert!(errors.len() == 1 && errors[0].contains("the memory is not written"), "{errors:?}");
    assert!(errors[0].contains(cause), "{errors:?}");
}

#[test]
fn a_file_that_cannot_be_written_whole_is_none() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let toml = Setup { start_doubt: "0s", ..setup(&fake, directory.path()) }.toml();
    // Every write to a file is beyond its largest size.
    assert_not_written(Usher::start_scripted("trap '' XFSZ && ulimit -f 0", false, &toml), "File too large");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn full_and_read_only_disks() {
    if !cli::may_mount() {
        return eprintln!("this user may not mount file systems: not tested");
    }
    let fake = Fake::start();
    let directory = left_behind(&fake);
    let disk = tempfile::tempdir().unwrap();
    let toml = |start_doubt| Setup { start_doubt, ..setup(&fake, disk.path()) }.toml();
    let mounted = |options: &str, then: &str| {
        let (from, to) = (directory.path().display(), disk.path().display());
        format!("mount -t tmpfs -o {options} none {to} && cp {from}/usher.state {to}/ && {then}")
            .replace("{to}", &to.to_string())
    };
    let full = mounted(
        "size=16k",
        "(dd if=/dev/zero of={to}/rest bs=4k 2>/dev/null || true) && rm {to}/usher.state && printf '' > {to}/a",
    );
    let full = format!("{full} && dd if=/dev/zero of={}/more bs=4k 2>/dev/null || true", disk.path().display());
    assert_not_written(Usher::start_scripted(&full, true, &toml("0s")), "No space left");
    let read_only = mounted("size=1m", "mount -o remount,ro {to}");
    let usher = Usher::start_scripted(&read_only, true, &toml("1h"));
    assert_eq!(doubting(&usher), "not_removed");
}

#[test]
fn a_missing_directory_is_named_by_check_and_at_the_start() {
    let fake = Fake::start();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let toml = setup(&fake, &missing).toml();
    assert_eq!(doubting(&Usher::start_with(&toml)), "directory");
    let config = directory.path().join("usher.toml");
    std::fs::write(&config, &toml).unwrap();
    let config = config.to_str().unwrap();
    let checked = Cli::new(&["check", "--config", config]).run();
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("`state.path`") && checked.out.contains("No such file"), "{checked:?}");
    assert!(checked.out.contains("nobody else announces"), "{checked:?}");
    assert_eq!(Cli::new(&["check", "--strict", "--config", config]).run().code, 78);
    let skipped = Cli::new(&["check", "--skip-files", "--config", config]).run();
    assert!(!skipped.out.contains("No such file"), "{skipped:?}");
}

#[test]
fn with_the_embedded_broker_it_has_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::before_url("local");
    setup.more += &format!("[state]\npath = \"{}\"\n", directory.path().display());
    let usher = Usher::start_with(&setup.toml());
    usher.wait_log(|event| message(event).contains("`state.path` has no effect with the embedded broker"));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    stop(usher);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
