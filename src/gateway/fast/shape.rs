//! Parsing the requests that the fast path serves: triggers in the shape that every Pusher library sends. Any other
//! request, and one that could be read in two ways, is of another shape. That is no error: hyper reads it then.

use std::ops::Range;

use super::lines::{Head, HeaderLines, VERSION, decimal, span_of};
use crate::gateway::Limits;
use crate::gateway::handshake::X_FORWARDED_FOR;
use crate::gateway::target::{ExactPath, exact, signed_path};
use crate::gateway::verified::is_json;
use crate::pusher::{Endpoint, Pattern, Query, SignatureClaim};

/// Most bytes of a body.
pub(super) const MAX_BODY: usize = 32 * 1024;

/// How much of a request has come.
#[derive(Debug)]
pub(super) enum Parsed<'b> {
    /// All of a trigger.
    Trigger(Trigger<'b>),
    /// The head of a trigger. The whole request has this many bytes.
    PartialBody(usize),
    /// The beginning of a head.
    PartialHead,
    /// Something else.
    OtherShape,
}

/// A trigger as received.
#[derive(Debug)]
pub(super) struct Trigger<'b> {
    head: &'b CachedHead,
    /// Path and query.
    pub(super) target: &'b str,
    pub(super) claim: SignatureClaim<'b>,
    /// The header lines, each with its end of line, and the empty line behind them.
    pub(super) lines: &'b [u8],
    pub(super) body: &'b [u8],
    /// Bytes of the whole request.
    pub(super) length: usize,
}

/// The parts of a trigger's header lines that are not passed on as received, counted from the start of the first line.
#[derive(Debug)]
pub(super) struct HeaderSpans {
    /// The value of `Host`: it is replaced by upstream's.
    pub(super) host: Range<usize>,
    /// The value of `Content-Length`.
    pub(super) content_length: Range<usize>,
    /// The line `Connection: keep-alive`, if there is one: it belongs to the connection.
    pub(super) connection: Option<Range<usize>>,
}

/// The last heads of a connection. A caller sends the same head with every request of a kind, except for three values
/// in the query and the length of the body; so a new head is compared with these and need not be parsed.
#[derive(Debug, Default)]
pub(super) struct HeadCache([Option<CachedHead>; 2]);

/// A parsed head.
#[derive(Debug)]
struct CachedHead {
    bytes: Vec<u8>,
    /// The target.
    target: Range<usize>,
    /// The app's id within the target.
    app: Range<usize>,
    /// Bytes of the path; the question mark and the query follow it.
    path: usize,
    endpoint: Endpoint,
    pattern: Pattern,
    spans: HeaderSpans,
    /// The ranges that may differ in a head that matches this one: values of the query, and behind them the body's
    /// length.
    variable: [Range<usize>; 4],
}

/// The method of every trigger.
pub(super) const METHOD: &str = "POST";

/// Parses the bytes that have come on a connection. `known`: its last heads.
pub(super) fn parse<'b>(bytes: &'b [u8], limits: &Limits, known: &'b mut HeadCache) -> Parsed<'b> {
    let seen = known
        .head(bytes, limits)
        .filter(|head| head.target.len() <= limits.max_target && head.bytes.len() <= limits.max_head)
        .and_then(|head| head.parse(bytes, limits.max_body));
    seen.unwrap_or_else(|| {
        if is_partial_head(bytes, 0, limits.max_head) { Parsed::PartialHead } else { Parsed::OtherShape }
    })
}

/// The trigger that [`parse`] has found in `bytes` before, whatever limits a reload has set since. `known` must not
/// have changed.
pub(super) fn parse_again<'b>(bytes: &'b [u8], known: &'b HeadCache) -> Option<Trigger<'b>> {
    let Parsed::Trigger(trigger) = known.find(bytes)?.parse(bytes, MAX_BODY)? else { return None };
    Some(trigger)
}

/// The app's id and the path of a request whose head [`parse`] has found in `bytes` before.
pub(super) fn names<'b>(bytes: &'b [u8], known: &HeadCache) -> Option<(&'b str, &'b str)> {
    let head = known.find(bytes)?;
    let target = str::from_utf8(bytes.get(head.target.clone())?).ok()?;
    Some((target.get(head.app.clone())?, target.get(..head.path)?))
}

/// Whether `bytes` are the beginning of a head of at most `max_head` bytes that has not come whole. The first `known`
/// bytes were found to be one before. Lines may end without a carriage return, as in hyper. Bytes that are no text,
/// e.g. a TLS handshake, are no beginning of a head.
pub(super) fn is_partial_head(bytes: &[u8], known: usize, max_head: usize) -> bool {
    let new = &bytes[known..];
    // An empty line may have begun before.
    let lines = &bytes[known.saturating_sub(2)..];
    bytes.len() < max_head
        && new.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\r' | b'\n' | b'\t'))
        && !memchr::memchr_iter(b'\n', lines).any(|end| matches!(&lines[end + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

impl<'b> Trigger<'b> {
    /// The id of the app in the path.
    pub(super) fn app(&self) -> &'b str {
        &self.target[self.head.app.clone()]
    }

    pub(super) const fn endpoint(&self) -> Endpoint {
        self.head.endpoint
    }

    pub(super) fn path(&self) -> &'b str {
        &self.target[..self.head.path]
    }

    /// The values of its `X-Forwarded-For` lines, last line first.
    pub(super) fn forwarded_for(&self) -> impl Iterator<Item = &'b [u8]> {
        let lines = self.lines.rsplit(|byte| *byte == b'\n');
        lines.filter_map(|line| {
            let (name, value) = line.split_at_checked(X_FORWARDED_FOR.as_str().len())?;
            let is_it = name.eq_ignore_ascii_case(X_FORWARDED_FOR.as_str().as_bytes());
            value.strip_prefix(b":").filter(|_| is_it).map(<[u8]>::trim_ascii)
        })
    }

    /// The pattern of its query.
    pub(super) const fn pattern(&self) -> &'b Pattern {
        &self.head.pattern
    }

    /// The parts of its header lines that are not passed on as received.
    pub(super) const fn spans(&self) -> &'b HeaderSpans {
        &self.head.spans
    }
}

