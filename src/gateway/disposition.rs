//! What the caller reads of a decision: the `usher-decision` header, and the answer to a redundant trigger.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::Reply;

/// The value of the `usher-decision` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    Forwarded,
    Reduced,
    Suppressed,
}

impl Disposition {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Reduced => "reduced",
            Self::Suppressed => "suppressed",
        }
    }

    pub(super) const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// The body of the answer to a redundant trigger: the only one that every Pusher library takes for success
/// (pusher-protocol.md 1.6).
pub(super) const SUPPRESSED_BODY: &[u8] = b"{}";

/// The head of the same answer as bytes, up to the headers that differ from one connection to the next.
pub(super) const SUPPRESSED_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nusher-decision: suppressed\r\ncontent-length: 2\r\n";

/// The same answer for hyper, which adds its length.
pub(super) fn suppressed() -> Response<Reply> {
    let mut response = Response::new(Reply::from(Bytes::from_static(SUPPRESSED_BODY)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("usher-decision", Disposition::Suppressed.header());
    response
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    #[test]
    fn both_forms_of_the_suppressed_answer_are_the_same() {
        let response = suppressed();
        let mut head = format!("HTTP/1.1 {}\r\n", response.status());
        for (name, value) in response.headers() {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        head.push_str(&format!("content-length: {}\r\n", response.body().size_hint().exact().unwrap()));
        assert_eq!(head.as_bytes(), SUPPRESSED_HEAD);
    }
}
