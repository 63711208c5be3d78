//! Parses the frames that subscribe, unsubscribe and confirm a subscription (`pusher-protocol.md` 4.3).

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The number of bytes at the beginning and at the end of a frame that are searched for the event of a confirmation:
/// the confirmation of a presence channel lists all members in between. Behind the event may be the channel, whose name
/// has up to 200 bytes.
const SEARCHED_BYTES: usize = 320;

const CONFIRMATION: &str = "pusher_internal:subscription_succeeded";

/// A client's request about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionRequest {
    /// Subscribe to this channel.
    Subscribe {
        /// Its name.
        channel: String,
        /// Whether only some of its events are asked for (sockudo's `filter`).
        is_filtered: bool,
    },
    /// Unsubscribe from this channel.
    Unsubscribe(String),
}

/// Whether a client's text may be a [`SubscriptionRequest`]. A cheap check without false negatives for texts as the
/// client libraries write them.
pub(super) fn may_be_request(text: &str) -> bool {
    text.contains("subscribe")
}

/// Whether upstream's text may be a confirmation. A cheap check as well, once for each delivery.
pub(super) fn may_be_confirmation(text: &str) -> bool {
    static EVENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(CONFIRMATION));
    let text = text.as_bytes();
    if text.len() <= 2 * SEARCHED_BYTES {
        return EVENT.find(text).is_some();
    }
    let [beginning, end] = [&text[..SEARCHED_BYTES], &text[text.len() - SEARCHED_BYTES..]];
    EVENT.find(beginning).is_some() || EVENT.find(end).is_some()
}

/// The request in `text`, if it is about a subscription.
#[must_use]
pub fn subscription_request(text: &str) -> Option<SubscriptionRequest> {
    #[derive(Deserialize)]
    struct Data {
        channel: String,
        #[serde(default)]
        filter: Option<IgnoredAny>,
    }
    let (event, data) = event_and_data(text)?;
    let is_subscription = match &*event {
        "pusher:subscribe" => true,
        "pusher:unsubscribe" => false,
        _ => return None,
    };
    let Data { channel, filter } = serde_json::from_str(&data).ok()?;
    Some(if is_subscription {
        SubscriptionRequest::Subscribe { channel, is_filtered: filter.is_some() }
    } else {
        SubscriptionRequest::Unsubscribe(channel)
    })
}

/// The event of a frame, and its data as JSON: both sides may send it as a string that holds JSON
/// (`pusher-protocol.md` 4.1).
#[must_use]
pub fn event_and_data(text: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let Frame { event, data } = serde_json::from_str(text).ok()?;
    let token = data.get();
    let data = if token.starts_with('"') { serde_json::from_str::<String>(token).ok()?.into() } else { token.into() };
    Some((event, data))
}

/// The channel whose subscription `text` confirms, if it is a confirmation.
#[must_use]
pub fn confirmed_channel(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Frame {
        event: String,
        channel: String,
    }
    serde_json::from_str::<Frame>(text).ok().filter(|frame| frame.event == CONFIRMATION).map(|frame| frame.channel)
}
