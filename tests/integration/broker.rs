//! usher with its embedded broker: guests over WebSocket, the backend over HTTP, both through the same front door.

use serde_json::{Value, json};

use crate::harness::bodies::{announcement, message};
use crate::harness::usher::Signal;
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Client, Fake, Request, Setup, Usher};

const CHANNEL: &str = "hilton-room-12-chat";

/// The configuration with nothing behind usher.
fn setup() -> Setup {
    Setup { upstream: "url = \"local\"\n".to_owned(), ..Setup::before(&Fake::start()) }
}

fn local() -> Usher {
    Usher::start_with(&setup().toml())
}

/// A guest's page.
struct Guest(End);

impl Guest {
    /// Connects and reads the greeting.
    fn arrive(usher: &Usher) -> Self {
        let mut client = usher.client();
        client.send(&handshake().bytes());
        let mut guest = Self(End::switched(client));
        assert_eq!(guest.hear()["event"], "pusher:connection_established");
        guest
    }

    fn say(&mut self, message: &Value) {
        self.0.send(&Frame::text(&message.to_string()));
    }

    fn hear(&mut self) -> Value {
        serde_json::from_slice(&self.0.read().payload).unwrap()
    }

    fn listen(&mut self, channel: &str) {
        self.say(&json!({"event": "pusher:subscribe", "data": {"channel": channel}}));
        assert_eq!(self.hear()["event"], "pusher_internal:subscription_succeeded");
        assert_eq!(self.hear()["event"], "pusher_internal:subscription_count");
    }

    /// The next message's event and decoded data.
    fn hear_event(&mut self) -> (String, Value) {
        let heard = self.hear();
        let data = serde_json::from_str(heard["data"].as_str().unwrap()).unwrap();
        (heard["event"].as_str().unwrap().to_owned(), data)
    }
}

