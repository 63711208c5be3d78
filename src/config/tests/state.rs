//! `[state]`: where the memory outlives a clean stop.

use std::path::Path;
use std::time::Duration;

use super::*;

fn with_path() -> Setup {
    file(UPSTREAM).flag("state.path", "/var/lib/usher")
}

#[test]
fn there_is_none_unless_it_is_named() {
    let none = file(UPSTREAM).accepted().state;
    assert_eq!((none.path, none.max_age), (None, Duration::from_mins(1)));
    let named = with_path().flag("state.max_age", "5s").accepted();
    assert_eq!(
        (named.state.path.as_deref(), named.state.max_age),
        (Some(Path::new("/var/lib/usher")), Duration::from_secs(5))
    );
    assert_eq!(named.warnings, [], "the directory is opened by `usher check` and at the start");
    for refused in ["0s", "2h", "60"] {
        assert!(with_path().flag("state.max_age", refused).fault().starts_with("flag: state.max_age\n"));
    }
}

#[test]
fn the_embedded_broker_has_no_use_for_it() {
    let warnings = warning_texts(&file("upstream.url = \"local\"").flag("state.path", "/var/lib/usher").accepted());
    assert!(warnings.iter().any(|warning| warning.contains("`state.path` has no effect")), "{warnings:?}");
}

#[test]
fn a_reload_leaves_it() {
    let changed = with_path().flag("state.max_age", "5s").accepted();
    assert_eq!(file(UPSTREAM).accepted().reloadable_difference(&changed), ["state.path", "state.max_age"]);
}
