//! What the embedded broker sends, judged by the official libraries, with the cases of soketi's webhook tests
//! (`tests/webhooks.test.ts`): pusher-js comes and goes, and pusher-http-node and pusher-http-python read what is told.

use serde_json::json;

use super::*;
use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::{Backend, Guest};

/// usher, what receives its webhooks, and who judges them.
struct Hotel {
    receiver: Fake,
    usher: Usher,
    node: Backend,
    python: Backend,
}

impl Hotel {
    fn open(events: &str) -> Self {
        let receiver = Fake::start();
        let usher = Usher::start_with(&setup(&receiver, events).toml());
        let port = usher.gateway().port();
        let (node, python) = (Backend::start(Library::Node, port), Backend::start(Library::Python, port));
        Self { receiver, usher, node, python }
    }

    fn guest(&self, user: &str) -> Guest {
        Guest::connect_as(Device::Node, self.usher.gateway().port(), user, &self.node)
    }

    /// The next `count` events, as both libraries read them.
    #[track_caller]
    fn told(&self, count: usize) -> Vec<Value> {
        let mut all = Vec::new();
        while all.len() < count {
            let webhook = self.receiver.next_request();
            let (key, signature) = (webhook.header("x-pusher-key"), webhook.header("x-pusher-signature"));
            let headers = json!({
                "x-pusher-key": key, "x-pusher-signature": signature, "content-type": webhook.header("content-type")
            });
            let body = webhook.text();
            let by_node = self.node.call("webhook", json!([{ "headers": headers, "rawBody": body }]));
            let by_python = self.python.call("validate_webhook", json!([key, signature, body]));
            assert_eq!(by_node["valid"], true, "{webhook:?}");
            assert_eq!((&by_python["events"], &by_python["time_ms"]), (&by_node["events"], &by_node["time"]));
            all.extend(by_node["events"].as_array().unwrap().clone());
            // Neither takes another body.
            let forged = body.replace("time_ms", "time_Ms");
            let refused = self.node.call("webhook", json!([{ "headers": headers, "rawBody": forged }]));
            assert_eq!(refused["valid"], false);
            assert_eq!(self.python.call("validate_webhook", json!([key, signature, forged])), Value::Null);
        }
        assert_eq!(all.len(), count, "{all:?}");
        all
    }
}

/// "webhooks from client events".
#[test]
fn client_events() {
    let hotel = Hotel::open(r#"["client_event"]"#);
    let (one, two) = (hotel.guest("1"), hotel.guest("2"));
    for guest in [&one, &two] {
        guest.enter("private-room");
    }
    two.actor().ask("trigger", json!(["private-room", "client-greeting", { "message": "hello" }]));
    one.wait("private-room", "client-greeting");
    assert_eq!(
        hotel.told(1),
        [json!({
            "name": "client_event", "channel": "private-room", "event": "client-greeting", "data": { "message": "hello" },
            "socket_id": two.socket()
        })]
    );
}

/// "webhooks from channel_occupied and channel_vacated".
#[test]
fn channels_occupied_and_vacated() {
    let hotel = Hotel::open(r#"["channel_occupied", "channel_vacated"]"#);
    let guest = hotel.guest("1");
    guest.enter("private-room");
    guest.actor().ask("unsubscribe", json!(["private-room"]));
    // Within the grace nothing has ended.
    guest.enter("private-room");
    assert_eq!(hotel.told(1), [occupied("private-room")]);
    guest.actor().ask("unsubscribe", json!(["private-room"]));
    assert_eq!(hotel.told(1), [vacated("private-room")]);
}

/// "webhooks from member_added and member_removed". A `user_id` is a string, as in all of Pusher's events; soketi passes
/// a number on.
#[test]
fn members_added_and_removed() {
    let hotel = Hotel::open(r#"["member_added", "member_removed"]"#);
    let (john, alice) = (hotel.guest("1"), hotel.guest("2"));
    john.enter("presence-room");
    alice.enter("presence-room");
    alice.actor().ask("leave", json!([]));
    assert_eq!(
        hotel.told(3),
        [
            member("member_added", "presence-room", "1"),
            member("member_added", "presence-room", "2"),
            member("member_removed", "presence-room", "2"),
        ]
    );
}

/// "webhooks from cache_miss".
#[test]
fn cache_misses() {
    let hotel = Hotel::open(r#"["cache_miss"]"#);
    let (one, two) = (hotel.guest("1"), hotel.guest("2"));
    one.enter("cache-room");
    assert_eq!(hotel.told(1), [json!({ "name": "cache_miss", "channel": "cache-room" })]);
    hotel.node.trigger("cache-room", "greeting", &json!({ "message": "hello" }));
    two.enter("cache-room");
    two.wait("cache-room", "greeting");
    two.enter("cache-hall");
    assert_eq!(hotel.told(1), [json!({ "name": "cache_miss", "channel": "cache-hall" })], "none of the first channel");
}
