//! Watchlists: the users that pusher-js knows to be online, with the embedded broker.

use serde_json::{Value, json};

use super::Hotel;
use crate::harness::Guest;
use crate::harness::backend::Library;
use crate::harness::guest::Device;

/// A signed-in user with this watchlist.
fn user(hotel: &Hotel, device: Device, name: &str, watchlist: &[&str]) -> Guest {
    let guest = hotel.guest_watching(device, name, watchlist);
    guest.sign_in();
    guest
}

/// Waits until a guest receives this event for exactly one user.
#[track_caller]
fn wait(guest: &Guest, event: &str, user: &str) {
    guest
        .actor()
        .wait(&format!("{user} {event}"), |report| report["watched"] == event && report["users"] == json!([user]));
}

fn told(history: &[(&str, &[&str])]) -> Vec<(String, Value)> {
    history.iter().map(|(event, users)| ((*event).to_owned(), json!(users))).collect()
}

/// A user goes online with the first device and offline with the last.
fn users_watch_each_other(hotel: &Hotel, device: Device) {
    let anna = user(hotel, device, "anna", &["boris", "zoe"]);
    let phone = user(hotel, Device::Node, "boris", &[]);
    wait(&anna, "online", "boris");
    let tablet = user(hotel, Device::Node, "boris", &["boris"]);
    let zoe = user(hotel, Device::Node, "zoe", &["anna", "nobody", "boris"]);
    wait(&anna, "online", "zoe");

    drop(phone);
    drop(tablet);
    for guest in [&anna, &zoe] {
        wait(guest, "offline", "boris");
    }
    let _again = user(hotel, Device::Node, "boris", &[]);
    drop(zoe);
    wait(&anna, "offline", "zoe");
    let history: [(&str, &[&str]); 6] = [
        ("offline", &["boris", "zoe"]),
        ("online", &["boris"]),
        ("online", &["zoe"]),
        ("offline", &["boris"]),
        ("online", &["boris"]),
        ("offline", &["zoe"]),
    ];
    assert_eq!(anna.watched(), told(&history));
}

#[test]
fn with_the_node_library() {
    users_watch_each_other(&Hotel::local(Library::Node), Device::Node);
}

#[test]
fn with_the_python_library_in_a_page() {
    users_watch_each_other(&Hotel::local(Library::Python), Device::Chromium);
}

/// Users that are online at sign-in, users that are not, and the user's own events.
#[test]
fn the_first_that_is_told() {
    let hotel = Hotel::local(Library::Node);
    let _boris = user(&hotel, Device::Node, "boris", &[]);
    let anna = user(&hotel, Device::Node, "anna", &["zoe", "boris", "anna"]);
    wait(&anna, "offline", "zoe");
    assert_eq!(anna.watched(), told(&[("online", &["boris", "anna"]), ("offline", &["zoe"])]));
}

#[test]
fn a_hundred_users_are_watched_and_no_more() {
    let hotel = Hotel::local(Library::Node);
    let names: Vec<String> = (0..101).map(|number| format!("guest-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let anna = user(&hotel, Device::Node, "anna", &names[..100]);
    anna.actor().wait("all of them", |report| report["watched"] == "offline" && report["users"] == json!(names[..100]));
    let eager = hotel.guest_watching(Device::Node, "eager", &names);
    eager.actor().ask("signin", json!([]));
    eager.actor().wait("a refusal", |report| report["refused"]["code"] == 4302);
}
