//! The bytes of an answer, and what they say. Pure: bytes in, bytes out.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use crate::upstream::framing::{Framing, MAX_INTERIM, Problem, TOO_MANY_INTERIM, check_status};
use crate::upstream::{MAX_ANSWER_HEAD, MAX_HEADERS, is_hop_by_hop};

/// Most bytes of a body; real ones have a few to a few thousand.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// An answer, collected whole. To be used again: it keeps its memory.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its status code; 0 until its head is complete.
    pub status: u16,
    /// Its status line and its end-to-end header lines as received, each with its line end; without a length.
    pub head: Vec<u8>,
    /// Whether a `Date` is among them.
    pub is_dated: bool,
    /// Whether a `Content-Encoding` is.
    pub is_encoded: bool,
    /// Its body.
    pub body: Vec<u8>,
    inbox: Vec<u8>,
    /// How much of the inbox is read.
    read: usize,
    /// Bytes of interim answers so far.
    interim: usize,
}

/// What the head says of what comes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(super) framing: Framing,
    /// Whether the connection may be used again.
    pub(super) keeps: bool,
}

/// More bytes than an answer to a trigger may have.
pub(super) const TOO_LARGE: Problem = Problem::Unfit("it is larger than an answer to a trigger may be");
const HEAD_TOO_LARGE: Problem = Problem::Invalid(httparse::Error::TooManyHeaders);

impl Collected {
    /// Forgets the last answer. Memory that an uncommonly large one took is given back.
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.is_dated = false;
        self.is_encoded = false;
        self.read = 0;
        self.interim = 0;
        for buffer in [&mut self.head, &mut self.body, &mut self.inbox] {
            buffer.clear();
            buffer.shrink_to(USUAL);
        }
    }

    /// Where received bytes go, with room for `more`. What is read of it is given up.
    pub(super) fn inbox(&mut self, more: usize) -> &mut Vec<u8> {
        self.inbox.drain(..self.read);
        self.read = 0;
        if self.inbox.capacity() - self.inbox.len() < more / 2 {
            self.inbox.reserve(more);
        }
        &mut self.inbox
    }

    /// What is received and not yet read.
    pub(super) fn pending(&self) -> &[u8] {
        &self.inbox[self.read..]
    }

    /// How many bytes are received and not yet read.
    pub(super) const fn waiting(&self) -> usize {
        self.inbox.len() - self.read
    }

    /// Whether nothing was received behind the answer.
    pub(super) const fn is_alone(&self) -> bool {
        self.waiting() == 0
    }

    /// Leaves out the next `count` bytes, which are there.
    pub(super) const fn skip(&mut self, count: usize) {
        self.read += count;
    }

    /// Adds the next bytes, as many as are there and `most` at most, to the body. Returns how many these are.
    ///
    /// # Errors
    /// The body is too large then.
    pub(super) fn take(&mut self, most: u64) -> Result<u64, Problem> {
        let pending = self.pending();
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(pending.len());
        if self.body.len() + count > MAX_BODY {
            return Err(TOO_LARGE);
        }
        self.body.extend_from_slice(&self.inbox[self.read..self.read + count]);
        self.read += count;
        Ok(count as u64)
    }

    /// Reads the head, if all of it is there. Interim answers (1xx) before it are left out.
    ///
    /// # Errors
    /// It is no head of an answer to a trigger.
    pub(super) fn start(&mut self) -> Result<Option<Start>, Problem> {
        loop {
            let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
            let mut response = Response::new(&mut []);
            let bytes = &self.inbox[self.read..];
            let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
            let head = match parsed.map_err(Problem::Invalid)? {
                Status::Complete(end) if end <= MAX_ANSWER_HEAD => end,
                Status::Partial if bytes.len() < MAX_ANSWER_HEAD => return Ok(None),
                Status::Complete(_) | Status::Partial => return Err(HEAD_TOO_LARGE),
            };
            let status = response.code.unwrap_or_default();
            if matches!(status, 100 | 102..=199) {
                self.read += head;
                self.interim += head;
                if self.interim > MAX_INTERIM {
                    return Err(Problem::Unfit(TOO_MANY_INTERIM));
                }
                continue;
            }
            check_status(status)?;
            let connection = Connection(response.headers);
            let framing = framing(status, response.version == Some(0), response.headers)?;
            let keeps = response.version == Some(1) && framing != Framing::Close && !connection.names("close");
            self.head.extend_from_slice(b"HTTP/1.1 ");
            self.head.extend_from_slice(&decimal(status));
            self.head.push(b' ');
            self.head.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
            self.head.extend_from_slice(b"\r\n");
            for Header { name, value } in response.headers.iter() {
                if !stays_here(name) && !connection.names(name) {
                    self.is_dated |= name.eq_ignore_ascii_case("date");
                    self.is_encoded |= name.eq_ignore_ascii_case("content-encoding");
                    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                        self.head.extend_from_slice(part);
                    }
                }
            }
            self.status = status;
            self.read += head;
            return Ok(Some(Start { framing, keeps }));
        }
    }
}

/// What is kept of a buffer between two answers.
const USUAL: usize = 16 * 1024;

/// The `Connection` headers of an answer.
struct Connection<'h>(&'h [Header<'h>]);

impl Connection<'_> {
    /// Whether `option` is among them.
    fn names(&self, option: &str) -> bool {
        let values = self.0.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
        values
            .flat_map(|header| header.value.split(|byte| *byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// How the end of the body is told. Some statuses have none, whatever is said of it.
fn framing(status: u16, is_http_10: bool, headers: &[Header<'_>]) -> Result<Framing, Problem> {
    let values = |name: &'static str| {
        headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let declared = Framing::of(is_http_10, values("content-length"), values("transfer-encoding"))?;
    Ok(if matches!(status, 204 | 304) { Framing::Length(0) } else { declared })
}

/// Whether a header does not go on: it is of this hop, tells a length that is told anew, or is usher's own to set.
fn stays_here(name: &str) -> bool {
    is_hop_by_hop(name) || ["content-length", "usher-decision"].iter().any(|here| name.eq_ignore_ascii_case(here))
}

/// Three digits.
fn decimal(status: u16) -> [u8; 3] {
    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}
