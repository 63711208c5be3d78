//! What a reload changes beside apps and rules: who is let in by the operator's listener, the log's level, and limits.

use serde_json::json;

use crate::harness::admin::{Admin, TOKEN};
use crate::harness::bodies::announcement;
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Operator, Request, Response, Setup, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

fn reload(usher: &Usher, setup: &Setup) {
    let from = usher.log_lines();
    usher.rewrite_config(&setup.toml());
    usher.signal(Signal::Hup);
    let event = usher.wait_log_after(from, |event| {
        let said = message(event);
        said == "the configuration was reloaded" || said.contains("cannot be used") || said.contains("needs a restart")
    });
    assert_eq!(message(&event), "the configuration was reloaded", "{event}");
}

/// A request with this token, under this name.
fn ask(admin: Admin, method: &str, target: &str, token: &str, host: &str) -> Response {
    let request = Request::new(method, target, b"").header("Authorization", &format!("Bearer {token}"));
    admin.send(&request.host(host))
}

const FORGET: &str = "/assignments?app=3&channel=h-room-1-chat";

#[test]
fn the_tokens_the_names_and_the_environment_are_changed_by_a_reload() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let admin = usher.admin();
    assert_eq!(ask(admin, "DELETE", FORGET, TOKEN, "localhost").status, 200);
    ask(admin, "GET", "/overview", TOKEN, "usher.hotel.example:9601").assert_error(421, "foreign_host");
    assert_eq!(admin.json("/overview")["name"], "");

    let line = format!("token = \"{TOKEN}\"\n");
    setup.admin = setup.admin.replace(&line, "token = \"the-next-token\"\nread_token = \"for-reading\"\n")
        + "allowed_hosts = [\"Usher.Hotel.example\"]\nname = \"production\"\n";
    reload(&usher, &setup);
    ask(admin, "DELETE", FORGET, TOKEN, "localhost").assert_error(401, "token_wrong");
    assert_eq!(ask(admin, "DELETE", FORGET, "the-next-token", "localhost").status, 200);
    ask(admin, "DELETE", FORGET, "for-reading", "localhost").assert_error(403, "token_reads_only");
    let overview = ask(admin, "GET", "/overview", "for-reading", "usher.hotel.example:9601");
    assert_eq!((overview.status, overview.json()["name"].as_str()), (200, Some("production")));
    ask(admin, "GET", "/overview", "for-reading", "hotel.example").assert_error(421, "foreign_host");

    setup.admin = setup.admin.replace("token = \"the-next-token\"\n", "");
    reload(&usher, &setup);
    ask(admin, "DELETE", FORGET, "the-next-token", "localhost").assert_error(403, "token_not_set");
    assert_eq!(ask(admin, "GET", "/overview", "", "localhost").json()["token_configured"], false);
}

#[test]
fn where_others_can_reach_the_listener_the_read_token_reads_and_changes_nothing() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.admin = "listen = \"0.0.0.0:0\"\nread_token = \"for-reading-alone\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let admin = usher.admin();
    for target in ["/overview", "/assignments", "/report", "/"] {
        assert_eq!(ask(admin, "GET", target, "for-reading-alone", "any.example").status, 200, "{target}");
        ask(admin, "GET", target, "wrong", "localhost").assert_error(401, "token_wrong");
        admin.call_openly("GET", target).assert_error(401, "token_missing");
    }
    ask(admin, "DELETE", FORGET, "for-reading-alone", "localhost").assert_error(403, "token_not_set");
    let switch = Request::new("POST", "/rules/mode", json!({"app": "3"}).to_string().as_bytes());
    let switch = switch.header("Authorization", "Bearer for-reading-alone").host("localhost");
    admin.send(&switch).assert_error(403, "token_not_set");
}

#[test]
fn the_page_shows_the_environment_in_title_and_header() {
    let mut setup = Setup::before_url("local");
    setup.admin += "name = \"staging <b>\"\n";
    let usher = Usher::start_with(&setup.toml());
    let operator = Operator::open(usher.admin());
    operator.sees("#environment", "staging <b>");
    assert_eq!(operator.reads("title"), ["usher · staging <b>"]);
}

