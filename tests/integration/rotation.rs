//! `[[apps.keys]]`: an app with several pairs of key and secret, each of which is valid, so that a pair can be replaced
//! without a refusal.

use serde_json::{Value, json};

use crate::harness::bodies::{announcement, announcement_on, batch, item, staff};
use crate::harness::usher::{Signal, message};
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Fake, Gate, Recorded, Request, Setup, Step, Usher, eventually, sign};

const CHANNEL: &str = "h-room-1-chat";
const OTHER: &str = "h-room-2-chat";

/// A key and its secret.
type Pair = (&'static str, &'static str);

const OLD: Pair = (sign::KEY, sign::SECRET);
const NEW: Pair = ("next-key", "next-secret");
const THIRD: Pair = ("third-key", "third-secret");

/// The configuration with `pairs`, the first of them beside the app's id.
fn toml(setup: &Setup, pairs: &[Pair]) -> String {
    let [first, others @ ..] = pairs else { panic!("an app has a pair") };
    let more = others
        .iter()
        .map(|(key, secret)| format!("[[apps.keys]]\nkey = \"{key}\"\nsecret = \"{secret}\"\n"))
        .collect::<String>();
    setup.toml().replace(
        &format!("key = \"{}\"\nsecret = \"{}\"\n", OLD.0, OLD.1),
        &format!("key = \"{}\"\nsecret = \"{}\"\n{more}", first.0, first.1),
    )
}

/// A trigger that `pair` signed.
fn signed((key, secret): Pair, path: &str, body: &str) -> Request {
    let query = sign::query_of("POST", path, "", body.as_bytes(), key, secret, sign::now());
    Request::new("POST", &format!("{path}?{query}"), body.as_bytes())
}

fn events(pair: Pair, body: &str) -> Request {
    signed(pair, "/apps/3/events", body)
}

fn is_signed_by((key, secret): Pair, request: &Recorded) -> bool {
    sign::verifies_by(&request.method(), &request.target(), &request.body, key, secret)
}

fn reload(usher: &Usher, toml: &str) -> Value {
    let from = usher.log_lines();
    usher.rewrite_config(toml);
    usher.signal(Signal::Hup);
    usher.wait_log_after(from, |event| message(event).contains("reloaded"))
}

/// Runs `test` with each of the two readers of triggers.
fn with_both_readers(pairs: &[Pair], test: impl Fn(&Usher, &Fake, &Setup)) {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut setup = Setup::before(&fake);
        setup.server += &format!("fast_path = {fast_path}\n");
        test(&Usher::start_with(&toml(&setup, pairs)), &fake, &setup);
    }
}

#[test]
fn each_pair_is_valid_and_signs_anew_what_it_signed() {
    with_both_readers(&[OLD, NEW, THIRD], |usher, fake, _| {
        let mut client = usher.client();
        client.call(&events(OLD, &announcement(CHANNEL, "Anna"))).assert_forwarded();
        for pair in [OLD, NEW, THIRD] {
            let before = fake.count();
            client.call(&events(pair, &announcement(CHANNEL, "Anna"))).assert_suppressed();
            let other = format!("h-room-{}-chat", pair.0);
            let both = announcement_on(&[CHANNEL, &other], "Anna");
            let items = batch(&[item("staff-assigned", CHANNEL, &staff("Anna")), item("other", CHANNEL, "{}")]);
            for request in [events(pair, &both), signed(pair, "/apps/3/batch_events", &items)] {
                let answer = client.call(&request);
                assert_eq!((answer.status, answer.decision().as_str()), (200, "reduced"), "{pair:?}: {answer:?}");
            }
            let sent = &fake.requests()[before..];
            assert!(sent.len() == 2 && sent.iter().all(|request| is_signed_by(pair, request)), "{pair:?}: {sent:?}");
        }
    });
}

#[test]
fn a_secret_is_valid_with_its_own_key_only() {
    with_both_readers(&[OLD, NEW], |usher, fake, _| {
        let mut client = usher.client();
        let body = announcement(CHANNEL, "Anna");
        for (pair, code) in [
            ((OLD.0, NEW.1), "auth_signature_mismatch"),
            ((NEW.0, OLD.1), "auth_signature_mismatch"),
            (THIRD, "unknown_auth_key"),
        ] {
            client.call(&events(pair, &body)).assert_error(401, code);
        }
        assert_eq!(fake.count(), 0);
    });
}

/// The whole rotation: the new pair is added, the backend changes to it, the old pair is removed. Nothing is refused
/// and nothing is forgotten.
#[test]
fn a_rotation_refuses_nothing_and_forgets_nothing() {
    with_both_readers(&[OLD], |usher, _fake, setup| {
        // The same connection all the time: its reader keeps what it knows of the caller's form.
        let mut client = usher.client();
        client.call(&events(OLD, &announcement(CHANNEL, "Anna"))).assert_forwarded();
        client.call(&events(NEW, &announcement(CHANNEL, "Anna"))).assert_error(401, "unknown_auth_key");
        reload(usher, &toml(setup, &[OLD, NEW]));
        for pair in [OLD, NEW, OLD, NEW] {
            client.call(&events(pair, &announcement(CHANNEL, "Anna"))).assert_suppressed();
        }
        reload(usher, &toml(setup, &[NEW]));
        client.call(&events(NEW, &announcement(CHANNEL, "Anna"))).assert_suppressed();
        client.call(&events(OLD, &announcement(CHANNEL, "Anna"))).assert_error(401, "unknown_auth_key");
    });
}

