//! Frames: relayed unchanged, or rejected.

use std::thread;

use super::Scene;
use crate::harness::websocket::{BINARY, CLOSE, CONTINUATION, End, Frame, PING, PONG, TEXT};

const CHANNEL: &str = "h-room-1-chat";

/// Reads up to the close frame and returns its code.
fn code(end: &mut End) -> Option<u16> {
    loop {
        match end.try_read() {
            Ok(frame) if frame.opcode == CLOSE => return frame.code(),
            Ok(_) => {}
            Err(error) => panic!("no close: {error}"),
        }
    }
}

#[test]
fn messages_pass_in_both_directions() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    let messages = [
        Frame::text("text"),
        Frame::text(""),
        Frame::text("ü😀"),
        Frame::new(BINARY, &[0, 255, 128]),
        Frame::text(&"x".repeat(100_000)),
    ];
    for frame in &messages {
        client.send(frame);
        upstream.send(frame);
    }
    for frame in &messages {
        assert_eq!(&upstream.read(), frame);
        assert_eq!(&client.read(), frame);
    }
    assert_eq!(scene.metric("usher_relay_messages_total", "direction=\"up\""), 5.0);
    assert_eq!(scene.metric("usher_relay_messages_total", "direction=\"down\""), 5.0);
}

#[test]
fn a_burst_larger_than_all_buffers_arrives_whole() {
    const MESSAGES: u32 = 4000;
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    let burst = thread::spawn(move || {
        for number in 0..MESSAGES {
            upstream.send(&Frame::text(&format!("{number:010000}")));
        }
        upstream
    });
    for number in 0..MESSAGES {
        let frame = client.read();
        assert_eq!((frame.payload.len(), String::from_utf8(frame.payload).unwrap().parse()), (10_000, Ok(number)));
    }
    burst.join().unwrap();
}

#[test]
fn pings_and_pongs_pass_and_nothing_is_added() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    client.send(&Frame::new(PING, b"one"));
    assert_eq!(upstream.read(), Frame::new(PING, b"one"));
    upstream.send(&Frame::new(PING, b"two"));
    assert_eq!(client.read(), Frame::new(PING, b"two"), "usher has not answered the ping itself");
    client.send(&Frame::new(PONG, b"two"));
    assert_eq!(upstream.read(), Frame::new(PONG, b"two"), "usher has not answered the ping itself");
    upstream.send(&Frame::new(PONG, b"one"));
    assert_eq!(client.read(), Frame::new(PONG, b"one"));
    upstream.send(&Frame::text("after"));
    assert_eq!(client.read(), Frame::text("after"));
}

#[test]
fn a_fragmented_message_arrives_as_one_and_pings_between_its_parts_pass() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    client
        .send(&Frame::text("a").unfinished())
        .send(&Frame::new(PING, b"p"))
        .send(&Frame::new(CONTINUATION, b"b").unfinished());
    client.send(&Frame::new(CONTINUATION, b"c"));
    assert_eq!(upstream.read(), Frame::new(PING, b"p"));
    assert_eq!(upstream.read(), Frame::text("abc"));
}

#[test]
fn a_protocol_violation_closes_the_client_with_a_code_and_upstream_normally() {
    let scene = Scene::start();
    let compressed = Frame { rsv1: true, ..Frame::text("x") };
    let wrong: [(u16, Vec<u8>); 10] = [
        (1002, Frame::text("unmasked").bytes()),
        (1002, compressed.masked().bytes()),
        (1002, Frame::new(3, b"reserved").masked().bytes()),
        (1002, Frame::new(PING, b"half").unfinished().masked().bytes()),
        (1002, Frame::new(PING, &[0; 126]).masked().bytes()),
        (1002, Frame::new(CONTINUATION, b"of nothing").masked().bytes()),
        (1002, Frame::new(CLOSE, b"1").masked().bytes()),
        (1007, Frame::new(TEXT, &[0xff, 0xfe]).masked().bytes()),
        (1009, b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec()),
        (1009, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec()),
    ];
    for (expected, bytes) in wrong {
        let (mut client, mut upstream) = scene.connect();
        client.send_raw(&bytes);
        assert_eq!(code(&mut client), Some(expected), "{bytes:?}");
        assert_eq!(code(&mut upstream), Some(1001));
        upstream.send(&Frame::close(1001, ""));
        upstream.wait_closed();
        client.send(&Frame::close(expected, "")).wait_closed();
    }
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"client_faulty\""), 10.0);
}

#[test]
fn messages_of_clients_are_bounded_however_they_are_cut() {
    let scene = Scene::limited("max_websocket_message = \"4KiB\"");
    let whole = Frame::text(&"x".repeat(4097)).masked().bytes();
    let halves = [
        Frame::text(&"x".repeat(3000)).unfinished().masked().bytes(),
        Frame::new(CONTINUATION, &[b'x'; 3000]).masked().bytes(),
    ]
    .concat();
    for bytes in [whole, halves] {
        let (mut client, _upstream) = scene.connect();
        client.send_raw(&bytes);
        assert_eq!(code(&mut client), Some(1009));
    }
    for (opcode, part) in [(TEXT, &b"x"[..]), (BINARY, b"x"), (TEXT, b"")] {
        let (mut client, _upstream) = scene.connect();
        client.send(&Frame::new(opcode, part).unfinished());
        let flood = Frame::new(CONTINUATION, part).unfinished().masked().bytes().repeat(1000);
        for _ in 0..100 {
            client.send_raw(&flood);
        }
        assert_eq!(code(&mut client), Some(1009));
    }
    let (mut client, mut upstream) = scene.connect();
    client.send(&Frame::text(&"x".repeat(4096)));
    assert_eq!(upstream.read().payload.len(), 4096);
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"client_faulty\""), 5.0);
}

#[test]
fn messages_of_upstream_may_be_larger_but_are_bounded_too() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    let large = Frame::text(&"x".repeat(1024 * 1024));
    upstream.send(&large);
    assert_eq!(client.read(), large);
    let _cut_off = upstream.try_send(&Frame::text(&"x".repeat(1024 * 1024 + 1)));
    assert_eq!(code(&mut client), Some(4200));
    assert_eq!(code(&mut upstream), Some(1009));
}

#[test]
fn nothing_that_a_client_sends_touches_the_assignments() {
    let scene = Scene::start();
    let (mut client, mut upstream) = scene.connect();
    scene.usher.client().announce(CHANNEL, "A").assert_forwarded();
    let before = scene.usher.admin().assignment(CHANNEL);
    for data in [r#"{"staff_name":"B"}"#, r#""{\"staff_name\":\"B\"}""#] {
        for event in ["staff-assigned", "client-staff-assigned"] {
            let spoofed = Frame::text(&format!(r#"{{"event":"{event}","channel":"{CHANNEL}","data":{data}}}"#));
            client.send(&spoofed);
            assert_eq!(upstream.read(), spoofed, "it is upstream's to refuse");
            upstream.send(&spoofed);
            assert_eq!(client.read(), spoofed);
        }
    }
    assert_eq!(scene.usher.admin().assignment(CHANNEL), before);
    scene.usher.client().announce(CHANNEL, "A").assert_suppressed();
    scene.usher.client().announce(CHANNEL, "B").assert_forwarded();
}
