//! The bytes of an answer, and what they say. Pure: bytes in, bytes out.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use crate::upstream::{MAX_ANSWER_HEAD, is_hop_by_hop};

/// Most bytes of a body; real ones have a few to a few thousand.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// Most header lines of an answer.
const MAX_HEADERS: usize = 100;

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
}

/// What the head says of what comes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(super) framing: Framing,
    /// Whether the connection may be used again.
    pub(super) keeps: bool,
}

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    /// By the end of the connection.
    ToTheEnd,
}

/// Why an answer cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is no HTTP/1.x.
    Invalid(httparse::Error),
    /// It is one that a trigger cannot have, or whose length cannot be told for certain.
    Unfit(&'static str),
}

/// More bytes than an answer to a trigger may have.
pub(super) const TOO_LARGE: Problem = Problem::Unfit("it is larger than an answer to a trigger may be");

impl Collected {
    /// Forgets the last answer. Memory that an uncommonly large one took is given back.
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.is_dated = false;
        self.is_encoded = false;
        self.read = 0;
        for buffer in [&mut self.head, &mut self.body, &mut self.inbox] {
            buffer.clear();
            buffer.shrink_to(USUAL);
        }
    }

    /// Where received bytes go, with room for `more`.
    pub(super) fn inbox(&mut self, more: usize) -> &mut Vec<u8> {
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

    /// Adds the next `count` bytes, which are there, to the body.
    pub(super) fn take(&mut self, count: usize) {
        self.body.extend_from_slice(&self.inbox[self.read..self.read + count]);
        self.read += count;
    }

    /// Whether more may be received.
    ///
    /// # Errors
    /// If the head or the body is too large already.
    pub(super) const fn bound(&self) -> Result<(), Problem> {
        match self.status {
            0 if self.waiting() > MAX_ANSWER_HEAD => Err(Problem::Invalid(httparse::Error::TooManyHeaders)),
            0 => Ok(()),
            // Chunks have their sizes beside them: of a byte each, they take six.
            _ if self.inbox.len() > 8 * MAX_BODY => Err(TOO_LARGE),
            _ => Ok(()),
        }
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
            let Status::Complete(end) = parsed.map_err(Problem::Invalid)? else { return Ok(None) };
            let status = response.code.unwrap_or_default();
            match status {
                101 => return Err(Problem::Unfit("it switches protocols, which nobody asked for")),
                100..=199 => {
                    self.read += end;
                    continue;
                }
                _ => {}
            }
            let connection = Connection(response.headers);
            let framing = framing(status, response.headers)?;
            let keeps = response.version == Some(1) && framing != Framing::ToTheEnd && !connection.names("close");
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
            self.read += end;
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
        values.flat_map(|header| header.value.split(|byte| *byte == b',')).any(|token| token.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// How the end of the body is told (RFC 9112 6.3).
fn framing(status: u16, headers: &[Header<'_>]) -> Result<Framing, Problem> {
    let values = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
    let mut codings = values("transfer-encoding");
    let mut lengths = values("content-length");
    match (codings.next(), codings.next(), lengths.next()) {
        (Some(_), _, Some(_)) => Err(Problem::Unfit("it has both a content-length and a transfer-encoding")),
        (Some(coding), None, None) if coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(if is_empty(status) { Framing::Length(0) } else { Framing::Chunked })
        }
        (Some(_), _, None) => Err(Problem::Unfit("it has a transfer-encoding other than chunked")),
        (None, _, length) if is_empty(status) => length.map_or(Ok(Framing::Length(0)), |length| digits(length).map(|_unused| Framing::Length(0))),
        (None, _, None) => Ok(Framing::ToTheEnd),
        (None, _, Some(length)) if lengths.all(|other| other == length) => digits(length).map(Framing::Length),
        (None, _, Some(_)) => Err(Problem::Invalid(httparse::Error::HeaderValue)),
    }
}

/// Whether an answer with this status has no body.
const fn is_empty(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn digits(value: &[u8]) -> Result<usize, Problem> {
    let text = std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(Problem::Invalid(httparse::Error::HeaderValue))
}

/// Whether a header does not go on: it is of this hop, tells a length that is told anew, or is usher's own to set.
fn stays_here(name: &str) -> bool {
    is_hop_by_hop(name) || ["content-length", "usher-decision"].iter().any(|here| name.eq_ignore_ascii_case(here))
}

/// Three digits.
fn decimal(status: u16) -> [u8; 3] {
    [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}
