//! The frames of the protocol that tell who is subscribed (`pusher-protocol.md` 4.3), as far as that is read from them.

use serde::Deserialize;
use serde_json::value::RawValue;

/// So much of a frame's beginning and of its end is searched for the event of a confirmation: that of a presence
/// channel lists all members between.
const EDGE: usize = 128;

const CONFIRMATION: &str = "pusher_internal:subscription_succeeded";

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To be subscribed to this channel.
    Subscribe(String),
    /// To be out of it.
    Unsubscribe(String),
}

/// Whether a client's text may be a [`Wish`]: cheap, and never wrong about one that is written as every client library
/// writes it.
pub(super) fn may_wish(text: &str) -> bool {
    text.contains("subscribe")
}

/// Whether upstream's text may be a confirmation, as cheaply.
pub(super) fn may_confirm(text: &str) -> bool {
    let beginning = &text[..text.floor_char_boundary(EDGE)];
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(EDGE))..];
    beginning.contains(CONFIRMATION) || end.contains(CONFIRMATION)
}

/// What a client asks for with `text`, if it is about a subscription.
pub(super) fn wish(text: &str) -> Option<Wish> {
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
    let wish = match frame.event.as_str() {
        "pusher:subscribe" => Wish::Subscribe,
        "pusher:unsubscribe" => Wish::Unsubscribe,
        _ => return None,
    };
    serde_json::from_str::<Data>(frame.data.get()).ok().map(|data| wish(data.channel))
}

/// The channel that upstream confirms with `text`, if it confirms one.
pub(super) fn confirmed(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Frame {
        event: String,
        channel: String,
    }
    serde_json::from_str::<Frame>(text).ok().filter(|frame| frame.event == CONFIRMATION).map(|frame| frame.channel)
}
