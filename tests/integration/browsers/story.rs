//! The hotel story with real guests: each staff member is announced once, and every message arrives.

use serde_json::{Value, json};

use super::{Hotel, LAST, MESSAGES, ROOM, STAFF, told};
use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::usher::Signal;
use crate::harness::{Guest, Pusher, Setup, Usher};

/// Runs the story with a guest and compares the received events with the expected ones.
pub fn every_event_is_received(hotel: &Hotel, device: Device) -> Guest {
    let guest = hotel.guest(device);
    guest.enter(ROOM);
    hotel.tell();
    guest.wait(ROOM, LAST);
    assert_eq!(guest.heard(ROOM), told(), "each announcement once, and every message, in order");
    assert_eq!(
        hotel.usher.admin().metric("usher_triggers_total", &["decision=\"suppressed\""]),
        (STAFF.len() * MESSAGES) as f64
    );
    guest
}

/// The lines that the page shows.
fn page() -> Vec<Value> {
    let line = |(event, data): (String, Value)| match event.as_str() {
        "staff-assigned" => Some(format!("{} joined the chat", data["staff_name"].as_str().unwrap())),
        "new-staff-message" => data["message"].as_str().map(str::to_owned),
        _ => None,
    };
    told().into_iter().filter_map(line).map(Value::from).collect()
}

fn is_shown(hotel: &Hotel) -> Guest {
    let guest = every_event_is_received(hotel, Device::Chromium);
    assert_eq!(guest.actor().ask("read", json!(["#log li"])), Value::from(page()));
    guest
}

#[test]
fn a_guest_hears_each_announcement_once() {
    every_event_is_received(&Hotel::local(Library::Python), Device::Node);
}

#[test]
fn a_page_shows_each_announcement_once() {
    let guest = is_shown(&Hotel::local(Library::Python));
    if std::env::var_os("USHER_SCREENSHOT").is_some() {
        guest.actor().ask("screenshot", json!([concat!(env!("CARGO_MANIFEST_DIR"), "/target/page.png")]));
    }
}

#[test]
fn a_guest_behind_the_relay_hears_each_announcement_once() {
    let hotel = Hotel::before(Pusher::small(), Library::Python);
    every_event_is_received(&hotel, Device::Node);
    let connected =
        hotel.upstream.as_ref().unwrap().actor().wait("the guest's connection", |report| report["target"].is_string());
    assert_eq!(connected["connected"], "127.0.0.1", "X-Forwarded-For");
    assert!(
        connected["target"].as_str().unwrap().contains("&client=js&version=8.6.0"),
        "as the guest sent it: {connected}"
    );
}

#[test]
fn a_page_behind_the_relay_shows_each_announcement_once() {
    is_shown(&Hotel::before(Pusher::small(), Library::Node));
}

/// Waits until the guest has connected and entered the room once more.
fn is_back(guest: &Guest, from: usize) {
    guest.actor().wait_after(from, "another connection", |report| report["state"] == "connected");
    guest.actor().wait_after(from, "another subscription", |report| report["event"] == "pusher:subscription_succeeded");
}

#[test]
fn a_guest_reconnects_to_a_restarted_usher() {
    let mut hotel = Hotel::local(Library::Python);
    let guest = hotel.guest(Device::Node);
    guest.enter(ROOM);
    hotel.announce("Anna Byrne");
    guest.wait(ROOM, "staff-assigned");

    let seen = guest.actor().reports().len();
    let address = hotel.usher.gateway();
    hotel.usher.signal(Signal::Term);
    assert_eq!(hotel.usher.wait_exit(), 0, "drained");
    let mut setup = Setup::before_url("local");
    setup.server = setup.server.replace("127.0.0.1:0", &address.to_string());
    hotel.usher = Usher::start_with(&setup.toml());
    is_back(&guest, seen);
    hotel.announce("Boris Žák");
    guest.actor().wait("Boris", |report| report["data"]["staff_name"] == "Boris Žák");
}

#[test]
fn a_guest_reconnects_to_a_restarted_upstream() {
    let hotel = Hotel::before(Pusher::small(), Library::Python);
    let guest = hotel.guest(Device::Node);
    guest.enter(ROOM);
    let seen = guest.actor().reports().len();
    hotel.upstream.as_ref().unwrap().actor().ask("hang-up", json!([]));
    is_back(&guest, seen);
    hotel.announce("Anna Byrne");
    guest.wait(ROOM, "staff-assigned");
}

#[test]
fn a_guest_with_a_wrong_key_is_turned_away_for_good() {
    let hotel = Hotel::local(Library::Python);
    let port = hotel.usher.gateway().port();
    let guest = Guest::try_connect(Device::Node, &json!({ "key": "unknown", "port": port }));
    let refused = guest.actor().wait("a refusal", |report| !report["refused"].is_null());
    assert_eq!(refused["refused"]["code"], 4001, "{refused}");
    guest.actor().wait("no further attempts", |report| report["state"] == "disconnected");
}
