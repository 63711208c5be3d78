//! Limits on network input, and the relaying of bodies.

use crate::harness::bodies::{announcement, message};
use crate::harness::{Fake, Gate, Request, Step, Usher, eventually};

const CHANNEL: &str = "h-room-1-chat";

/// An usher with these keys under `[limits]`.
fn limited(fake: &Fake, limits: &str) -> Usher {
    Usher::start(fake, |setup| setup.limits = format!("{limits}\n"))
}

#[test]
fn a_head_too_large_or_of_too_many_lines_is_431() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_head = \"8KiB\"\nmax_headers = 30");
    let plain = Request::events(&announcement(CHANNEL, "A"));
    let wide = plain.clone().header("X-Wide", &"x".repeat(9000));
    let many = (0..40).fold(plain.clone(), |request, number| request.header(&format!("X-{number}"), "1"));
    for request in [wide, many] {
        let mut client = usher.client();
        let _refused_early = client.try_send(&request.bytes());
        assert_eq!(client.response().status, 431);
        client.read_to_close();
    }
    assert_eq!(fake.bytes(), 0);
    let fits = (0..20).fold(plain, |request, number| request.header(&format!("X-{number}"), "1"));
    usher.client().call(&fits).assert_forwarded();
}

#[test]
fn a_target_too_long_is_414() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_target = \"1KiB\"");
    let long = Request::signed("GET", "/apps/3/channels", &format!("info={}", "x".repeat(1000)), b"");
    usher.client().call(&long).assert_error(414, "target_too_long");
    assert_eq!(fake.bytes(), 0);
}

#[test]
fn a_body_too_large_is_413_and_the_connection_ends() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_body = \"4KiB\"");
    let declared = Request::events(&message(CHANNEL, &"x".repeat(5000)));
    let mut client = usher.client();
    client.send(&declared.head()).response().assert_error(413, "body_too_large");
    client.read_to_close();

    let body = message(CHANNEL, &"x".repeat(5000));
    let chunked = Request::events(&body).header("Transfer-Encoding", "chunked");
    let mut client = usher.client();
    client.send(&chunked.head());
    let _refused_early = client.try_send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    client.response().assert_error(413, "body_too_large");
    assert_eq!(fake.bytes(), 0);
    usher.client().trigger(&message(CHANNEL, &"x".repeat(3000))).assert_forwarded();
}

#[test]
fn a_slow_head_and_a_slow_body_are_cut_off() {
    let fake = Fake::start();
    let usher = limited(&fake, "head_timeout = \"300ms\"\nbody_timeout = \"300ms\"");
    let request = Request::events(&announcement(CHANNEL, "A"));
    let mut silent = usher.client();
    let mut slow_head = usher.client();
    slow_head.send(&request.head()[..40]);
    let mut slow_body = usher.client();
    slow_body.send(&request.bytes()[..request.bytes().len() - 1]);
    let response = slow_body.response();
    response.assert_error(408, "body_timeout");
    slow_body.read_to_close();
    slow_head.read_to_close();
    silent.read_to_close();
    assert_eq!(fake.bytes(), 0);
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

#[test]
fn a_connection_that_sends_nothing_has_the_time_of_a_head_without_the_fast_path_as_well() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| {
        setup.server += "fast_path = false\n";
        setup.limits = "head_timeout = \"300ms\"\n".to_owned();
    });
    assert!(usher.client().read_to_close().is_empty());
}

#[test]
fn connections_that_sent_nothing_make_room() {
    for fast_path in [true, false] {
        let fake = Fake::start();
        let usher = Usher::start(&fake, |setup| {
            setup.server += &format!("fast_path = {fast_path}\n");
            setup.limits = "max_connections = 4\n".to_owned();
        });
        let mut kept = usher.client();
        kept.announce(CHANNEL, "A").assert_forwarded();
        let mut silent: Vec<_> = (0..3).map(|_| usher.client()).collect();
        let mut next = usher.client();
        next.announce(CHANNEL, "B").assert_forwarded();
        assert!(silent.remove(0).read_to_close().is_empty(), "the oldest goes");
        kept.announce(CHANNEL, "C").assert_forwarded();
        next.announce(CHANNEL, "D").assert_forwarded();
        assert_eq!(usher.admin().metric("usher_connections_closed_total", &["reason=\"no_request\""]), 1.0);
    }
}

