//! The frames that the server sends (`pusher-protocol.md` 4). Each is serialised once; all recipients share the
//! [`Frame`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::json;
use super::socket_id::SocketId;
use crate::pusher::{ErrorCode, Warning};

/// The payload of a text frame. Clones share the buffer.
pub(super) type Frame = Utf8Bytes;

/// The serialised name and data of an event of the backend, which are the same for all of its channels.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// As JSON.
    name: String,
    /// As JSON.
    data: String,
}

impl Event {
    /// An event of the backend. Clients receive `data` as a JSON string.
    pub(super) fn new(name: &str, data: &str) -> Self {
        Self { name: json::text(name), data: json::text(data) }
    }

    /// The event for the subscribers of `channel`.
    pub(super) fn on(&self, channel: &str) -> Frame {
        let (Self { name, data }, channel) = (self, json::text(channel));
        let mut frame = String::with_capacity(name.len() + channel.len() + data.len() + 32);
        for part in [r#"{"event":"#, name, r#","channel":"#, &channel, r#","data":"#, data, "}"] {
            frame.push_str(part);
        }
        frame.into()
    }
}

/// The first frame: the socket id, and the interval in which the client should show activity.
pub(super) fn connection_established(id: SocketId, activity_timeout: Duration) -> Frame {
    #[derive(Serialize)]
    struct Established {
        socket_id: String,
        activity_timeout: u64,
    }
    internal(
        "pusher:connection_established",
        None,
        &Established { socket_id: id.to_string(), activity_timeout: activity_timeout.as_secs() },
    )
}

/// Asks the client for a pong.
pub(super) const fn ping() -> Frame {
    Frame::from_static(r#"{"event":"pusher:ping","data":"{}"}"#)
}

/// The answer to a client's `pusher:ping`.
pub(super) const fn pong() -> Frame {
    Frame::from_static(r#"{"event":"pusher:pong","data":"{}"}"#)
}

/// An error in a message of the client. The connection stays open.
pub(super) fn error(code: Option<Warning>, message: &str) -> Frame {
    problem(message, code.map(Warning::number))
}

/// The reason of a close, for clients that expect it in an event before the close frame.
pub(super) fn closing(code: ErrorCode) -> Frame {
    problem(code.reason(), Some(code.number()))
}

/// A `pusher:error`.
fn problem(message: &str, code: Option<u16>) -> Frame {
    #[derive(Serialize)]
    struct ErrorEvent<'a> {
        event: &'static str,
        data: Data<'a>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        message: &'a str,
        code: Option<u16>,
    }
    json::text(&ErrorEvent { event: "pusher:error", data: Data { message, code } }).into()
}

/// Confirms a subscription to a channel without members.
pub(super) fn subscribed(channel: &str) -> Frame {
    #[derive(Serialize)]
    struct Nothing {}
    internal("pusher_internal:subscription_succeeded", Some(channel), &Nothing {})
}

/// Confirms a subscription to a presence channel with these members, which include the new one.
pub(super) fn subscribed_with_members<'m>(
    channel: &str,
    members: impl Iterator<Item = (&'m str, Option<&'m RawValue>)>,
) -> Frame {
    #[derive(Serialize)]
    struct Members<'m> {
        presence: Presence<'m>,
    }
    #[derive(Serialize)]
    struct Presence<'m> {
        ids: Vec<&'m str>,
        hash: BTreeMap<&'m str, Option<&'m RawValue>>,
        count: usize,
    }
    let hash: BTreeMap<_, _> = members.collect();
    let presence = Presence { ids: hash.keys().copied().collect(), count: hash.len(), hash };
    internal("pusher_internal:subscription_succeeded", Some(channel), &Members { presence })
}

/// A user joined a presence channel.
pub(super) fn member_added(channel: &str, user_id: &str, user_info: Option<&RawValue>) -> Frame {
    #[derive(Serialize)]
    struct Member<'a> {
        user_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_info: Option<&'a RawValue>,
    }
    internal("pusher_internal:member_added", Some(channel), &Member { user_id, user_info })
}

/// The last connection of a user left a presence channel.
pub(super) fn member_removed(channel: &str, user_id: &str) -> Frame {
    #[derive(Serialize)]
    struct Member<'a> {
        user_id: &'a str,
    }
    internal("pusher_internal:member_removed", Some(channel), &Member { user_id })
}

/// The number of subscribed connections.
pub(super) fn subscription_count(channel: &str, subscription_count: usize) -> Frame {
    #[derive(Serialize)]
    struct Count {
        subscription_count: usize,
    }
    internal("pusher_internal:subscription_count", Some(channel), &Count { subscription_count })
}

/// A cache channel has no cached event.
pub(super) fn cache_miss(channel: &str) -> Frame {
    #[derive(Serialize)]
    struct Miss<'a> {
        event: &'static str,
        channel: &'a str,
    }
    json::text(&Miss { event: "pusher:cache_miss", channel }).into()
}

/// The client is signed in as the user that `user_data` describes.
pub(super) fn signed_in(user_data: &str) -> Frame {
    #[derive(Serialize)]
    struct User<'a> {
        user_data: &'a str,
    }
    internal("pusher:signin_success", None, &User { user_data })
}

/// Which of the users on a client's watchlist are online and which are not.
pub(super) fn watchlist_events(online: &[&str], offline: &[&str]) -> Frame {
    #[derive(Serialize)]
    struct Events<'a> {
        events: Vec<Event<'a>>,
    }
    #[derive(Serialize)]
    struct Event<'a> {
        name: &'static str,
        user_ids: &'a [&'a str],
    }
    let events = [("online", online), ("offline", offline)].into_iter().filter(|(_, user_ids)| !user_ids.is_empty());
    let events = events.map(|(name, user_ids)| Event { name, user_ids }).collect();
    internal("pusher_internal:watchlist_events", None, &Events { events })
}

