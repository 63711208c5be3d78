//! Release checks: the story and the rooms through the relay with third-party production servers. `tests/upstreams`
//! runs them.

use serde_json::json;

use crate::browsers::rooms::{self, Habits, USUAL};
use crate::browsers::{Hotel, late, story};
use crate::bypassing;
use crate::harness::backend::Library;
use crate::harness::bodies::{ANNOUNCEMENT, message};
use crate::harness::guest::Device;
use crate::harness::{Backend, Fake, Guest, Pusher, Setup, Usher, eventually, sign};

/// The program in this environment variable.
fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; see tests/upstreams"))
}

fn sockudo() -> Pusher {
    Pusher::grown(&program("SOCKUDO_BIN"), |command, port| {
        command.envs([("HOST", "127.0.0.1"), ("PORT", port)]);
        command.envs([
            ("SOCKUDO_DEFAULT_APP_ID", sign::APP),
            ("SOCKUDO_DEFAULT_APP_KEY", sign::KEY),
            ("SOCKUDO_DEFAULT_APP_SECRET", sign::SECRET),
        ]);
        command.envs([("RATE_LIMITER_ENABLED", "false"), ("METRICS_ENABLED", "false")]);
        // Off by default.
        command.envs([
            ("SOCKUDO_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"),
            ("SOCKUDO_DEFAULT_APP_ENABLE_USER_AUTHENTICATION", "true"),
        ]);
    })
}

fn soketi_rs() -> Pusher {
    let apps = json!([{ "id": sign::APP, "key": sign::KEY, "secret": sign::SECRET }]).to_string();
    Pusher::grown(&program("SOKETI_RS_BIN"), |command, port| {
        command.envs([
            ("PUSHER_HOST", "127.0.0.1"),
            ("PUSHER_PORT", port),
            ("PUSHER_METRICS_ENABLED", "false"),
            ("PUSHER_APP_MANAGER_ARRAY_APPS", &apps),
        ]);
    })
}

/// soketi itself, as `tests/upstreams` installs it.
const SOKETI: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/soketi/node_modules/@soketi/soketi/bin/server.js");

fn soketi_node() -> Pusher {
    soketi_limited("-1")
}

/// The same, with a limit of events a second from the backend; -1: unlimited.
fn soketi_limited(events: &str) -> Pusher {
    soketi_with(events, "[]")
}

