//! What the embedded broker sends: which events, signed by whom, put together, repeated, bounded, and at the end.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::harness::script::Gate;
use crate::harness::tls::{Identity, terminate};
use crate::harness::usher::{Signal, field, message, text};
use crate::harness::{Step, eventually};

#[test]
fn every_kind_of_event_is_told() {
    let receiver = Fake::start();
    let usher = Usher::start_with(&setup(&receiver, ALL).toml());
    let (mut one, mut two) = (Client::connect(&usher), Client::connect(&usher));
    one.subscribe("presence-cache-bar", Some("7"));
    two.subscribe("presence-cache-bar", Some("8"));
    one.subscribe("room", None);
    assert_eq!(
        next_events(&receiver, 7),
        [
            occupied("presence-cache-bar"),
            member("member_added", "presence-cache-bar", "7"),
            json!({ "name": "cache_miss", "channel": "presence-cache-bar" }),
            member("member_added", "presence-cache-bar", "8"),
            json!({ "name": "cache_miss", "channel": "presence-cache-bar" }),
            occupied("room"),
            json!({ "name": "subscription_count", "channel": "room", "subscription_count": 1 }),
        ]
    );
    two.say(&json!({ "event": "client-typing", "channel": "presence-cache-bar", "data": { "on": [true, "é"] } }));
    assert_eq!(
        next_events(&receiver, 1),
        [json!({
            "name": "client_event", "channel": "presence-cache-bar", "event": "client-typing", "data": { "on": [true, "é"] },
            "socket_id": two.id, "user_id": "8"
        })]
    );
    two.end.hang_up();
    one.unsubscribe("room");
    let mut last = next_events(&receiver, 3);
    // Two clients leave at the same time.
    last.sort_by_key(|event| event["name"].to_string());
    assert_eq!(
        last,
        [
            vacated("room"),
            member("member_removed", "presence-cache-bar", "8"),
            json!({ "name": "subscription_count", "channel": "room", "subscription_count": 0 }),
        ]
    );
    assert_eq!(usher.admin().metric("usher_webhook_events_total", &["app=\"3\"", "outcome=\"delivered\""]), 11.0);
    assert_eq!(usher.admin().metric("usher_webhook_events_waiting", &[]), 0.0);
}

/// A page that is loaded again leaves and comes back within 3 s.
#[test]
fn a_page_that_is_loaded_again_says_nothing() {
    let receiver = Fake::start();
    let usher = Usher::start_with(&setup(&receiver, ALL).toml());
    let (mut page, mut other) = (Client::connect(&usher), Client::connect(&usher));
    page.subscribe("presence-bar", Some("7"));
    other.subscribe("presence-hall", Some("8"));
    next_events(&receiver, 4);
    let left = Instant::now();
    page.end.hang_up();
    other.end.hang_up();
    let mut again = Client::connect(&usher);
    again.subscribe("presence-bar", Some("7"));
    // What the other page leaves is told after the grace; nothing of the first one is told before or with it.
    let told = next_events(&receiver, 2);
    assert_eq!(told, [member("member_removed", "presence-hall", "8"), vacated("presence-hall")]);
    assert!(left.elapsed() >= Duration::from_millis(2_990), "{:?}", left.elapsed());
    again.unsubscribe("presence-bar");
    assert_eq!(next_events(&receiver, 2), [member("member_removed", "presence-bar", "7"), vacated("presence-bar")]);
}

