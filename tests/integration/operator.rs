//! The operator's interface: assignments, decisions, metrics; and requests for apps that are not configured.

use crate::harness::bodies::{announcement, message};
use crate::harness::{Fake, Request, Step, Usher, sign};

const CHANNEL: &str = "h-room-1-chat";

#[test]
fn assignments_are_listed_filtered_and_forgotten() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for room in 0..5 {
        client.announce(&format!("grand-room-{room}-chat"), "Anna").assert_forwarded();
        client.announce(&format!("plaza-room-{room}-chat"), "Ben").assert_forwarded();
    }
    client.announce("plaza-room-1-chat", "Ben").assert_suppressed();
    let admin = usher.admin();
    let count = |query: &str| {
        let document = admin.json(&format!("/assignments{query}"));
        document.as_array().or_else(|| document["assignments"].as_array()).unwrap().len()
    };
    assert_eq!(
        (
            count(""),
            count("?app=3"),
            count("?app=3&channel=nowhere"),
            count("?app=3&channel=plaza-"),
            count("?limit=3")
        ),
        (10, 10, 0, 5, 3)
    );

    let entry = admin.assignment("plaza-room-1-chat").unwrap();
    assert_eq!(
        (&entry["app"], &entry["rule"], &entry["channel"]),
        (&"3".into(), &"staff-assigned".into(), &"plaza-room-1-chat".into())
    );
    assert!(entry["identity"].to_string().contains("Ben"), "{entry}");
    assert_eq!(
        (&entry["announced"], &entry["suppressed"], &entry["in_doubt"]),
        (&1.into(), &1.into(), &false.into()),
        "{entry}"
    );

    let target = "/assignments?app=3&channel=plaza-room-1-chat";
    assert_eq!(admin.call("GET", "/assignments?app=4").status, 404, "no such app is watched");
    assert_eq!(admin.call_openly("DELETE", target).status, 401, "changing needs the token");
    let rebound = Request::new("GET", "/assignments", b"").host("evil.example");
    assert_eq!(admin.send(&rebound).status, 421, "a page of a foreign name is no operator");
    client.announce("plaza-room-1-chat", "Ben").assert_suppressed();
    let deleted = admin.call("DELETE", target);
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    client.announce("plaza-room-1-chat", "Ben").assert_forwarded();
    client.announce("plaza-room-2-chat", "Ben").assert_suppressed();
}

#[test]
fn the_memory_is_bounded_and_forgets() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.assignments = "max_channels = 100\n".to_owned());
    let mut client = usher.client();
    for room in 0..500 {
        client.announce(&format!("h-room-{room}-chat"), "Anna").assert_forwarded();
    }
    let held = usher.admin().json("/assignments?limit=1000").as_array().unwrap().len();
    assert!((50..=100).contains(&held), "{held} channels are held");
    // A forgotten assignment is forwarded once more, and then known again.
    let again = (0..500)
        .filter(|room| client.announce(&format!("h-room-{room}-chat"), "Anna").decision() == "forwarded")
        .count();
    assert!((400..=500).contains(&again), "{again} were announced again");
    client.announce("h-room-499-chat", "Anna").assert_suppressed();
}

#[test]
fn decisions_say_what_was_done_and_why() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    client.announce(CHANNEL, "Anna").assert_forwarded();
    client.announce(CHANNEL, "Anna").assert_suppressed();
    client.announce(CHANNEL, "Ben").assert_forwarded();
    let decisions = usher.admin().decisions();
    let reasons: Vec<_> = decisions.iter().map(|decision| decision["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["changed", "same_assignment", "nothing_known"]);
    for decision in &decisions {
        assert_eq!((&decision["rule"], &decision["channel"]), (&"staff-assigned".into(), &CHANNEL.into()));
        assert!(decision["why"].as_str().is_some_and(|why| !why.is_empty()), "{decision}");
    }
}

#[test]
fn what_callers_send_makes_no_series() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    let mut round = |from: usize, count: usize| {
        for number in from..from + count {
            let request = match number % 4 {
                0 => Request::events(&announcement(&format!("h-room-{number}-chat"), &format!("staff {number}"))),
                1 => Request::events(
                    &message(&format!("channel-{number}"), "x")
                        .replace("new-staff-message", &format!("event-{number}")),
                ),
                2 => Request::new("GET", &format!("/path-{number}?q={number}"), b""),
                _ => Request::new("POST", &format!("/apps/9{number}/events"), b"{}"),
            };
            client.send(
                &request.header("User-Agent", &format!("agent/{number}")).header(&format!("X-{number}"), "1").bytes(),
            );
            let status = client.response().status;
            assert_eq!(status, if number % 4 == 3 { 404 } else { 200 });
        }
    };
    round(0, 40);
    let before: Vec<String> = usher.admin().series().into_keys().collect();
    round(40, 10_000);
    let after: Vec<String> = usher.admin().series().into_keys().collect();
    assert_eq!(before, after);
    let counted = usher.admin().metric("usher_triggers_total", &["reason=\"nothing_known\""]);
    assert_eq!(counted, 10_040.0 / 4.0);
}

