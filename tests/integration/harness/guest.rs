//! A guest with pusher-js, in Node or in a page of headless Chromium.

use serde_json::{Value, json};

use super::actor::{Actor, node};
use super::{Backend, sign};

/// Where pusher-js runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Node,
    Chromium,
}

/// A connected guest.
#[derive(Debug)]
pub struct Guest {
    actor: Actor,
}

impl Guest {
    /// A guest who sees public rooms alone.
    pub fn connect(device: Device, port: u16) -> Self {
        Self::start(device, &json!({ "key": sign::KEY, "port": port }))
    }

    /// One whom this backend knows by name.
    pub fn connect_as(device: Device, port: u16, user: &str, backend: &Backend) -> Self {
        Self::start(device, &json!({ "key": sign::KEY, "port": port, "auth": backend.auth(), "user": user }))
    }

    /// One whom this backend knows by name and lets know when these users come and go.
    pub fn connect_watching(device: Device, port: u16, user: &str, watchlist: &[&str], backend: &Backend) -> Self {
        Self::start(
            device,
            &json!({ "key": sign::KEY, "port": port, "auth": backend.auth(), "user": user, "watchlist": watchlist }),
        )
    }

    /// One with these settings of guest.mjs, who may be refused: does not wait for the connection.
    pub fn try_connect(device: Device, settings: &Value) -> Self {
        let mut command = match device {
            Device::Node => node("terminal.mjs"),
            Device::Chromium => node("browser.mjs"),
        };
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

    /// Enters a channel and waits until that succeeded.
    #[track_caller]
    pub fn enter(&self, channel: &str) {
        self.actor.ask("subscribe", json!([channel]));
        self.wait(channel, "pusher:subscription_succeeded");
    }

    /// Enters a channel that refuses; what pusher-js says to that.
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

    /// What it has heard on a channel: events and their data, without Pusher's own.
    pub fn heard(&self, channel: &str) -> Vec<(String, Value)> {
        let reports = self
            .actor
            .reports()
            .into_iter()
            .filter(|report| report["channel"] == channel && report["event"].is_string());
        let events = reports.map(|report| (report["event"].as_str().unwrap().to_owned(), report["data"].clone()));
        events.filter(|(event, _)| !event.starts_with("pusher:")).collect()
    }

    /// Signs in and waits until that succeeded.
    #[track_caller]
    pub fn sign_in(&self) {
        self.actor.ask("signin", json!([]));
        self.wait_user("pusher:signin_success");
    }

    /// What it was told of the users whom it watches: `online` or `offline`, and who.
    pub fn watched(&self) -> Vec<(String, Value)> {
        let reports = self.actor.reports().into_iter().filter(|report| report["watched"].is_string());
        reports.map(|report| (report["watched"].as_str().unwrap().to_owned(), report["users"].clone())).collect()
    }

    /// Who is present in a presence channel, as this guest knows it.
    pub fn members(&self, channel: &str) -> Value {
        self.actor.ask("members", json!([channel]))
    }

    /// Its connection's socket id.
    pub fn socket(&self) -> String {
        self.actor.ask("socket", json!([])).as_str().unwrap().to_owned()
    }
}
