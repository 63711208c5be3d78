//! Chunked bodies (RFC 9112 7.1), piece by piece.

use super::answer::{Collected, MAX_BODY, Problem, TOO_LARGE};

/// Where in a chunked body the reading stands.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Chunks {
    /// A size line is next.
    #[default]
    Size,
    /// So many bytes of a chunk are next, and the line end behind them.
    Data(usize),
    /// The lines behind the last chunk are next.
    Trailers,
}

impl Chunks {
    /// Moves what has come of the body from the inbox to where it belongs. Returns whether that is all of it. Extensions and trailers are dropped.
    ///
    /// # Errors
    /// It is not chunked as it should be, or too large.
    pub(super) fn read(&mut self, answer: &mut Collected) -> Result<bool, Problem> {
        loop {
            match *self {
                Self::Size => match httparse::parse_chunk_size(answer.pending()).map_err(|_invalid| BAD_CHUNK)? {
                    httparse::Status::Partial => return Ok(false),
                    httparse::Status::Complete((line, size)) => {
                        let size = usize::try_from(size).ok().filter(|size| answer.body.len() + size <= MAX_BODY).ok_or(TOO_LARGE)?;
                        answer.skip(line);
                        *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                    }
                },
                Self::Data(size) => match answer.pending().get(size..size + 2) {
                    None => return Ok(false),
                    Some(b"\r\n") => {
                        answer.take(size);
                        answer.skip(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(BAD_CHUNK),
                },
                Self::Trailers => {
                    let Some(end) = answer.pending().iter().position(|byte| *byte == b'\n') else { return Ok(false) };
                    let is_last = matches!(&answer.pending()[..end], b"" | b"\r");
                    answer.skip(end + 1);
                    if is_last {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

const BAD_CHUNK: Problem = Problem::Unfit("its chunks are not framed as they have to be");
