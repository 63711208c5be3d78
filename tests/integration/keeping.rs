//! The end of a process that keeps its memory (`state.path`), as its callers see it, through both readers; beside the
//! end of one that does not. And files in the state directory that cannot be removed.

use std::path::Path;

use crate::harness::bodies::announcement;
use crate::harness::usher::{Signal, field, message, text};
use crate::harness::{Client, Fake, Gate, Request, Setup, Step, Usher, cli, eventually};

const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// A configuration with this start doubt, drain delay and reader; with a state directory if there is one.
fn toml(fake: &Fake, start_doubt: &'static str, delay: &str, fast_path: bool, state: Option<&Path>) -> String {
    let mut setup = Setup { start_doubt, ..Setup::before(fake) };
    setup.server += &format!("drain_delay = \"{delay}\"\nfast_path = {fast_path}\n");
    if let Some(path) = state {
        setup.more += &format!("[state]\npath = \"{}\"\n", path.display());
    }
    setup.toml()
}

/// An announcement of B that upstream does not answer before the gate opens, and one that waits for its outcome.
fn two_of_b(fake: &Fake, usher: &Usher) -> (Gate, Client, Client) {
    let (gate, before) = (Gate::new(), fake.count());
    fake.script([Step::hold(&gate, Step::ok())]);
    let (mut first, mut second) = (usher.client(), usher.client());
    first.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    eventually("B is in flight", || (fake.count() == before + 1).then_some(()));
    second.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    eventually("the second waits", || (usher.admin().metric("usher_waiters", &[]) == 1.0).then_some(()));
    (gate, first, second)
}

fn announce_end(usher: &Usher) {
    usher.signal(Signal::Term);
    eventually("/readyz is 503", || (usher.admin().call_openly("GET", "/readyz").status == 503).then_some(()));
}

#[test]
fn with_a_memory_that_is_kept_nothing_is_repeated_until_the_end_and_after_it() {
    for fast_path in [true, false] {
        let (fake, directory) = (Fake::start(), tempfile::tempdir().unwrap());
        let toml = |start_doubt| toml(&fake, start_doubt, "2s", fast_path, Some(directory.path()));
        let mut usher = Usher::start_with(&toml("0s"));
        usher.client().announce(CHANNEL, "A").assert_forwarded();
        usher.client().announce(OTHER, "A").assert_forwarded();
        let (gate, mut first, mut second) = two_of_b(&fake, &usher);
        announce_end(&usher);
        // As long as a connection is taken, its announcement is not repeated.
        let mut suppressed = 0;
        while let Ok(mut client) = Client::try_connect(usher.gateway()) {
            let sent = client.try_send(&Request::events(&announcement(OTHER, "A")).bytes());
            let Ok(response) = sent.and_then(|()| client.try_response()) else { break };
            response.assert_suppressed();
            suppressed += 1;
            if suppressed == 3 {
                gate.open();
                first.response().assert_forwarded();
                second.response().assert_suppressed();
            }
        }
        assert!(suppressed > 3, "{suppressed}");
        assert_eq!((usher.wait_exit(), fake.count()), (0, 3));
        let next = Usher::start_with(&toml("1h"));
        next.client().announce(OTHER, "A").assert_suppressed();
        next.client().announce(CHANNEL, "B").assert_suppressed();
        next.client().announce(CHANNEL, "A").assert_forwarded();
    }
}

#[test]
fn without_one_nothing_is_suppressed_from_the_first_503_on() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut usher = Usher::start_with(&toml(&fake, "0s", "2s", fast_path, None));
        usher.client().announce(OTHER, "A").assert_forwarded();
        usher.client().announce(OTHER, "A").assert_suppressed();
        let (gate, mut first, mut second) = two_of_b(&fake, &usher);
        announce_end(&usher);
        // The first one is not answered yet.
        second.response().assert_forwarded();
        for _ in 0..3 {
            usher.client().announce(OTHER, "A").assert_forwarded();
        }
        assert_eq!(fake.count(), 6);
        gate.open();
        first.response().assert_forwarded();
        assert_eq!(usher.wait_exit(), 0);
    }
}

/// Upstream has not answered when the drain period is over.
#[test]
fn what_is_in_flight_at_the_cut_is_in_doubt_in_the_next_process() {
    for fast_path in [true, false] {
        let (fake, directory) = (Fake::start(), tempfile::tempdir().unwrap());
        let toml = |start_doubt| {
            let toml = toml(&fake, start_doubt, "50ms", fast_path, Some(directory.path()));
            toml.replace("drain_period = \"10s\"", "drain_period = \"100ms\"")
        };
        let mut usher = Usher::start_with(&toml("0s"));
        for channel in [CHANNEL, OTHER] {
            usher.client().announce(channel, "A").assert_forwarded();
        }
        let (gate, ..) = two_of_b(&fake, &usher);
        usher.signal(Signal::Term);
        assert_eq!(usher.wait_exit(), 0);
        let next = Usher::start_with(&toml("1h"));
        next.wait_log(|event| message(event) == "the memory of the process before is restored");
        for staff in ["B", "A"] {
            next.client().announce(CHANNEL, staff).assert_forwarded();
            assert_eq!(next.admin().decisions()[0]["reason"], "in_doubt");
        }
        gate.open();
        next.client().announce(CHANNEL, "A").assert_forwarded();
        next.client().announce(OTHER, "A").assert_suppressed();
    }
}

/// Killed after it has served: what it has forwarded must not be taken for what the file says.
#[track_caller]
fn serve_beside(fake: &Fake, directory: &Path, script: &str) -> String {
    let usher = Usher::start_scripted(script, true, &toml(fake, "1h", "0s", true, Some(directory)));
    usher.client().announce(CHANNEL, "B").assert_forwarded();
    let told: Vec<_> = usher.events().into_iter().filter(|event| !text(event, "code").is_empty()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(field(&told[0], "seconds"), 3600.0);
    text(&told[0], "code").to_owned()
}

#[test]
fn a_file_that_cannot_be_removed_is_used_by_no_later_start() {
    if !cli::may_mount() {
        return eprintln!("this user may not mount file systems: not tested");
    }
    let (fake, directory) = (Fake::start(), tempfile::tempdir().unwrap());
    let leave_behind = || {
        let mut usher = Usher::start_with(&toml(&fake, "0s", "0s", true, Some(directory.path())));
        usher.client().announce(CHANNEL, "A");
        usher.client().announce(CHANNEL, "A").assert_suppressed();
        usher.signal(Signal::Term);
        assert_eq!(usher.wait_exit(), 0);
        assert!(directory.path().join("usher.state").exists());
    };
    let path = directory.path().display();
    // A disk that stays read-only.
    leave_behind();
    let read_only = format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
    for _ in 0..2 {
        assert_eq!(serve_beside(&fake, directory.path(), &read_only), "not_removed");
    }
    std::fs::remove_file(directory.path().join("usher.state")).unwrap();
    // A file that can be written to, in a directory from which nothing can be removed: as a mount point.
    leave_behind();
    let fixed = format!("mount --bind {path}/usher.state {path}/usher.state");
    assert_eq!(serve_beside(&fake, directory.path(), &fixed), "not_removed");
    assert_eq!(serve_beside(&fake, directory.path(), "true"), "no_state_file");
}