#[test]
fn what_is_not_taken_is_sent_again_as_it_was() {
    let receiver = Fake::start();
    receiver.script([Step::status(500), Step::close(), Step::status(302)]);
    let usher = Usher::start_with(&setup(&receiver, r#"["channel_occupied"]"#).toml());
    let mut client = Client::connect(&usher);
    client.subscribe("room", None);
    let first = receiver.next_request();
    client.subscribe("second", None);
    assert_eq!(events(&first), [occupied("room")]);
    for _ in 0..3 {
        let again = receiver.next_request();
        let signature = |request: &Recorded| request.header("x-pusher-signature");
        assert_eq!((&again.body, signature(&again)), (&first.body, signature(&first)));
    }
    assert_eq!(next_events(&receiver, 1), [occupied("second")], "in their order");
    let requests = |result: &str| usher.admin().metric("usher_webhook_requests_total", &[result]);
    eventually("all are counted", || (requests("result=\"taken\"") == 2.0).then_some(()));
    assert_eq!((requests("result=\"refused\""), requests("result=\"failed\"")), (2.0, 1.0));
    let warned = usher.wait_log(|event| message(event).starts_with("a webhook was not taken"));
    assert_eq!((field(&warned, "status"), text(&warned, "cause")), (&json!(500), "status"));
    assert!(!usher.logs().contains("from=usher"), "a query may hold a secret");
    usher.wait_log(|event| message(event) == "a webhook was taken");
}

#[test]
fn a_receiver_that_does_not_answer_is_waited_for_no_longer_than_the_timeout() {
    let receiver = Fake::start();
    receiver.script([Step::silence()]);
    let mut setup = setup(&receiver, r#"["channel_occupied"]"#);
    setup.more += "[webhooks]\ntimeout = \"300ms\"\n";
    let usher = Usher::start_with(&setup.toml());
    Client::connect(&usher).subscribe("room", None);
    receiver.next_request();
    assert_eq!(events(&receiver.next_request()), [occupied("room")]);
    let warned = usher.wait_log(|event| message(event).starts_with("a webhook was not taken"));
    assert_eq!(text(&warned, "cause"), "timeout");
}

#[test]
fn what_finds_no_space_is_counted_and_logged() {
    let receiver = Fake::start();
    let gate = Gate::default();
    receiver.script([Step::hold(&gate, Step::ok())]);
    let mut setup = setup(&receiver, r#"["channel_occupied"]"#);
    setup.more += "[webhooks]\nqueue = 100\n";
    let usher = Usher::start_with(&setup.toml());
    let mut client = Client::connect(&usher);
    client.subscribe("first", None);
    receiver.next_request();
    for number in 0..150 {
        client.subscribe(&format!("room-{number}"), None);
    }
    let lost = || usher.admin().metric("usher_webhook_events_total", &["outcome=\"queue_full\""]);
    assert_eq!((lost(), usher.admin().metric("usher_webhook_events_waiting", &[])), (51.0, 100.0));
    gate.open();
    next_events(&receiver, 99);
    let warned = usher.wait_log(|event| message(event).starts_with("events of a webhook were lost"));
    assert_eq!(field(&warned, "lost"), 51);
    client.subscribe("last", None);
    assert_eq!(next_events(&receiver, 1), [occupied("last")]);
}

#[test]
fn at_the_end_it_is_told_that_all_are_gone() {
    let receiver = Fake::start();
    let mut usher = Usher::start_with(&setup(&receiver, ALL).toml());
    let mut client = Client::connect(&usher);
    client.subscribe("presence-bar", Some("7"));
    next_events(&receiver, 2);
    usher.signal(Signal::Term);
    client.end.wait_closed();
    assert_eq!(next_events(&receiver, 2), [member("member_removed", "presence-bar", "7"), vacated("presence-bar")]);
    assert_eq!(usher.wait_exit(), 0);
    let drained = usher.wait_log(|event| message(event) == "drained");
    assert_eq!(field(&drained, "untold"), 0);
}

#[test]
fn a_dead_receiver_does_not_keep_usher_from_its_end() {
    let receiver = Fake::start();
    let mut usher = Usher::start_with(&setup(&receiver, ALL).toml());
    let mut client = Client::connect(&usher);
    client.subscribe("presence-bar", Some("7"));
    next_events(&receiver, 2);
    let delivered = || usher.admin().metric("usher_webhook_events_total", &["outcome=\"delivered\""]);
    eventually("they are taken", || (delivered() == 2.0).then_some(()));
    receiver.refuse();
    usher.signal(Signal::Term);
    client.end.wait_closed();
    assert_eq!(usher.wait_exit(), 0);
    let given_up = usher.wait_log(|event| message(event) == "a webhook was given up");
    assert_eq!(text(&given_up, "cause"), "unreachable");
    let drained = usher.wait_log(|event| message(event) == "drained");
    assert_eq!(field(&drained, "untold"), 2);
}

#[test]
fn a_reload_adds_and_removes_receivers_and_takes_the_next_key() {
    let (old, new) = (Fake::start(), Fake::start());
    let usher = Usher::start_with(&setup(&old, r#"["channel_occupied"]"#).toml());
    let mut client = Client::connect(&usher);
    client.subscribe("one", None);
    assert_eq!(next_events(&old, 1), [occupied("one")]);
    // Another receiver beside the first one, which wants other events now.
    let mut both = setup(&old, r#"["channel_vacated"]"#);
    both.apps += &webhook(&format!("http://{}/hooks?from=usher", new.address()), r#"["channel_occupied"]"#);
    usher.reload(&both.toml());
    client.subscribe("two", None);
    assert_eq!(next_events(&new, 1), [occupied("two")]);
    client.unsubscribe("one");
    assert_eq!(next_events(&old, 1), [vacated("one")]);
    // The first one is removed, and another app with a webhook of its own is added.
    let mut last = setup(&new, r#"["channel_occupied"]"#);
    last.more += "[[apps]]\nid = \"4\"\nkey = \"another-key\"\nsecret = \"another-secret\"\n";
    last.more += &webhook(&format!("http://{}/hooks?from=usher", old.address()), r#"["channel_occupied"]"#);
    usher.reload(&last.toml());
    client.subscribe("three", None);
    assert_eq!(next_events(&new, 1), [occupied("three")]);
    Client::connect_by(&usher, "another-key").subscribe("four", None);
    assert_eq!(events_by(&old.next_request(), "another-key", "another-secret"), [occupied("four")]);
    assert_eq!((old.count(), new.count()), (3, 2), "each is told of its own app");
}

#[test]
fn a_receiver_with_tls_has_to_be_trusted() {
    let (receiver, identity) = (Fake::start(), Identity::new());
    let directory = tempfile::tempdir().unwrap();
    let (certificate, _) = identity.write_to(directory.path());
    let url = format!("https://localhost:{}/hooks?from=usher", terminate(receiver.address(), &identity).port());
    let mut setup = setup_to(&url, r#"["channel_occupied"]"#);
    let usher = Usher::start_with(&setup.toml());
    Client::connect(&usher).subscribe("room", None);
    let warned = usher.wait_log(|event| message(event).starts_with("a webhook was not taken"));
    assert_eq!(text(&warned, "cause"), "tls_failed", "{warned}");
    assert_eq!(receiver.count(), 0);
    // The authority comes by a reload, and the webhook with its next attempt.
    setup.more += &format!("[webhooks]\nca_file = {certificate:?}\n");
    usher.rewrite_config(&setup.toml());
    usher.signal(Signal::Hup);
    assert_eq!(next_events(&receiver, 1), [occupied("room")]);
}
