//! The messages of clients: one JSON object in a text frame (`pusher-protocol.md` 4.1).

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::json;

/// A client's message.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// `pusher:ping`.
    Ping,
    /// `pusher:pong`.
    Pong,
    /// `pusher:subscribe`.
    Subscribe(Subscribe<'a>),
    /// `pusher:unsubscribe` from the channel.
    Unsubscribe(Cow<'a, str>),
    /// `pusher:signin`.
    SignIn(SignIn<'a>),
    /// `client-…`.
    Event(ClientEvent<'a>),
    /// Any other event.
    Unknown,
}

/// A request to join a channel.
#[derive(Debug, Deserialize)]
pub(super) struct Subscribe<'a> {
    /// The channel's name.
    #[serde(borrow)]
    pub(super) channel: Cow<'a, str>,
    /// The token, if the channel requires one.
    #[serde(borrow, default)]
    pub(super) auth: Option<Cow<'a, str>>,
    /// The member of a presence channel: exactly the signed text.
    #[serde(borrow, default)]
    pub(super) channel_data: Option<Cow<'a, str>>,
    /// Sockudo's clients ask with it for some of the channel's events alone, which this server does not serve.
    #[serde(default)]
    pub(super) filter: Option<IgnoredAny>,
}

/// A request to sign in as a user.
#[derive(Debug, Deserialize)]
pub(super) struct SignIn<'a> {
    /// The token.
    #[serde(borrow)]
    pub(super) auth: Cow<'a, str>,
    /// The user: exactly the signed text.
    #[serde(borrow)]
    pub(super) user_data: Cow<'a, str>,
}

/// An event for the other subscribers of a channel.
#[derive(Debug)]
pub(super) struct ClientEvent<'a> {
    /// The name, which begins with `client-`.
    pub(super) name: Cow<'a, str>,
    /// The channel.
    pub(super) channel: Cow<'a, str>,
    /// The data.
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Unsubscribe<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
}

impl Message<'_> {
    /// Parses `text` and passes the message to `then`. The message's `data` is an object, or a string that contains one
    /// (`pusher-protocol.md` 4.1). A closure is called because the message borrows from the decoded string.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn read<T>(text: &str, then: impl FnOnce(Message<'_>) -> T) -> Result<T, &'static str> {
        const NOT_A_MESSAGE: &str = "The message is not a JSON object with an event";
        let envelope: Envelope<'_> = json::object(text).ok_or(NOT_A_MESSAGE)?;
        let decoded;
        let data = match envelope.data.map_or("{}", RawValue::get) {
            string if string.starts_with('"') && !envelope.event.starts_with("client-") => {
                decoded = serde_json::from_str::<String>(string).map_err(|_| NOT_A_MESSAGE)?;
                decoded.as_str()
            }
            other => other,
        };
        let message = match &*envelope.event {
            "pusher:ping" => Message::Ping,
            "pusher:pong" => Message::Pong,
            "pusher:subscribe" => Message::Subscribe(
                json::object(data).ok_or("The data of pusher:subscribe is not an object with a channel")?,
            ),
            "pusher:unsubscribe" => {
                let Unsubscribe { channel } =
                    json::object(data).ok_or("The data of pusher:unsubscribe is not an object with a channel")?;
                Message::Unsubscribe(channel)
            }
            "pusher:signin" => Message::SignIn(
                json::object(data).ok_or("The data of pusher:signin is not an object with auth and user_data")?,
            ),
            name if name.starts_with("client-") => match envelope.channel {
                Some(channel) => Message::Event(ClientEvent { name: envelope.event, channel, data: envelope.data }),
                None => return Err("The client event names no channel"),
            },
            _ => Message::Unknown,
        };
        Ok(then(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Message::read(text, |message| format!("{message:?}")).unwrap_or_else(str::to_owned)
    }

    #[test]
    fn data_is_an_object_or_a_string_that_holds_one() {
        let expected =
            r#"Subscribe(Subscribe { channel: "private-c", auth: Some("k:s"), channel_data: None, filter: None })"#;
        assert_eq!(shown(r#"{"event":"pusher:subscribe","data":{"channel":"private-c","auth":"k:s"}}"#), expected);
        assert_eq!(
            shown(r#"{"event":"pusher:subscribe","data":"{\"channel\":\"private-c\",\"auth\":\"k:s\",\"x\":1}"}"#),
            expected
        );
        assert_eq!(shown(r#" {"data" : {"channel":"\u0063"}, "event":"pusher:unsubscribe"} "#), r#"Unsubscribe("c")"#);
        assert_eq!(
            shown(r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}"#),
            r#"SignIn(SignIn { auth: "k:s", user_data: "{}" })"#
        );
    }

    #[test]
    fn pings_need_no_data() {
        for (text, expected) in [
            (r#"{"event":"pusher:ping"}"#, "Ping"),
            (r#"{"event":"pusher:ping","data":{}}"#, "Ping"),
            (r#"{"event":"pusher:ping","data":"{}"}"#, "Ping"),
            (r#"{"event":"pusher:pong","data":null}"#, "Pong"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn client_events_keep_their_data_as_it_came() {
        let text = r#"{"event":"client-x","channel":"private-c","data":{ "a" :[1,2]}}"#;
        let data = Message::read(text, |message| match message {
            Message::Event(event) => event.data.map(|data| data.get().to_owned()),
            other => panic!("{other:?}"),
        });
        assert_eq!(data, Ok(Some(r#"{ "a" :[1,2]}"#.to_owned())));
        assert!(shown(r#"{"event":"client-x","channel":"private-c","data":"\"{"}"#).starts_with("Event("));
    }

    #[test]
    fn invalid_messages_have_an_error() {
        for text in [
            "",
            "x",
            "[]",
            r#"["pusher:ping"]"#,
            "1",
            "{}",
            r#"{"event":7}"#,
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a"} {}"#,
            r#"{"event":"a","data":{"#,
        ] {
            assert_eq!(shown(text), "The message is not a JSON object with an event", "{text}");
        }
        for data in [
            "",
            r#","data":{}"#,
            r#","data":[]"#,
            r#","data":["c"]"#,
            r#","data":{"channel":7}"#,
            r#","data":"x""#,
            r#","data":{"channel":"a","channel":"b"}"#,
        ] {
            let text = format!(r#"{{"event":"pusher:subscribe"{data}}}"#);
            assert_eq!(shown(&text), "The data of pusher:subscribe is not an object with a channel", "{text}");
        }
        assert_eq!(shown(r#"{"event":"client-x","data":1}"#), "The client event names no channel");
        assert_eq!(shown(r#"{"event":"staff-assigned","channel":"private-c"}"#), "Unknown");
        let deep = "[".repeat(100_000);
        assert_eq!(
            shown(&format!(r#"{{"event":"pusher:ping","data":{deep}}}"#)),
            "The message is not a JSON object with an event"
        );
    }
}
