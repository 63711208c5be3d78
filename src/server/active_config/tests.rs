//! Mode overrides: which rules they affect, which they do not, and how long they last.

use super::*;
use crate::audience::Relayed;
use crate::clock::Clock;
use crate::config::Sources;
use crate::gateway::Bypasses;
use crate::metrics::Metrics;
use crate::rate::Limiters;
use crate::replay::Replays;
use crate::report::Report;
use crate::triggers::{Payloads, Triggers};

/// Two apps, a rule for both and one for the first only, which is off.
fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("usher.toml");
    let app = |id: &str| format!("[[apps]]\nid = \"{id}\"\nkey = \"key-{id}\"\nsecret = \"secret-{id}\"\n");
    let rule = |name: &str, more: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\nevent = \"{name}\"\nchannel = \"{{room}}-chat\"\nidentity = [\"/staff_name\"]\n{more}\n"
        )
    };
    let text = [app("1"), app("2"), rule("staff", ""), rule("desk", "mode = \"off\"\napps = [\"1\"]")].concat();
    std::fs::write(&path, text).unwrap();
    Config::load(&Sources { file: Some(path), ..Sources::default() }).unwrap()
}

fn active_config() -> Arc<ActiveConfig> {
    let (config, clock, metrics) = (config(), Clock::start(), Metrics::new());
    let assignments = Assignments::new(clock, config.assignments.clone());
    let audience = Audience::Relayed(Relayed::new(Arc::clone(&metrics)));
    let report = Arc::new(Report::default());
    let limiters = Limiters::new(&config.limits.rates, clock, &metrics);
    let replays = Replays::new(clock, assignments.doubt_period());
    let observers =
        Observers { events: &config.events, report: &report, audience: &audience, bypasses: &Bypasses::default() };
    let routing = super::super::routing(&config, (limiters, replays), &assignments, &metrics, observers);
    let triggers = Arc::new(Triggers::new(0, Payloads::None));
    let shared = Shared::new(routing, clock, metrics, triggers, report);
    ActiveConfig::new(config, Arc::new(shared), assignments, audience)
}

/// Each rule of each app with its mode now.
fn modes(active_config: &ActiveConfig) -> String {
    let shown = |rule: RuleMode| format!("{}/{} {}", rule.app, rule.rule, rule.mode.label());
    active_config.rules().into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The rules that have a memory.
fn registered_rules(active_config: &ActiveConfig) -> String {
    let shown = |rule: crate::assignment::RegisteredRule| format!("{}/{}", rule.app, rule.rule);
    active_config.assignments.rules().into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[test]
fn an_override_affects_one_rule_of_one_app() {
    let active_config = active_config();
    assert_eq!(modes(&active_config), "1/staff enforce, 1/desk off, 2/staff enforce");
    assert_eq!(active_config.switch("1", "staff", Mode::Observe), Ok(Mode::Enforce));
    assert_eq!(modes(&active_config), "1/staff observe, 1/desk off, 2/staff enforce");
    assert_eq!(registered_rules(&active_config), "1/staff, 2/staff");
    assert_eq!(active_config.switch("2", "staff", Mode::Off), Ok(Mode::Enforce));
    assert_eq!(
        (modes(&active_config).as_str(), registered_rules(&active_config).as_str()),
        ("1/staff observe, 1/desk off, 2/staff off", "1/staff")
    );
    assert_eq!(active_config.switch("1", "staff", Mode::Off), Ok(Mode::Observe));
    assert_eq!(registered_rules(&active_config), "");
}

#[test]
fn a_rule_that_is_switched_on_puts_its_app_in_doubt_and_no_other() {
    let active_config = active_config();
    let in_doubt = |app: &str| {
        let rules = active_config.assignments.rules();
        let rule = rules.iter().find(|rule| &*rule.app == app).unwrap();
        rule.memory.app().in_doubt(active_config.shared.clock.now())
    };
    let switch = |app, rule, mode| active_config.switch(app, rule, mode).unwrap();
    switch("1", "staff", Mode::Observe);
    switch("1", "staff", Mode::Enforce);
    assert!(!in_doubt("1"), "what it observed it knows");
    switch("1", "desk", Mode::Enforce);
    assert_eq!(registered_rules(&active_config), "1/staff, 1/desk, 2/staff");
    assert!(in_doubt("1") && !in_doubt("2"));
}

#[test]
fn a_rule_that_is_not_configured_cannot_be_switched() {
    let active_config = active_config();
    for (app, rule) in [("1", "other"), ("3", "staff"), ("2", "desk"), ("", "")] {
        assert_eq!(active_config.switch(app, rule, Mode::Off), Err(NotSwitched::NoSuchRule), "{app}/{rule}");
    }
    assert_eq!(modes(&active_config), "1/staff enforce, 1/desk off, 2/staff enforce");
}

#[test]
fn a_reload_ends_all_overrides() {
    let active_config = active_config();
    for (rule, mode) in [("staff", Mode::Off), ("staff", Mode::Enforce), ("desk", Mode::Observe)] {
        active_config.switch("1", rule, mode).unwrap();
    }
    assert_eq!(active_config.replace(config()), 1, "a rule that was switched back is not switched");
    assert_eq!(
        (modes(&active_config).as_str(), registered_rules(&active_config).as_str()),
        ("1/staff enforce, 1/desk off, 2/staff enforce", "1/staff, 2/staff")
    );
}