/// An event of a client, as the other subscribers are sent it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClientEvent<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    /// As received.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<&'a RawValue>,
    /// The sender, on presence channels.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<Cow<'a, str>>,
}

/// An event of another client, with its data as received. On presence channels `user_id` names the sender.
pub(super) fn client_event(event: &str, channel: &str, data: Option<&RawValue>, user_id: Option<&str>) -> Frame {
    let (event, channel, user_id) = (event.into(), channel.into(), user_id.map(Into::into));
    json::text(&ClientEvent { event, channel, data, user_id }).into()
}

/// What [`client_event`] has written; `None`: it has not written `frame`.
pub(super) fn read_client_event(frame: &Frame) -> Option<ClientEvent<'_>> {
    json::object(frame.as_str())
}

/// A frame of the server itself: its data is a string that contains JSON.
fn internal(event: &'static str, channel: Option<&str>, data: &impl Serialize) -> Frame {
    #[derive(Serialize)]
    struct Internal<'a> {
        event: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        data: String,
    }
    json::text(&Internal { event, channel, data: json::text(data) }).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str};

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_servers_frames_are_as_the_protocol_has_them() {
        let id = SocketId::parse("12.34").unwrap();
        let info = raw(r#"{"name":"Anna \"A\""}"#);
        let members = [("7", Some(&*info)), ("12", None)];
        for (frame, expected) in [
            (
                connection_established(id, Duration::from_secs(120)),
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#,
            ),
            (
                error(Some(Warning::WatchlistLimit), "no \"entry\""),
                r#"{"event":"pusher:error","data":{"message":"no \"entry\"","code":4302}}"#,
            ),
            (
                closing(ErrorCode::Unauthorized),
                r#"{"event":"pusher:error","data":{"message":"Connection is unauthorized","code":4009}}"#,
            ),
            (error(None, "x"), r#"{"event":"pusher:error","data":{"message":"x","code":null}}"#),
            (subscribed("c"), r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#),
            (
                subscribed_with_members("presence-c", members.into_iter()),
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-c","data":"{\"presence\":{\"ids\":[\"12\",\"7\"],\"hash\":{\"12\":null,\"7\":{\"name\":\"Anna \\\"A\\\"\"}},\"count\":2}}"}"#,
            ),
            (
                member_added("presence-c", "7", Some(&info)),
                r#"{"event":"pusher_internal:member_added","channel":"presence-c","data":"{\"user_id\":\"7\",\"user_info\":{\"name\":\"Anna \\\"A\\\"\"}}"}"#,
            ),
            (
                member_added("presence-c", "7", None),
                r#"{"event":"pusher_internal:member_added","channel":"presence-c","data":"{\"user_id\":\"7\"}"}"#,
            ),
            (
                member_removed("presence-c", "7"),
                r#"{"event":"pusher_internal:member_removed","channel":"presence-c","data":"{\"user_id\":\"7\"}"}"#,
            ),
            (
                subscription_count("c", 3),
                r#"{"event":"pusher_internal:subscription_count","channel":"c","data":"{\"subscription_count\":3}"}"#,
            ),
            (cache_miss("cache-c"), r#"{"event":"pusher:cache_miss","channel":"cache-c"}"#),
            (
                signed_in(r#"{"id":"7"}"#),
                r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"7\\\"}\"}"}"#,
            ),
            (
                watchlist_events(&["7", "\"8\""], &["9"]),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"7\",\"\\\"8\\\"\"]},{\"name\":\"offline\",\"user_ids\":[\"9\"]}]}"}"#,
            ),
            (
                watchlist_events(&[], &["9"]),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"9\"]}]}"}"#,
            ),
            (
                client_event("client-typing", "presence-c", Some(&raw(r#"{"on": true}"#)), Some("7")),
                r#"{"event":"client-typing","channel":"presence-c","data":{"on": true},"user_id":"7"}"#,
            ),
            (client_event("client-x", "private-c", None, None), r#"{"event":"client-x","channel":"private-c"}"#),
            (
                Event::new("new-message", "{\"a\":\"é\\n\"}").on("c"),
                r#"{"event":"new-message","channel":"c","data":"{\"a\":\"é\\n\"}"}"#,
            ),
        ] {
            assert_eq!(frame.as_str(), expected);
        }
    }

    #[test]
    fn a_clients_event_is_read_as_it_was_written() {
        for (data, user_id) in [(Some(raw(r#"{"on": "\u00e9\""}"#)), Some("7\"")), (None, None)] {
            let frame = client_event("client-\"typing\"", "presence-c", data.as_deref(), user_id);
            let read = read_client_event(&frame).unwrap();
            assert_eq!((&*read.event, &*read.channel), ("client-\"typing\"", "presence-c"));
            assert_eq!(read.data.map(RawValue::get), data.as_deref().map(RawValue::get));
            assert_eq!(read.user_id.as_deref(), user_id);
        }
    }

    #[test]
    fn fixed_frames_are_json() {
        for frame in [ping(), pong()] {
            assert!(from_str::<Value>(&frame).unwrap()["event"].is_string());
        }
    }

    #[test]
    fn an_event_survives_every_character() {
        let text: String = (0..0x800).filter_map(char::from_u32).collect();
        let frame: Value = from_str(&Event::new(&text, &text).on("c")).unwrap();
        assert_eq!((frame["event"].as_str(), frame["data"].as_str()), (Some(&*text), Some(&*text)));
    }
}
