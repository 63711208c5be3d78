//! The files in `config/`: the reference names every key with its default, and each file is valid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::{keys, overlay, report::Report};
use super::*;
use crate::rules::Mode;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn loaded(file: Option<PathBuf>) -> Config {
    Config::load(&Sources { file, ..Sources::default() }).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_reference_equals_the_defaults() {
    let (reference, default) = (loaded(Some(shipped("usher.toml"))), loaded(None));
    assert_eq!(reference.server, default.server);
    assert_eq!(reference.admin, default.admin);
    assert_eq!(reference.upstream, default.upstream);
    assert_eq!(reference.broker, default.broker);
    assert_eq!(reference.limits, default.limits);
    assert_eq!(reference.assignments, default.assignments);
    assert_eq!(reference.state, default.state);
    assert_eq!((&reference.cluster, &default.cluster), (&None, &None));
    assert_eq!(reference.log, default.log);
    assert_eq!(reference.rules, default.rules);
    assert_eq!((&reference.events, &default.events), (&Vec::new(), &Vec::new()));
    assert_eq!(reference.warnings, default.warnings);
    // An app's secret cannot be read or compared, so the text of the file is compared instead.
    let apps =
        |config: &Config| config.apps.iter().map(|app| (app.id().to_owned(), app.key().to_owned())).collect::<Vec<_>>();
    assert_eq!(apps(&reference), [("1001".to_owned(), "usher-key".to_owned())]);
    assert_eq!(apps(&reference), apps(&default));
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    assert!(text.contains(&format!("\nsecret = \"{}\"\n", super::super::apps::DEMO_SECRET)));
}

#[test]
fn the_reference_names_every_key_and_no_other() {
    fn leaves(path: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match value {
                toml::Value::Table(table) if name != "where" => leaves(&path, table, found),
                toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                    for (index, item) in items.iter().enumerate() {
                        leaves(&format!("{path}.{index}"), item.as_table().unwrap(), found);
                    }
                }
                _ => _ = found.insert(path),
            }
        }
    }
    let mut report = Report::default();
    let tree = overlay::read_file(None, &mut report).unwrap();
    let _ = keys::read(tree, &mut report);
    let known: BTreeSet<String> = report.keys().map(str::to_owned).collect();

    let mut named = BTreeSet::new();
    leaves("", &std::fs::read_to_string(shipped("usher.toml")).unwrap().parse().unwrap(), &mut named);
    assert_eq!(named, known);
}

/// `usher check --show` and `GET /config` show what the getters record: a getter that does not fails here.
#[test]
fn every_key_that_is_read_is_shown() {
    for path in [None, Some(shipped("usher.toml")), Some(shipped("hotel.toml"))] {
        let mut report = Report::default();
        let tree = overlay::read_file(path.as_deref(), &mut report).unwrap();
        let config = keys::read(tree, &mut report);
        let shown: BTreeSet<&str> = config.values.iter().map(|value| value.key.as_str()).collect();
        assert_eq!(shown, report.keys().collect(), "{path:?}");
        assert!(config.values.iter().all(|value| !value.value.is_null()), "{:?}", config.values);
    }
}

#[test]
fn every_key_of_the_reference_has_a_sentence() {
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# ") && pair[0].ends_with('.'), "above: {}", pair[1]);
    }
}

/// Without tests there are none, so the reference has one in a comment.
#[test]
fn the_test_of_the_reference_stands_and_passes_once_it_is_no_comment() {
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    let begin = text.find("# [[tests]]\n").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap();
    let test: String = text[begin..end].lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let config = file(&format!("{UPSTREAM}{}{}{test}", LISTS[0].1, LISTS[1].1)).accepted();
    assert_eq!(config.tests.problems, None);
    let [case] = &config.tests.cases[..] else { panic!("{:?}", config.tests) };
    let result = crate::simulation::run(&config.simulated(), case);
    assert!(result.passed(), "{result:?}");
    assert!(config.untested_rules().is_empty());
}

/// A fault in a test keeps no usher from serving.
#[test]
fn a_fault_in_a_test_is_no_fault_of_the_configuration() {
    let faulty = "[[tests]]\nname = \"t\"\nstep = 1\n";
    let config = file(&format!("{UPSTREAM}{}{}{faulty}", LISTS[0].1, LISTS[1].1)).accepted();
    let problems = config.tests.problems.unwrap();
    let keys: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.origin.line().is_some())).collect();
    assert_eq!(keys, [("tests.0.steps", true), ("tests.0.step", true)]);
}

