//! What the head of an answer says of its body. Answers are read by hyper and by `wire`; these rules are the same for
//! both.

use super::Failure;

/// Most bytes of interim answers (1xx) before the answer itself.
pub(super) const MAX_INTERIM: usize = 256 * 1024;

/// How the end of a body is told (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length in bytes. An answer to `HEAD`, or with status 304, tells so of a body that it does not have.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Why an answer cannot be passed on. Whether the request was applied is then unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is no HTTP/1.x.
    Invalid(httparse::Error),
    /// It is one that its request cannot have, or whose end cannot be told for certain.
    Unfit(&'static str),
}

/// More bytes of interim answers than there may be.
pub(super) const TOO_MANY_INTERIM: &str = "more than 256 KiB of interim answers (1xx) come before it";

impl Problem {
    /// As the failure of a request to the server `upstream`.
    pub(super) fn failure(self, upstream: String) -> Failure {
        match self {
            Self::Invalid(source) => Failure::BadAnswer { upstream, source: source.into() },
            Self::Unfit(problem) => Failure::UnfitAnswer { upstream, problem },
        }
    }
}

impl Framing {
    /// The framing of an answer whose `Content-Length` and `Transfer-Encoding` lines have these values.
    /// `Transfer-Encoding` ends at this hop, so that whatever it leaves in doubt would tell the caller another length
    /// (RFC 9112 6.1 and 6.3, threats.md H1-19), or a coding that is not undone.
    ///
    /// # Errors
    /// Both are there; there is a coding other than `chunked`, or any from an HTTP/1.0 server; or the lengths are not
    /// one number.
    pub(super) fn of<'h>(
        is_http_10: bool,
        mut lengths: impl Iterator<Item = &'h [u8]>,
        mut codings: impl Iterator<Item = &'h [u8]>,
    ) -> Result<Self, Problem> {
        let Some(coding) = codings.next() else { return length(lengths) };
        if is_http_10 {
            Err(Problem::Unfit("it is HTTP/1.0 and has a transfer-encoding"))
        } else if lengths.next().is_some() {
            Err(Problem::Unfit("it has both a content-length and a transfer-encoding"))
        } else if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            Err(Problem::Unfit("it has a transfer-encoding other than chunked"))
        } else {
            Ok(Self::Chunked)
        }
    }
}

/// Whether a status other than an interim one can be passed on: 101 was not asked for, and there are none beyond 599
/// (RFC 9110 15).
///
/// # Errors
/// It cannot.
pub(super) const fn check_status(status: u16) -> Result<(), Problem> {
    match status {
        101 => Err(Problem::Unfit("it switches protocols, which nobody asked for")),
        200..=599 => Ok(()),
        _ => Err(Problem::Unfit("its status is not one of HTTP")),
    }
}

/// The length that all lines, and all elements of a line that is a list, agree on: a repeated one is harmless (RFC 9110
/// 8.6).
fn length<'h>(lengths: impl Iterator<Item = &'h [u8]>) -> Result<Framing, Problem> {
    let mut elements = lengths.flat_map(|line| line.split(|byte| *byte == b',')).map(number);
    let Some(first) = elements.next() else { return Ok(Framing::Close) };
    match first {
        Some(length) if elements.all(|other| other == first) => Ok(Framing::Length(length)),
        _ => Err(Problem::Invalid(httparse::Error::HeaderValue)),
    }
}

/// A number of digits alone, with blanks around it.
fn number(element: &[u8]) -> Option<u64> {
    let digits = element.trim_ascii();
    let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Framing, check_status};

    fn of(is_http_10: bool, lengths: &[&str], codings: &[&str]) -> Option<Framing> {
        Framing::of(
            is_http_10,
            lengths.iter().map(|value| value.as_bytes()),
            codings.iter().map(|value| value.as_bytes()),
        )
        .ok()
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