#[test]
fn the_log_level_is_changed_by_a_reload() {
    let fake = Fake::start();
    let setup = Setup::before(&fake);
    let usher = Usher::start_with(&setup.toml());
    let logged = |level: &str| usher.logs().contains(&format!("\"level\":\"{level}\""));
    let hang_up = || {
        let mut client = usher.client();
        client.send(&Request::events(&announcement(CHANNEL, "A")).head()[..40]).finish_writing();
        client.read_to_close();
    };
    hang_up();
    assert!(!logged("DEBUG"), "{}", usher.logs());
    usher.rewrite_config(&setup.toml().replace("level = \"info\"", "level = \"debug\""));
    usher.signal(Signal::Hup);
    usher.wait_log(|event| message(event) == "the configuration was reloaded");
    hang_up();
    usher.wait_log(|event| event["level"] == "DEBUG");
    usher.rewrite_config(&setup.toml().replace("level = \"info\"", "level = \"no=such=filter\""));
    usher.signal(Signal::Hup);
    usher.wait_log(|event| message(event).contains("cannot be used"));
}

#[test]
fn the_bound_on_channels_is_changed_without_forgetting_what_fits() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.assignments = "max_channels = 5000\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut client = usher.client();
    let channel = |room: usize| format!("h-room-{room}-chat");
    for room in 0..50 {
        client.announce(&channel(room), "Anna").assert_forwarded();
    }
    setup.assignments = "max_channels = 20000\n".to_owned();
    reload(&usher, &setup);
    assert_eq!(usher.admin().metric("usher_state_max_keys", &[]), 20_000.0);
    for room in 0..50 {
        client.announce(&channel(room), "Anna").assert_suppressed();
    }
    setup.assignments = "max_channels = 24\n".to_owned();
    reload(&usher, &setup);
    let held = usher.admin().metric("usher_state_keys", &[]);
    assert!(held <= 24.0, "{held} of 24");
    client.announce(&channel(60), "Anna").assert_forwarded();
}

#[test]
fn the_bound_on_connections_is_raised_and_lowered() {
    let fake = Fake::start();
    let mut setup = Setup::before(&fake);
    setup.limits = "max_connections = 2\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let bound = || usher.admin().metric("usher_max_connections", &[]);
    let open = || usher.admin().metric("usher_connections", &[]);
    assert_eq!(bound(), 2.0);
    setup.limits = "max_connections = 6\n".to_owned();
    reload(&usher, &setup);
    assert_eq!(bound(), 6.0);
    let mut clients: Vec<_> = (0..6).map(|_| usher.client()).collect();
    eventually("all are open", || (open() == 6.0).then_some(()));
    clients[5].announce(CHANNEL, "A").assert_forwarded();
    setup.limits = "max_connections = 1\n".to_owned();
    reload(&usher, &setup);
    for silent in &mut clients[..5] {
        assert!(silent.read_to_close().is_empty());
    }
    eventually("one is open", || (open() == 1.0).then_some(()));
    clients[5].announce(CHANNEL, "A").assert_suppressed();

    setup.limits = "max_connections_per_peer = 1\n".to_owned();
    reload(&usher, &setup);
    assert!(usher.client().read_to_close().is_empty(), "there is one of this address");
    clients[5].announce(CHANNEL, "A").assert_suppressed();
}

#[test]
fn the_limits_of_a_connection_are_those_of_its_beginning() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let mut setup = Setup::before(&fake);
        setup.server += &format!("fast_path = {fast_path}\n");
        let usher = Usher::start_with(&setup.toml());
        let many =
            (0..40).fold(Request::events(&announcement(CHANNEL, "A")), |all, n| all.header(&format!("X-{n}"), "1"));
        usher.client().call(&many).assert_forwarded();
        setup.limits = "max_headers = 30\nidle_timeout = \"200ms\"\nhead_timeout = \"200ms\"\n".to_owned();
        reload(&usher, &setup);
        let mut client = usher.client();
        let _refused_early = client.try_send(&many.bytes());
        assert_eq!(client.response().status, 431);
        assert!(usher.client().read_to_close().is_empty(), "no byte came in time");
        let mut idle = usher.client();
        idle.announce(CHANNEL, "B").assert_forwarded();
        assert!(idle.read_to_close().is_empty(), "no second request came in time");
    }
}
