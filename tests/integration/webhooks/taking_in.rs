//! Webhooks of the server behind usher: who may send them, what they tell, and that they are handed on as they came.

use serde_json::json;

use super::*;
use crate::harness::bodies::announcement;
use crate::harness::usher::{message, text};
use crate::harness::{Request, Response, Step};

const PATH: &str = "/pusher/webhooks";
const ROOM: &str = "inn-room-1-chat";

/// usher before `upstream`, which hands webhooks on to `receiver`.
fn setup_between(upstream: &Fake, receiver: &Fake) -> Setup {
    let mut setup = Setup::before(upstream);
    setup.more = format!(
        "[incoming_webhooks]\npath = \"{PATH}\"\nforward_to = \"http://{}/hooks?token=t0p\"\n",
        receiver.address()
    );
    setup
}

/// usher that hands webhooks on to nobody.
fn setup_alone(upstream: &Fake) -> Setup {
    let mut setup = Setup::before(upstream);
    setup.more = format!("[incoming_webhooks]\npath = \"{PATH}\"\n");
    setup
}

/// The body of a webhook that is made now.
fn body(events: &Value) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    body_at(now.as_millis().try_into().unwrap(), events)
}

fn body_at(time_ms: u64, events: &Value) -> String {
    json!({ "time_ms": time_ms, "events": events }).to_string()
}

fn send(usher: &Usher, body: &str) -> Response {
    usher.client().call(&Request::webhook(PATH, body))
}

fn count(number: usize) -> Value {
    json!({ "name": "subscription_count", "channel": ROOM, "subscription_count": number })
}