#[test]
fn triggers_for_unknown_apps_are_refused_or_forwarded_as_configured() {
    let body = announcement(CHANNEL, "Anna");
    let query = sign::query_of("POST", "/apps/99/events", "", body.as_bytes(), "k", "s", sign::now());
    let request = Request::new("POST", &format!("/apps/99/events?{query}"), body.as_bytes());
    let fake = Fake::start();
    let rejecting = Usher::start(&fake, |_| {});
    let response = rejecting.client().call(&request);
    response.assert_error(404, "unknown_app");
    assert!(response.text().contains("99"), "names the app: {response:?}");
    assert_eq!(fake.count(), 0);

    let forwarding = Usher::start(&fake, |setup| setup.server += "unknown_apps = \"forward\"\n");
    for _ in 0..2 {
        assert_eq!(forwarding.client().call(&request).status, 200);
    }
    assert_eq!(fake.count(), 2, "never dropped");
    assert!(fake.requests().iter().all(|seen| seen.target() == request.target && seen.body == request.body));
}

#[test]
fn other_requests_pass_through_with_upstreams_answer() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let mut client = usher.client();
    for (method, path, extra) in [
        ("GET", "/apps/3/channels", "filter_by_prefix=presence-&info=user_count"),
        ("GET", "/apps/3/channels/presence-a/users", ""),
        ("POST", "/apps/3/users/u1/terminate_connections", ""),
        ("DELETE", "/anything/at%20all", "a=%2C"),
        ("PUT", "/", ""),
        ("OPTIONS", "/apps/3/events", ""),
        ("PATCH", "/x//y/../z", ""),
    ] {
        let body: &[u8] = if matches!(method, "POST" | "PUT" | "PATCH") { b"{ \"odd\" :1}" } else { b"" };
        let answer = "HTTP/1.1 207 Odd Reason\r\nX-Case: Kept\r\nx-order: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nyes";
        fake.script([Step::answer(answer)]);
        let request = Request::signed(method, path, extra, body);
        let response = client.call(&request);
        assert_eq!((response.status, response.text().as_str()), (207, "yes"), "{method} {path}");
        assert_eq!((response.header("x-case").as_deref(), response.header("x-hop")), (Some("Kept"), None));
        crate::story::assert_untouched(&request, &fake.requests().pop().unwrap(), &fake);
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    fake.script([Step::answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")]);
    let mut client = usher.client();
    let head = client.send(&Request::new("HEAD", "/x", b"").bytes()).read_head().unwrap();
    assert_eq!(head.header("content-length").as_deref(), Some("5"));
    assert_eq!(client.call(&Request::new("GET", "/x", b"")).text(), "{}");
}

#[test]
fn an_unreachable_upstream_is_reported_for_every_request() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    fake.refuse();
    usher.client().call(&Request::signed("GET", "/apps/3/channels", "", b"")).assert_error(502, "upstream_unreachable");
    usher.client().call(&Request::signed("POST", "/other", "", b"{}")).assert_error(502, "upstream_unreachable");
}

/// All of them derive from one start time of the process, which is the same at every scrape.
#[test]
fn the_times_that_are_shown_agree() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let admin = usher.admin();
    let series = || admin.series();
    let (first, second) = (series(), series());
    let started = first["process_start_time_seconds"];
    assert_eq!(started, second["process_start_time_seconds"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now + 1.0).contains(&started), "{started}, now {now}");
    assert!((0.0..60.0).contains(&(first["usher_config_last_reload_success_timestamp_seconds"] - started.floor())));
    let since = admin.json("/overview")["since"].clone();
    assert_eq!(since, admin.report()["since"]);
    // The fraction of a second is the same in both forms.
    let millis = (started * 1000.0).round() as u64 % 60_000;
    assert!(
        since.as_str().unwrap().ends_with(&format!("{:02}.{:03}Z", millis / 1000, millis % 1000)),
        "{since}, {started}"
    );
}
