//! A guest's page: a subscriber that keeps the received events.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Uri;
use serde_json::Value;
use tokio::time::timeout;

use super::conversation::{ANNOUNCEMENT, CHANNEL};
use usher::tls::Client;

use crate::command::credentials::DEMO_KEY;
use crate::command::listener::{Address, Connection, ConnectionEvent, Effect, Event, Subscriptions};
use crate::command::party::Role;

/// Longer than any event takes on one machine: exceeded only if one is lost.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The subscription of a guest.
pub(super) fn room() -> Subscriptions {
    Subscriptions { channels: vec![CHANNEL.to_owned()], app: None, member: String::new() }
}

/// An entry on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// "… joined the chat".
    Joined(String),
    /// A message; `from` is `None` for the guest's own.
    Message { number: u64, from: Option<String>, text: String },
}

/// A connected guest.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    connection: Connection<'a>,
    unread: VecDeque<Entry>,
    /// The names in the announcements that it received.
    pub(super) joined: Vec<String>,
    /// The number of messages that it received.
    pub(super) messages: usize,
}

impl<'a> Guest<'a> {
    /// Connects to the host at `url` and subscribes.
    ///
    /// # Errors
    /// If the subscription is not confirmed in time.
    pub(super) async fn connect(url: &Uri, room: &'a Subscriptions) -> anyhow::Result<Self> {
        let connection = Connection::open(&Address::new(Role::Url, url, DEMO_KEY, &Client::default())?, room).await?;
        let mut guest = Self { connection, unread: VecDeque::new(), joined: Vec::new(), messages: 0 };
        timeout(TIMEOUT, async {
            while !guest.read().await? {}
            anyhow::Ok(())
        })
        .await
        .context("a guest could not subscribe")??;
        Ok(guest)
    }

    /// The entries that have appeared on the page, up to the message with this number.
    ///
    /// # Errors
    /// If the message does not arrive in time.
    pub(super) async fn read_until(&mut self, number: u64) -> anyhow::Result<Vec<Entry>> {
        timeout(TIMEOUT, self.read_page(number))
            .await
            .with_context(|| format!("message {number} did not reach a guest within {TIMEOUT:?}"))?
    }

    async fn read_page(&mut self, last: u64) -> anyhow::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        loop {
            while let Some(entry) = self.unread.pop_front() {
                let is_wanted = matches!(&entry, Entry::Message { number, .. } if *number == last);
                match &entry {
                    Entry::Joined(name) => self.joined.push(name.clone()),
                    Entry::Message { .. } => self.messages += 1,
                }
                entries.push(entry);
                if is_wanted {
                    return Ok(entries);
                }
            }
            self.read().await?;
        }
    }

    /// Reads a frame. Returns whether it confirms the subscription.
    async fn read(&mut self) -> anyhow::Result<bool> {
        let mut ready = false;
        match self.connection.next().await {
            ConnectionEvent::Effects(effects) => {
                for effect in effects {
                    match effect {
                        Effect::Event(event) => self.unread.push_back(entry(&event)?),
                        Effect::Ready => ready = true,
                        Effect::Refused(reason) => bail!("a guest was refused: {reason}"),
                        Effect::Established(_) | Effect::Notice(_) | Effect::Send(_) => {}
                    }
                }
            }
            ConnectionEvent::Ended(end) => bail!("a guest lost its connection: {}", end.reason),
        }
        Ok(ready)
    }
}

fn entry(event: &Event) -> anyhow::Result<Entry> {
    let data: Value = serde_json::from_str(event.data.as_deref().unwrap_or_default())
        .context("a guest was sent data that is no JSON")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if event.name == ANNOUNCEMENT {
        return Ok(Entry::Joined(text(&data["staff_name"])));
    }
    let from = data["staff_info"]["staff_name"].as_str().map(str::to_owned);
    Ok(Entry::Message {
        number: data["id"].as_u64().context("a guest was sent a message without its number")?,
        from,
        text: text(&data["message"]),
    })
}