#[test]
fn a_webhook_is_handed_on_as_it_came_and_its_receiver_answers() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let usher = Usher::start_with(&setup_between(&upstream, &receiver).toml());
    receiver.script([Step::says(202, "Content-Type: text/plain\r\nX-Own: 1\r\nConnection: keep-alive\r\n", b"taken")]);
    // White space and escapes are those of the sender.
    let body = format!(
        "{{ \"time_ms\":{}, \"events\" : [{{\"name\":\"channel_occupied\",\"channel\":\"\\u0061\"}}]}}\n",
        sign::now() * 1000
    );
    let answer = usher.client().call(&Request::webhook(PATH, &body).header("X-Own-Token", "abc"));
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-own").as_deref()), (202, "taken", Some("1")));
    let handed_on = receiver.next_request();
    assert_eq!((handed_on.request_line().as_str(), handed_on.text()), ("POST /hooks?token=t0p HTTP/1.1", body.clone()));
    for (name, value) in [
        ("x-pusher-key", sign::KEY),
        ("x-pusher-signature", &sign::webhook(&body, sign::SECRET)),
        ("content-type", "application/json"),
        ("x-own-token", "abc"),
        ("host", &receiver.address().to_string()),
    ] {
        assert_eq!(handed_on.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!((upstream.count(), receiver.count()), (0, 1));
    let series = usher.admin().series();
    for name in [
        "usher_incoming_webhooks_total{app=\"3\",result=\"taken\"}",
        "usher_incoming_webhook_events_total{app=\"3\",event=\"channel_occupied\"}",
        "usher_incoming_webhook_arrivals_total{app=\"3\"}",
        "usher_http_requests_total{code_class=\"2xx\",kind=\"webhook\"}",
    ] {
        assert_eq!(series.get(name), Some(&1.0), "{name}");
    }
    assert!(!usher.logs().contains("t0p"));
}

/// Nobody is connected through usher, which saves messages to each of the subscribers that webhooks tell of.
#[test]
fn webhooks_tell_who_is_subscribed() {
    let upstream = Fake::start();
    let usher = Usher::start_with(&setup_alone(&upstream).toml());
    let mut backend = usher.client();
    let mut saved = 0.0;
    let mut repeat = |expected: f64| {
        backend.announce(ROOM, "Anna").assert_suppressed();
        let now = usher.admin().metric("usher_messages_saved_total", &[]);
        assert_eq!(now - saved, expected);
        saved = now;
    };
    usher.client().announce(ROOM, "Anna").assert_forwarded();
    repeat(1.0);
    for (event, audience) in [
        (json!({ "name": "channel_occupied", "channel": ROOM }), 1.0),
        (count(5), 5.0),
        (count(4), 4.0),
        (json!({ "name": "member_added", "channel": ROOM, "user_id": "7" }), 4.0),
        (json!({ "name": "channel_vacated", "channel": ROOM }), 0.0),
        (count(2), 2.0),
        (count(0), 0.0),
    ] {
        assert_eq!(send(&usher, &body(&json!([event]))).status, 200, "{event}");
        repeat(1.0 + audience);
    }
    assert_eq!(usher.admin().metric("usher_incoming_webhook_arrivals_total", &[]), 4.0);
    assert_eq!(upstream.count(), 1);
    let report = usher.admin().report();
    assert_eq!(report["rules"][0]["audience_known"], true, "{report}");
}

#[test]
fn who_came_is_told_to_the_rules() {
    tells_who_came("forward");
}

/// Who is connected elsewhere cannot be handed anything, so the next announcement goes on.
#[test]
fn who_came_elsewhere_is_sent_what_would_be_replayed() {
    tells_who_came("replay");
}

/// A rule that asks for late joiners is told who came, and until webhooks tell of everybody, somebody may have come.
fn tells_who_came(late_joiners: &str) {
    let upstream = Fake::start();
    let mut setup = setup_alone(&upstream);
    setup.rule = format!("late_joiners = \"{late_joiners}\"\n");
    let usher = Usher::start_with(&setup.toml());
    let mut backend = usher.client();
    let mut announce = |decision: &str, reason: &str| {
        let answer = backend.announce(ROOM, "Anna");
        let got = (answer.decision(), answer.header("usher-reason").unwrap_or_default());
        assert_eq!((got.0.as_str(), got.1.as_str()), (decision, reason));
    };
    announce("forwarded", "nothing_known");
    announce("forwarded", "late_joiner");
    // It tells of the first subscriber alone.
    send(&usher, &body(&json!([occupied(ROOM)]))).assert_status(200);
    announce("forwarded", "late_joiner");
    announce("forwarded", "late_joiner");
    send(&usher, &body(&json!([count(1)]))).assert_status(200);
    announce("forwarded", "late_joiner");
    announce("suppressed", "same_assignment");
    for came in [count(2), occupied(ROOM), json!({ "name": "member_added", "channel": ROOM, "user_id": "7" })] {
        send(&usher, &body(&json!([came]))).assert_status(200);
        announce("forwarded", "late_joiner");
        announce("suppressed", "same_assignment");
    }
    let elsewhere = json!({ "name": "channel_occupied", "channel": "inn-room-2-chat" });
    for nobody in [count(1), count(0), vacated(ROOM), elsewhere] {
        send(&usher, &body(&json!([nobody]))).assert_status(200);
        announce("suppressed", "same_assignment");
    }
    // What was taken once tells nobody again.
    let webhook = body(&json!([count(3)]));
    send(&usher, &webhook).assert_status(200);
    announce("forwarded", "late_joiner");
    send(&usher, &webhook).assert_status(200);
    announce("suppressed", "same_assignment");
}

#[test]
fn whoever_cannot_sign_is_refused() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let usher = Usher::start_with(&setup_between(&upstream, &receiver).toml());
    let body = body(&json!([occupied(ROOM)]));
    let mut client = usher.client();
    let valid = Request::webhook(PATH, &body);
    let without = |name: &str| {
        let mut request = valid.clone();
        request.headers.retain(|(header, _)| header != name);
        request
    };
    let signature = sign::webhook(&body, sign::SECRET);
    for (request, code) in [
        (without("X-Pusher-Key"), "webhook_key_missing"),
        (valid.clone().header("X-Pusher-Key", sign::KEY), "webhook_key_missing"),
        (Request::webhook_by(PATH, &body, "another-key", sign::SECRET), "webhook_key_unknown"),
        (without("X-Pusher-Signature"), "webhook_signature_missing"),
        (valid.clone().header("X-Pusher-Signature", &signature), "webhook_signature_missing"),
        (Request::webhook_by(PATH, &body, sign::KEY, "another-secret"), "webhook_signature_mismatch"),
        (
            without("X-Pusher-Signature").header("X-Pusher-Signature", &signature.to_uppercase()),
            "webhook_signature_mismatch",
        ),
        (without("X-Pusher-Signature").header("X-Pusher-Signature", ""), "webhook_signature_mismatch"),
        (Request { body: body.replace("inn", "ann").into_bytes(), ..valid.clone() }, "webhook_signature_mismatch"),
    ] {
        client.call(&request).assert_error(401, code);
    }
    assert_eq!((upstream.count(), receiver.count()), (0, 0));
    assert_eq!(usher.admin().metric("usher_incoming_webhooks_total", &[]), 0.0);
    assert_eq!(usher.admin().metric("usher_errors_total", &["code=\"webhook_signature_mismatch\""]), 4.0);
    client.call(&valid).assert_status(200);
}

