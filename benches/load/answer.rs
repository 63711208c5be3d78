//! An answer as the generator sees it: its status, what usher says it decided, and where it ends.

use std::fmt;

/// Header lines that any target sends, at most.
const HEADERS: usize = 32;

/// What `usher-decision` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is no such header.
    Unsaid,
    Forwarded,
    Reduced,
    Suppressed,
}

/// A complete answer at the head of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) decision: Decision,
    /// The connection ends with it.
    pub(crate) closes: bool,
    /// Of head and body together, in bytes.
    pub(crate) length: usize,
}

/// Why some bytes are no answer that the generator understands.
#[derive(Debug)]
pub(crate) struct Unreadable(&'static str);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Answer {
    /// The answer that `bytes` begin with; `None` if it is not complete yet.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(status) = head.parse(bytes) else { return Err(Unreadable("an answer is no HTTP/1.1")) };
        let httparse::Status::Complete(head_length) = status else { return Ok(None) };
        let mut body = None;
        let mut answer = Self { status: head.code.unwrap_or(0), decision: Decision::Unsaid, closes: false, length: 0 };
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(header.value).ok().and_then(|length| length.parse::<usize>().ok());
            } else if header.name.eq_ignore_ascii_case("connection") {
                answer.closes = header.value.eq_ignore_ascii_case(b"close");
            } else if header.name.eq_ignore_ascii_case("usher-decision") {
                answer.decision = match header.value {
                    b"forwarded" => Decision::Forwarded,
                    b"reduced" => Decision::Reduced,
                    b"suppressed" => Decision::Suppressed,
                    _ => return Err(Unreadable("usher-decision says something new; teach benches/load/answer.rs")),
                };
            }
        }
        let Some(body) = body else {
            return Err(Unreadable("an answer has no Content-Length; the generator reads no other framing"));
        };
        answer.length = head_length + body;
        Ok((answer.length <= bytes.len()).then_some(answer))
    }
}
