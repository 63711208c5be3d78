//! Guests who open the page late, with `late_joiners = "replay"`: each reads who serves, once.

use std::thread;

use serde_json::{Value, json};

use super::{Hotel, LAST, ROOM, staff};
use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::{Guest, Pusher, Setup};

const ANNA: &str = "Anna Byrne";
const BORIS: &str = "Boris Žák";

/// A hotel whose rule hands late guests the last announcement.
pub fn hotel(upstream: Option<Pusher>) -> Hotel {
    let url = upstream.as_ref().map_or_else(|| "local".to_owned(), Pusher::url);
    let mut setup = Setup::before_url(&url);
    setup.rule = "late_joiners = \"replay\"\n".to_owned();
    Hotel::with(&setup, upstream, Library::Python)
}

/// Who serves, as a guest was told in turn.
fn told(guest: &Guest) -> Vec<Value> {
    let heard = guest.heard(ROOM).into_iter();
    heard.filter(|(event, _)| event == "staff-assigned").map(|(_, data)| data["staff_name"].clone()).collect()
}

fn comes(hotel: &Hotel, device: Device) -> Guest {
    let guest = hotel.guest(device);
    guest.enter(ROOM);
    guest
}

/// Anna is announced; a second guest opens the page and reads Anna once. Boris takes over while a third one opens it, who
/// reads Boris last, never Anna after him, and never nothing; and a fourth one reads Boris alone.
pub fn whoever_comes_late_reads_who_serves(hotel: &Hotel, device: Device) {
    let first = comes(hotel, Device::Node);
    hotel.announce(ANNA);
    first.wait(ROOM, "staff-assigned");
    let second = comes(hotel, device);
    assert_eq!(second.wait(ROOM, "staff-assigned"), staff(ANNA));
    hotel.announce(ANNA);
    let third = hotel.guest(device);
    thread::scope(|scope| {
        scope.spawn(|| third.enter(ROOM));
        hotel.announce(BORIS);
        hotel.announce(BORIS);
    });
    third.actor().wait("Boris", |report| report["data"]["staff_name"] == BORIS);
    let fourth = comes(hotel, Device::Node);
    fourth.wait(ROOM, "staff-assigned");
    hotel.announce(BORIS);
    hotel.backend.trigger(ROOM, LAST, &json!({}));
    for guest in [&first, &second, &third, &fourth] {
        guest.wait(ROOM, LAST);
    }
    assert_eq!(
        [told(&first), told(&second)],
        [[ANNA, BORIS], [ANNA, BORIS]].map(|names| names.map(Value::from).to_vec())
    );
    assert_eq!(told(&fourth), [BORIS]);
    // Who comes while Boris is in flight may get him twice.
    let third = told(&third);
    let since_boris = third.iter().skip_while(|name| **name == ANNA).collect::<Vec<_>>();
    assert!(!since_boris.is_empty() && since_boris.iter().all(|name| **name == BORIS), "{third:?}");
    assert!(third.iter().filter(|name| **name == ANNA).count() <= 1, "{third:?}");
    let replayed = hotel.usher.admin().metric("usher_replayed_total", &[]);
    assert!(replayed >= 2.0, "{replayed}");
}

#[test]
fn late_guests_of_the_embedded_broker_read_who_serves_once() {
    whoever_comes_late_reads_who_serves(&hotel(None), Device::Chromium);
}

#[test]
fn late_guests_behind_the_relay_read_who_serves_once() {
    whoever_comes_late_reads_who_serves(&hotel(Some(Pusher::small())), Device::Chromium);
}

#[test]
fn late_guests_whose_page_has_laravel_echo_read_who_serves_once() {
    whoever_comes_late_reads_who_serves(&hotel(None), Device::Echo);
    whoever_comes_late_reads_who_serves(&hotel(Some(Pusher::small())), Device::Echo);
}
