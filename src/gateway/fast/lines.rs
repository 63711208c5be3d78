//! The parts of a request's head that every server reads in the same way, and the header lines that are not passed on as
//! received.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};

use crate::gateway::Limits;
use crate::upstream::is_hop_by_hop;

/// The header lines of a request. Ranges are counted from the start of the first line.
#[derive(Debug)]
pub(super) struct HeaderLines<'l> {
    /// The value of `Host`.
    pub(super) host: Range<usize>,
    /// The value of `Content-Length`.
    pub(super) content_length: Option<Range<usize>>,
    /// The value of `Content-Type`.
    pub(super) content_type: Option<&'l [u8]>,
    /// The line `Connection: keep-alive`.
    pub(super) connection: Option<Range<usize>>,
}

/// A request line and header lines that every server reads in the same way.
#[derive(Debug)]
pub(super) struct Head<'b> {
    /// Path and query.
    pub(super) target: &'b str,
    /// The header lines, each with its end of line, and the empty line behind them.
    pub(super) lines: &'b [u8],
    pub(super) headers: HeaderLines<'b>,
    /// Bytes of the whole head.
    pub(super) length: usize,
}

/// Most header lines; libraries send about ten.
pub(super) const MAX_HEADERS: usize = 24;
/// Longest head in bytes. Each connection keeps two.
pub(super) const MAX_HEAD: usize = 4 * 1024;
/// What follows the target in a request line.
pub(super) const VERSION: &[u8] = b" HTTP/1.1\r\n";

impl<'b> Head<'b> {
    /// Reads the head at the beginning of `bytes`; `None` if it has another method, is of another shape or not whole, or
    /// has more header lines than `limits` allow.
    pub(super) fn read(bytes: &'b [u8], method: &str, limits: &Limits) -> Option<Self> {
        let rest = bytes.strip_prefix(method.as_bytes())?.strip_prefix(b" ")?;
        let end = memchr::memchr(b' ', rest)?;
        let target = str::from_utf8(&rest[..end]).ok().filter(|target| is_plain(target))?;
        let rest = rest[end..].strip_prefix(VERSION)?;
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let Ok(Status::Complete((length, headers))) = httparse::parse_headers(rest, &mut headers) else { return None };
        let lines = &rest[..length];
        let length = span_of(bytes, lines).end;
        if headers.len() > limits.max_headers || length > MAX_HEAD {
            return None;
        }
        Some(Self { target, lines, headers: HeaderLines::read(lines, headers)?, length })
    }
}

/// What the fast path does with a header line.
enum Role {
    /// It is passed on as received.
    Plain,
    Host,
    ContentLength,
    ContentType,
    Connection,
    /// It makes the request one of another shape.
    Other,
}

impl<'l> HeaderLines<'l> {
    /// Reads `lines`, the last of which is empty, as parsed into `headers`; `None` if they are of another shape.
    fn read(lines: &'l [u8], headers: &[Header<'l>]) -> Option<Self> {
        let (mut host, mut content_length, mut content_type, mut connection) = (None, None, None, None);
        // Only a lenient parser accepts these, or they are no ASCII text: of another shape.
        let mut is_unusual = !lines.is_ascii() || !lines.ends_with(b"\r\n\r\n");
        let mut next = headers.iter().skip(1);
        for Header { name, value } in headers {
            let line = span_of(lines, name.as_bytes());
            let end = next.next().map_or(lines.len() - 2, |next| span_of(lines, next.name.as_bytes()).start);
            is_unusual |= !is_plainly_spaced(&lines[line.end..end], value);
            match Role::of(name) {
                Role::Plain => {}
                Role::Host if host.is_none() && is_host(value) => host = Some(span_of(lines, value)),
                Role::ContentLength if content_length.is_none() => content_length = Some(span_of(lines, value)),
                Role::ContentType if content_type.is_none() => content_type = Some(*value),
                Role::Connection if connection.is_none() && value.eq_ignore_ascii_case(b"keep-alive") => {
                    connection = Some(line.start..end);
                }
                Role::Host | Role::ContentLength | Role::ContentType | Role::Connection | Role::Other => return None,
            }
        }
        (!is_unusual).then_some(Self { host: host?, content_length, content_type, connection })
    }
}

/// Whether a line has after its name a colon, at most one space, `value` and the end of the line. Lines are passed on
/// as received, and upstream may understand no other white space (RFC 9110 5.6.3 asks senders for a single space).
fn is_plainly_spaced(rest: &[u8], value: &[u8]) -> bool {
    let spaced = rest.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n"));
    spaced.is_some_and(|spaced| spaced.strip_prefix(b" ").unwrap_or(spaced) == value)
}

/// The range of `part` in `whole`, of which it is a subslice.
pub(super) fn span_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

impl Role {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Self::Host,
            10 if is("connection") => Self::Connection,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") => Self::ContentLength,
            16 if is("content-encoding") => Self::Other,
            17 if is("x-idempotency-key") => Self::Other,
            _ if is_hop_by_hop(name) => Self::Other,
            _ => Self::Plain,
        }
    }
}

/// A name or an IPv4 address, perhaps with a port.
fn is_host(value: &[u8]) -> bool {
    let colon = value.iter().position(|byte| *byte == b':');
    let (name, port) = colon.map_or((value, &b"80"[..]), |colon| (&value[..colon], &value[colon + 1..]));
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && !port.is_empty()
        && port.iter().all(u8::is_ascii_digit)
}

/// Whether every server reads every byte of a target in the same way. The loop has no early exit, so that the compiler
/// can vectorise it.
fn is_plain(target: &str) -> bool {
    target.bytes().fold(true, |plain, byte| {
        plain
            & (byte.is_ascii_lowercase()
                | matches!(byte, b'+'..=b':')
                | matches!(byte, b'?'..=b'Z')
                | matches!(byte, b'%' | b'&' | b'=' | b'_' | b'~'))
    })
}

/// A length in its canonical form: digits without a leading zero, and not 0, for a trigger has a body.
pub(super) fn decimal(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}
