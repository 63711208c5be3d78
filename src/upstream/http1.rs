//! What both users of hyper's client, requests and WebSocket handshakes, do to the heads of messages.

use std::io::Write as _;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, Version};
use hyper::body::Incoming;

use super::framing::{AnswerError, Framing, FramingHead};

/// Checks an answer that hyper has read: hyper accepts more than [`FramingHead::declared`] does. Several equal lengths
/// are replaced by one.
///
/// # Errors
/// The answer cannot be forwarded.
pub(super) fn check_answer(answer: &mut Response<Incoming>) -> Result<(), AnswerError> {
    let headers = answer.headers();
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let head = FramingHead {
        status: answer.status().as_u16(),
        is_http_10: answer.version() == Version::HTTP_10,
        lengths: values(CONTENT_LENGTH),
        codings: values(TRANSFER_ENCODING),
    };
    if let Framing::Length(length) = head.declared()? {
        set_content_length(answer.headers_mut(), length);
    }
    Ok(())
}

/// Sets `Content-Length` to `length`, as one line in plain decimal. A header that has this value already is kept, which
/// is the common case and allocates nothing.
pub(super) fn set_content_length(headers: &mut HeaderMap, length: u64) {
    // 20 digits hold any u64.
    let mut digits = [0; 20];
    let mut rest = digits.as_mut_slice();
    let written = write!(rest, "{length}").map(|()| 20 - rest.len()).unwrap_or_default();
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let right = values.next().is_some_and(|value| value.as_bytes() == &digits[..written]) && values.next().is_none();
    if !right {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
