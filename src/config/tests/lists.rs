//! `[[apps]]`, `[[rules]]` and `[[events]]`: the built-in lists apply only to a start without a file.

use super::*;

const APP: &str = "[[apps]]\nid = \"7\"\nkey = \"k\"\nsecret = \"s\"\n";
const RULE: &str = "[[rules]]\nname = \"r\"\nevent = \"e\"\nchannel = \"c-{x}\"\nidentity = \"/i\"\n";

/// Empty files.
const EMPTY: [&str; 4] = ["", "\n\n", "# only a comment\n# [[apps]]\n", "\u{feff}"];

fn ids(config: &Config) -> Vec<&str> {
    config.apps.iter().map(|app| app.id()).collect()
}

fn rules(config: &Config) -> Vec<&str> {
    config.rules.iter().map(|rule| rule.spec().name.as_str()).collect()
}

/// The warnings that nothing is watched.
fn unwatched(config: &Config) -> Vec<String> {
    warning_texts(config).into_iter().filter(|warning| warning.starts_with("nothing is watched: ")).collect()
}

/// `setup` with the variables of a whole app.
fn with_app(setup: Setup) -> Setup {
    setup
        .variable("USHER_APPS__0__ID", "8")
        .variable("USHER_APPS__0__KEY", "k8")
        .variable("USHER_APPS__0__SECRET", "s8")
}

#[test]
fn without_a_file_the_built_in_ones_are_in_force_and_variables_change_them() {
    let config = nothing().accepted();
    assert_eq!((ids(&config), rules(&config), unwatched(&config)), (vec!["1001"], vec!["staff-assigned"], vec![]));
    let config = with_app(nothing()).variable("USHER_RULES__0__MODE", "observe").accepted();
    assert_eq!((ids(&config), rules(&config), unwatched(&config)), (vec!["8"], vec!["staff-assigned"], vec![]));
    assert!(
        nothing().variable("USHER_CONFIG", "").accepted().events.is_empty(),
        "a variable without a name names no file"
    );
    assert_eq!(nothing().variable("USHER_APPS", "[]").fault().lines().next(), Some("USHER_APPS: apps"));
}

#[test]
fn a_file_without_rules_watches_nothing_and_says_so() {
    for text in [APP.to_owned(), format!("{UPSTREAM}{APP}"), format!("rules = []\n{APP}")] {
        let setup = bare(&text);
        let config = setup.accepted();
        assert_eq!((ids(&config), rules(&config)), (vec!["7"], vec![]), "{text}");
        let [warning] = &unwatched(&config)[..] else { panic!("{text}: {:?}", config.warnings) };
        let path = setup.sources().file.unwrap();
        assert!(
            warning.contains("no rule") && warning.contains(path.to_str().unwrap()) && warning.contains("[[rules]]"),
            "{warning}"
        );
    }
    let config = nothing().variable("USHER_RULES", "[]").accepted();
    assert!(unwatched(&config)[0].contains("USHER_RULES"), "{:?}", config.warnings);
    assert_eq!(unwatched(&bare(&format!("{APP}{RULE}")).accepted()), [""; 0]);
}

#[test]
fn a_file_without_apps_is_refused() {
    for text in EMPTY.into_iter().chain([UPSTREAM, RULE]) {
        let setup = bare(text);
        let fault = setup.fault();
        let path = setup.sources().file.unwrap();
        assert!(fault.starts_with(&format!("{}: apps\n", path.display())), "{text:?}: {fault}");
        assert!(
            fault.contains("There is no app") && fault.contains("[[apps]]") && fault.contains("USHER_APPS__0__ID"),
            "{text:?}: {fault}"
        );
    }
    assert_eq!(bare("apps = []").places(), [(1, "apps".to_owned())]);
}

#[test]
fn the_file_may_be_named_by_the_variable_as_well() {
    for text in EMPTY {
        let file = written(text.as_bytes());
        let fault = nothing().variable("USHER_CONFIG", file.path().to_str().unwrap()).fault();
        assert!(fault.contains("There is no app"), "{text:?}: {fault}");
    }
    let file = written(APP.as_bytes());
    let config = nothing().variable("USHER_CONFIG", file.path().to_str().unwrap()).accepted();
    assert_eq!((ids(&config), rules(&config), unwatched(&config).len()), (vec!["7"], vec![], 1));
    assert!(nothing().variable("USHER_CONFIG", "/nowhere/usher.toml").fault().contains("No such file"));
}

