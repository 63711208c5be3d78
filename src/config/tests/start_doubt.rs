//! `assignments.start_doubt`: how long everything is in doubt after a start.

use std::time::Duration;

use super::*;

fn start_doubt(setup: &Setup) -> Duration {
    setup.accepted().assignments.start_doubt
}

#[test]
fn it_covers_whatever_a_process_that_ran_before_may_have_sent() {
    assert_eq!(start_doubt(&file(UPSTREAM)), Duration::from_secs(30 + 1 + 3 + 4));
    let others = "assignments.doubt_period = \"2s\"\nupstream = { cluster = \"eu\", connect_timeout = \"100ms\", timeout = \"1s\" }\n";
    assert_eq!(start_doubt(&file(others).flag("server.drain_period", "0s")), Duration::from_millis(3100));
    assert_eq!(
        start_doubt(&file(UPSTREAM).variable("USHER_ASSIGNMENTS__START_DOUBT", "")),
        Duration::from_secs(38),
        "empty is not set"
    );
}

#[test]
fn it_can_be_written_and_a_shorter_one_is_warned_of() {
    let written = |text| file(UPSTREAM).flag("assignments.start_doubt", text).accepted();
    let warnings = |text| warning_texts(&written(text));
    assert_eq!((written("2h").assignments.start_doubt, warnings("38s")), (Duration::from_hours(2), Vec::new()));
    assert_eq!(written("0s").assignments.start_doubt, Duration::ZERO);
    for text in ["0s", "37999ms"] {
        let [warning] = &warnings(text)[..] else { panic!("{:?}", warnings(text)) };
        assert!(
            warning.contains("`assignments.start_doubt`")
                && warning.contains("shorter than 38s")
                && warning.contains("handoff"),
            "{warning}"
        );
    }
    for refused in ["25h", "1", "auto"] {
        let fault = file(UPSTREAM).flag("assignments.start_doubt", refused).fault();
        assert!(fault.starts_with("flag: assignments.start_doubt\n"), "{fault}");
    }
}

/// The embedded broker ends with its process.
#[test]
fn the_embedded_broker_has_none() {
    let local = || file("upstream.url = \"local\"");
    for setup in [
        nothing(),
        local(),
        local().flag("assignments.start_doubt", "1h"),
        local().flag("assignments.start_doubt", "0s"),
    ] {
        let config = setup.accepted();
        assert_eq!(
            (
                config.assignments.start_doubt,
                warning_texts(&config).iter().any(|warning| warning.contains("start_doubt"))
            ),
            (Duration::ZERO, false)
        );
    }
    assert!(local().flag("assignments.start_doubt", "soon").fault().contains("not a duration"));
}

#[test]
fn a_reload_leaves_it() {
    let changed = file(UPSTREAM).flag("assignments.start_doubt", "2h").accepted();
    assert_eq!(file(UPSTREAM).accepted().reloadable_difference(&changed), ["assignments.start_doubt"]);
}
