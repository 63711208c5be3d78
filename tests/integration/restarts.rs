//! Requests that a process does not know: those of an earlier process, and those decided before its rules changed.
//! Nothing is suppressed until they can no longer be applied.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::bodies::announcement;
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Gate, Request, Setup, Step, Usher, eventually, sign};

const CHANNEL: &str = "h-room-1-chat";

#[test]
fn nothing_is_suppressed_at_first() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.start_doubt = "1h");
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    let decisions = usher.admin().decisions();
    assert_eq!(decisions.len(), 2);
    for decision in decisions {
        assert!(decision["why"].as_str().is_some_and(|why| why.contains("assignments.start_doubt")), "{decision}");
        assert_eq!((&decision["decision"], &decision["reason"]), (&"forwarded".into(), &"just_started".into()));
    }
    assert!(usher.admin().json("/overview")["start_doubt_until"].is_string());
    let told = usher.wait_log(|event| message(event).contains("nothing is suppressed at first"));
    assert_eq!(crate::harness::usher::field(&told, "seconds"), 3600.0);
}

#[test]
fn the_doubt_of_the_start_ends() {
    let fake = Fake::start();
    let began = Instant::now();
    let usher = Usher::start(&fake, |setup| setup.start_doubt = "1s");
    eventually("something is suppressed", || {
        (usher.client().announce(CHANNEL, "A").decision() == "suppressed").then_some(())
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(usher.admin().json("/overview")["start_doubt_until"], serde_json::Value::Null);
}

/// A known; B in flight when the process is killed; the next process has A accepted, and then B is applied. Guests need
/// the next A.
#[test]
fn what_a_killed_process_has_left_is_not_forgotten() {
    let fake = Fake::start();
    let toml = |setup: &mut Setup| {
        setup.timeout = "1s";
        setup.doubt_period = "20s";
        setup.start_doubt = "";
    };
    let usher = Usher::start(&fake, toml);
    let gate = Gate::new();
    fake.script([Step::hold(&gate, Step::ok())]);
    let mut client = usher.client();
    client.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    fake.next_request();
    drop(usher);
    let usher = Usher::start(&fake, toml);
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    gate.open();
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

#[test]
fn the_embedded_broker_ends_with_its_process_and_leaves_no_doubt() {
    let usher = Usher::start_with(&Setup { start_doubt: "", ..Setup::before_url("local") }.toml());
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
}

/// The time without suppression after the end of a request that hangs while `before` becomes `after` and then times
/// out.
fn unsuppressed_after_a_reload(
    before: impl Fn(&mut Setup),
    after: impl Fn(&mut Setup),
    (id, key): (&str, &str),
) -> Duration {
    let fake = Fake::start();
    let setup = |adjust: &dyn Fn(&mut Setup)| {
        let mut setup = Setup::before(&fake);
        (setup.timeout, setup.doubt_period) = ("1500ms", "2s");
        adjust(&mut setup);
        setup.toml()
    };
    let usher = Usher::start_with(&setup(&before));
    let announce = |staff: &str| {
        let (path, body) = (format!("/apps/{id}/events"), announcement(CHANNEL, staff));
        let query = sign::query_of("POST", &path, "", body.as_bytes(), key, sign::SECRET, sign::now());
        Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
    };
    fake.script([Step::silence()]);
    let mut hanging = usher.client();
    hanging.send(&announce("B").bytes());
    fake.next_request();
    usher.rewrite_config(&setup(&after));
    usher.signal(Signal::Hup);
    usher.wait_log(|event| message(event) == "the configuration was reloaded");
    hanging.response().assert_error(504, "upstream_timeout");
    let ended = Instant::now();
    eventually("something is suppressed", || {
        (usher.client().call(&announce("A")).decision() == "suppressed").then_some(())
    });
    ended.elapsed()
}

#[test]
fn an_ambiguous_end_begins_the_doubt_anew_for_a_rule_that_came_meanwhile() {
    let off = |setup: &mut Setup| setup.rule = "mode = \"off\"\n".to_owned();
    for fast_path in [true, false] {
        let path = move |setup: &mut Setup| setup.server += &format!("fast_path = {fast_path}\n");
        let elapsed = unsuppressed_after_a_reload(|setup| (off(setup), path(setup)).1, path, (sign::APP, sign::KEY));
        assert!(elapsed >= Duration::from_millis(1900), "{elapsed:?}");
    }
}

#[test]
fn an_ambiguous_end_begins_the_doubt_anew_for_an_app_that_came_meanwhile() {
    let forward = |setup: &mut Setup| setup.server += "unknown_apps = \"forward\"\n";
    let app = format!("\n[[apps]]\nid = \"4\"\nkey = \"other\"\nsecret = \"{}\"\n", sign::SECRET);
    let elapsed = unsuppressed_after_a_reload(
        forward,
        |setup| {
            forward(setup);
            setup.more.clone_from(&app);
        },
        ("4", "other"),
    );
    assert!(elapsed >= Duration::from_millis(1900), "{elapsed:?}");
}

/// Upstream never confirms acceptance: nothing is suppressed, and usher logs that.
#[test]
fn an_upstream_that_never_answers_with_json_is_logged() {
    let fake = Fake::start();
    fake.otherwise(|_| Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let usher = Usher::start(&fake, |_| {});
    for room in 0..6 {
        usher.client().announce(&format!("h-room-{room}-chat"), "A").assert_forwarded();
    }
    usher.client().announce("h-room-0-chat", "A").assert_forwarded();
    let warnings = usher.logs().lines().filter(|line| line.contains("never with a JSON object")).count();
    assert_eq!(warnings, 1, "{}", usher.logs());
    let newest = usher.admin().decisions().remove(0);
    assert_eq!(newest["reason"], "no_success_format", "{newest}");
    assert_eq!(usher.admin().metric("usher_trigger_outcomes_total", &["outcome=\"ambiguous\""]), 7.0);
}
