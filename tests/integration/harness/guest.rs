//! A guest with pusher-js, in Node or in a page of headless Chromium.

use serde_json::{Value, json};

use super::actor::{Actor, node};
use super::{Backend, sign};

/// Where pusher-js runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Node,
    Chromium,
    /// Chromium, where Laravel Echo enters the rooms and listens.
    Echo,
}

/// A connected guest.
#[derive(Debug)]
pub struct Guest {
    actor: Actor,
}

impl Guest {
    /// A guest with access to public rooms only.
    pub fn connect(device: Device, port: u16) -> Self {
        Self::start(device, &json!({ "key": sign::KEY, "port": port }))
    }

    /// A guest that this backend knows by name.
    pub fn connect_as(device: Device, port: u16, user: &str, backend: &Backend) -> Self {
        Self::start(device, &json!({ "key": sign::KEY, "port": port, "auth": backend.auth(), "user": user }))
    }

    /// A guest that this backend knows by name, with a watchlist of these users.
    pub fn connect_watching(device: Device, port: u16, user: &str, watchlist: &[&str], backend: &Backend) -> Self {
        Self::start(
            device,
            &json!({ "key": sign::KEY, "port": port, "auth": backend.auth(), "user": user, "watchlist": watchlist }),
        )
    }

    /// A guest with these settings of guest.mjs that may be refused: does not wait for the connection.
    pub fn try_connect(device: Device, settings: &Value) -> Self {
        let mut command = match device {
            Device::Node => node("terminal.mjs"),
            Device::Chromium | Device::Echo => node("browser.mjs"),
        };
        let mut settings = settings.clone();
        settings["echo"] = json!(device == Device::Echo);
        command.arg(settings.to_string());
        Self { actor: Actor::start(command) }
    }

    fn start(device: Device, settings: &Value) -> Self {
        let guest = Self::try_connect(device, settings);
        guest.actor.wait("a connection", |report| report["state"] == "connected");
        guest
    }

    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Subscribes to a channel and waits for success.
    #[track_caller]
    pub fn enter(&self, channel: &str) {
        self.actor.ask("subscribe", json!([channel]));
        self.wait(channel, "pusher:subscription_succeeded");
    }

    /// Subscribes to a channel that refuses; returns the error of pusher-js.
    #[track_caller]
    pub fn enter_in_vain(&self, channel: &str) -> Value {
        self.actor.ask("subscribe", json!([channel]));
        self.wait(channel, "pusher:subscription_error")
    }

    /// Waits for an event on a channel; its data.
    #[track_caller]
    pub fn wait(&self, channel: &str, event: &str) -> Value {
        let fits = |report: &Value| report["channel"] == channel && report["event"] == event;
        self.actor.wait(&format!("{event} on {channel}"), fits)["data"].clone()
    }

    /// Waits for an event to the signed-in user; its data.
    #[track_caller]
    pub fn wait_user(&self, event: &str) -> Value {
        self.actor.wait(event, |report| report["user"] == true && report["event"] == event)["data"].clone()
    }

    /// The events received on a channel, with their data, without Pusher's own.
    pub fn heard(&self, channel: &str) -> Vec<(String, Value)> {
        let reports = self
            .actor
            .reports()
            .into_iter()
            .filter(|report| report["channel"] == channel && report["event"].is_string());
        let events = reports.map(|report| (report["event"].as_str().unwrap().to_owned(), report["data"].clone()));
        events.filter(|(event, _)| !event.starts_with("pusher:")).collect()
    }

    /// Signs in and waits for success.
    #[track_caller]
    pub fn sign_in(&self) {
        self.actor.ask("signin", json!([]));
        self.wait_user("pusher:signin_success");
    }

    /// The events about the users on its watchlist: `online` or `offline`, and the users.
    pub fn watched(&self) -> Vec<(String, Value)> {
        let reports = self.actor.reports().into_iter().filter(|report| report["watched"].is_string());
        reports.map(|report| (report["watched"].as_str().unwrap().to_owned(), report["users"].clone())).collect()
    }

    /// The members of a presence channel, as this guest knows them.
    pub fn members(&self, channel: &str) -> Value {
        self.actor.ask("members", json!([channel]))
    }

    /// Its connection's socket id.
    pub fn socket(&self) -> String {
        self.actor.ask("socket", json!([])).as_str().unwrap().to_owned()
    }
}
