//! Parses the bytes of an answer to a trigger. Pure.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use crate::upstream::framing::{AnswerError, Framing, FramingHead, MAX_INTERIM, TOO_MANY_INTERIM, body_framing};
use crate::upstream::{MAX_ANSWER_HEAD, MAX_HEADERS, is_hop_by_hop};

/// The largest body in bytes. Bodies of Pusher servers have a few to a few thousand bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// A completely collected answer. The value is reused for the next answer, to keep its buffers.
#[derive(Debug, Default)]
pub struct Collected {
    /// The status code; 0 until the head is complete.
    pub status: u16,
    /// The status line and the end-to-end header lines as received, each with its line end; without a length.
    pub head: Vec<u8>,
    /// Whether the head has a `Date`.
    pub is_dated: bool,
    /// Whether the head has a `Content-Encoding`.
    pub is_encoded: bool,
    /// How often the request was sent again, because nothing of it had been sent on a connection before.
    pub retries: u8,
    /// The body.
    pub body: Vec<u8>,
    received: Vec<u8>,
    /// How many bytes of `received` are consumed.
    consumed: usize,
    /// Bytes of interim answers so far.
    interim: usize,
}

/// What the head declares about the body and the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    /// How the body ends.
    pub(super) framing: Framing,
    /// The framing that the head declares: see [`body_framing`].
    pub(super) declared: Framing,
    /// Whether the connection may be reused.
    pub(super) keep_alive: bool,
}

/// The answer has more than [`MAX_BODY`] bytes.
pub(super) const TOO_LARGE: AnswerError = AnswerError::Unacceptable("it is larger than an answer to a trigger may be");
const HEAD_TOO_LARGE: AnswerError = AnswerError::Malformed(httparse::Error::TooManyHeaders);

impl Collected {
    /// Clears the last answer. Buffers larger than [`KEPT_CAPACITY`] are shrunk.
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.is_dated = false;
        self.is_encoded = false;
        self.retries = 0;
        self.consumed = 0;
        self.interim = 0;
        for buffer in [&mut self.head, &mut self.body, &mut self.received] {
            buffer.clear();
            buffer.shrink_to(KEPT_CAPACITY);
        }
    }

    /// The value of its `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Option<&[u8]> {
        self.head.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].eq_ignore_ascii_case(b"content-type").then(|| line[colon + 1..].trim_ascii())
        })
    }

    /// The buffer for received bytes, with space for `more`. Removes the consumed bytes.
    pub(super) fn receive_buffer(&mut self, more: usize) -> &mut Vec<u8> {
        self.received.drain(..self.consumed);
        self.consumed = 0;
        if self.received.capacity() - self.received.len() < more / 2 {
            self.received.reserve(more);
        }
        &mut self.received
    }

    /// The received bytes that are not consumed yet.
    pub(super) fn pending(&self) -> &[u8] {
        &self.received[self.consumed..]
    }

    /// Whether bytes were received after the end of the answer.
    pub(super) const fn has_surplus(&self) -> bool {
        self.received.len() > self.consumed
    }

    /// Consumes `count` pending bytes.
    pub(super) const fn skip(&mut self, count: usize) {
        self.consumed += count;
    }

    /// Moves up to `most` pending bytes to the body. Returns their number.
    ///
    /// # Errors
    /// The body would be too large.
    pub(super) fn take(&mut self, most: u64) -> Result<u64, AnswerError> {
        let pending = self.pending();
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(pending.len());
        if self.body.len() + count > MAX_BODY {
            return Err(TOO_LARGE);
        }
        self.body.extend_from_slice(&self.received[self.consumed..self.consumed + count]);
        self.consumed += count;
        Ok(count as u64)
    }

    /// Moves up to `most` pending bytes to the body, which is empty, however many they are. Returns their number.
    pub(super) fn take_all(&mut self, most: u64) -> u64 {
        debug_assert!(self.body.is_empty(), "nothing is lost");
        let pending = self.pending().len();
        if self.consumed == 0 && pending as u64 <= most {
            // Without copying.
            std::mem::swap(&mut self.body, &mut self.received);
            return pending as u64;
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(pending);
        self.body.extend_from_slice(&self.received[self.consumed..self.consumed + count]);
        self.consumed += count;
        count as u64
    }

    /// Frees what a large answer took.
    pub(crate) fn shrink(&mut self) {
        for buffer in [&mut self.body, &mut self.received] {
            if buffer.capacity() > KEPT_CAPACITY {
                *buffer = Vec::new();
                self.consumed = 0;
            }
        }
    }

    /// Parses the head; `None` if it is not complete yet. Interim answers (1xx) before it are skipped.
    ///
    /// # Errors
    /// The answer cannot be forwarded.
    pub(super) fn parse_head(&mut self) -> Result<Option<AnswerHead>, AnswerError> {
        loop {
            let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut response = Response::new(&mut []);
            let bytes = &self.received[self.consumed..];
            let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
            let head = match parsed.map_err(AnswerError::Malformed)? {
                Status::Complete(end) if end <= MAX_ANSWER_HEAD => end,
                Status::Partial if bytes.len() < MAX_ANSWER_HEAD => return Ok(None),
                Status::Complete(_) | Status::Partial => return Err(HEAD_TOO_LARGE),
            };
            let status = response.code.unwrap_or_default();
            if matches!(status, 100 | 102..=199) {
                self.consumed += head;
                self.interim += head;
                if self.interim > MAX_INTERIM {
                    return Err(AnswerError::Unacceptable(TOO_MANY_INTERIM));
                }
                continue;
            }
            let connection = ConnectionOptions(response.headers);
            let declared = framing(status, response.version == Some(0), response.headers)?;
            let framing = body_framing(status, declared);
            let keep_alive = response.version == Some(1) && framing != Framing::Close && !connection.contains("close");
            self.head.extend_from_slice(b"HTTP/1.1 ");
            self.head.extend_from_slice(&decimal(status));
            self.head.push(b' ');
            self.head.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
            self.head.extend_from_slice(b"\r\n");
            for Header { name, value } in response.headers.iter() {
                if !is_dropped(name) && !connection.contains(name) {
                    self.is_dated |= name.eq_ignore_ascii_case("date");
                    self.is_encoded |= name.eq_ignore_ascii_case("content-encoding");
                    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                        self.head.extend_from_slice(part);
                    }
                }
            }
            self.status = status;
            self.consumed += head;
            return Ok(Some(AnswerHead { framing, declared, keep_alive }));
        }
    }
}

/// The capacity of a buffer that is kept between two answers, in bytes.
const KEPT_CAPACITY: usize = 16 * 1024;

/// The options in the `Connection` headers of an answer.
struct ConnectionOptions<'h>(&'h [Header<'h>]);

impl ConnectionOptions<'_> {
    /// Whether `option` is one of them.
    fn contains(&self, option: &str) -> bool {
        let values = self.0.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
        values
            .flat_map(|header| header.value.split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// The framing that the head declares.
fn framing(status: u16, is_http_10: bool, headers: &[Header<'_>]) -> Result<Framing, AnswerError> {
    let values = |name: &'static str| {
        headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    FramingHead { status, is_http_10, lengths, codings }.declared()
}

/// Whether a header is not forwarded: it is hop-by-hop, or usher sets it itself.
fn is_dropped(name: &str) -> bool {
    is_hop_by_hop(name) || ["content-length", "usher-decision"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// `status` as three digits.
fn decimal(status: u16) -> [u8; 3] {
    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}
