//! The client's side of protocol 7, without I/O: it receives frames, and returns frames to send and events to show
//! (pusher-protocol.md 4).

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use usher::pusher::{App, Grant};

/// The longest silence of the server before a client pings it. The server may name a shorter one (pusher-protocol.md
/// 4.2).
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// The channels to subscribe to, and the app and member that sign.
#[derive(Debug, Clone)]
pub(in crate::command) struct Subscriptions {
    /// The channels' names, none twice.
    pub(in crate::command) channels: Vec<String>,
    /// The app that signs for private and presence channels.
    pub(in crate::command) app: Option<App>,
    /// The member on presence channels, as the text of `{"user_id": …}`.
    pub(in crate::command) member: String,
}

/// One connection's state.
#[derive(Debug)]
pub(in crate::command) struct Session<'a> {
    subscriptions: &'a Subscriptions,
    /// How long the server may be silent before it is pinged.
    silence: Duration,
    /// Channels that the server has not confirmed yet.
    waiting: usize,
}

/// The effect of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) enum Effect {
    /// Send this text.
    Send(String),
    /// The connection is established; show the event of the protocol that says so.
    Established(Event),
    /// All channels are subscribed to; after this subscription's own event.
    Ready,
    /// Show an event of the protocol itself.
    Notice(Event),
    /// Show an event of a channel.
    Event(Event),
    /// The server refused something permanently; another attempt would fail as well.
    Refused(String),
}

/// An event as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Event {
    /// Its name.
    pub(in crate::command) name: String,
    /// Its channel; events of the connection have none.
    pub(in crate::command) channel: Option<String>,
    /// The sender of a client event on a presence channel.
    pub(in crate::command) user_id: Option<String>,
    /// The text of the data: of a JSON string its contents, of any other value its JSON.
    pub(in crate::command) data: Option<String>,
}

/// A frame that is not of protocol 7.
#[derive(Debug, thiserror::Error)]
#[error("the server sent a frame that is no event: {0}")]
pub(in crate::command) struct InvalidFrame(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Frame<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Established {
    socket_id: String,
    activity_timeout: Option<u64>,
}

impl<'a> Session<'a> {
    /// The session of a connection on which nothing was received yet.
    pub(in crate::command) fn new(subscriptions: &'a Subscriptions) -> Self {
        Self { subscriptions, silence: LONGEST_SILENCE, waiting: subscriptions.channels.len() }
    }

    /// How long the server may be silent before it is pinged.
    pub(in crate::command) fn silence(&self) -> Duration {
        self.silence
    }

    /// The frame of a ping.
    pub(in crate::command) fn ping() -> String {
        r#"{"event":"pusher:ping","data":{}}"#.to_owned()
    }

    /// Processes a text frame.
    ///
    /// # Errors
    /// If it is not an event of the protocol.
    pub(in crate::command) fn receive(&mut self, text: &str) -> Result<Vec<Effect>, InvalidFrame> {
        let frame: Frame<'_> = serde_json::from_str(text)?;
        let event = Event {
            name: frame.event,
            channel: frame.channel,
            user_id: frame.user_id.map(decoded_text),
            data: frame.data.map(decoded_text),
        };
        Ok(match event.name.as_str() {
            "pusher:ping" => vec![Effect::Send(r#"{"event":"pusher:pong","data":{}}"#.to_owned())],
            "pusher:pong" => Vec::new(),
            "pusher:connection_established" => self.establish(event)?,
            "pusher_internal:subscription_succeeded" => {
                self.waiting = self.waiting.saturating_sub(1);
                let ready = (self.waiting == 0).then_some(Effect::Ready);
                std::iter::once(Effect::Notice(event)).chain(ready).collect()
            }
            "pusher:error" | "pusher:subscription_error" => self.refuse(event),
            name if name.starts_with("pusher:") || name.starts_with("pusher_internal:") => vec![Effect::Notice(event)],
            _ => vec![Effect::Event(event)],
        })
    }

    fn establish(&mut self, event: Event) -> Result<Vec<Effect>, InvalidFrame> {
        let Established { socket_id, activity_timeout } =
            serde_json::from_str(event.data.as_deref().unwrap_or_default())?;
        let named = activity_timeout.map_or(LONGEST_SILENCE, Duration::from_secs);
        self.silence = named.clamp(Duration::from_secs(1), LONGEST_SILENCE);
        let subscriptions: Vec<_> = self
            .subscriptions
            .channels
            .iter()
            .map(|channel| Effect::Send(self.subscriptions.subscription(channel, &socket_id)))
            .collect();
        Ok(std::iter::once(Effect::Established(event)).chain(subscriptions).collect())
    }

    /// The meaning of an error event: codes 4000 to 4099, and a refused subscription, are permanent (pusher-protocol.md
    /// 4.6). Pusher refuses a subscription without a code, since the connection stays open (docs/broker.md); nothing
    /// else can be refused like that.
    fn refuse(&self, event: Event) -> Vec<Effect> {
        let data: Value = event.data.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        let code = data["code"].as_i64();
        let is_final = event.name == "pusher:subscription_error"
            || code.map_or(self.waiting > 0, |code| (4000..=4099).contains(&code));
        let message = data["message"]
            .as_str()
            .or_else(|| data["error"].as_str())
            .or(event.data.as_deref())
            .unwrap_or("without a reason")
            .to_owned();
        let message = match (&event.channel, code) {
            (Some(channel), _) => format!("the subscription to {channel} was refused: {message}"),
            (None, Some(code)) => format!("the server reports error {code}: {message}"),
            (None, None) => format!("the server reports an error: {message}"),
        };
        let refused = is_final.then_some(Effect::Refused(message));
        std::iter::once(Effect::Notice(event)).chain(refused).collect()
    }
}

impl Subscriptions {
    /// The first channel that cannot be subscribed to without the app's secret, if the secret is missing.
    pub(in crate::command) fn first_unsigned(&self) -> Option<&str> {
        let needs_token = |channel: &&String| channel.starts_with("private-") || channel.starts_with("presence-");
        if self.app.is_some() { None } else { self.channels.iter().find(needs_token).map(String::as_str) }
    }

    /// The frame that subscribes the connection `socket_id` to `channel`, signed where that is needed
    /// (pusher-protocol.md 4.3, 5.1).
    fn subscription(&self, channel: &str, socket_id: &str) -> String {
        let data = match &self.app {
            Some(app) if channel.starts_with("presence-") => {
                let auth = Grant::Channel { name: channel, data: Some(&self.member) }.token(app, socket_id);
                json!({ "channel": channel, "auth": auth, "channel_data": self.member })
            }
            Some(app) if channel.starts_with("private-") => {
                json!({ "channel": channel, "auth": Grant::Channel { name: channel, data: None }.token(app, socket_id) })
            }
            _ => json!({ "channel": channel }),
        };
        json!({ "event": "pusher:subscribe", "data": data }).to_string()
    }
}

/// The text of a JSON string, else the JSON itself.
fn decoded_text(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

#[cfg(test)]
mod tests;
