//! An incremental parser of chunked bodies (RFC 9112 7.1). It accepts and refuses the same bodies as hyper, but for
//! trailers that end in a bare LF and an empty line before their end: hyper drops what comes behind those, this parser
//! refuses the body.

use super::answer::{Collected, MAX_BODY, TOO_LARGE};
use crate::upstream::framing::AnswerError;
use crate::upstream::{MAX_ANSWER_HEAD, MAX_HEADERS};

/// The bound of the bytes of all chunk extensions of a body together.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// The state of the parser.
#[derive(Debug, Default)]
pub(super) struct ChunkParser {
    expected: Expected,
    /// Bytes of chunk extensions so far.
    extensions: usize,
    /// Whether chunks may have more than [`MAX_BODY`] bytes together: the caller of [`ChunkParser::read`] takes the data
    /// out of the answer.
    is_streamed: bool,
}

/// The next expected element.
#[derive(Debug, Default, Clone, Copy)]
enum Expected {
    #[default]
    Size,
    /// This number of bytes of a chunk.
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// The trailer lines after the last chunk, and the empty line at the end.
    Trailers,
}

impl ChunkParser {
    /// A parser of a body that is passed on while it is received.
    pub(super) fn streamed() -> Self {
        Self { is_streamed: true, ..Self::default() }
    }

    /// Moves the pending data of the body to `answer.body`. Returns whether the body is complete. Extensions and
    /// trailers are dropped.
    ///
    /// # Errors
    /// The chunks are malformed, or the body is too large.
    pub(super) fn read(&mut self, answer: &mut Collected) -> Result<bool, AnswerError> {
        loop {
            let next = match self.expected {
                Expected::Size => self.size(answer)?,
                Expected::Data(left) => match left - answer.take(left)? {
                    0 => Some(Expected::DataEnd),
                    left => {
                        self.expected = Expected::Data(left);
                        None
                    }
                },
                Expected::DataEnd => match answer.pending() {
                    [b'\r', b'\n', ..] => {
                        answer.skip(2);
                        Some(Expected::Size)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(BAD_CHUNK),
                },
                Expected::Trailers => return trailers(answer),
            };
            match next {
                Some(next) => self.expected = next,
                None => return Ok(false),
            }
        }
    }

    /// Parses a size line; `None` if it is not complete yet.
    fn size(&mut self, answer: &mut Collected) -> Result<Option<Expected>, AnswerError> {
        let pending = answer.pending();
        let Some(end) = memchr::memchr(b'\n', pending) else {
            // Digits, blanks and extensions together have the bound of the extensions.
            return if pending.len() > MAX_EXTENSIONS { Err(BAD_CHUNK) } else { Ok(None) };
        };
        let (size, extension) = pending[..end].strip_suffix(b"\r").and_then(size_line).ok_or(BAD_CHUNK)?;
        self.extensions += extension;
        if self.extensions >= MAX_EXTENSIONS {
            return Err(BAD_CHUNK);
        }
        if !self.is_streamed && size > (MAX_BODY - answer.body.len()) as u64 {
            return Err(TOO_LARGE);
        }
        answer.skip(end + 1);
        Ok(Some(if size == 0 { Expected::Trailers } else { Expected::Data(size) }))
    }
}

/// The size in a line, and the number of bytes of its extension. A line has at least one digit, then blanks, then
/// nothing or `;` and an extension.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    // `digits` contains no sign; without any digits it is not a number.
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())?;
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[blanks..] {
        [] => Some((size, 0)),
        [b';', extension @ ..] if !extension.contains(&b'\r') => Some((size, extension.len())),
        _ => None,
    }
}

/// Consumes the trailers. Returns whether they are complete. Each line ends in CR LF, like the lines of chunks.
fn trailers(answer: &mut Collected) -> Result<bool, AnswerError> {
    let pending = answer.pending();
    if pending.starts_with(b"\r\n") {
        answer.skip(2);
        return Ok(true);
    }
    let section = match memchr::memmem::find(pending, b"\r\n\r\n") {
        Some(at) if at + 4 < MAX_ANSWER_HEAD => &pending[..at + 4],
        None if pending.len() < MAX_ANSWER_HEAD => return Ok(false),
        Some(_) | None => return Err(BAD_TRAILERS),
    };
    let lines = memchr::memmem::find_iter(section, b"\r\n").count() - 1;
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let room = headers.get_mut(..lines).ok_or(BAD_TRAILERS)?;
    match httparse::parse_headers(section, room) {
        // An empty line that follows a bare LF ends them for httparse: what comes after it is no trailer.
        Ok(httparse::Status::Complete((length, _))) if length == section.len() => {}
        Ok(httparse::Status::Complete(_) | httparse::Status::Partial) | Err(_) => return Err(BAD_TRAILERS),
    }
    let end = section.len();
    answer.skip(end);
    Ok(true)
}

const BAD_CHUNK: AnswerError = AnswerError::Unacceptable("its chunks are not framed as they have to be");
const BAD_TRAILERS: AnswerError =
    AnswerError::Unacceptable("the trailers behind its chunks are not as they have to be");
