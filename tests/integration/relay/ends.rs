//! How relayed connections end, and that their resources are released.

use super::Scene;
use crate::harness::usher::Signal;
use crate::harness::websocket::{CLOSE, End, Frame, handshake};
use crate::harness::{Request, Step, eventually};

#[test]
fn closes_pass_in_both_directions_with_code_and_reason() {
    let scene = Scene::start();
    for frame in
        [Frame::close(1000, "bye"), Frame::close(4001, "no such app"), Frame::close(4100, ""), Frame::new(CLOSE, b"")]
    {
        let (mut client, mut upstream) = scene.connect();
        client.send(&frame);
        assert_eq!(upstream.read(), frame);
        upstream.send(&frame);
        assert_eq!(client.read(), frame);
        client.wait_closed();
        upstream.wait_closed();

        let (mut client, mut upstream) = scene.connect();
        upstream.send(&Frame::text("last words")).send(&frame);
        assert_eq!(client.read(), Frame::text("last words"));
        assert_eq!(client.read(), frame);
        client.send(&frame);
        assert_eq!(upstream.read(), frame);
        client.wait_closed();
        upstream.wait_closed();
    }
    let ends = |end: &str| scene.metric("usher_relay_ends_total", end);
    assert_eq!((ends("end=\"client_closed\""), ends("end=\"upstream_closed\"")), (4.0, 4.0));
}

#[test]
fn a_close_that_is_not_answered_ends_the_connection_all_the_same() {
    let scene = Scene::start();
    let (mut client, upstream) = scene.connect();
    client.send(&Frame::close(1000, "bye"));
    assert_eq!(client.read(), Frame::close(1000, "bye"), "usher answers where upstream does not");
    client.wait_closed();
    drop(upstream);
    let (client, mut upstream) = scene.connect();
    upstream.send(&Frame::close(4200, "again"));
    assert_eq!(upstream.read(), Frame::close(4200, "again"));
    upstream.wait_closed();
    drop(client);
}

#[test]
fn a_lost_upstream_is_told_as_4200() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    upstream.send(&Frame::text("last words"));
    upstream.hang_up();
    assert_eq!(client.read(), Frame::text("last words"));
    assert_eq!(client.read().code(), Some(4200));
    client.send(&Frame::close(4200, "")).wait_closed();

    let mut many: Vec<(End, End)> = (0..10).map(|_| scene.connect()).collect();
    let mut clients = Vec::new();
    for (client, upstream) in many.drain(..) {
        upstream.hang_up();
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.read().code(), Some(4200));
    }
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"upstream_lost\""), 11.0);
}

#[test]
fn what_upstream_says_before_it_breaks_off_arrives_at_once() {
    let scene = Scene::start();
    let breaks: [fn(End); 3] = [
        |mut upstream| _ = upstream.send_raw(b"\x81\x01\xff"),
        |mut upstream| _ = upstream.send_raw(b"\x83\x00"),
        // The client's bytes are not read, so the close is a reset.
        End::reset,
    ];
    for break_off in breaks {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let (mut client, mut upstream) = scene.connect();
            client.send(&Frame::text("unread"));
            upstream.send(&Frame::text("last words"));
            break_off(upstream);
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.read(), Frame::text("last words"));
        }
        // The closes are spread over a second, the last ones come at its end.
        assert!(clients.iter().any(|client| !client.has_unread()), "the words came with the closes");
        for client in &mut clients {
            assert_eq!(client.read().code(), Some(4200));
        }
    }
}

#[test]
fn what_upstream_said_arrives_even_if_it_is_found_gone_in_writing_to_it() {
    let scene = Scene::start();
    for (last, code) in [(Frame::text("last words"), 4200), (Frame::close(4100, "restart"), 4100)] {
        let (mut client, mut upstream) = scene.connect();
        client.send(&Frame::text("unread"));
        upstream.stream.peek(&mut [0]).unwrap();
        scene.usher.signal(Signal::Stop);
        upstream.send(&last);
        upstream.reset();
        client.send(&Frame::text("nobody is there"));
        scene.usher.signal(Signal::Continue);
        assert_eq!(client.read(), last);
        if code == 4200 {
            assert_eq!(client.read().code(), Some(code));
        }
    }
}

#[test]
fn a_lost_client_is_reported_to_upstream() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    client.send(&Frame::text("last words"));
    client.hang_up();
    assert_eq!(upstream.read(), Frame::text("last words"));
    assert_eq!(upstream.read().code(), Some(1001));
    upstream.send(&Frame::close(1001, "")).wait_closed();
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"client_lost\""), 1.0);
}

#[test]
fn draining_closes_relays_with_4100_and_ends() {
    let mut scene = Scene::with(|setup| setup.server = setup.server.replace("10s", "4s"));
    let mut pairs: Vec<(End, End)> = (0..20).map(|_| scene.connect()).collect();
    scene.usher.signal(Signal::Term);
    for (client, upstream) in &mut pairs {
        assert_eq!(client.read().code(), Some(4100));
        client.send(&Frame::close(4100, ""));
        assert_eq!(upstream.read().code(), Some(1001));
        upstream.send(&Frame::close(1001, ""));
        client.wait_closed();
        upstream.wait_closed();
    }
    assert_eq!(scene.usher.wait_exit(), 0);
    assert!(scene.usher.logs().contains("\"left\":0"), "{}", scene.usher.logs());
}