#[test]
fn what_is_old_early_malformed_or_too_long_is_refused() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let usher = Usher::start_with(&setup_between(&upstream, &receiver).toml());
    let now = sign::now() * 1000;
    let many = |count: usize| json!(vec![json!({ "name": "channel_occupied", "channel": "room" }); count]);
    for (body, status, code) in [
        (body_at(now - 310_000, &json!([])), 400, "webhook_out_of_time"),
        (body_at(now + 310_000, &json!([])), 400, "webhook_out_of_time"),
        (body_at(0, &json!([])), 400, "webhook_out_of_time"),
        ("{}".to_owned(), 400, "webhook_malformed"),
        (String::new(), 400, "webhook_malformed"),
        (format!("{{\"time_ms\":\"{now}\",\"events\":[]}}"), 400, "webhook_malformed"),
        (body_at(now, &many(1001)), 413, "webhook_too_many_events"),
        (body_at(now, &json!([{ "name": "x", "data": "x".repeat(1024 * 1024) }])), 413, "body_too_large"),
    ] {
        send(&usher, &body).assert_error(status, code);
    }
    assert_eq!(receiver.count(), 0);
    for body in [body_at(now, &many(1000)), body_at(now - 290_000, &json!([])), body_at(now + 290_000, &json!([]))] {
        send(&usher, &body).assert_status(200);
        assert_eq!(receiver.next_request().text(), body);
    }
    assert_eq!(usher.admin().metric("usher_incoming_webhook_events_total", &["event=\"channel_occupied\""]), 1000.0);
}

#[test]
fn the_same_again_does_nothing_once_it_was_taken() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let setup = setup_between(&upstream, &receiver);
    let usher = Usher::start_with(&setup.toml());
    let body = body(&json!([occupied(ROOM)]));
    receiver.script([Step::status(500), Step::close(), Step::status(404)]);
    send(&usher, &body).assert_status(500);
    send(&usher, &body).assert_error(502, "webhook_forward_failed");
    send(&usher, &body).assert_status(404);
    send(&usher, &body).assert_status(200);
    assert_eq!(receiver.count(), 4, "what the receiver did not take comes again");
    for _ in 0..3 {
        send(&usher, &body).assert_status(200);
    }
    // A reload that changes the section keeps in mind what was taken.
    let mut changed = setup;
    changed.more += "timeout = \"2s\"\n";
    usher.reload(&changed.toml());
    send(&usher, &body).assert_status(200);
    assert_eq!(receiver.count(), 4);
    let webhooks = |result: &str| usher.admin().metric("usher_incoming_webhooks_total", &[result]);
    assert_eq!(
        (webhooks("result=\"not_forwarded\""), webhooks("result=\"taken\""), webhooks("result=\"repeated\"")),
        (3.0, 1.0, 4.0)
    );
    let warned = usher.wait_log(|event| message(event).starts_with("a webhook that came in was not handed on"));
    assert_eq!(text(&warned, "cause"), "connection_lost");
}

