//! `server.drain_delay` and `server.drain_period`: how long the end takes.

use std::time::Duration;

use super::*;

#[test]
fn the_period_is_as_long_as_a_trigger_may_take_and_a_second() {
    let server = |setup: &Setup| setup.accepted().server;
    let usual = server(&file(UPSTREAM));
    assert_eq!((usual.drain_delay, usual.drain_period), (Duration::ZERO, Duration::from_secs(3 + 1)));
    let slow = file(UPSTREAM).flag("upstream.timeout", "9s");
    assert_eq!(server(&slow).drain_period, Duration::from_secs(10));
    let written = file(UPSTREAM).flag("server.drain_period", "0s").flag("server.drain_delay", "1h");
    assert_eq!(
        (server(&written).drain_delay, server(&written).drain_period),
        (Duration::from_hours(1), Duration::ZERO)
    );
    for key in ["server.drain_period", "server.drain_delay"] {
        assert!(file(UPSTREAM).flag(key, "61m").fault().starts_with(&format!("flag: {key}\n")));
    }
}

#[test]
fn a_longer_period_is_warned_of() {
    let warnings = |text| warning_texts(&file(UPSTREAM).flag("server.drain_period", text).accepted());
    assert_eq!(warnings("4s"), Vec::<String>::new());
    let [warning] = &warnings("4001ms")[..] else { panic!("{:?}", warnings("4001ms")) };
    assert!(warning.contains("`server.drain_period`") && warning.contains("longer than 4s"), "{warning}");
}

#[test]
fn the_doubt_after_a_start_covers_both() {
    let setup = file(UPSTREAM).flag("server.drain_delay", "5s").flag("server.drain_period", "2s");
    assert_eq!(setup.accepted().assignments.start_doubt, Duration::from_secs(30 + 1 + 3 + 5 + 2));
}

#[test]
fn a_reload_leaves_them() {
    let changed = file(UPSTREAM).flag("server.drain_delay", "5s").flag("server.drain_period", "2s").accepted();
    let left = file(UPSTREAM).accepted().reloadable_difference(&changed);
    assert_eq!(left, ["server.drain_delay", "server.drain_period", "assignments.start_doubt"]);
}