/// The caller's pair was valid when the trigger came, and upstream may know no other yet.
#[test]
fn what_waited_while_its_pair_was_removed_is_signed_by_that_pair() {
    with_both_readers(&[OLD, NEW], |usher, fake, setup| {
        let gate = Gate::new();
        fake.script([Step::hold(&gate, Step::ok())]);
        let (mut first, mut second) = (usher.client(), usher.client());
        first.send(&events(NEW, &announcement(CHANNEL, "Anna")).bytes());
        fake.next_request();
        second.send(&events(OLD, &announcement_on(&[CHANNEL, OTHER], "Anna")).bytes());
        eventually("the second trigger waits", || (usher.admin().metric("usher_waiters", &[]) == 1.0).then_some(()));
        reload(usher, &toml(setup, &[NEW]));
        gate.open();
        first.response().assert_forwarded();
        assert_eq!(second.response().status, 200);
        assert!(is_signed_by(OLD, &fake.next_request()));
    });
}

#[test]
fn a_key_belongs_to_one_app() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&toml(&setup, &[OLD, NEW]));
    for more in [
        format!("[[apps]]\nid = \"4\"\nkey = \"{}\"\nsecret = \"s\"\n", NEW.0),
        format!(
            "[[apps]]\nid = \"4\"\nkey = \"k\"\nsecret = \"s\"\n[[apps.keys]]\nkey = \"{}\"\nsecret = \"s\"\n",
            OLD.0
        ),
    ] {
        let from = usher.log_lines();
        usher.rewrite_config(&toml(&Setup { more, ..setup.clone() }, &[OLD, NEW]));
        usher.signal(Signal::Hup);
        usher.wait_log_after(from, |event| message(event).contains("A key belongs to one app and has one secret"));
        usher.wait_log_after(from, |event| message(event).contains("the old one stays"));
    }
    usher.client().call(&events(NEW, &announcement(CHANNEL, "Anna"))).assert_forwarded();
}

/// A client of the embedded broker that connected by the key of `pair`, and the id of its socket.
fn connect(usher: &Usher, (key, _): Pair) -> Result<(End, String), u16> {
    let mut client = usher.client();
    client.send(&handshake().line(&format!("GET /app/{key}?protocol=7 HTTP/1.1")).bytes());
    let mut end = End::switched(client);
    let frame = end.read();
    if let Some(code) = frame.code() {
        return Err(code);
    }
    let greeting: Value = serde_json::from_slice(&frame.payload).unwrap();
    let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
    Ok((end, data["socket_id"].as_str().unwrap().to_owned()))
}

/// Subscribes to a private channel with a token of `pair`, and returns the broker's answer.
fn subscribe(end: &mut End, socket_id: &str, channel: &str, (key, secret): Pair) -> Value {
    let auth = sign::token_of(&format!("{socket_id}:{channel}"), key, secret);
    end.send(&Frame::text(
        &json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": auth}}).to_string(),
    ));
    serde_json::from_slice(&end.read().payload).unwrap()
}

#[test]
fn the_embedded_broker_takes_each_pair_for_connections_channels_and_triggers() {
    let mut setup = Setup::before_url("local");
    "url = \"local\"\n".clone_into(&mut setup.upstream);
    setup.more = "[broker]\nsubscription_counts = false\n".to_owned();
    let usher = Usher::start_with(&toml(&setup, &[OLD, NEW]));
    let (mut first, first_id) = connect(&usher, OLD).unwrap();
    let (mut second, second_id) = connect(&usher, NEW).unwrap();
    // Whichever key a client connected by, the backend may sign for it with either pair.
    for (channel, pair) in [("private-a", OLD), ("private-b", NEW)] {
        for (end, id) in [(&mut first, &first_id), (&mut second, &second_id)] {
            let answer = subscribe(end, id, channel, pair);
            assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{channel} {answer}");
        }
    }
    assert_eq!(subscribe(&mut first, &first_id, "private-c", (OLD.0, NEW.1))["event"], "pusher:error");
    let mut backend = usher.client();
    for (pair, channel) in [(OLD, "private-a"), (NEW, "private-b")] {
        let body = json!({"name": "e", "channels": [channel], "data": "{}"}).to_string();
        backend.call(&events(pair, &body)).assert_forwarded();
        for end in [&mut first, &mut second] {
            let heard: Value = serde_json::from_slice(&end.read().payload).unwrap();
            assert_eq!((&heard["event"], &heard["channel"]), (&json!("e"), &json!(channel)));
        }
    }
    assert_eq!(usher.admin().metric("usher_ws_connections", &["app=\"3\""]), 2.0);

    // A client that is connected stays connected when its key is removed; new ones are refused.
    reload(&usher, &toml(&setup, &[NEW]));
    assert_eq!(connect(&usher, OLD).err(), Some(4001));
    connect(&usher, NEW).unwrap();
    let answer = subscribe(&mut first, &first_id, "private-d", NEW);
    assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
    assert_eq!(subscribe(&mut first, &first_id, "private-e", OLD)["event"], "pusher:error");
}
