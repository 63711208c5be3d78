//! Checks of an answer's status and framing. Both readers of answers, hyper and `wire`, use them. Pure.

/// The largest number of bytes of interim answers (1xx) before the final answer.
pub(super) const MAX_INTERIM: usize = 256 * 1024;

/// How a body ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this number of bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// At the end of the connection.
    Close,
}

/// Why an answer cannot be forwarded. Whether the server applied the request is then unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerError {
    /// The answer is not HTTP/1.x.
    Malformed(httparse::Error),
    /// The request cannot have such an answer, or the end of the answer is ambiguous.
    Unacceptable(&'static str),
}

/// The message for more than [`MAX_INTERIM`] bytes of interim answers.
pub(super) const TOO_MANY_INTERIM: &str = "more than 256 KiB of interim answers (1xx) come before it";

/// The parts of an answer's head that determine its framing.
#[derive(Debug)]
pub(super) struct FramingHead<L, C> {
    /// The status code; not an interim one.
    pub(super) status: u16,
    /// Whether the version is HTTP/1.0.
    pub(super) is_http_10: bool,
    /// The values of the `Content-Length` lines.
    pub(super) lengths: L,
    /// The values of the `Transfer-Encoding` lines.
    pub(super) codings: C,
}

impl<'h, L, C> FramingHead<L, C>
where
    L: Iterator<Item = &'h [u8]>,
    C: Iterator<Item = &'h [u8]>,
{
    /// The framing that the head declares. An answer to `HEAD` and an answer with status 304 may declare the length of
    /// a body that they do not have; see [`body_framing`].
    ///
    /// `Transfer-Encoding` is a hop-by-hop header: a declaration that can be read in two ways could give the caller
    /// another length than the server meant (RFC 9112 6.1 and 6.3, threats.md H1-19), or leave a coding in place.
    ///
    /// # Errors
    /// The status is 101, which no request here asks for, or outside of HTTP's range (RFC 9110 15). There is both a
    /// length and a transfer coding; there is a coding other than `chunked`, or any coding from an HTTP/1.0 server; or
    /// the lengths are not one number.
    pub(super) fn declared(mut self) -> Result<Framing, AnswerError> {
        check_status(self.status)?;
        let Some(coding) = self.codings.next() else { return length(self.lengths) };
        if self.is_http_10 {
            Err(AnswerError::Unacceptable("it is HTTP/1.0 and has a transfer-encoding"))
        } else if self.lengths.next().is_some() {
            Err(AnswerError::Unacceptable("it has both a content-length and a transfer-encoding"))
        } else if self.codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            Err(AnswerError::Unacceptable("it has a transfer-encoding other than chunked"))
        } else {
            Ok(Framing::Chunked)
        }
    }
}

/// The framing of the body itself, given the declared one: an answer with status 204 or 304 has no body, whatever its
/// head declares.
pub(super) const fn body_framing(status: u16, declared: Framing) -> Framing {
    if matches!(status, 204 | 304) { Framing::Length(0) } else { declared }
}

const fn check_status(status: u16) -> Result<(), AnswerError> {
    match status {
        101 => Err(AnswerError::Unacceptable("it switches protocols, which nobody asked for")),
        200..=599 => Ok(()),
        _ => Err(AnswerError::Unacceptable("its status is not one of HTTP")),
    }
}

/// The length on which all lines, and all elements of a line that is a list, agree. A repeated equal length is harmless
/// (RFC 9110 8.6).
fn length<'h>(lengths: impl Iterator<Item = &'h [u8]>) -> Result<Framing, AnswerError> {
    let mut elements = lengths.flat_map(|line| line.split(|byte| *byte == b',')).map(number);
    let Some(first) = elements.next() else { return Ok(Framing::Close) };
    match first {
        Some(length) if elements.all(|other| other == first) => Ok(Framing::Length(length)),
        _ => Err(AnswerError::Malformed(httparse::Error::HeaderValue)),
    }
}

/// The number in `element`: digits only, with optional blanks around them.
fn number(element: &[u8]) -> Option<u64> {
    let digits = element.trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Framing, FramingHead, check_status};

    fn of(is_http_10: bool, lengths: &[&str], codings: &[&str]) -> Option<Framing> {
        let lengths = lengths.iter().map(|value| value.as_bytes());
        let codings = codings.iter().map(|value| value.as_bytes());
        FramingHead { status: 200, is_http_10, lengths, codings }.declared().ok()
    }

    #[test]
    fn a_length_may_be_repeated_and_must_be_one_number() {
        for lengths in [&["2"][..], &["2", "2"], &["2, 2"], &["2,2 ,\t2", "02"], &["002"]] {
            assert_eq!(of(false, lengths, &[]), Some(Framing::Length(2)), "{lengths:?}");
            assert_eq!(of(true, lengths, &[]), Some(Framing::Length(2)), "{lengths:?}");
        }
        let wrong = [
            &["2", "3"][..],
            &["2, 3"],
            &["2,"],
            &[",2"],
            &["2,,2"],
            &[""],
            &["2", ""],
            &["+2"],
            &["-2"],
            &["2 2"],
            &["0x2"],
            &["18446744073709551616"],
        ];
        for lengths in wrong {
            assert_eq!(of(false, lengths, &[]), None, "{lengths:?}");
        }
        assert_eq!(of(false, &[], &[]), Some(Framing::Close));
    }

    #[test]
    fn a_coding_is_chunked_alone() {
        assert_eq!(of(false, &[], &["chunked"]), Some(Framing::Chunked));
        assert_eq!(of(false, &[], &["CHUNKED"]), Some(Framing::Chunked));
        assert_eq!(of(true, &[], &["chunked"]), None, "HTTP/1.0");
        assert_eq!(of(false, &["2"], &["chunked"]), None, "two framings");
        for codings in [
            &["gzip"][..],
            &["gzip, chunked"],
            &["chunked", "chunked"],
            &["chunked, chunked"],
            &["identity"],
            &[""],
            &["", "chunked"],
        ] {
            assert_eq!(of(false, &[], codings), None, "{codings:?}");
        }
    }

    #[test]
    fn a_status_is_one_of_http() {
        assert!([200, 204, 299, 400, 503, 599].into_iter().all(|status| check_status(status).is_ok()));
        assert!([101, 0, 99, 199, 600, 999].into_iter().all(|status| check_status(status).is_err()));
    }
}
