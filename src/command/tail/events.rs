//! Server-sent events, as they come in pieces (WHATWG HTML 9.2.6).

/// Longest event in bytes. A record has at most some hundred KiB.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// `event`; empty for a usual one.
    pub(super) name: String,
    /// `id`, if it has one.
    pub(super) id: Option<String>,
    /// `data`.
    pub(super) data: String,
}

/// Puts events together.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// Bytes of a line that is not complete.
    line: Vec<u8>,
    event: Event,
}

/// An event is longer than [`MAX_EVENT`], or is not UTF-8.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than 4 MiB, or is no text")]
pub(super) struct InvalidEvent;

impl Parser {
    /// Takes a piece of the stream; returns the events that it completes.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<Event>, InvalidEvent> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + self.event.data.len() + part.len() > MAX_EVENT {
                return Err(InvalidEvent);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_invalid| InvalidEvent)?;
                events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    /// Takes a line. An empty one ends an event.
    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, `retry`, and fields of later versions.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_pieces_of_any_size() {
        let text = "retry: 1000\nevent: hello\nid: 1.0\ndata: {}\n\n: nothing new\n\ndata:a\r\ndata: b\r\n\r\nid: 2\ndata: é\n\n";
        let event = |name: &str, id: Option<&str>, data: &str| Event {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        let expected = vec![event("hello", Some("1.0"), "{}"), event("", None, "a\nb"), event("", Some("2"), "é")];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                text.as_bytes().chunks(size).flat_map(|piece| parser.take(piece).unwrap()).collect();
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn an_event_is_bounded_and_text() {
        let mut parser = Parser::default();
        let piece = vec![b'a'; MAX_EVENT / 2 + 1];
        assert_eq!(parser.take(&piece), Ok(Vec::new()));
        assert_eq!(parser.take(&piece), Err(InvalidEvent));
        assert_eq!(Parser::default().take(b"data: \xff\n\n"), Err(InvalidEvent));
    }
}