impl HeadCache {
    /// The head that `bytes` begin with. One that is not cached is parsed and cached; `None` if it is of another shape.
    fn head(&mut self, bytes: &[u8], limits: &Limits) -> Option<&CachedHead> {
        let index = self.index(bytes).or_else(|| {
            let head = CachedHead::read(bytes, limits)?;
            self.0.rotate_right(1);
            self.0[0] = Some(head);
            Some(0)
        })?;
        self.0[index].as_ref()
    }

    /// The cached head that `bytes` begin with.
    fn find(&self, bytes: &[u8]) -> Option<&CachedHead> {
        self.0[self.index(bytes)?].as_ref()
    }

    fn index(&self, bytes: &[u8]) -> Option<usize> {
        self.0.iter().position(|head| head.as_ref().is_some_and(|head| head.matches(bytes)))
    }
}

impl CachedHead {
    /// Whether `bytes` begin with this head, apart from the variable ranges.
    fn matches(&self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.bytes.len()) else { return false };
        let mut start = 0;
        for Range { start: end, end: next } in &self.variable {
            if bytes[start..*end] != self.bytes[start..*end] {
                return false;
            }
            start = *next;
        }
        // A space in place of the first digit belongs before the length.
        let [.., length] = &self.variable;
        bytes[start..] == self.bytes[start..] && bytes[length.start].is_ascii_digit()
    }

    /// Parses a request whose head matches this one; `None` if the variable ranges have values that no trigger has.
    fn parse<'b>(&'b self, bytes: &'b [u8], max_body: usize) -> Option<Parsed<'b>> {
        let target = str::from_utf8(&bytes[self.target.clone()]).ok()?;
        let claim = self.pattern.claim(&target[self.path + 1..])?;
        let end = self.bytes.len();
        let lines = &bytes[self.target.end + VERSION.len()..end];
        let length = end
            + decimal(&lines[self.spans.content_length.clone()]).filter(|length| *length <= MAX_BODY.min(max_body))?;
        let Some(body) = bytes.get(end..length) else { return Some(Parsed::PartialBody(length)) };
        Some(Parsed::Trigger(Trigger { head: self, target, claim, lines, body, length }))
    }

    /// Parses the head at the beginning of `bytes`; `None` if it is of another shape.
    #[cold]
    #[inline(never)]
    fn read(bytes: &[u8], limits: &Limits) -> Option<Self> {
        let Head { target: text, lines, headers, length } = Head::read(bytes, METHOD, limits)?;
        let (path, query) = text.split_once('?')?;
        let ExactPath { id: app, endpoint, .. } = exact(path)?;
        let pattern = Pattern::of(METHOD, signed_path(path), &Query::parse(query))?;
        let HeaderLines { host, content_length, content_type, connection } = headers;
        content_type.filter(|value| is_json(value))?;
        let spans = HeaderSpans { host, content_length: content_length?, connection };
        let lines = span_of(bytes, lines).start;
        let bytes = &bytes[..length];
        let within = |span: &Range<usize>, start: usize| start + span.start..start + span.end;
        let target = span_of(bytes, text.as_bytes());
        let [first, second, third] = pattern.variable().map(|span| within(&span, target.start + path.len() + 1));
        let variable = [first, second, third, within(&spans.content_length, lines)];
        Some(Self {
            bytes: bytes.to_vec(),
            app: span_of(text.as_bytes(), app.as_bytes()),
            path: path.len(),
            target,
            endpoint,
            pattern,
            spans,
            variable,
        })
    }
}

#[cfg(test)]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_partial_until_an_empty_line_whatever_part_of_it_was_known() {
        let heads: [&[u8]; 6] = [
            b"POST /apps/3/events?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET / HTTP/1.1\r\nHost: x\n\r\n",
            b"GET / HTTP/1.1\nHost: x\r\n\n",
            b"\r\nGET / HTTP/1.1\r\n\tx: \xff\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
        ];
        for head in heads {
            for end in 0..head.len() {
                for known in 0..=end {
                    assert!(
                        is_partial_head(&head[..end], known, 1024),
                        "{:?} of which {known}",
                        head[..end].escape_ascii().to_string()
                    );
                }
            }
            for known in 0..head.len() {
                assert!(!is_partial_head(head, known, 1024), "{:?} of which {known}", head.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn what_is_no_text_or_too_long_is_no_beginning_of_a_head() {
        assert!(!is_partial_head(b"\x16\x03\x01\x02\x00\x01", 0, 1024));
        assert!(!is_partial_head(b"GET /\0", 0, 1024));
        assert!(!is_partial_head(b"GET / HT", 0, 8));
        assert!(is_partial_head(b"GET / H", 0, 8));
    }
}
