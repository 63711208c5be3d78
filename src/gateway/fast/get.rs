//! GET requests that come whole and in the usual form. They are forwarded as received, whatever they ask for; anything
//! unusual is left to hyper.

use std::ops::Range;

use super::lines::{Head, HeaderLines, decimal};
use super::shape::MAX_BODY;
use crate::gateway::{Limits, passthrough};

const METHOD: &str = "GET";

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
        let Head { target, lines, headers, length: head } = Head::read(bytes, METHOD, limits)?;
        let path = target.split('?').next().unwrap_or_default();
        let is_within = target.len() <= limits.max_target && head <= limits.max_head;
        if !path.starts_with('/') || !is_within || passthrough::is_poll(path) {
            return None;
        }
        let HeaderLines { host, content_length, connection, .. } = headers;
        let body = match content_length {
            None => 0,
            Some(value) => decimal(&lines[value]).filter(|length| *length <= MAX_BODY.min(limits.max_body))?,
        };
        let body = bytes.get(head..head + body)?;
        Some(Self { target, lines, host, connection, body, length: head + body.len() })
    }
}