#[test]
fn a_connection_without_a_head_is_closed_for_another() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_connections = 1");
    let mut slow = usher.client();
    slow.send(&Request::events(&announcement(CHANNEL, "A")).head()[..40]);
    let mut next = usher.client();
    next.announce(CHANNEL, "B").assert_forwarded();
    assert!(slow.read_to_close().is_empty());
}

#[test]
fn a_head_in_two_parts_is_served_at_every_split() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let lenient = String::from_utf8(Request::signed("GET", "/apps/3/channels", "", b"").bytes())
        .expect("text")
        .replace("\r\n", "\n");
    for request in [Request::signed("GET", "/apps/3/channels", "", b"").bytes(), lenient.into_bytes()] {
        let mut client = usher.client();
        for end in 1..request.len() {
            client.send(&request[..end]);
            usher.admin().metric("usher_requests_in_flight", &[]);
            client.send(&request[end..]);
            assert_eq!(client.response().status, 200);
        }
    }
}

#[test]
fn a_tls_handshake_without_tls_is_refused_at_once() {
    let fake = Fake::start();
    let usher = limited(&fake, "head_timeout = \"1h\"");
    let mut client = usher.client();
    client.send(b"\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03");
    assert_eq!(client.response().status, 400);
}

#[test]
fn idle_connections_without_an_authentic_trigger_make_room() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_connections = 2");
    let mut backend = usher.client();
    backend.announce(CHANNEL, "A").assert_forwarded();
    let mut stranger = usher.client();
    assert_eq!(stranger.call(&Request::new("POST", "/apps/3/events", b"{}")).status, 401);
    let mut next = usher.client();
    next.announce(CHANNEL, "B").assert_forwarded();
    assert!(stranger.read_to_close().is_empty());
    backend.announce(CHANNEL, "C").assert_forwarded();
    assert_eq!(usher.admin().metric("usher_connections_closed_total", &["reason=\"idle\""]), 1.0);
}

#[test]
fn connections_of_one_address_are_bounded() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_connections_per_peer = 1");
    let mut first = usher.client();
    first.announce(CHANNEL, "A").assert_forwarded();
    assert!(usher.client().read_to_close().is_empty());
    first.announce(CHANNEL, "B").assert_forwarded();
    assert_eq!(usher.admin().metric("usher_connections_closed_total", &["reason=\"peer_limit\""]), 1.0);
}

#[test]
fn an_idle_connection_is_closed() {
    let fake = Fake::start();
    let usher = limited(&fake, "idle_timeout = \"300ms\"\nhead_timeout = \"300ms\"");
    let mut client = usher.client();
    client.announce(CHANNEL, "A").assert_forwarded();
    assert!(client.read_to_close().is_empty());
}

#[test]
fn a_caller_that_does_not_read_is_disconnected() {
    let fake = Fake::start();
    let usher = limited(&fake, "idle_timeout = \"300ms\"");
    let gate = Gate::new();
    gate.open();
    let length = 64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    fake.script([Step::Parts(head, gate, vec![b'x'; length])]);
    let mut client = usher.client();
    client.send(&Request::new("GET", "/download", b"").bytes());
    fake.next_request();
    // More than all buffers hold: upstream's connection closes only if usher aborts the transfer.
    fake.wait_closed();
    assert!(client.read_to_close().len() < length);
}

