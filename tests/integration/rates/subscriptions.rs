//! The rate limit of subscriptions at the embedded broker.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::count;
use crate::harness::bodies::message;
use crate::harness::websocket::{End, Frame, handshake};
use crate::harness::{Setup, Usher};

const NEWS: &str = "hilton-room-12-chat";

fn wish(event: &str, channel: &str) -> Frame {
    Frame::text(&json!({"event": format!("pusher:{event}"), "data": {"channel": channel}}).to_string())
}

fn hear(guest: &mut End) -> Value {
    serde_json::from_slice(&guest.read().payload).unwrap()
}

/// The backend sends an event after each of the delayed responses: the guest receives all events while usher reads
/// slowly, and then its ping is answered.
#[test]
fn a_client_that_subscribes_too_often_is_read_slowly_and_loses_nothing() {
    let mut setup = Setup::before_url("local");
    setup.more = "[broker]\nmax_channels = 5\nsubscription_counts = false\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    let mut backend = usher.client();
    let mut client = usher.client();
    client.send(&handshake().bytes());
    let mut guest = End::switched(client);
    assert_eq!(hear(&mut guest)["event"], "pusher:connection_established");
    guest.send(&wish("subscribe", NEWS));
    assert_eq!(hear(&mut guest)["event"], "pusher_internal:subscription_succeeded");

    let rooms = (0..24).map(|number| format!("room-{number}"));
    let began = Instant::now();
    for room in rooms.clone() {
        guest.send(&wish("subscribe", &room)).send(&wish("unsubscribe", &room));
    }
    guest.send(&Frame::text(r#"{"event":"pusher:ping"}"#));
    let (mut joined, mut told, mut heard, mut ponged) = (Vec::new(), Vec::new(), Vec::new(), false);
    while !ponged || heard.len() < told.len() {
        let next = hear(&mut guest);
        match next["event"].as_str().unwrap() {
            "pusher_internal:subscription_succeeded" => joined.push(next["channel"].as_str().unwrap().to_owned()),
            "new-staff-message" => {
                heard.push(serde_json::from_str::<Value>(next["data"].as_str().unwrap()).unwrap()["message"].clone())
            }
            "pusher:pong" => ponged = true,
            other => panic!("{other}"),
        }
        if joined.len() > 4 && told.len() < joined.len() - 4 && joined.len() < 24 {
            let text = format!("after {}", joined.len());
            assert_eq!(backend.trigger(&message(NEWS, &text)).status, 200);
            told.push(Value::from(text));
        }
    }
    // Its burst is five. The first subscription beyond it is read before the limit applies.
    let took = began.elapsed().as_secs_f64();
    assert!(took >= 19.0 * 0.05, "20 subscriptions beyond the burst in {took} s are too many");
    assert!(joined.into_iter().eq(rooms), "the ping was sent last");
    assert_eq!(heard, told);
    // A machine that stops for longer than the limit wants lets one subscription pass at once.
    let stopped = (took / 0.05 - 19.0).floor();
    let delayed = count(&usher, "usher_rate_delayed_total", "subscriptions");
    assert!(delayed >= 1.0_f64.max(19.0 - stopped), "{delayed} delayed in {took} s");
    assert_eq!(count(&usher, "usher_rate_limited_total", "subscriptions"), 0.0);
}

/// As pages do at a reconnect: subscribes to the maximum number of channels at once.
#[test]
fn a_full_burst_waits_for_nothing() {
    let usher = Usher::start_with(&Setup::before_url("local").toml());
    let mut client = usher.client();
    client.send(&handshake().bytes());
    let mut guest = End::switched(client);
    (0..200).for_each(|number| _ = guest.send(&wish("subscribe", &format!("room-{number}"))));
    let mut joined = 0;
    while joined < 200 {
        joined += usize::from(hear(&mut guest)["event"] == "pusher_internal:subscription_succeeded");
    }
    assert_eq!(count(&usher, "usher_rate_delayed_total", "subscriptions"), 0.0);
}