/// The same, with webhooks as JSON.
fn soketi_with(events: &str, webhooks: &str) -> Pusher {
    assert!(std::path::Path::new(SOKETI).exists(), "soketi is not installed; see tests/upstreams");
    Pusher::grown("node", |command, port| {
        command.args([SOKETI, "start"]).envs([("SOKETI_HOST", "127.0.0.1"), ("SOKETI_PORT", port)]);
        // It opens this port as well, even without metrics.
        command.envs([("SOKETI_METRICS_HOST", "127.0.0.1"), ("SOKETI_METRICS_SERVER_PORT", "0")]);
        command.envs([
            ("SOKETI_DEFAULT_APP_ID", sign::APP),
            ("SOKETI_DEFAULT_APP_KEY", sign::KEY),
            ("SOKETI_DEFAULT_APP_SECRET", sign::SECRET),
        ]);
        command.env("SOKETI_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SEC", events);
        command.env("SOKETI_DEFAULT_APP_WEBHOOKS", webhooks);
        // Off by default.
        command.envs([
            ("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"),
            ("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "true"),
        ]);
    })
}

/// The checks of one server, by the names of its tests. `answers_python`: whether it answers the GETs of the Python
/// library, which sign the MD5 of an empty body.
macro_rules! checks {
    ($server:ident, answers_python: $answers_python:expr, $habits:expr) => {
        mod $server {
            use super::*;

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn story_with_python() {
                story::every_event_is_received(&Hotel::before(super::$server(), Library::Python), Device::Node);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn story_with_node_in_a_page() {
                story::every_event_is_received(&Hotel::before(super::$server(), Library::Node), Device::Chromium);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn private_rooms() {
                rooms::private_rooms_are_private(&Hotel::before(super::$server(), Library::Python), Device::Node);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn presence() {
                rooms::presence_rooms_know_their_members(&Hotel::before(super::$server(), Library::Python), $habits);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn questions() {
                for (library, method, with, answered) in [
                    (Library::Python, "channels_info", json!([]), $answers_python),
                    (Library::Node, "get", json!([{ "path": "/channels", "params": {} }]), true),
                ] {
                    let answer = Hotel::before(super::$server(), library).backend.try_call(method, with);
                    assert_eq!(answer.is_ok(), answered, "{answer:?}");
                }
            }
        }
    };
}

checks!(soketi_node, answers_python: true, USUAL);
checks!(sockudo, answers_python: false, SOCKUDO);
checks!(soketi_rs, answers_python: true, Habits { adds_users_once: false, ..USUAL });

const SOCKUDO: Habits = Habits { knows_who: false, ..USUAL };

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_client_events() {
    rooms::guests_talk(&Hotel::before(sockudo(), Library::Node), SOCKUDO);
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_sign_in() {
    rooms::users_sign_in(&Hotel::before(sockudo(), Library::Node), "sendToUser");
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_cache_channels() {
    rooms::cache_channels_remember(&Hotel::before(sockudo(), Library::Python));
}

/// soketi refuses with a 200 and an error in the body. A refused announcement reached no guest, so its repeats are
/// forwarded until one is accepted.
#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_refuses_with_200() {
    const ANNA: &str = "Anna Byrne";
    let upstream = soketi_limited("1");
    let usher = Usher::start_with(&Setup::before_url(&upstream.url()).toml());
    let guest = Guest::connect(Device::Node, usher.gateway().port());
    let mut client = usher.client();
    // Its rate-limit interval may end between a message and the following announcement, which is then accepted; the
    // test tries another room.
    let refused = (1..=20).map(|number| format!("grand-room-{number}-chat")).find(|room| {
        guest.enter(room);
        client.trigger(&message(room, "Good evening!"));
        let answer = client.announce(room, ANNA);
        assert_eq!((answer.status, answer.decision().as_str()), (200, "forwarded"), "{answer:?}");
        answer.json() == json!({ "error": "Too many requests.", "code": 429 })
    });
    let room = refused.expect("no announcement was refused");
    eventually("an announcement is taken", || {
        let answer = client.announce(&room, ANNA);
        assert_eq!((answer.status, answer.decision().as_str()), (200, "forwarded"), "{answer:?}");
        (answer.json() == json!({ "ok": true })).then_some(())
    });
    client.announce(&room, ANNA).assert_suppressed();
    guest.wait(&room, ANNOUNCEMENT);
    assert_eq!(guest.heard(&room).iter().filter(|(event, _)| event == ANNOUNCEMENT).count(), 1);
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_is_bypassed() {
    bypassing::a_worker_bypasses(&soketi_node());
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_late_guests() {
    late::whoever_comes_late_reads_who_serves(&late::hotel(Some(soketi_node())), Device::Chromium);
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_client_events() {
    rooms::guests_talk(&Hotel::before(soketi_node(), Library::Node), USUAL);
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_sign_in() {
    rooms::users_sign_in(&Hotel::before(soketi_node(), Library::Node), "sendToUser");
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_cache_channels() {
    rooms::cache_channels_remember(&Hotel::before(soketi_node(), Library::Python));
}

/// soketi's webhooks tell usher of guests who connect to soketi itself, and go on to the backend as soketi signed them.
#[test]
#[ignore = "a release check: tests/upstreams"]
fn soketi_node_webhooks_are_taken_in() {
    const ROOM: &str = "grand-room-1-chat";
    let receiver = Fake::start();
    // soketi has to know where usher will listen.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let kinds = ["channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event"];
    let url = format!("http://127.0.0.1:{port}/pusher/webhooks");
    let upstream = soketi_with("-1", &json!([{ "url": url, "event_types": kinds }]).to_string());
    let mut setup = Setup::before_url(&upstream.url());
    setup.server = setup.server.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    setup.more += &format!(
        "[incoming_webhooks]\npath = \"/pusher/webhooks\"\nforward_to = \"http://{}/hooks\"\n",
        receiver.address()
    );
    let usher = Usher::start_with(&setup.toml());
    let backend = Backend::start(Library::Python, usher.gateway().port());
    let direct = Guest::connect_as(Device::Node, upstream.port(), "7", &backend);
    let told = || {
        let webhook = receiver.next_request();
        let (key, signature) = (webhook.header("x-pusher-key"), webhook.header("x-pusher-signature"));
        let read = backend.call("validate_webhook", json!([key, signature, webhook.text()]));
        read["events"].as_array().unwrap_or_else(|| panic!("{webhook:?}")).clone()
    };
    direct.enter(ROOM);
    assert_eq!(told(), [json!({ "name": "channel_occupied", "channel": ROOM })]);
    direct.enter("presence-bar");
    assert_eq!(told(), [json!({ "name": "channel_occupied", "channel": "presence-bar" })]);
    assert_eq!(told(), [json!({ "name": "member_added", "channel": "presence-bar", "user_id": "7" })]);
    assert_eq!(usher.admin().metric("usher_incoming_webhook_arrivals_total", &[]), 3.0);
    let mut client = usher.client();
    client.announce(ROOM, "Anna Byrne").assert_forwarded();
    client.announce(ROOM, "Anna Byrne").assert_suppressed();
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &[]), 2.0, "the call, and the guest beside usher");
    direct.actor().ask("unsubscribe", json!([ROOM]));
    assert_eq!(told(), [json!({ "name": "channel_vacated", "channel": ROOM })]);
    client.announce(ROOM, "Anna Byrne").assert_suppressed();
    assert_eq!(usher.admin().metric("usher_messages_saved_total", &[]), 3.0);
}
