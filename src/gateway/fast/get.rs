//! GET requests that come whole and in the usual form. They are forwarded as received, whatever they ask for; anything
//! unusual is left to hyper.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Status};

use super::lines::{HeaderLines, decimal, is_plain, span_of};
use super::shape::{MAX_BODY, MAX_HEAD, MAX_HEADERS};
use crate::gateway::{Limits, passthrough};

const VERSION: &[u8] = b" HTTP/1.1\r\n";

/// A GET request as received.
#[derive(Debug)]
pub(super) struct Get<'b> {
    /// Path and query.
    pub(super) target: &'b str,
    /// The header lines, each with its end of line, and the empty line behind them.
    pub(super) lines: &'b [u8],
    /// The value of `Host`, within `lines`.
    pub(super) host: Range<usize>,
    /// The line `Connection: keep-alive`, within `lines`.
    pub(super) connection: Option<Range<usize>>,
    /// Usually empty.
    pub(super) body: &'b [u8],
    /// Bytes of the whole request.
    pub(super) length: usize,
}

impl<'b> Get<'b> {
    /// Reads the request at the beginning of `bytes`; `None` if it is of another form, has not come whole, or waits for
    /// messages (a fallback transport for WebSocket).
    pub(super) fn read(bytes: &'b [u8], limits: &Limits) -> Option<Self> {
        let rest = bytes.strip_prefix(b"GET ")?;
        let end = memchr::memchr(b' ', rest)?;
        let target = str::from_utf8(&rest[..end]).ok().filter(|target| target.starts_with('/') && is_plain(target))?;
        let path = target.split('?').next().unwrap_or_default();
        let rest = rest[end..].strip_prefix(VERSION)?;
        if target.len() > limits.max_target || passthrough::is_poll(path) {
            return None;
        }
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let Ok(Status::Complete((length, headers))) = httparse::parse_headers(rest, &mut headers) else { return None };
        let lines = &rest[..length];
        let head = span_of(bytes, lines).end;
        if headers.len() > limits.max_headers || head > MAX_HEAD.min(limits.max_head) {
            return None;
        }
        let HeaderLines { host, content_length, connection, .. } = HeaderLines::read(lines, headers)?;
        let body = match content_length {
            None => 0,
            Some(value) => decimal(&lines[value]).filter(|length| *length <= MAX_BODY.min(limits.max_body))?,
        };
        let body = bytes.get(head..head + body)?;
        Some(Self { target, lines, host, connection, body, length: head + body.len() })
    }
}
