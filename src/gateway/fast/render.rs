//! The bytes that the fast path writes: requests to upstream, answers to callers.

use std::ops::Range;

use http::Response;

use super::get::Get;
use super::shape::{HeaderSpans, Trigger};
use crate::clock::Date;
use crate::gateway::disposition::{Disposition, SUPPRESSED_BODY, SUPPRESSED_HEAD};
use crate::gateway::record::Tag;
use crate::gateway::target::signed_path;
use crate::gateway::{Refusal, Reply};
use crate::pusher::{KeyPair, Query, resign};
use crate::upstream::{Collected, Framing};

/// Writes the request to upstream for `trigger`: with another `Host`, otherwise as received; or with `reduced` as its
/// body, signed anew.
pub(super) fn request(
    to: &mut Vec<u8>,
    trigger: &Trigger<'_>,
    host: &[u8],
    pair: &KeyPair,
    reduced: Option<&[u8]>,
) -> Disposition {
    let HeaderSpans { host: old_host, content_length, connection } = trigger.spans();
    let mut length = Vec::new();
    let no_change: (&Range<usize>, &[u8]) = (&(0..0), b"");
    let mut changes = [(old_host, host), no_change, no_change];
    if let Some(line) = connection {
        changes[1] = (line, b"");
    }
    match reduced {
        None => put(to, &[b"POST ", trigger.target.as_bytes()]),
        Some(body) => {
            let signed = resign(pair, "POST", signed_path(trigger.path()), &Query::parse(trigger.claim.query()), body);
            put(to, &[b"POST ", trigger.path().as_bytes(), b"?", signed.as_bytes()]);
            number(&mut length, body.len());
            changes[2] = (content_length, &length);
        }
    }
    put(to, &[b" HTTP/1.1\r\n"]);
    changed(to, trigger.lines, changes);
    put(to, &[reduced.unwrap_or(trigger.body)]);
    if reduced.is_some() { Disposition::Reduced } else { Disposition::Forwarded }
}

/// Writes a GET request to upstream: with another `Host`, otherwise as received.
pub(super) fn get(to: &mut Vec<u8>, get: &Get<'_>, host: &[u8]) {
    put(to, &[b"GET ", get.target.as_bytes(), b" HTTP/1.1\r\n"]);
    let connection = get.connection.clone().unwrap_or_default();
    changed(to, get.lines, [(&get.host, host), (&connection, b"")]);
    put(to, &[get.body]);
}

/// Writes header lines, some ranges of which have another content.
fn changed<const N: usize>(to: &mut Vec<u8>, lines: &[u8], mut changes: [(&Range<usize>, &[u8]); N]) {
    // What is empty comes before what begins at the same place, e.g. a `Connection` in the first line.
    changes.sort_unstable_by_key(|(span, _)| (span.start, span.end));
    let mut done = 0;
    for (span, new) in changes {
        put(to, &[&lines[done..span.start], new]);
        done = span.end;
    }
    put(to, &[&lines[done..]]);
}

/// Writes the answer to a redundant trigger.
pub(super) fn suppressed(to: &mut Vec<u8>, tag: Tag, date: &Date, last: bool) {
    put(to, &[SUPPRESSED_HEAD]);
    tagged(to, tag);
    end(to, Some(date), last);
    put(to, &[SUPPRESSED_BODY]);
}

/// Writes the head of upstream's answer to a request that is no trigger. `declared`: as upstream framed its body. A body
/// that ends with upstream's connection is chunked.
pub(super) fn passed_on(to: &mut Vec<u8>, answer: &Collected, declared: Framing, date: &Date, last: bool) {
    put(to, &[&answer.head]);
    match (answer.status, declared) {
        // An answer whose status allows no content has no length either (RFC 9110 8.6), but for that of the content
        // that a 304 spares.
        (204, _) | (304, Framing::Chunked | Framing::Close) => {}
        (_, Framing::Length(length)) => {
            put(to, &[b"content-length: ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"]);
        }
        (_, Framing::Chunked | Framing::Close) => put(to, &[b"transfer-encoding: chunked\r\n"]),
    }
    end(to, (!answer.is_dated).then_some(date), last);
}

/// Writes a part of a body as a chunk (RFC 9112 7.1), and the end behind the last one.
pub(super) fn chunk(to: &mut Vec<u8>, data: &[u8], is_last: bool) {
    if !data.is_empty() {
        put(to, &[format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"]);
    }
    if is_last {
        put(to, &[b"0\r\n\r\n"]);
    }
}

/// Writes upstream's answer.
pub(super) fn forwarded(
    to: &mut Vec<u8>,
    answer: &Collected,
    disposition: Disposition,
    tag: Tag,
    date: &Date,
    last: bool,
) {
    put(to, &[&answer.head, b"usher-decision: ", disposition.as_str().as_bytes(), b"\r\n"]);
    tagged(to, tag);
    // An answer whose status allows no content has no length either (RFC 9110 8.6).
    if !matches!(answer.status, 204 | 304) {
        put(to, &[b"content-length: "]);
        number(to, answer.body.len());
        put(to, &[b"\r\n"]);
    }
    end(to, (!answer.is_dated).then_some(date), last);
    put(to, &[&answer.body]);
}

/// Writes usher's own answer; `tag`: of a trigger. Returns whether it is the connection's last.
#[cold]
pub(super) fn refused(to: &mut Vec<u8>, refusal: &Refusal, tag: Option<Tag>, date: &Date, last: bool) -> bool {
    let response: Response<Reply> = refusal.response();
    let status = response.status();
    let last = last || response.headers().contains_key(http::header::CONNECTION);
    put(
        to,
        &[
            b"HTTP/1.1 ",
            status.as_str().as_bytes(),
            b" ",
            status.canonical_reason().unwrap_or_default().as_bytes(),
            b"\r\n",
        ],
    );
    for (name, value) in response.headers().iter().filter(|(name, _)| *name != http::header::CONNECTION) {
        put(to, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if let Some(tag) = tag {
        tagged(to, tag);
    }
    let body = match response.into_body() {
        Reply::Whole(body) => body.unwrap_or_default(),
        // A refusal is made here.
        Reply::Stream(_) => bytes::Bytes::new(),
    };
    put(to, &[b"content-length: "]);
    number(to, body.len());
    put(to, &[b"\r\n"]);
    end(to, Some(date), last);
    put(to, &[&body]);
    last
}

/// Writes the header lines of a tag.
fn tagged(to: &mut Vec<u8>, tag: Tag) {
    put(to, &[b"usher-trigger: "]);
    tag.id.write(to);
    put(to, &[b"\r\nusher-reason: ", tag.reason.as_bytes(), b"\r\n"]);
}

/// Writes the last lines of a head.
fn end(to: &mut Vec<u8>, date: Option<&Date>, last: bool) {
    if last {
        put(to, &[b"connection: close\r\n"]);
    }
    if let Some(date) = date {
        put(to, &[b"date: ", date.as_bytes(), b"\r\n"]);
    }
    put(to, &[b"\r\n"]);
}

// One loop for all that is written, instead of one capacity check and one copy for each part: the code of an answer is
// executed once for each trigger, and costs by its size.
#[inline(never)]
fn put(to: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        to.extend_from_slice(part);
    }
}

fn number(to: &mut Vec<u8>, number: usize) {
    put(to, &[itoa::Buffer::new().format(number).as_bytes()]);
}
