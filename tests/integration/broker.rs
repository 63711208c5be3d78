//! usher with its embedded broker: guests over WebSocket, the backend over HTTP, both on the same listener.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::bodies::{announcement, message};
use crate::harness::cli::Cli;
use crate::harness::usher::Signal;
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Client, Fake, Request, Setup, Usher, sign};

const CHANNEL: &str = "hilton-room-12-chat";

/// The configuration without an upstream server.
fn setup() -> Setup {
    Setup { upstream: "url = \"local\"\n".to_owned(), ..Setup::before(&Fake::start()) }
}

fn local() -> Usher {
    Usher::start_with(&setup().toml())
}

/// A guest's page, and the id of its socket.
struct Guest(End, String);

impl Guest {
    /// Connects and reads the greeting.
    fn arrive(usher: &Usher) -> Self {
        let mut client = usher.client();
        client.send(&handshake().bytes());
        let mut guest = Self(End::switched(client), String::new());
        let (event, data) = guest.hear_event();
        assert_eq!(event, "pusher:connection_established");
        data["socket_id"].as_str().unwrap().clone_into(&mut guest.1);
        guest
    }

    /// Signs in as the user that `data` describes.
    fn sign_in(&mut self, data: &str) {
        let auth = sign::token(&format!("{}::user::{data}", self.1));
        self.say(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": data}}));
        assert_eq!(self.hear()["event"], "pusher:signin_success");
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

/// The guest receives each announcement once, and every message.
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
    assert_eq!(
        (announced, messages),
        (["Anna", "Boris", "Anna"].map(Value::from).to_vec(), staff.map(Value::from).to_vec())
    );
}

#[test]
fn the_api_answers_through_the_gateway() {
    let usher = local();
    let (_fourth, mut guest, mut backend) = (Guest::arrive(&usher), Guest::arrive(&usher), usher.client());
    guest.listen(CHANNEL);
    let info = format!(r#"{{"name":"e","data":"{{}}","channels":["{CHANNEL}"],"info":"subscription_count"}}"#);
    let counted = backend.trigger(&info);
    assert_eq!(
        (counted.decision().as_str(), counted.json()),
        ("forwarded", json!({"channels": {CHANNEL: {"subscription_count": 1}}}))
    );
    assert_eq!(get(&mut backend, "/apps/3/channels", ""), json!({"channels": {CHANNEL: {}}}));
    assert_eq!(
        get(&mut backend, &format!("/apps/3/channels/{CHANNEL}"), "info=subscription_count"),
        json!({"occupied": true, "subscription_count": 1})
    );
    let refused = backend.call(&Request::new("GET", "/apps/3/channels", b""));
    assert_eq!((refused.status, refused.header("content-type").as_deref()), (401, Some("text/plain; charset=utf-8")));
    // A refusal by the broker: no guest received the announcement, so it does not become known.
    let long = announcement(&format!("hilton-room-{}-chat", "1".repeat(200)), "Anna");
    assert_eq!(backend.trigger(&long).status, 400);
    assert_eq!(backend.trigger(&long).status, 400);
}

/// `threats.md` WS-11: no client message changes what usher remembers.
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
    assert_eq!(Guest(End::switched(client), String::new()).hear()["event"], "pusher:connection_established");
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
fn who_comes_back_before_the_end_is_served_and_sent_away_again() {
    let mut setup = setup();
    setup.server += "drain_delay = \"2s\"\n";
    let mut usher = Usher::start_with(&setup.toml());
    let mut guest = Guest::arrive(&usher);
    let began = Instant::now();
    usher.signal(Signal::Term);
    assert_eq!(guest.0.read().code(), Some(4100));
    guest.0.send(&Frame::close(4100, "")).wait_closed();
    let mut back = Guest::arrive(&usher);
    back.say(&json!({"event": "pusher:ping"}));
    assert_eq!(back.hear()["event"], "pusher:pong");
    assert_eq!(back.0.read().code(), Some(4100));
    assert!(began.elapsed() >= Duration::from_secs(2), "once there is nothing to come back to any more");
    back.0.send(&Frame::close(4100, "")).wait_closed();
    assert_eq!(usher.wait_exit(), 0);
}

/// An error on a connection that remains open has no code that makes clients disconnect; `usher subscribe` recognises
/// it from what it waits for.
#[test]
fn a_refused_subscription_ends_usher_subscribe() {
    let usher = local();
    let url = format!("ws://{}", usher.gateway());
    let refused = Cli::new(&["subscribe", "private-desk", "--url", &url, "--key", sign::KEY])
        .env("USHER_SECRET", "another")
        .run();
    assert!(refused.code == 1 && refused.err.contains("its signature does not match"), "{refused:?}");
}

#[test]
fn wrong_paths_are_closed_with_their_code() {
    let usher = local();
    for (target, code) in [("/app/nobody?protocol=7", 4001), ("/elsewhere", 4005), ("/app/278d425bdf160c739803", 4008)]
    {
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

/// A client that follows the WHATWG standard fails the connection if it offers a subprotocol and the server selects
/// none (docs/broker.md).
#[test]
fn the_subprotocol_that_is_offered_is_answered() {
    let mut setup = setup();
    setup.limits = "[limits.rates]\npeer_connections = 1\npeer_connections_burst = 3\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    for (offered, chosen) in [
        (None, None),
        (Some("chat"), None),
        (Some("chat, pusher-channels-protocol-7"), Some("pusher-channels-protocol-7")),
    ] {
        let mut client = usher.client();
        client.send(
            &offered
                .into_iter()
                .fold(handshake(), |handshake, offer| handshake.and("Sec-WebSocket-Protocol", offer))
                .bytes(),
        );
        let response = client.response();
        assert_eq!(
            (response.status, response.header("sec-websocket-protocol").as_deref()),
            (101, chosen),
            "{offered:?}"
        );
    }
    // Also if the client is switched only to receive a close to reconnect later.
    let mut client = usher.client();
    client.send(&handshake().and("Sec-WebSocket-Protocol", "pusher-channels-protocol-6").bytes());
    let response = client.response();
    assert_eq!(
        (response.status, response.header("sec-websocket-protocol").as_deref()),
        (101, Some("pusher-channels-protocol-6"))
    );
    assert_eq!(End::of(client).read().code(), Some(4100));
}

#[test]
fn the_limit_on_messages_is_the_brokers_as_well() {
    let mut setup = setup();
    setup.limits = "max_websocket_message = \"4KiB\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut guest = Guest::arrive(&usher);
    let ping = |size: usize| json!({"event": "pusher:ping", "data": "x".repeat(size - json!({"event": "pusher:ping", "data": ""}).to_string().len())});
    guest.say(&ping(4 * 1024));
    assert_eq!(guest.hear()["event"], "pusher:pong");
    guest.say(&ping(4 * 1024 + 1));
    assert_eq!(guest.0.read().code(), Some(1009));
    let usher = local();
    let mut guest = Guest::arrive(&usher);
    guest.say(&ping(128 * 1024));
    assert_eq!(guest.hear()["event"], "pusher:pong");
}

#[test]
fn a_clients_path_says_that_it_wants_a_websocket() {
    let usher = local();
    for target in ["/app/278d425bdf160c739803", "/app/nobody?protocol=7"] {
        let answer = usher.client().call(&Request::new("GET", target, b""));
        assert_eq!((answer.status, answer.header("upgrade").as_deref()), (426, Some("websocket")), "{answer:?}");
        assert!(answer.text().contains("clients connect here by WebSocket"), "{answer:?}");
    }
}

/// The Node.js library signs the id as it is, and its HTTP client escapes it in the request line (docs/broker.md).
#[test]
fn a_user_whose_id_is_escaped_is_disconnected() {
    let usher = local();
    let mut zoe = Guest::arrive(&usher);
    zoe.sign_in(r#"{"id":"Zoë B."}"#);
    let path = |id: &str| format!("/apps/3/users/{id}/terminate_connections");
    let query = sign::query("POST", &path("Zoë B."), "", b"{}");
    let answer = usher.client().call(&Request::new("POST", &format!("{}?{query}", path("Zo%C3%AB%20B.")), b"{}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert_eq!(zoe.0.read().code(), Some(4009));
}

#[test]
fn a_client_without_the_required_sign_in_is_disconnected() {
    let mut setup = setup();
    setup.more = "[broker]\nsign_in_timeout = \"500ms\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let (mut stranger, mut known) = (Guest::arrive(&usher), Guest::arrive(&usher));
    known.sign_in(r#"{"id":"7"}"#);
    assert_eq!(stranger.0.read().code(), Some(4009));
    known.say(&json!({"event": "pusher:ping"}));
    assert_eq!(known.hear()["event"], "pusher:pong");
}

/// Values that no browser sends are rejected at the configuration.
#[test]
fn origins_that_no_page_has_are_refused() {
    for (origins, told) in
        [("hotel.example", "write \"https://hotel.example\""), ("https://hotel.example/chat", "An origin has no path")]
    {
        let refused =
            Cli::new(&["check", "--set", &format!("broker.allowed_origins=https://a.example,{origins}")]).run();
        assert!(
            refused.code == 78 && refused.err.contains("broker.allowed_origins") && refused.err.contains(told),
            "{refused:?}"
        );
    }
}
