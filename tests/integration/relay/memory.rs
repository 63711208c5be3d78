//! The memory of relayed connections with malicious peers.

use std::thread;

use super::Scene;
use crate::harness::websocket::{End, Frame, PING, PONG};

const KIB: u64 = 1024;

/// Reads frames and answers pings until the connection ends; returns how many pings there were.
fn answer_pings(mut end: End) -> usize {
    let mut count = 0;
    while let Ok(frame) = end.try_read() {
        count += usize::from(frame.opcode == PING);
        if frame.opcode == PING && end.try_send(&Frame::new(PONG, &frame.payload)).is_err() {
            break;
        }
    }
    count
}

#[test]
fn a_flood_of_pings_by_clients_that_never_read_fills_no_memory() {
    // Many connections, so that the allocator's reserve is small compared with their limit: it grows in pages of 2 MiB.
    const CLIENTS: u64 = 16;
    let scene = Scene::limited("idle_timeout = \"500ms\"");
    let (mut client, mut upstream) = scene.connect();
    client.send(&Frame::text("warm"));
    upstream.read();
    let before = scene.usher.peak_memory();
    let flood = Frame::new(PING, &[b'p'; 125]).masked().bytes().repeat(1000);
    let floods: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, upstream) = scene.connect();
            let flood = flood.clone();
            let answering = thread::spawn(move || answer_pings(upstream));
            let flooding = thread::spawn(move || {
                let floods = 0..1000;
                floods.take_while(|_| std::io::Write::write_all(&mut client.stream, &flood).is_ok()).count()
            });
            (flooding, answering)
        })
        .collect();
    for (flooding, answering) in floods {
        let written = flooding.join().unwrap();
        assert!(written < 1000, "usher never stopped taking pings");
        assert!(answering.join().unwrap() > 1000);
    }
    let grown = scene.usher.peak_memory() - before;
    assert!(grown < CLIENTS * 256 * KIB + 1024 * KIB, "{grown} bytes more");
    assert_eq!(scene.metric("usher_relay_ends_total", "end=\"client_lost\""), CLIENTS as f64);
}

#[test]
fn idle_relays_are_cheap_and_large_messages_leave_no_large_buffers() {
    const PAIRS: u64 = 200;
    let scene = Scene::start();
    let _warm = scene.connect();
    let resident = || scene.usher.admin().metric("process_resident_memory_bytes", &[]);
    let bare = resident();
    let mut pairs: Vec<(End, End)> = (0..PAIRS).map(|_| scene.connect()).collect();
    let idle = (resident() - bare) / PAIRS as f64;
    assert!(idle < 16.0 * KIB as f64, "{idle} bytes for each connection");
    for (client, upstream) in &mut pairs {
        let large = Frame::text(&"x".repeat(120_000));
        upstream.send(&large);
        assert_eq!(client.read(), large);
        client.send(&large);
        assert_eq!(upstream.read(), large);
        for _ in 0..20 {
            let small = Frame::text(&"x".repeat(1000));
            upstream.send(&small);
            assert_eq!(client.read(), small);
            client.send(&small);
            assert_eq!(upstream.read(), small);
        }
    }
    // The total for each connection, including memory from the set-up, since the allocator reuses that.
    let used = (resident() - bare) / PAIRS as f64;
    assert!(used < 64.0 * KIB as f64, "{used} bytes for each used connection");
}
