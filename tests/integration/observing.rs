//! `observe`: a usher that suppresses nothing, whatever the modes of its rules are, and says so everywhere.

use serde_json::{Value, json};

use crate::harness::admin::{Admin, TOKEN};
use crate::harness::cli::Cli;
use crate::harness::usher::{Signal, field, message};
use crate::harness::{Fake, Setup, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";

/// A second rule, which is off.
const OFF: &str =
    "[[rules]]\nname = \"off\"\nevent = \"other\"\nchannel = \"{c}\"\nidentity = \"/i\"\nmode = \"off\"\n";

fn setup(fake: &Fake) -> Setup {
    Setup { more: OFF.to_owned(), ..Setup::before(fake) }
}

/// The variables of a usher before `fake` without a file, and `more`.
fn variables<'v>(url: &'v str, more: (&'v str, &'v str)) -> Vec<(&'v str, &'v str)> {
    vec![
        ("USHER_SERVER__LISTEN", "127.0.0.1:0"),
        ("USHER_ADMIN__LISTEN", "127.0.0.1:0"),
        ("USHER_ADMIN__TOKEN", TOKEN),
        ("USHER_LOG__FORMAT", "json"),
        ("USHER_ASSIGNMENTS__START_DOUBT", "0s"),
        ("USHER_UPSTREAM__URL", url),
        ("USHER_APPS__0__ID", sign::APP),
        ("USHER_APPS__0__KEY", sign::KEY),
        ("USHER_APPS__0__SECRET", sign::SECRET),
        more,
    ]
}

/// Name, mode, configured mode and source of each rule.
fn rules(admin: Admin) -> Value {
    let overview = admin.json("/overview");
    let rules = overview["rules"].as_array().unwrap().iter();
    rules.map(|rule| json!([rule["rule"], rule["mode"], rule["configured"], rule["source"]])).collect()
}

/// The modes as the log lists them, among the lines from number `from` on.
fn logged_modes(usher: &Usher, from: usize) -> String {
    let event = usher.wait_log_after(from, |event| message(event) == "the modes of the rules");
    field(&event, "modes").as_str().unwrap().to_owned()
}

fn assert_observes(usher: &Usher) {
    let mut client = usher.client();
    for _ in 0..3 {
        client.announce(CHANNEL, "Anna").assert_forwarded();
    }
    let admin = usher.admin();
    assert_eq!(admin.json("/overview")["observe"], true);
    assert_eq!(admin.metric("usher_observe", &[]), 1.0);
    assert_eq!(admin.metric("usher_rule_mode", &["rule=\"staff-assigned\"", "mode=\"observe\""]), 1.0);
    assert_eq!(admin.metric("usher_rule_switched", &[]), 0.0, "it is configured so");
    assert_eq!(admin.metric("usher_triggers_total", &["decision=\"would_suppress\""]), 2.0);
    let refused = admin.switch("staff-assigned", "enforce");
    refused.assert_error(409, "observing");
    assert!(refused.text().contains("USHER_OBSERVE") && refused.text().contains("--observe"), "{refused:?}");
    usher.wait_log(|event| message(event).starts_with("usher observes"));
}

#[test]
fn the_file_the_variable_and_the_flag_put_every_enforcing_rule_into_observe_mode() {
    let fake = Fake::start();
    let (file, url) = (setup(&fake).toml(), format!("http://{}", fake.address()));
    let by_file = Usher::start_with(&format!("observe = true\n{file}"));
    assert_observes(&by_file);
    let expected = json!([["staff-assigned", "observe", "observe", "observe"], ["off", "off", "off", "file"]]);
    assert_eq!(rules(by_file.admin()), expected);
    assert_eq!(logged_modes(&by_file, 0), "staff-assigned observe (observe), off off (file)");

    let by_variable = Usher::serve(&[], &variables(&url, ("USHER_OBSERVE", "true")), "");
    assert_observes(&by_variable);
    let by_flag = Usher::serve(&["--observe"], &variables(&url, ("USHER_LOG__LEVEL", "info")), "");
    assert_observes(&by_flag);
    assert_eq!(logged_modes(&by_flag, 0), "staff-assigned observe (observe)");
}

#[test]
fn a_rule_can_be_switched_off_and_back_to_observing() {
    let fake = Fake::start();
    let usher = Usher::start_with(&format!("observe = true\n{}", setup(&fake).toml()));
    let admin = usher.admin();
    for (rule, mode) in [("staff-assigned", "off"), ("staff-assigned", "observe"), ("off", "observe")] {
        admin.switch(rule, mode).assert_status(200);
    }
    admin.switch("off", "enforce").assert_error(409, "observing");
    let expected = json!([["staff-assigned", "observe", "observe", "observe"], ["off", "observe", "off", "switched"]]);
    assert_eq!(rules(admin), expected);
    assert_eq!(admin.metric("usher_rule_switched", &["rule=\"off\""]), 1.0);
    assert_eq!(admin.metric("usher_rule_switched", &["rule=\"staff-assigned\""]), 0.0);
    admin.switch("nobody", "enforce").assert_error(404, "not_watched");
}

#[test]
fn a_reload_takes_the_files_word_and_the_flag_outlives_it() {
    let fake = Fake::start();
    let toml = setup(&fake).toml();
    let usher = Usher::start_with(&toml);
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    let reload = |toml: &str| {
        let from = usher.log_lines();
        usher.rewrite_config(toml);
        usher.signal(Signal::Hup);
        usher.wait_log_after(from, |event| message(event) == "the configuration was reloaded");
        logged_modes(&usher, from)
    };
    assert_eq!(reload(&format!("observe = true\n{toml}")), "staff-assigned observe (observe), off off (file)");
    client.announce(CHANNEL, "Anna").assert_forwarded();
    usher.admin().switch("staff-assigned", "enforce").assert_error(409, "observing");
    assert_eq!(reload(&toml), "staff-assigned enforce (default), off off (file)");
    client.announce(CHANNEL, "Anna").assert_suppressed();
    assert_eq!(usher.admin().json("/overview")["observe"], false);

    let url = format!("http://{}", fake.address());
    let by_flag = Usher::serve(&["--observe"], &variables(&url, ("USHER_OBSERVE", "false")), "");
    let from = by_flag.log_lines();
    by_flag.signal(Signal::Hup);
    by_flag.wait_log_after(from, |event| message(event) == "the configuration was reloaded");
    assert_observes(&by_flag);
}

#[test]
fn each_mode_has_its_source() {
    let fake = Fake::start();
    let url = format!("http://{}", fake.address());
    for (arguments, variable, expected) in [
        (&[][..], ("HOME", "/"), "enforce (default)"),
        (&[], ("USHER_RULES__0__MODE", "observe"), "observe (variable)"),
        (&["--set", "rules.0.mode=off"], ("USHER_RULES__0__MODE", "observe"), "off (flag)"),
    ] {
        let usher = Usher::serve(arguments, &variables(&url, variable), "");
        assert_eq!(logged_modes(&usher, 0), format!("staff-assigned {expected}"));
    }
}

#[test]
fn the_banner_says_so() {
    let serve = |more: &[&str]| {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"];
        Cli::new(&[&arguments, more].concat()).start()
    };
    let observing = serve(&["--observe"]);
    observing.wait_out("usher 0.1.0 in front of its own broker; it observes: nothing is suppressed");
    observing.wait_out("rules: staff-assigned observe (observe)");
    let enforcing = serve(&[]);
    enforcing.wait_out("rules: staff-assigned enforce (default)");
}