fn get(client: &mut Client, path: &str, extra: &str) -> Value {
    let answer = client.call(&Request::signed("GET", path, extra, b""));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// design 1: the guest reads each announcement once, and every message.
#[test]
fn the_guest_sees_each_handoff_once_and_every_message() {
    let usher = local();
    let (mut guest, mut backend) = (Guest::arrive(&usher), usher.client());
    guest.listen(CHANNEL);
    let staff = ["Anna", "Anna", "Boris", "Boris", "Boris", "Anna"];
    for name in staff {
        let announced = backend.announce(CHANNEL, name);
        assert_eq!((announced.status, announced.text().as_str()), (200, "{}"));
        assert_eq!(backend.trigger(&message(CHANNEL, name)).text(), "{}");
    }
    let (mut announced, mut messages) = (Vec::new(), Vec::new());
    while messages.len() < staff.len() {
        match guest.hear_event() {
            (event, data) if event == "staff-assigned" => announced.push(data["staff_name"].clone()),
            (_, data) => messages.push(data["message"].clone()),
        }
    }
    assert_eq!((announced, messages), (["Anna", "Boris", "Anna"].map(Value::from).to_vec(), staff.map(Value::from).to_vec()));
}

#[test]
fn the_api_answers_through_the_gateway() {
    let usher = local();
    let (_fourth, mut guest, mut backend) = (Guest::arrive(&usher), Guest::arrive(&usher), usher.client());
    guest.listen(CHANNEL);
    let info = format!(r#"{{"name":"e","data":"{{}}","channels":["{CHANNEL}"],"info":"subscription_count"}}"#);
    let counted = backend.trigger(&info);
    assert_eq!((counted.decision().as_str(), counted.json()), ("forwarded", json!({"channels": {CHANNEL: {"subscription_count": 1}}})));
    assert_eq!(get(&mut backend, "/apps/3/channels", ""), json!({"channels": {CHANNEL: {}}}));
    assert_eq!(
        get(&mut backend, &format!("/apps/3/channels/{CHANNEL}"), "info=subscription_count"),
        json!({"occupied": true, "subscription_count": 1})
    );
    let refused = backend.call(&Request::new("GET", "/apps/3/channels", b""));
    assert_eq!((refused.status, refused.header("content-type").as_deref()), (401, Some("text/plain; charset=utf-8")));
    // A refusal of the broker's own: the announcement was no news, for nobody heard it.
    let long = announcement(&format!("hilton-room-{}-chat", "1".repeat(200)), "Anna");
    assert_eq!(backend.trigger(&long).status, 400);
    assert_eq!(backend.trigger(&long).status, 400);
}

/// `threats.md` WS-11: nothing that a client says changes what usher remembers.
#[test]
fn a_client_cannot_touch_the_memory() {
    let usher = local();
    let (mut forger, mut backend) = (Guest::arrive(&usher), usher.client());
    forger.listen(CHANNEL);
    backend.announce(CHANNEL, "Anna").assert_forwarded();
    assert_eq!(forger.hear_event().0, "staff-assigned");
    let known = usher.admin().assignment(CHANNEL);
    for event in ["staff-assigned", "client-staff-assigned"] {
        forger.say(&json!({"event": event, "channel": CHANNEL, "data": {"staff_name": "Mallory"}}));
        assert_eq!(forger.hear()["event"], "pusher:error");
    }
    assert_eq!(usher.admin().assignment(CHANNEL), known);
    backend.announce(CHANNEL, "Anna").assert_suppressed();
}

#[test]
fn a_reload_reaches_the_broker() {
    let usher = local();
    let mut guest = Guest::arrive(&usher);
    let seen = usher.log_lines();
    let more = Setup { more: "[[apps]]\nid = \"4\"\nkey = \"fourth\"\nsecret = \"s\"\n".to_owned(), ..setup() };
    usher.rewrite_config(&more.toml());
    usher.signal(Signal::Hup);
    usher.wait_log_after(seen, |event| event.to_string().contains("was reloaded"));
    let mut client = usher.client();
    client.send(&handshake().line("GET /app/fourth?protocol=7 HTTP/1.1").bytes());
    assert_eq!(Guest(End::switched(client)).hear()["event"], "pusher:connection_established");
    guest.say(&json!({"event": "pusher:ping"}));
    assert_eq!(guest.hear()["event"], "pusher:pong");
}

#[test]
fn a_drain_sends_everybody_away() {
    let mut usher = local();
    let mut guests: Vec<_> = (0..20).map(|_| Guest::arrive(&usher)).collect();
    assert_eq!(usher.admin().metric("usher_ws_connections", &["app=\"3\""]), 20.0);
    usher.signal(Signal::Term);
    for guest in &mut guests {
        assert_eq!(guest.0.read().code(), Some(4100));
        guest.0.send(&Frame::close(4100, ""));
    }
    assert_eq!(usher.wait_exit(), 0);
}

#[test]
fn wrong_doors_are_told_by_the_code() {
    let usher = local();
    for (target, code) in [("/app/nobody?protocol=7", 4001), ("/elsewhere", 4005), ("/app/278d425bdf160c739803", 4008)] {
        let mut client = usher.client();
        client.send(&handshake().line(&format!("GET {target} HTTP/1.1")).bytes());
        assert_eq!(End::switched(client).read().code(), Some(code), "{target}");
    }
}

#[test]
fn pages_of_other_origins_are_kept_out_where_origins_are_named() {
    let mut setup = setup();
    setup.more = "[broker]\nallowed_origins = [\"https://hotel.example\"]\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    Guest::arrive(&usher);
    let mut elsewhere = handshake();
    elsewhere.headers.retain(|(name, _)| name != "Origin");
    let mut client = usher.client();
    client.send(&elsewhere.bytes());
    End::switched(client);
    elsewhere.headers.push(("Origin".to_owned(), "https://evil.example".to_owned()));
    let mut client = usher.client();
    client.send(&elsewhere.bytes());
    assert_eq!(client.response().status, 403);
}