#[test]
fn connections_are_bounded_and_released() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_connections = 4");
    let mut open: Vec<_> = (0..4).map(|_| usher.client()).collect();
    for client in &mut open {
        client.announce(CHANNEL, "A");
    }
    // A further one is rejected or waits: it is not served while the four are open.
    let mut fifth = usher.client();
    fifth.send(&Request::events(&announcement("h-room-5-chat", "A")).bytes());
    for client in &mut open {
        client.announce(CHANNEL, "B");
    }
    assert!(!fake.requests().iter().any(|seen| seen.text().contains("h-room-5-chat")), "a fifth connection was served");
    drop(open);
    eventually("a place is free", || {
        let mut client = usher.client();
        let _closed = client.try_send(&Request::events(&announcement("h-room-6-chat", "A")).bytes());
        client.try_response().ok().filter(|response| response.status == 200)
    });
}

#[test]
fn requests_in_flight_are_bounded() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_requests = 3");
    let gate = Gate::new();
    fake.script((0..3).map(|_| Step::hold(&gate, Step::ok())));
    let mut held: Vec<_> = (0..3).map(|_| usher.client()).collect();
    for (room, client) in held.iter_mut().enumerate() {
        client.send(&Request::events(&announcement(&format!("h-room-{room}-chat"), "A")).bytes());
        fake.next_request();
    }
    usher.client().announce("h-room-9-chat", "A").assert_error(503, "overloaded");
    // A disconnected caller counts towards the limit until its trigger is settled.
    held.pop().unwrap().hang_up();
    usher.client().announce("h-room-9-chat", "A").assert_error(503, "overloaded");
    gate.open();
    for client in &mut held {
        client.response().assert_forwarded();
    }
    eventually("there is room again", || (usher.client().announce("h-room-9-chat", "A").status == 200).then_some(()));
}

#[test]
fn an_expectation_is_met_here_and_not_passed_on() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let request = Request::events(&announcement(CHANNEL, "A")).header("Expect", "100-continue");
    let mut client = usher.client();
    assert_eq!(client.send(&request.head()).response().status, 100);
    client.send(&request.body).response().assert_forwarded();
    assert_eq!(fake.next_request().header("expect"), None);
    let strange = Request::events(&announcement(CHANNEL, "A")).header("Expect", "coffee");
    assert_eq!(usher.client().call(&strange).status, 417);
    let unsigned = Request::new("POST", "/apps/3/events", b"{}").header("Expect", "100-continue");
    let mut client = usher.client();
    let mut answer = client.send(&unsigned.head()).response();
    if answer.status == 100 {
        answer = client.send(&unsigned.body).response();
    }
    assert_eq!(answer.status, 401);
}

#[test]
fn a_chunked_body_arrives_with_its_length() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let body = announcement(CHANNEL, "Anna");
    let (first, second) = body.split_at(20);
    let chunks =
        format!("{:x}\r\n{first}\r\n{:X};x=y\r\n{second}\r\n0\r\nTrailer: t\r\n\r\n", first.len(), second.len());
    for (path, decision) in [("/apps/3/events", "forwarded"), ("/other", "")] {
        let request = Request::signed("POST", path, "", body.as_bytes()).header("Transfer-Encoding", "chunked");
        let response = usher.client().send(&request.head()).send(chunks.as_bytes()).response();
        assert_eq!((response.status, response.decision().as_str()), (200, decision), "{path}");
        let got = fake.next_request();
        assert_eq!(got.text(), body, "{path}");
        assert_eq!(
            (got.header("content-length"), got.header("transfer-encoding")),
            (Some(body.len().to_string()), None),
            "{path}"
        );
    }
    usher.client().announce(CHANNEL, "Anna").assert_suppressed();
}

#[test]
fn a_request_body_streams_through() {
    let fake = Fake::start();
    let usher = limited(&fake, "max_body = \"64MiB\"\nbody_timeout = \"60s\"");
    let body = vec![b'x'; 8 << 20];
    let request = Request::new("POST", "/upload", &body);
    let mut client = usher.client();
    let half = body.len() / 2;
    client.send(&request.head()).send(&body[..half]);
    // The first bytes arrive upstream before the last ones are sent.
    fake.wait_bytes(1 << 20);
    client.send(&body[half..]);
    assert_eq!(client.response().status, 200);
    assert!(fake.next_request().body == body);
}

