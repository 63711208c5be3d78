//! Webhooks at the front door: what the embedded broker sends, and what comes in from the server behind usher. The
//! receiver is the tests' own fake server, which records raw bytes.

mod judged;
mod sending;
mod taking_in;

use serde_json::{Value, json};

use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Fake, Recorded, Setup, Usher, sign};

/// A client of the embedded broker.
struct Client {
    end: End,
    id: String,
}

impl Client {
    /// Connects and reads the greeting.
    fn connect(usher: &Usher) -> Self {
        Self::connect_by(usher, sign::KEY)
    }

    /// The same with the key of another app.
    fn connect_by(usher: &Usher, key: &str) -> Self {
        let mut client = usher.client();
        client.send(&handshake().line(&format!("GET /app/{key}?protocol=7 HTTP/1.1")).bytes());
        let mut client = Self { end: End::switched(client), id: String::new() };
        let greeting = client.hear();
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        data["socket_id"].as_str().unwrap().clone_into(&mut client.id);
        client
    }

    fn say(&mut self, message: &Value) {
        self.end.send(&Frame::text(&message.to_string()));
    }

    fn hear(&mut self) -> Value {
        serde_json::from_slice(&self.end.read().payload).unwrap()
    }

    /// Subscribes as this user, if it is a presence channel, and waits for the confirmation.
    fn subscribe(&mut self, channel: &str, user: Option<&str>) {
        let data = user.map(|user| json!({ "user_id": user }).to_string());
        let signed = data
            .as_ref()
            .map_or_else(|| format!("{}:{channel}", self.id), |data| format!("{}:{channel}:{data}", self.id));
        let auth = sign::token(&signed);
        self.say(&json!({
            "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth, "channel_data": data }
        }));
        while self.hear()["event"] != "pusher_internal:subscription_succeeded" {}
    }

    fn unsubscribe(&mut self, channel: &str) {
        self.say(&json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } }));
    }
}

/// The events of the webhook of this app: those that there are.
const ALL: &str = r#"["channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event", "cache_miss", "subscription_count"]"#;

/// The configuration of usher with its embedded broker and one webhook to `receiver`.
fn setup(receiver: &Fake, events: &str) -> Setup {
    setup_to(&format!("http://{}/hooks?from=usher", receiver.address()), events)
}

fn setup_to(url: &str, events: &str) -> Setup {
    let mut setup = Setup::before_url("local");
    setup.apps = webhook(url, events);
    setup
}

fn webhook(url: &str, events: &str) -> String {
    format!("[[apps.webhooks]]\nurl = \"{url}\"\nevents = {events}\n")
}

/// The events in a webhook that must be genuine.
#[track_caller]
fn events(webhook: &Recorded) -> Vec<Value> {
    events_by(webhook, sign::KEY, sign::SECRET)
}

/// The same with another pair.
#[track_caller]
fn events_by(webhook: &Recorded, key: &str, secret: &str) -> Vec<Value> {
    assert_eq!((webhook.method().as_str(), webhook.target().as_str()), ("POST", "/hooks?from=usher"));
    let header = |name: &str| webhook.header(name).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        (header("x-pusher-key").as_str(), header("x-pusher-signature")),
        (key, sign::webhook(&webhook.text(), secret))
    );
    let body = webhook.json();
    let time = body["time_ms"].as_u64().unwrap() / 1000;
    assert!(sign::now().abs_diff(time) < 60, "{body}");
    body["events"].as_array().unwrap().clone()
}

/// Takes webhooks until `count` events have come.
#[track_caller]
fn next_events(receiver: &Fake, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(events(&receiver.next_request()));
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

fn occupied(channel: &str) -> Value {
    json!({ "name": "channel_occupied", "channel": channel })
}

fn vacated(channel: &str) -> Value {
    json!({ "name": "channel_vacated", "channel": channel })
}

fn member(name: &str, channel: &str, user: &str) -> Value {
    json!({ "name": name, "channel": channel, "user_id": user })
}
