//! Restricted rooms: private and presence channels with auth endpoints of Pusher's server libraries, sign-in, cache
//! channels.

use serde_json::{Value, json};

use super::Hotel;
use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::{Guest, Pusher};

const LOBBY: &str = "presence-lobby";

/// Behaviour in which servers differ.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Client events on presence channels name their sender.
    pub knows_who: bool,
    /// A user is announced once, not with each of the user's devices.
    pub adds_users_once: bool,
}

/// Pusher's behaviour.
pub const USUAL: Habits = Habits { knows_who: true, adds_users_once: true };

fn announced(guest: &Guest, event: &str) -> Vec<Value> {
    let reports = guest.actor().reports().into_iter();
    reports.filter(|report| report["event"] == event).map(|report| report["data"]["id"].clone()).collect()
}

/// Private channels accept only guests that the backend authorizes.
pub fn private_rooms_are_private(hotel: &Hotel, device: Device) {
    let anna = hotel.guest_as(device, "anna");
    anna.enter("private-room-101");
    hotel.backend.trigger("private-room-101", "bill", &json!({ "total": "120.00" }));
    assert_eq!(anna.wait("private-room-101", "bill"), json!({ "total": "120.00" }));
    assert_eq!(anna.enter_in_vain("private-forbidden")["status"], 403);
}

/// Every member knows all others: one member for each user, with any number of devices.
pub fn presence_rooms_know_their_members(hotel: &Hotel, habits: Habits) {
    let anna = hotel.guest_as(Device::Node, "anna");
    anna.enter(LOBBY);
    let first = anna.wait(LOBBY, "pusher:subscription_succeeded");
    assert_eq!((&first["count"], &first["me"]["info"]["name"]), (&json!(1), &json!("anna")));

    let boris = hotel.guest_as(Device::Node, "boris");
    boris.enter(LOBBY);
    assert_eq!(anna.wait(LOBBY, "pusher:member_added"), json!({ "id": "boris", "info": { "name": "boris" } }));
    let tablet = hotel.guest_as(Device::Node, "boris");
    tablet.enter(LOBBY);
    assert_eq!(tablet.wait(LOBBY, "pusher:subscription_succeeded")["count"], 2);
    for guest in [&anna, &boris, &tablet] {
        assert_eq!(guest.members(LOBBY), json!(["anna", "boris"]));
    }

    drop(boris);
    let zoe = hotel.guest_as(Device::Node, "zoe");
    zoe.enter(LOBBY);
    anna.actor().wait("Zoe", |report| report["event"] == "pusher:member_added" && report["data"]["id"] == "zoe");
    drop(tablet);
    anna.wait(LOBBY, "pusher:member_removed");
    assert_eq!(anna.members(LOBBY), json!(["anna", "zoe"]));
    let added = if habits.adds_users_once { vec!["boris", "zoe"] } else { vec!["boris", "boris", "zoe"] };
    let added = added.into_iter().map(Value::from).collect();
    assert_eq!(
        (announced(&anna, "pusher:member_added"), announced(&anna, "pusher:member_removed")),
        (added, vec![json!("boris")])
    );
}

/// A client event reaches the other guests with the sender's name, and not the sender.
pub fn guests_talk(hotel: &Hotel, habits: Habits) {
    let anna = hotel.guest_as(Device::Node, "anna");
    let boris = hotel.guest_as(Device::Node, "boris");
    for guest in [&anna, &boris] {
        guest.enter(LOBBY);
        guest.actor().ask("listen", json!([LOBBY, "client-said"]));
    }
    let said = |guest: &Guest| guest.actor().wait("a client event", |report| report.get("from").is_some());
    let from = |user: &str| if habits.knows_who { json!(user) } else { Value::Null };
    let say =
        |guest: &Guest, text: &str| assert_eq!(guest.actor().ask("trigger", json!([LOBBY, "client-said", text])), true);
    say(&boris, "Hello");
    assert_eq!(said(&anna), json!({ "channel": LOBBY, "from": from("boris"), "data": "Hello" }));
    say(&anna, "Welcome");
    assert_eq!(
        said(&boris),
        json!({ "channel": LOBBY, "from": from("anna"), "data": "Welcome" }),
        "the first that he hears: no echo"
    );
}

/// A signed-in user receives events to that user.
pub fn users_sign_in(hotel: &Hotel, method: &str) {
    let anna = hotel.guest_as(Device::Node, "anna");
    anna.sign_in();
    hotel.backend.call(method, json!(["anna", "invoice", { "number": 7 }]));
    assert_eq!(anna.wait_user("invoice"), json!({ "number": 7 }));
}

/// A late subscriber of a cache channel receives its last event.
pub fn cache_channels_remember(hotel: &Hotel) {
    let anna = hotel.guest(Device::Node);
    anna.enter("cache-menu");
    anna.wait("cache-menu", "pusher:cache_miss");
    for dish in ["soup", "stew"] {
        hotel.backend.trigger("cache-menu", "dish", &json!({ "today": dish }));
    }
    anna.actor().wait("stew", |report| report["data"]["today"] == "stew");
    let late = hotel.guest(Device::Node);
    late.enter("cache-menu");
    late.wait("cache-menu", "dish");
    assert_eq!(late.heard("cache-menu"), [("dish".to_owned(), json!({ "today": "stew" }))]);
}

#[test]
fn private_with_node() {
    private_rooms_are_private(&Hotel::local(Library::Node), Device::Node);
}

#[test]
fn private_with_python_in_a_page() {
    private_rooms_are_private(&Hotel::local(Library::Python), Device::Chromium);
}

#[test]
fn presence_with_node() {
    let hotel = Hotel::local(Library::Node);
    presence_rooms_know_their_members(&hotel, USUAL);
}

#[test]
fn presence_with_python() {
    let hotel = Hotel::local(Library::Python);
    presence_rooms_know_their_members(&hotel, USUAL);
}

#[test]
fn client_events() {
    guests_talk(&Hotel::local(Library::Python), USUAL);
}

#[test]
fn sign_in_with_node() {
    users_sign_in(&Hotel::local(Library::Node), "sendToUser");
}

#[test]
fn sign_in_with_python() {
    users_sign_in(&Hotel::local(Library::Python), "send_to_user");
}

#[test]
fn cached() {
    cache_channels_remember(&Hotel::local(Library::Python));
}

#[test]
fn all_rooms_behind_the_relay() {
    let hotel = Hotel::before(Pusher::small(), Library::Python);
    private_rooms_are_private(&hotel, Device::Node);
    presence_rooms_know_their_members(&hotel, USUAL);
    guests_talk(&hotel, USUAL);
}
