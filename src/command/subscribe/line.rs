//! How events are printed: as a readable line, or as a line of JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;
use usher::clock::Clock;

use crate::command::listener::Event;
use crate::command::terminal::Printable;

/// An event with the time of its arrival.
#[derive(Debug)]
pub(super) struct EventLine<'a> {
    event: &'a Event,
    /// Milliseconds since the Unix epoch.
    millis: u64,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time_ms: u64,
    event: &'a str,
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    data: Option<Box<RawValue>>,
}

impl<'a> EventLine<'a> {
    /// `event`, which arrived now.
    pub(super) fn now(event: &'a Event) -> Self {
        let millis = Clock::unix_now_exact().as_millis();
        Self { event, millis: u64::try_from(millis).unwrap_or(u64::MAX) }
    }

    /// One line of JSON. If the text of `data` is JSON, it is included as a value with its tokens as sent, else as a
    /// string.
    ///
    /// # Errors
    /// None in practice: the types cannot exclude errors of the serialisation.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let Event { name, channel, user_id, data } = self.event;
        let data = data.as_deref().map(raw).transpose()?;
        serde_json::to_string(&JsonLine {
            time_ms: self.millis,
            event: name,
            channel: channel.as_deref(),
            user_id: user_id.as_deref(),
            data,
        })
    }
}

/// `text` as a JSON value: itself if it is JSON, else a string.
fn raw(text: &str) -> serde_json::Result<Box<RawValue>> {
    // A line end between tokens is white space like any other, and strings of JSON contain none.
    let line: Cow<'_, str> =
        if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ").into() } else { text.into() };
    if serde_json::from_str::<&RawValue>(text).is_ok() {
        return RawValue::from_string(line.into_owned());
    }
    serde_json::value::to_raw_value(text)
}

impl fmt::Display for EventLine<'_> {
    /// Time of day (UTC), channel, event, data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.millis / 1000 % 86_400;
        write!(f, "{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        let Event { name, channel, user_id, data } = self.event;
        for part in [channel.as_deref(), Some(name), data.as_deref()].into_iter().flatten() {
            write!(f, "  {}", Printable(part))?;
        }
        user_id.as_deref().map_or(Ok(()), |user| write!(f, "  (from {})", Printable(user)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: Option<&str>) -> Event {
        Event { name: "e".to_owned(), channel: Some("c".to_owned()), user_id: None, data: data.map(str::to_owned) }
    }

    #[test]
    fn data_that_is_json_keeps_its_tokens() {
        for (data, json) in [
            (Some(r#"{"a": 12345678901234567890123, "a":1.0}"#), r#"{"a": 12345678901234567890123, "a":1.0}"#),
            (Some("{\r\n\"a\": 1\n}"), "{  \"a\": 1 }"),
            (Some("plain\ntext"), r#""plain\ntext""#),
            (Some(""), r#""""#),
            (None, "null"),
        ] {
            let line = EventLine { event: &event(data), millis: 1 }.json().unwrap();
            assert_eq!(line, format!(r#"{{"time_ms":1,"event":"e","channel":"c","data":{json}}}"#));
        }
    }

    #[test]
    fn people_read_one_line() {
        let mut event = event(Some("{\"a\":\n\"\u{1b}[2J\"}"));
        event.user_id = Some("7".to_owned());
        let line = EventLine { event: &event, millis: (86_400 * 3 + 3600 * 4 + 60 * 5 + 6) * 1000 };
        assert_eq!(line.to_string(), "04:05:06Z  c  e  {\"a\":\\n\"\\u{1b}[2J\"}  (from 7)");
    }
}
