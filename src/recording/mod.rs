//! Recordings of triggers: JSON lines, the first of which is the [`Header`], each other one an [`Entry`].
//!
//! ```text
//! {"usher_recording":1,"version":"0.1.0","redacted":false}
//! {"id":"5f3a9c01-42","received":1764457199.123456,"settled":1764457199.140021,"app":"1001","path":"/apps/1001/events",
//!  "body":"{\"name\":…}","outcome":"accepted","decision":"forwarded","reason":"changed"}
//! {"lost":12}
//! ```
//!
//! (The second one is a single line.) Unknown members are ignored, so that a later version may add some.

mod recorders;
mod redaction;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use recorders::{Batch, Capture, CapturedEnd, CapturedRequest, Item, Recorder, Recorders, SettledTrigger};
pub use redaction::{Redactor, body_text};

/// The version of the format that this usher writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format: [`FORMAT`].
    pub usher_recording: u32,
    /// The version of the usher that recorded.
    pub version: String,
    /// Whether values in the bodies are hashed.
    pub redacted: bool,
}

impl Header {
    /// The header of a recording that this usher makes.
    #[must_use]
    pub fn new(redacted: bool) -> Self {
        Self { usher_recording: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), redacted }
    }
}

/// One line after the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A trigger.
    Trigger(RecordedTrigger<'a>),
    /// So many triggers are missing here: the reader was too slow.
    Lost(u64),
}

/// A trigger that usher verified and decided on, once it was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTrigger<'a> {
    /// The id of its record.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// When it was received.
    pub received: UnixTime,
    /// When it was settled; `None`: it was not sent.
    pub settled: Option<UnixTime>,
    /// The app's id.
    #[serde(borrow)]
    pub app: Cow<'a, str>,
    /// The path of the request, without the query: it has the signature.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// The body as received; in a redacted recording its values are hashed.
    #[serde(borrow)]
    pub body: Cow<'a, str>,
    /// What of the request's head matters for its reading; `None`: nothing unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadForm>,
    /// What became of it at upstream.
    pub outcome: RecordedOutcome,
    /// What usher did with it, in one word (docs/reasons.md).
    #[serde(borrow)]
    pub decision: Cow<'a, str>,
    /// The code of the reason.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

/// What the head or the query of a request says of the body, if it is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadForm {
    /// It has an `X-Idempotency-Key`.
    Keyed,
    /// It has a `Content-Encoding`.
    Encoded,
    /// Its `Content-Type` is not JSON in UTF-8.
    OtherType,
    /// Its query has parameters of a trigger.
    QueryParameters,
}

/// What became of a trigger at upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedOutcome {
    /// Upstream accepted it.
    Accepted,
    /// Upstream refused it, wholly or in part.
    Refused,
    /// It is not known whether upstream applied it.
    Ambiguous,
    /// Nothing of it was sent: upstream was not reached, or usher refused it.
    NotSent,
    /// usher dropped it.
    Suppressed,
}

/// A time in microseconds since the Unix epoch. In JSON it is a number of seconds with up to six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    const MICROS: f64 = 1e6;

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact to a microsecond until the year 2255: 53 bits.
        serializer.serialize_f64(self.0 as f64 / Self::MICROS)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if (0.0..1e10).contains(&seconds) {
            Ok(Self((seconds * Self::MICROS).round() as u64))
        } else {
            Err(serde::de::Error::custom("a time is no number of seconds since the Unix epoch"))
        }
    }
}

/// A line that is none of a recording.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The first line is no header.
    #[error("this is no recording of usher: its first line has no `usher_recording`")]
    NoHeader,
    /// The format is newer.
    #[error("the recording has format {0}, and this usher reads {FORMAT}: use a newer one")]
    Format(u32),
    /// The line cannot be read.
    #[error("this is no line of a recording: {0}")]
    Json(#[from] serde_json::Error),
}

impl Header {
    /// Reads the first line.
    ///
    /// # Errors
    /// It is no header, or one of a later format.
    pub fn read(line: &str) -> Result<Self, LineError> {
        let header: Self = serde_json::from_str(line).map_err(|_not_a_header| LineError::NoHeader)?;
        if header.usher_recording == FORMAT { Ok(header) } else { Err(LineError::Format(header.usher_recording)) }
    }
}

impl<'a> Entry<'a> {
    /// Reads a line after the first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(line: &'a str) -> Result<Self, LineError> {
        #[derive(Deserialize)]
        struct Lost {
            lost: u64,
        }
        if line.starts_with("{\"lost\"") {
            return Ok(Self::Lost(serde_json::from_str::<Lost>(line)?.lost));
        }
        Ok(Self::Trigger(serde_json::from_str(line)?))
    }
}

/// The line, without its end.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trigger(trigger) => f.write_str(&serde_json::to_string(trigger).map_err(|_unwritable| fmt::Error)?),
            Self::Lost(count) => write!(f, "{{\"lost\":{count}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let trigger = RecordedTrigger {
            id: "5f3a9c01-42".into(),
            received: UnixTime(1_764_457_199_123_456),
            settled: Some(UnixTime(1_764_457_199_000_001)),
            app: "1001".into(),
            path: "/apps/1001/events".into(),
            body: "{\"name\":\"é\"}".into(),
            head: Some(HeadForm::Keyed),
            outcome: RecordedOutcome::NotSent,
            decision: "failed".into(),
            reason: "changed".into(),
        };
        let usual = RecordedTrigger { head: None, settled: None, ..trigger.clone() };
        for entry in [Entry::Trigger(trigger), Entry::Trigger(usual), Entry::Lost(7)] {
            assert_eq!(Entry::read(&entry.to_string()).unwrap(), entry, "{entry}");
        }
        let header = Header::new(true);
        assert_eq!(Header::read(&serde_json::to_string(&header).unwrap()).unwrap(), header);
    }

    #[test]
    fn the_documented_form_is_read() {
        let line = r#"{"id":"a-1","received":1.5,"settled":null,"app":"1","path":"/apps/1/events","body":"{\"a\":1}","outcome":"suppressed","decision":"suppressed","reason":"same_assignment","later":1}"#;
        let Ok(Entry::Trigger(trigger)) = Entry::read(line) else { panic!("{line}") };
        assert_eq!((trigger.received, trigger.received.as_millis()), (UnixTime(1_500_000), 1500));
        assert_eq!((&*trigger.body, trigger.outcome), ("{\"a\":1}", RecordedOutcome::Suppressed));
    }

    #[test]
    fn what_is_no_recording_is_said() {
        assert!(matches!(Header::read("{}"), Err(LineError::NoHeader)));
        let newer = r#"{"usher_recording":2,"version":"9","redacted":false}"#;
        assert!(matches!(Header::read(newer), Err(LineError::Format(2))));
        for line in ["", "{}", "[]", "{\"lost\":-1}", "{\"lost\":1"] {
            assert!(Entry::read(line).is_err(), "{line}");
        }
    }
}
