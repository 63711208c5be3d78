//! An announcement as it was sent, and as a server delivers it (`pusher-protocol.md` 4.4).

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::channel::{Content, Digest};
use crate::assignment::{Assignment, Socket};

/// An event of a trigger that goes on, on a channel that a rule watches.
#[derive(Debug, Clone, Copy)]
pub struct Announcement<'a> {
    /// The event's name.
    pub event: &'a str,
    /// The JSON token of its data.
    pub token: &'a str,
    /// The data, if the token is a string.
    pub data: Option<&'a str>,
    /// What it announces; `None`: it cannot be read, it releases the channel, or upstream may leave it out.
    pub assignment: Option<&'a Assignment>,
    /// The connection that it leaves out.
    pub left_out: Option<Socket>,
}

impl Announcement<'_> {
    /// What clients get as its data.
    pub(super) fn text(&self) -> &str {
        self.data.unwrap_or(self.token)
    }

    /// What is handed out; `None`: it announces nothing.
    pub(super) fn content(&self, channel: &str) -> Option<Content> {
        let assignment = self.assignment?;
        let (event, channel) = (json(self.event), json(channel));
        let mut frame = String::with_capacity(event.len() + channel.len() + self.token.len() + 32);
        for part in [r#"{"event":"#, &event, r#","channel":"#, &channel, r#","data":"#, self.token, "}"] {
            frame.push_str(part);
        }
        Some(Content { frame: Utf8Bytes::from(frame), assignment: assignment.clone(), left_out: self.left_out })
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Hashes of events by which late deliveries are recognised. They have 128 bits and a random key: nobody can make two
/// events with the same, so none is taken for another.
#[derive(Debug, Default)]
pub(super) struct Digester([RandomState; 2]);

impl Digester {
    /// The hash of an event with these data.
    pub(super) fn of(&self, event: &str, data: &str) -> Digest {
        let Self([high, low]) = self;
        Digest(u128::from(high.hash_one((event, data))) << 64 | u128::from(low.hash_one((event, data))))
    }

    /// The hash of the event that the text of a frame delivers on `channel`; `None`: it is none.
    pub(super) fn of_delivery(&self, text: &str, channel: &str) -> Option<Digest> {
        #[derive(Deserialize)]
        struct Delivery<'a> {
            #[serde(borrow)]
            event: Cow<'a, str>,
            #[serde(borrow)]
            channel: Cow<'a, str>,
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let delivery: Delivery<'_> =
            serde_json::from_str(text).ok().filter(|it: &Delivery<'_>| it.channel == channel)?;
        let token = delivery.data.get();
        // Servers write data that is text as a string, whatever escapes it had.
        let decoded =
            if token.starts_with('"') { serde_json::from_str::<String>(token).ok()? } else { token.to_owned() };
        Some(self.of(&delivery.event, &decoded))
    }
}
