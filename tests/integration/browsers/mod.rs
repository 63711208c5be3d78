//! Real guests (pusher-js in Node and in headless Chromium) with real backends (pusher-http-python, pusher-http-node),
//! with the embedded broker and, through the relay, with a server that shares no code with usher.

mod calls;
mod encrypted;
pub mod late;
mod page;
pub mod rooms;
mod rows;
pub mod story;
mod watchlists;

use serde_json::{Value, json};

use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::{Backend, Guest, Pusher, Setup, Usher};

/// The room of the story.
const ROOM: &str = "grand-room-101-chat";
/// The staff members, in the order in which they take over.
const STAFF: [&str; 3] = ["Anna Byrne", "Boris Žák", "Anna Byrne"];
/// The number of messages of each staff member.
const MESSAGES: usize = 20;
/// The event that the story ends with.
const LAST: &str = "messages-read-by-staff";

/// An usher, the backend that calls it, and the upstream server unless it is the embedded broker.
#[derive(Debug)]
pub struct Hotel {
    pub usher: Usher,
    pub backend: Backend,
    pub upstream: Option<Pusher>,
}

impl Hotel {
    /// With the embedded broker.
    fn local(library: Library) -> Self {
        Self::open("local", None, library)
    }

    /// With another server.
    pub fn before(upstream: Pusher, library: Library) -> Self {
        Self::open(&upstream.url(), Some(upstream), library)
    }

    fn open(url: &str, upstream: Option<Pusher>, library: Library) -> Self {
        Self::with(&Setup::before_url(url), upstream, library)
    }

    /// With this configuration.
    fn with(setup: &Setup, upstream: Option<Pusher>, library: Library) -> Self {
        let usher = Usher::start_with(&setup.toml());
        let backend = Backend::start(library, usher.gateway().port());
        Self { usher, backend, upstream }
    }

    /// A guest of public rooms.
    pub fn guest(&self, device: Device) -> Guest {
        Guest::connect(device, self.usher.gateway().port())
    }

    /// A guest that the backend knows by name.
    pub fn guest_as(&self, device: Device, user: &str) -> Guest {
        Guest::connect_as(device, self.usher.gateway().port(), user, &self.backend)
    }

    /// A guest that the backend knows by name, with a watchlist of these users.
    fn guest_watching(&self, device: Device, user: &str, watchlist: &[&str]) -> Guest {
        Guest::connect_watching(device, self.usher.gateway().port(), user, watchlist, &self.backend)
    }

    /// The backend announces the staff member with every message, as in README.md.
    pub fn tell(&self) {
        for name in STAFF {
            self.announce(name);
            for number in 0..MESSAGES {
                self.announce(name);
                self.backend.trigger(ROOM, "new-staff-message", &message(name, number));
            }
        }
        self.backend.trigger(ROOM, LAST, &json!({}));
    }

    pub fn announce(&self, name: &str) {
        self.backend.trigger(ROOM, "staff-assigned", &staff(name));
    }
}

fn staff(name: &str) -> Value {
    json!({ "staff_name": name, "staff_role": "Réception & Conciergerie", "staff_profile_image": null })
}

fn message(name: &str, number: usize) -> Value {
    json!({ "staff_info": staff(name), "message": format!("message {number} <&/> “ü”") })
}

/// The events that a guest must receive of [`Hotel::tell`]: each staff member announced once, and every message, in
/// order.
pub fn told() -> Vec<(String, Value)> {
    let mut heard = Vec::new();
    for name in STAFF {
        heard.push(("staff-assigned".to_owned(), staff(name)));
        heard.extend((0..MESSAGES).map(|number| ("new-staff-message".to_owned(), message(name, number))));
    }
    heard.push((LAST.to_owned(), json!({})));
    heard
}
