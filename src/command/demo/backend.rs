//! The hotel's backend: signs triggers and sends them over HTTP to its Pusher host.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Uri;
use serde_json::json;
use usher::pusher::App;
use usher::tls::Client;

use super::conversation::{ANNOUNCEMENT, CHANNEL, Event};
use crate::command::credentials::{DEMO_ID, DEMO_KEY, DEMO_SECRET};
use crate::command::http_client::HttpClient;
use crate::command::party::Role;
use crate::command::trigger;

/// The shortest timeout of Pusher's libraries (pusher-protocol.md 1.6).
const TIMEOUT: Duration = Duration::from_secs(4);

/// A backend with one Pusher host.
#[derive(Debug)]
pub(super) struct Backend {
    client: HttpClient,
    app: App,
    /// The number of announcements that were accepted.
    pub(super) announced: usize,
    /// The number of announcements that were suppressed, by the answer's header.
    pub(super) suppressed: usize,
}

impl Backend {
    /// A backend whose Pusher host is at `url`.
    ///
    /// # Errors
    /// If `url` is not the address of a server.
    pub(super) fn new(url: &Uri) -> anyhow::Result<Self> {
        let app = App::new(DEMO_ID, DEMO_KEY, DEMO_SECRET);
        Ok(Self {
            client: HttpClient::new(Role::Url, url, Client::default(), TIMEOUT)?,
            app,
            announced: 0,
            suppressed: 0,
        })
    }

    /// Triggers one event for the guest's room.
    ///
    /// # Errors
    /// If it is not accepted.
    pub(super) async fn trigger(&mut self, event: &Event) -> anyhow::Result<()> {
        let body = json!({ "name": event.name, "channels": [CHANNEL], "data": event.data });
        let answer =
            trigger::send(&self.client, &self.app, "events", body).await.context("the backend's trigger failed")?;
        let text = String::from_utf8_lossy(answer.body());
        ensure!(answer.status() == 200, "the backend's trigger was answered {}: {text}", answer.status());
        if event.name == ANNOUNCEMENT {
            self.announced += 1;
            let decision = answer.headers().get("usher-decision");
            self.suppressed += usize::from(decision.is_some_and(|decision| decision == "suppressed"));
        }
        Ok(())
    }
}