#[test]
fn variables_may_give_the_app_that_the_file_does_not() {
    for text in EMPTY {
        let config = with_app(bare(text)).accepted();
        assert_eq!((ids(&config), rules(&config), unwatched(&config).len()), (vec!["8"], vec![], 1), "{text:?}");
    }
    let whole = bare("").variable("USHER_APPS", "[{ id = '9', key = 'k', secret = 's' }]").accepted();
    assert_eq!(ids(&whole), ["9"]);
    // An app that is configured in part is refused, and is not completed from the demo app.
    let half = bare("").variable("USHER_APPS__0__SECRET", "s").refused().to_string();
    assert!(half.contains("apps.0.id") && half.contains("apps.0.key"), "{half}");
}

#[test]
fn variables_may_give_the_rule_that_the_file_does_not() {
    let whole = [("NAME", "r"), ("EVENT", "e"), ("CHANNEL", "c-{x}"), ("IDENTITY", "/i")];
    let config = whole
        .iter()
        .fold(bare(APP), |setup, (key, value)| setup.variable(&format!("USHER_RULES__0__{key}"), value))
        .accepted();
    assert_eq!((rules(&config), unwatched(&config)), (vec!["r"], vec![]));
    let half = bare(APP).variable("USHER_RULES__0__MODE", "observe").places();
    assert_eq!(
        half,
        ["name", "event", "channel", "identity"].map(|key| (0, format!("rules.0.{key}"))),
        "no rule is there to be changed"
    );
    let event =
        bare(APP).variable("USHER_EVENTS__0__NAME", "e").variable("USHER_EVENTS__0__CHANNEL", "c-{x}").accepted();
    assert_eq!(event.events.len(), 1);
}

/// Everything is forwarded then: with `forward`, that is intended.
#[test]
fn no_app_is_needed_where_unknown_ones_are_forwarded() {
    for text in ["server.unknown_apps = \"forward\"\n", "apps = []\nserver.unknown_apps = \"forward\"\n"] {
        for more in ["", RULE] {
            let config = bare(&format!("{text}{more}")).accepted();
            assert_eq!(ids(&config), [""; 0], "{text}");
            assert!(
                unwatched(&config).iter().any(|warning| warning.contains("no app")),
                "{text}: {:?}",
                config.warnings
            );
        }
    }
    let config = bare("").variable("USHER_SERVER__UNKNOWN_APPS", "forward").variable("USHER_APPS", "[]").accepted();
    assert_eq!(ids(&config), [""; 0]);
}

/// `[[apps.keys]]` of one app, which needs a secret and a key of its own.
#[test]
fn an_app_may_have_several_pairs() {
    let keys = |config: &Config| {
        config.apps.iter().map(|app| app.pairs().map(|pair| pair.key().to_owned()).collect()).collect::<Vec<Vec<_>>>()
    };
    let pair = "[[apps.keys]]\nkey = \"k2\"\nsecret = \"s2\"\n";
    let config = file(&format!("{APP}{pair}[[apps]]\nid = \"8\"\nkey = \"k8\"\nsecret = \"s\"\n")).accepted();
    assert_eq!(keys(&config), [vec!["k", "k2"], vec!["k8"]]);
    let secret = written(b"s3\n");
    let config = file(&format!("{APP}{pair}"))
        .variable("USHER_APPS__0__KEYS__1__KEY", "k3")
        .variable("USHER_APPS__0__KEYS__1__SECRET_FILE", secret.path().to_str().unwrap())
        .accepted();
    assert_eq!(keys(&config), [["k", "k2", "k3"]]);

    let missing = file(&format!("{APP}[[apps.keys]]\nkey = \"k2\"\n")).fault();
    assert!(missing.contains("apps.0.keys.0.secret") && missing.contains("The key has no secret"), "{missing}");
    assert!(missing.contains("USHER_APPS__0__KEYS__0__SECRET"), "{missing}");
    for twice in [
        format!("{APP}{}", pair.replace("k2", "k")),
        format!("{APP}{pair}{pair}"),
        format!("{APP}{pair}[[apps]]\nid = \"8\"\nkey = \"k2\"\nsecret = \"s\"\n"),
    ] {
        let fault = file(&twice).fault();
        assert!(fault.contains("A key belongs to one app and has one secret"), "{twice}: {fault}");
    }
}
