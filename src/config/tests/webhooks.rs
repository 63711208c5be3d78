//! `[webhooks]` and `[[apps.webhooks]]`: what the embedded broker tells.

use std::time::Duration;

use super::*;
use crate::webhooks::EventKind;

/// A file with one webhook, of these lines.
fn with_webhook(lines: &str) -> Setup {
    file(&format!("{}[[apps.webhooks]]\n{lines}\n", LISTS[0].1))
}

#[test]
fn an_app_has_none_unless_they_are_named() {
    let none = file("").accepted();
    assert_eq!(
        (none.webhook_targets, none.webhooks.timeout, none.webhooks.queue),
        (vec![], Duration::from_secs(4), 10_000)
    );
    let named =
        with_webhook("url = \"http://127.0.0.1:1/a?b=c\"\nevents = [\"cache_miss\", \"client_event\"]").accepted();
    let [target] = &named.webhook_targets[..] else { panic!("{:?}", named.webhook_targets) };
    assert_eq!((target.app.as_str(), target.url.to_string()), ("1001", "http://127.0.0.1:1/a?b=c".to_owned()));
    for kind in EventKind::ALL {
        assert_eq!(target.events.has(kind), matches!(kind, EventKind::CacheMiss | EventKind::ClientEvent));
    }
}

#[test]
fn variables_name_them_as_well() {
    let config = file("")
        .variable("USHER_APPS__0__WEBHOOKS__0__URL", "https://hotel.example/hooks")
        .variable("USHER_APPS__0__WEBHOOKS__0__EVENTS", "member_added,member_removed")
        .accepted();
    assert_eq!(config.webhook_targets.len(), 1);
    assert!(config.webhook_targets[0].events.has(EventKind::MemberRemoved));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    for (url, problem) in [
        ("ftp://h/", "begin with http://"),
        ("h/hooks", "begin with http://"),
        ("http://", "cannot be read"),
        ("http://:80/", "it names no host"),
        ("http://user:word@h/", "Credentials"),
        ("https://h/#part", "fragment"),
        ("https://h!h/", "no certificate can be for this host"),
    ] {
        let fault = with_webhook(&format!("url = {url:?}\nevents = \"cache_miss\"")).fault();
        assert!(fault.contains("apps.0.webhooks.0.url") && fault.contains(problem), "{url}: {fault}");
        assert!(!fault.contains("word@"), "{fault}");
    }
    assert!(with_webhook("url = \"http://h/\"").fault().contains("`apps.0.webhooks.0.events` is missing"));
    let unknown = with_webhook("url = \"http://h/\"\nevents = [\"member_add\"]").fault();
    assert!(unknown.contains("is no event of webhooks") && unknown.contains("member_added"), "{unknown}");
    let twice = "url = \"http://h/\"\nevents = \"cache_miss\"";
    let fault = with_webhook(&format!("{twice}\n[[apps.webhooks]]\n{twice}")).fault();
    assert!(fault.contains("apps.0.webhooks.1.url"), "{fault}");
}

#[test]
fn another_server_sends_its_own() {
    let text = format!("{UPSTREAM}{}[[apps.webhooks]]\nurl = \"http://h/\"\nevents = \"cache_miss\"\n", LISTS[0].1);
    let warnings = warning_texts(&file(&text).accepted());
    assert!(warnings.iter().any(|warning| warning.contains("embedded broker alone")), "{warnings:?}");
}

#[test]
fn a_reload_applies_the_webhooks_and_not_what_applies_to_all() {
    let changed = file("webhooks.timeout = \"1s\"\nwebhooks.queue = 100\n").accepted();
    assert_eq!(file("").accepted().reloadable_difference(&changed), ["webhooks.timeout", "webhooks.queue"]);
    let added = with_webhook("url = \"http://h/\"\nevents = \"cache_miss\"").accepted();
    assert_eq!(file("").accepted().reloadable_difference(&added), [""; 0]);
}

#[test]
fn webhooks_are_taken_in_where_a_path_is_named() {
    assert_eq!(file(UPSTREAM).accepted().incoming_webhooks, None);
    let named = file(UPSTREAM).flag("incoming_webhooks.path", "/pusher/webhooks").accepted();
    let options = named.incoming_webhooks.unwrap();
    assert_eq!((options.path.as_str(), options.forward_to), ("/pusher/webhooks", None));
    assert_eq!((options.max_age, options.timeout), (Duration::from_mins(5), Duration::from_secs(3)));
    for refused in
        ["pusher", "/", "//a", "/a/", "/a/../b", "/a?b", "/a b", "/apps/1/events", "/app/key", "/x/apps/1", "/%61"]
    {
        let fault = file(UPSTREAM).flag("incoming_webhooks.path", refused).fault();
        assert!(fault.starts_with("flag: incoming_webhooks.path\n"), "{refused}: {fault}");
    }
    let fault = file(UPSTREAM).flag("incoming_webhooks.forward_to", "hotel.example/hooks").fault();
    assert!(fault.contains("begin with http://"), "{fault}");
}

#[test]
fn webhooks_that_nobody_sends_or_takes_are_warned_of() {
    let forwarded = file(UPSTREAM).flag("incoming_webhooks.forward_to", "http://h/").accepted();
    assert!(warning_texts(&forwarded).iter().any(|warning| warning.contains("no webhook is taken in")));
    let local = file("").flag("incoming_webhooks.path", "/hooks").accepted();
    assert!(warning_texts(&local).iter().any(|warning| warning.contains("sends no webhooks to usher")));
}

#[test]
fn webhooks_are_not_handed_on_to_usher_itself() {
    let setup = file(UPSTREAM).flag("incoming_webhooks.path", "/hooks").flag("server.listen", "127.0.0.1:6001");
    let fault = setup.flag("incoming_webhooks.forward_to", "http://localhost:6001/hooks").fault();
    assert!(fault.contains("hand every webhook on to itself"), "{fault}");
}

#[test]
fn the_query_of_an_address_is_not_shown() {
    let lines = "url = \"http://h/hooks?token=t0p\"\nevents = \"cache_miss\"";
    let config = with_webhook(lines).flag("incoming_webhooks.forward_to", "http://h/?token=t0p").accepted();
    let shown = |key: &str| config.values.iter().find(|value| value.key == key).unwrap().value.clone();
    assert_eq!(shown("apps.0.webhooks.0.url"), "http://h/hooks?MASKED");
    assert_eq!(shown("incoming_webhooks.forward_to"), "http://h/?MASKED");
}
