//! Encrypted channels: backend and guest share a key that usher does not have. It cannot read the announcements there,
//! so it drops none.

use serde_json::json;

use super::{Hotel, STAFF, staff};
use crate::harness::Pusher;
use crate::harness::backend::Library;
use crate::harness::guest::Device;

/// A channel that the rule's template matches.
const ROOM: &str = "private-encrypted-room-101-chat";

/// The guest reads every announcement, repeated or not, and none of them is readable in transit.
fn every_announcement_is_read(hotel: &Hotel) {
    let guest = hotel.guest_as(Device::Node, "anna");
    guest.actor().ask("overhear", json!([ROOM]));
    guest.enter(ROOM);
    let mut announced = Vec::new();
    for name in STAFF {
        for _ in 0..3 {
            hotel.backend.trigger(ROOM, "staff-assigned", &staff(name));
            announced.push(("staff-assigned".to_owned(), staff(name)));
        }
    }
    hotel.backend.trigger(ROOM, "bill", &json!({ "total": "120.00 €" }));
    assert_eq!(guest.wait(ROOM, "bill"), json!({ "total": "120.00 €" }));
    announced.push(("bill".to_owned(), json!({ "total": "120.00 €" })));
    assert_eq!(guest.heard(ROOM), announced);

    guest.actor().wait("the last on the wire", |report| report["overheard"] == "bill");
    let reports = guest.actor().reports();
    let overheard: Vec<_> = reports
        .iter()
        .filter(|report| ["staff-assigned", "bill"].iter().any(|event| report["overheard"] == *event))
        .collect();
    assert_eq!(overheard.len(), announced.len());
    for report in overheard {
        let keys: Vec<&String> = report["data"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ciphertext", "nonce"], "{report}");
    }
    let metric = |reason: &str| hotel.usher.admin().metric("usher_triggers_total", &[&format!("reason=\"{reason}\"")]);
    assert_eq!((metric("no_rule"), metric("same_assignment"), metric("same_in_flight")), (10.0, 0.0, 0.0));
}

/// Without the key, no guest can subscribe: neither one without a backend nor one that the backend refuses.
fn subscriptions_without_the_key_are_refused(hotel: &Hotel) {
    let stranger = hotel.guest(Device::Node);
    stranger.actor().ask("subscribe", json!([ROOM]));
    stranger.wait(ROOM, "pusher:subscription_error");
    assert_eq!(hotel.guest_as(Device::Node, "boris").enter_in_vain("private-encrypted-forbidden")["status"], 403);
}

#[test]
fn with_node() {
    let hotel = Hotel::local(Library::Node);
    every_announcement_is_read(&hotel);
    subscriptions_without_the_key_are_refused(&hotel);
}

#[test]
fn with_python() {
    every_announcement_is_read(&Hotel::local(Library::Python));
}

#[test]
fn behind_the_relay_with_node() {
    let hotel = Hotel::before(Pusher::small(), Library::Node);
    every_announcement_is_read(&hotel);
    subscriptions_without_the_key_are_refused(&hotel);
}

#[test]
fn behind_the_relay_with_python() {
    every_announcement_is_read(&Hotel::before(Pusher::small(), Library::Python));
}
