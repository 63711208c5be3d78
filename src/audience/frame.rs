//! Parses the frames that subscribe, unsubscribe and confirm a subscription (`pusher-protocol.md` 4.3).

use serde::Deserialize;
use serde_json::value::RawValue;

/// The number of bytes at the beginning and at the end of a frame that are searched for the event of a confirmation:
/// the confirmation of a presence channel lists all members in between. Behind the event may be the channel, whose name
/// has up to 200 bytes.
const SEARCHED_BYTES: usize = 320;

const CONFIRMATION: &str = "pusher_internal:subscription_succeeded";

/// A client's request about a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SubscriptionRequest {
    /// Subscribe to this channel.
    Subscribe(String),
    /// Unsubscribe from this channel.
    Unsubscribe(String),
}

/// Whether a client's text may be a [`SubscriptionRequest`]. A cheap check without false negatives for texts as the
/// client libraries write them.
pub(super) fn may_be_request(text: &str) -> bool {
    text.contains("subscribe")
}

/// Whether upstream's text may be a confirmation. A cheap check as well.
pub(super) fn may_be_confirmation(text: &str) -> bool {
    let beginning = &text[..text.floor_char_boundary(SEARCHED_BYTES)];
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(SEARCHED_BYTES))..];
    beginning.contains(CONFIRMATION) || end.contains(CONFIRMATION)
}

/// The request in `text`, if it is about a subscription.
pub(super) fn request(text: &str) -> Option<SubscriptionRequest> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        event: String,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Data {
        channel: String,
    }
    let frame: Frame<'_> = serde_json::from_str(text).ok()?;
    let request = match frame.event.as_str() {
        "pusher:subscribe" => SubscriptionRequest::Subscribe,
        "pusher:unsubscribe" => SubscriptionRequest::Unsubscribe,
        _ => return None,
    };
    serde_json::from_str::<Data>(frame.data.get()).ok().map(|data| request(data.channel))
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
