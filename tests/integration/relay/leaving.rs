//! Relayed connections when usher is about to end.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::Scene;
use crate::harness::bodies::announcement;
use crate::harness::usher::{Signal, message};
use crate::harness::websocket::{End, Frame};
use crate::harness::{Request, Setup, Step, eventually};

fn delayed(delay: &str) -> impl FnOnce(&mut Setup) {
    move |setup| setup.server += &format!("drain_delay = \"{delay}\"\n")
}

#[test]
fn clients_are_told_in_turns_during_the_delay() {
    let mut scene = Scene::with(delayed("2s"));
    let pairs: Vec<(End, End)> = (0..8).map(|_| scene.connect()).collect();
    let began = Instant::now();
    scene.usher.signal(Signal::Term);
    let told = pairs.into_iter().map(|(mut client, mut upstream)| {
        thread::spawn(move || {
            assert_eq!(client.read().code(), Some(4100));
            let told = began.elapsed();
            client.send(&Frame::close(4100, "")).wait_closed();
            assert_eq!(upstream.read().code(), Some(1001));
            upstream.send(&Frame::close(1001, "")).wait_closed();
            told
        })
    });
    let told: Vec<_> = told.collect::<Vec<_>>().into_iter().map(|told| told.join().unwrap()).collect();
    let [first, last] = [told.iter().min().unwrap(), told.iter().max().unwrap()];
    // The positions of eight connections cover at least three quarters of the period.
    assert!(*last - *first >= Duration::from_secs(1), "{told:?}");
    assert_eq!(scene.usher.wait_exit(), 0);
    let logs = scene.usher.logs();
    assert!(logs.contains("\"left\":0") && logs.contains("\"relays\":0"), "none is left after the delay: {logs}");
}

#[test]
fn who_connects_again_during_the_delay_is_served_and_told_again() {
    let mut scene = Scene::with(delayed("2s"));
    let (mut client, _upstream) = scene.connect();
    let began = Instant::now();
    scene.usher.signal(Signal::Term);
    assert_eq!(client.read().code(), Some(4100));
    client.send(&Frame::close(4100, "")).wait_closed();
    let (mut again, mut upstream) = scene.connect();
    again.send(&Frame::text("up"));
    assert_eq!(upstream.read(), Frame::text("up"));
    upstream.send(&Frame::text("down"));
    assert_eq!(again.read(), Frame::text("down"));
    assert_eq!(again.read().code(), Some(4100));
    assert!(began.elapsed() >= Duration::from_secs(2), "once there is nothing to come back to any more");
    again.send(&Frame::close(4100, "")).wait_closed();
    upstream.hang_up();
    assert_eq!(scene.usher.wait_exit(), 0);
}

#[test]
fn the_end_is_bounded_by_the_timeout_of_upstream_whatever_is_left() {
    for delay in ["0s", "300ms"] {
        let mut scene = Scene::with(|setup| {
            setup.server = setup.server.replace("10s", "") + &format!("drain_delay = \"{delay}\"\n");
            setup.timeout = "2s";
        });
        scene.fake.script([Step::silence()]);
        // Neither these clients nor their upstream ever close.
        let _pairs: Vec<(End, End)> = (0..8).map(|_| scene.connect()).collect();
        let mut stuck = scene.usher.client();
        stuck.send(&Request::events(&announcement("h-room-1-chat", "A")).bytes());
        scene.fake.next_request();
        scene.usher.signal(Signal::Term);
        scene.usher.wait_log(|event| message(event).starts_with("listeners closed"));
        let closed = Instant::now();
        assert_eq!(scene.usher.wait_exit(), 0);
        let took = closed.elapsed();
        assert!(took < Duration::from_millis(3500), "{took:?} after the listeners closed, with delay {delay}");
        assert!(scene.usher.logs().contains("\"message\":\"drained\""), "{}", scene.usher.logs());
    }
}

#[test]
fn an_interrupt_tells_clients_at_once() {
    let mut scene = Scene::with(delayed("5m"));
    let (mut client, mut upstream) = scene.connect();
    scene.usher.signal(Signal::Int);
    eventually("usher drains", || (scene.usher.admin().call_openly("GET", "/readyz").status == 503).then_some(()));
    assert_eq!(client.read().code(), Some(4100));
    client.send(&Frame::close(4100, "")).wait_closed();
    assert_eq!(upstream.read().code(), Some(1001));
    upstream.hang_up();
    assert_eq!(scene.usher.wait_exit(), 0);
}
