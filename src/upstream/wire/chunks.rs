//! Chunked bodies (RFC 9112 7.1), piece by piece. What is taken and what is refused is the same as in hyper.

use super::answer::{Collected, MAX_BODY, TOO_LARGE};
use crate::upstream::framing::Problem;
use crate::upstream::{MAX_ANSWER_HEAD, MAX_HEADERS};

/// All chunk extensions of a body together have fewer bytes than this.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// Where in a chunked body the reading stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    next: Next,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy)]
enum Next {
    #[default]
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    /// The line end behind a chunk.
    DataEnd,
    /// The lines behind the last chunk, the last of which is empty.
    Trailers,
}

impl Chunks {
    /// Moves what has come of the body from the inbox to where it belongs. Returns whether that is all of it.
    /// Extensions and trailers are dropped.
    ///
    /// # Errors
    /// It is not chunked as it should be, or too large.
    pub(super) fn read(&mut self, answer: &mut Collected) -> Result<bool, Problem> {
        loop {
            let next = match self.next {
                Next::Size => self.size(answer)?,
                Next::Data(left) => match left - answer.take(left)? {
                    0 => Some(Next::DataEnd),
                    left => {
                        self.next = Next::Data(left);
                        None
                    }
                },
                Next::DataEnd => match answer.pending() {
                    [b'\r', b'\n', ..] => {
                        answer.skip(2);
                        Some(Next::Size)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(BAD_CHUNK),
                },
                Next::Trailers => return trailers(answer),
            };
            match next {
                Some(next) => self.next = next,
                None => return Ok(false),
            }
        }
    }

    /// Reads a size line, if all of it is there.
    fn size(&mut self, answer: &mut Collected) -> Result<Option<Next>, Problem> {
        let pending = answer.pending();
        let Some(end) = memchr::memchr(b'\n', pending) else {
            // Digits, blanks and extensions: no more than the extensions alone may have.
            return if pending.len() > MAX_EXTENSIONS { Err(BAD_CHUNK) } else { Ok(None) };
        };
        let (size, extension) = pending[..end].strip_suffix(b"\r").and_then(size_line).ok_or(BAD_CHUNK)?;
        self.extensions += extension;
        if self.extensions >= MAX_EXTENSIONS {
            return Err(BAD_CHUNK);
        }
        if size > (MAX_BODY - answer.body.len()) as u64 {
            return Err(TOO_LARGE);
        }
        answer.skip(end + 1);
        Ok(Some(if size == 0 { Next::Trailers } else { Next::Data(size) }))
    }
}

/// The size that a line says, and how many bytes its extension has. At least one digit, then blanks, then nothing or
/// `;` and anything.
fn size_line(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    // No sign can be among hexadecimal digits, and none at all are no number.
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok())?;
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[blanks..] {
        [] => Some((size, 0)),
        [b';', extension @ ..] if !extension.contains(&b'\r') => Some((size, extension.len())),
        _ => None,
    }
}

/// Reads the trailers, if all of them are there; says whether they are. Each line ends in CR LF, as chunks do.
fn trailers(answer: &mut Collected) -> Result<bool, Problem> {
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
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(BAD_TRAILERS),
    }
    let end = section.len();
    answer.skip(end);
    Ok(true)
}

const BAD_CHUNK: Problem = Problem::Unfit("its chunks are not framed as they have to be");
const BAD_TRAILERS: Problem = Problem::Unfit("the trailers behind its chunks are not as they have to be");