#[test]
fn an_answer_body_streams_through() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    let length = 8 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let first = [head.into_bytes(), vec![b'a'; length / 2]].concat();
    fake.script([Step::Parts(first, gate.clone(), vec![b'b'; length / 2])]);
    let mut client = usher.client();
    client.send(&Request::new("GET", "/download", b"").bytes());
    assert_eq!(client.read_head().unwrap().header("content-length"), Some(length.to_string()));
    // The first half arrives before upstream sends the second half.
    assert!(client.read_some(length / 2).iter().all(|byte| *byte == b'a'));
    gate.open();
    assert!(client.read_some(length / 2).iter().all(|byte| *byte == b'b'));
}

#[test]
fn every_framing_of_an_answer_passes_through() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for step in [Step::ok(), Step::chunked(), Step::close_delimited(), Step::http10()] {
        let told = format!("{step:?}");
        fake.script([step.clone(), step]);
        for request in
            [Request::signed("GET", "/apps/3/channels", "", b""), Request::events(&message(CHANNEL, "hello"))]
        {
            let response = usher.client().call(&request);
            assert_eq!((response.status, response.text().as_str()), (200, "{}"), "{told}");
            assert!(response.head.lines()[0].starts_with("HTTP/1.1 200"), "{told}");
        }
    }
    fake.script([Step::cut(), Step::cut_chunked()]);
    for _ in 0..2 {
        let mut client = usher.client();
        let cut = client.send(&Request::new("GET", "/x", b"").bytes()).try_response();
        assert!(cut.is_err(), "a cut answer must not look whole: {cut:?}");
    }
}

#[test]
fn bytes_beyond_a_response_are_discarded() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    for _ in 0..5 {
        fake.script([Step::answer(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
        )]);
        let mut client = usher.client();
        assert_eq!(client.call(&Request::new("GET", "/1", b"")).text(), "{}");
        assert_eq!(client.call(&Request::new("GET", "/2", b"")).text(), "{}");
    }
}

#[test]
fn requests_in_one_write_are_answered_in_order() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    fake.otherwise(|request| {
        Step::answer(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", request.body.len(), request.text()))
    });
    let mut bytes = Vec::new();
    let messages: Vec<String> = (0..50).map(|number| message(CHANNEL, &format!("number {number}"))).collect();
    for body in &messages {
        bytes.extend(Request::events(body).bytes());
    }
    let mut client = usher.client();
    client.send(&bytes);
    for body in &messages {
        assert_eq!(client.response().text(), *body);
    }
}

#[test]
fn an_old_caller_is_answered_and_disconnected() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let request = Request::events(&announcement(CHANNEL, "A"));
    let old = String::from_utf8(request.bytes())
        .unwrap()
        .replace(" HTTP/1.1\r\n", " HTTP/1.0\r\n")
        .replace("Connection: keep-alive\r\n", "");
    let mut client = usher.client();
    client.send(old.as_bytes()).response().assert_forwarded();
    assert!(client.read_to_close().is_empty());
    assert!(fake.next_request().request_line().ends_with(" HTTP/1.1"));
}

#[test]
fn a_half_closed_caller_is_answered_in_every_case() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |_| {});
    let gate = Gate::new();
    for request in [
        Request::events(&announcement(CHANNEL, "A")),
        Request::new("GET", "/x", b""),
        Request::new("POST", "/x", b"{}"),
    ] {
        fake.script([Step::hold(&gate, Step::ok())]);
        let mut client = usher.client();
        client.send(&request.bytes()).finish_writing();
        fake.next_request();
        gate.open();
        assert_eq!(client.response().status, 200, "{request:?}");
    }
}