/// Without entries there is no contract, so the reference has an entry in a comment.
#[test]
fn the_contract_of_the_reference_stands_once_it_is_no_comment() {
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    let (_, contract) = text.split_once("\n# [[events]]\n").unwrap();
    let contract: String = contract
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap())
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |all, line| all + line + "\n");
    let config = file(&format!("{UPSTREAM}[[events]]\n{contract}")).accepted();
    let [entry] = &config.events[..] else { panic!("{:?}", config.events) };
    assert_eq!(
        (entry.spec().name.as_str(), entry.spec().channel.as_str()),
        ("staff-assigned", "{hotelSlug}-room-{roomNumber}-chat")
    );
}

/// An app has no further pairs unless they are written, so the reference has one in a comment.
#[test]
fn the_pair_of_the_reference_is_valid_once_it_is_no_comment() {
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    let begin = text.find("# [[apps.keys]]\n").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap();
    let pair: String = text[begin..end].lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let config = file(&format!("{UPSTREAM}{}{pair}", LISTS[0].1)).accepted();
    let keys: Vec<_> = config.apps[0].pairs().map(|pair| pair.key()).collect();
    assert_eq!(keys, ["usher-key", "278d425bdf160c739803"]);
}

#[test]
fn every_shipped_file_stands() {
    let mut count = 0;
    let files = std::fs::read_dir(shipped("")).unwrap().map(|entry| entry.unwrap().path());
    for path in files {
        // The admin listener of a member can be reached by others, so it needs the token.
        let environment = vec![("USHER_ADMIN__TOKEN".into(), "0123456789abcdef".into())];
        let sources = Sources { file: Some(path.clone()), environment, ..Sources::default() };
        let config = Config::load(&sources).unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
        let warnings: Vec<_> = config.warnings.iter().map(|warning| warning.code).collect();
        let is_example = ["hotel.toml", "cluster.toml"].iter().any(|name| path.ends_with(name));
        let expected = if is_example { &["placeholder_secret"][..] } else { &[] };
        assert_eq!(warnings, expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn the_hotel_watches_both_forms() {
    let config = Config::load(&Sources { file: Some(shipped("hotel.toml")), ..Sources::default() }).unwrap();
    assert_eq!(config.upstream.url, "https://api-eu.pusher.com");
    let [plain, enveloped] = &config.rules[..] else { panic!("{:?}", config.rules) };
    assert_eq!(plain.spec().identity, ["/staff_id", "/staff_name"]);
    assert_eq!(enveloped.spec().identity, ["/payload/staff_id", "/payload/staff_name"]);
    let filter = [("/category", "guest_chat"), ("/type", "staff_assigned")]
        .map(|(pointer, value)| (pointer.to_owned(), value.into()));
    assert_eq!(enveloped.spec().filter, filter);
    assert!(
        config.rules.iter().all(
            |rule| rule.spec().mode == Mode::Enforce && rule.spec().channel == "{hotelSlug}-room-{roomNumber}-chat"
        )
    );
    let places: Vec<_> = config
        .events
        .iter()
        .map(|entry| (entry.spec().name.as_str(), entry.spec().channel.contains("-room-")))
        .collect();
    let expected = [
        ("staff-assigned", true),
        ("new-staff-message", true),
        ("new-message", false),
        ("new-message", true),
        ("messages-read-by-staff", true),
        ("messages-read-by-staff", false),
        ("messages-read-by-guest", false),
        ("realtime_event", true),
        ("realtime_event", false),
    ];
    assert_eq!(places, expected);
}

/// An app has no webhooks unless they are written, so the reference has one in a comment: with all events.
#[test]
fn the_webhook_of_the_reference_is_valid_once_it_is_no_comment() {
    let text = std::fs::read_to_string(shipped("usher.toml")).unwrap();
    let begin = text.find("# [[apps.webhooks]]\n").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap();
    let webhook: String =
        text[begin..end].lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap())).collect();
    let config = file(&format!("{}{webhook}", LISTS[0].1)).accepted();
    let [target] = &config.webhook_targets[..] else { panic!("{:?}", config.webhook_targets) };
    assert!(crate::webhooks::EventKind::ALL.into_iter().all(|kind| target.events.has(kind)), "{target:?}");
    assert_eq!(target.app, "1001");
}
