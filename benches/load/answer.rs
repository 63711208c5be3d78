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
        let (mut body, mut is_chunked) = (None, false);
        let mut answer = Self { status: head.code.unwrap_or(0), decision: Decision::Unsaid, closes: false, length: 0 };
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                body = std::str::from_utf8(header.value).ok().and_then(|length| length.parse::<usize>().ok());
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = header.value.eq_ignore_ascii_case(b"chunked");
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
        if is_chunked {
            let Some(length) = chunked(&bytes[head_length..])? else { return Ok(None) };
            answer.length = head_length + length;
            return Ok(Some(answer));
        }
        let Some(body) = body else {
            return Err(Unreadable("an answer has neither a Content-Length nor chunks"));
        };
        answer.length = head_length + body;
        Ok((answer.length <= bytes.len()).then_some(answer))
    }
}

/// The bytes of a chunked body without trailers; `None` if it is not complete yet.
fn chunked(body: &[u8]) -> Result<Option<usize>, Unreadable> {
    let mut at = 0;
    loop {
        let Ok(status) = httparse::parse_chunk_size(&body[at..]) else { return Err(Unreadable("a chunk has no size")) };
        let httparse::Status::Complete((line, size)) = status else { return Ok(None) };
        let size = usize::try_from(size).map_err(|_large| Unreadable("a chunk is too large"))?;
        at += line + size + 2;
        if at > body.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}