#[test]
fn draining_does_not_wait_for_peers_that_say_nothing() {
    let mut scene = Scene::with(|setup| setup.server = setup.server.replace("10s", "5s"));
    let _pairs: Vec<(End, End)> = (0..3).map(|_| scene.connect()).collect();
    scene.usher.signal(Signal::Term);
    assert_eq!(scene.usher.wait_exit(), 0);
    assert!(scene.usher.logs().contains("\"left\":0"), "{}", scene.usher.logs());
}

#[test]
fn a_handshake_under_way_when_draining_begins_is_finished() {
    let mut scene = Scene::start();
    let mut client = scene.usher.client();
    client.send(&handshake().bytes());
    let arrival = scene.far.next();
    scene.usher.signal(Signal::Term);
    eventually("usher drains", || (scene.usher.admin().call_openly("GET", "/readyz").status == 503).then_some(()));
    let mut upstream = arrival.accept();
    let mut client = End::switched(client);
    assert_eq!(client.read().code(), Some(4100));
    client.send(&Frame::close(4100, "")).wait_closed();
    assert_eq!(upstream.read().code(), Some(1001));
    upstream.hang_up();
    assert_eq!(scene.usher.wait_exit(), 0);
}

#[test]
fn a_silent_connection_is_closed() {
    let scene = Scene::limited("websocket_idle_timeout = \"300ms\"");
    let (mut client, mut upstream) = scene.connect();
    assert_eq!(client.read().code(), Some(4200));
    assert_eq!(upstream.read().code(), Some(1001));
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"idle\""), 1.0);
}

#[test]
fn the_deadlines_of_requests_do_not_concern_a_relay() {
    let scene = Scene::limited("head_timeout = \"200ms\"\nidle_timeout = \"200ms\"\nbody_timeout = \"200ms\"");
    let (mut client, mut upstream) = scene.connect();
    for _ in 0..2 {
        // Its end shows that the deadlines have passed.
        scene.usher.client().read_to_close();
    }
    client.send(&Frame::text("up"));
    assert_eq!(upstream.read(), Frame::text("up"));
    upstream.send(&Frame::text("down"));
    assert_eq!(client.read(), Frame::text("down"));
}

#[test]
fn a_relay_holds_its_place_among_the_connections_but_not_among_the_requests() {
    let scene = Scene::limited("max_connections = 2\nmax_requests = 1");
    let (client, upstream) = scene.connect();
    let gauge = |name: &str| scene.usher.admin().metric(name, &[]);
    assert_eq!(
        (gauge("usher_connections"), gauge("usher_relay_connections"), gauge("usher_requests_in_flight")),
        (1.0, 1.0, 0.0)
    );
    let (mut second, _upstream) = scene.connect();
    let mut third = scene.usher.client();
    third.send(&Request::new("GET", "/apps/3/channels", b"").bytes());
    second.send(&Frame::text("x"));
    assert_eq!(scene.fake.count(), 0, "a third connection was served");
    client.hang_up();
    assert_eq!(third.response().status, 200);
    drop((upstream, third, second));
    eventually("all places are given back", || {
        (gauge("usher_connections") + gauge("usher_relay_connections") == 0.0).then_some(())
    });
}

#[test]
fn a_poll_may_be_held_by_upstream_for_longer_than_a_request() {
    let scene = Scene::with(|setup| setup.timeout = "300ms");
    let gate = crate::harness::Gate::new();
    scene.fake.script([Step::hold(&gate, Step::ok()), Step::silence()]);
    let poll = Request::new("POST", "/app/278d425bdf160c739803/123/abcdefgh/xhr?protocol=7&client=js&t=1&n=1", b"");
    let mut polling = scene.usher.client();
    polling.send(&poll.bytes());
    scene.fake.next_request();
    // An ordinary request's time-out passes in the meantime.
    scene.usher.client().call(&Request::new("GET", "/apps/3/channels", b"")).assert_error(504, "upstream_timeout");
    gate.open();
    assert_eq!(polling.response().status, 200);
}

#[test]
fn a_streaming_fallback_is_not_held_back() {
    let scene = Scene::start();
    let gate = crate::harness::Gate::new();
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no\n\r\n".to_vec();
    scene.fake.script([Step::Parts(head, gate.clone(), b"6\r\na[\"x\"]\r\n0\r\n\r\n".to_vec())]);
    let mut client = scene.usher.client();
    client.send(
        &Request::new("POST", "/app/278d425bdf160c739803/123/abcdefgh/xhr_streaming?protocol=7&t=1&n=1", b"").bytes(),
    );
    client.read_head().unwrap();
    assert_eq!(client.read_some(7), b"2\r\no\n\r\n", "before the rest is there");
    gate.open();
    assert_eq!(client.read_some(11), b"6\r\na[\"x\"]\r\n"[..11].to_vec());
}