#[test]
fn a_receiver_that_is_dead_or_silent_is_no_receiver() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let mut setup = setup_between(&upstream, &receiver);
    setup.more += "timeout = \"300ms\"\n";
    let usher = Usher::start_with(&setup.toml());
    receiver.script([Step::silence()]);
    let body = body(&json!([count(7)]));
    send(&usher, &body).assert_error(504, "webhook_forward_timeout");
    receiver.refuse();
    send(&usher, &body).assert_error(502, "webhook_forward_failed");
    // What it says counts all the same.
    usher.client().announce(ROOM, "Anna").assert_forwarded();
    usher.client().announce(ROOM, "Anna").assert_suppressed();
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &[]), 8.0);
    receiver.accept_again();
    send(&usher, &body).assert_status(200);
}

#[test]
fn two_apps_are_told_apart() {
    let upstream = Fake::start();
    let mut setup = setup_alone(&upstream);
    setup.more += "[[apps]]\nid = \"4\"\nkey = \"another-key\"\nsecret = \"another-secret\"\n[[apps.keys]]\nkey = \"next-key\"\nsecret = \"next-secret\"\n";
    let usher = Usher::start_with(&setup.toml());
    let body = body(&json!([count(3)]));
    let mut client = usher.client();
    for (key, secret) in [("another-key", "another-secret"), ("next-key", "next-secret")] {
        client.call(&Request::webhook_by(PATH, &body, key, secret)).assert_status(200);
    }
    client
        .call(&Request::webhook_by(PATH, &body, sign::KEY, "another-secret"))
        .assert_error(401, "webhook_signature_mismatch");
    let taken = |app: &str| usher.admin().metric("usher_incoming_webhooks_total", &[app, "result=\"taken\""]);
    assert_eq!((taken("app=\"3\""), taken("app=\"4\"")), (0.0, 2.0));
    // The audience of the other app's channel is as before.
    client.announce(ROOM, "Anna").assert_forwarded();
    client.announce(ROOM, "Anna").assert_suppressed();
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &["app=\"3\""]), 1.0);
}

#[test]
fn only_a_post_to_the_path_is_a_webhook_and_a_reload_changes_it() {
    let (upstream, receiver) = (Fake::start(), Fake::start());
    let setup = setup_between(&upstream, &receiver);
    let off = Setup::before(&upstream);
    let usher = Usher::start_with(&off.toml());
    let mut client = usher.client();
    let webhook = |target: &str| Request::webhook(target, &body(&json!([occupied(target)])));
    client.call(&webhook(PATH)).assert_status(200);
    assert_eq!(upstream.next_request().target(), PATH, "none are taken in");
    usher.reload(&setup.toml());
    client.call(&webhook(PATH)).assert_status(200);
    assert_eq!(receiver.next_request().target(), "/hooks?token=t0p");
    client.call(&webhook(&format!("{PATH}?from=pusher"))).assert_status(200);
    receiver.next_request();
    let others = [webhook("/pusher/webhooks/"), webhook("/pusher/webhook"), Request::new("GET", PATH, b"")];
    for request in &others {
        client.call(request).assert_status(200);
        assert_eq!(upstream.next_request().target(), request.target);
    }
    let mut moved = setup_alone(&upstream);
    moved.more = moved.more.replace(PATH, "/other");
    usher.reload(&moved.toml());
    client.call(&webhook("/other")).assert_status(200);
    client.call(&webhook(PATH)).assert_status(200);
    assert_eq!((upstream.next_request().target().as_str(), receiver.count()), (PATH, 2));
    // A trigger is a trigger as before.
    client.trigger(&announcement(ROOM, "Anna")).assert_forwarded();
}
