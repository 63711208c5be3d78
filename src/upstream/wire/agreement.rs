//! Reads an answer without a connection: with the readers of this module from pieces of bytes, and with hyper. For
//! tests and for fuzzing (fuzz/README.md); not part of the program.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::answer::{Collected, MAX_BODY, TOO_LARGE};
use super::chunks::ChunkParser;
use crate::upstream::framing::{AnswerError, Framing};
use crate::upstream::http1::check_answer;
use crate::upstream::{MAX_ANSWER_HEAD, MAX_HEADERS};

/// An answer that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole {
    status: u16,
    body: Vec<u8>,
}

/// What a connection makes of the bytes that arrive on it.
#[derive(Debug)]
struct Outcome {
    /// `Ok(None)`: the answer is not complete when the connection ends.
    result: Result<Option<Whole>, AnswerError>,
    /// Whether the connection can be used again.
    keeps: bool,
    answer: Collected,
}

/// Both readers.
#[derive(Debug)]
pub struct Answers {
    runtime: Runtime,
}

impl Answers {
    /// Readers that have read nothing yet.
    ///
    /// # Panics
    /// If the system has no file descriptor left.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime without I/O can be made");
        Self { runtime }
    }

    /// Checks one answer: reading it in pieces of `size` bytes gives the same as reading it whole, and hyper, held
    /// against the rules that `wire` has, reads the same answer or none. Returns whether it is complete.
    ///
    /// # Panics
    /// They differ.
    #[must_use]
    pub fn check(&self, bytes: &[u8], size: usize) -> bool {
        let whole = read([bytes]);
        let pieces = read(bytes.chunks(size.max(1)));
        let complete = whole.result.ok().flatten();
        assert_eq!(complete, pieces.result.ok().flatten(), "in pieces of {size} bytes: {}", bytes.escape_ascii());
        assert_eq!(whole.answer.head, pieces.answer.head, "in pieces of {size} bytes: {}", bytes.escape_ascii());
        assert!(whole.answer.body.len() <= MAX_BODY, "the body is bounded");
        assert_eq!(whole.keeps, pieces.keeps, "the connection in pieces of {size} bytes: {}", bytes.escape_ascii());
        let general = self.general(bytes);
        let is_known = complete.is_none() && ends_trailers_early(bytes);
        assert!(complete == general || is_known, "hyper reads {general:?}: {}", bytes.escape_ascii());
        complete.is_some()
    }

    /// The answer as hyper reads it. `None`: there is none, or it is not complete, or it cannot be passed on.
    fn general(&self, bytes: &[u8]) -> Option<Whole> {
        self.runtime.block_on(async {
            let socket = Replayed { bytes, is_asked: false, waker: Waker::noop().clone() };
            let mut builder = http1::Builder::new();
            builder.max_headers(MAX_HEADERS).max_header_size(MAX_ANSWER_HEAD).max_buf_size(MAX_ANSWER_HEAD);
            // The socket borrows the bytes, so that no task of its own can drive the connection.
            let (mut sender, connection) = builder.handshake(TokioIo::new(socket)).await.ok()?;
            let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
            *request.method_mut() = Method::POST;
            let exchange = async {
                let mut answer = sender.send_request(request).await.ok()?;
                check_answer(&mut answer).ok()?;
                let status = answer.status().as_u16();
                let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.ok()?;
                Some(Whole { status, body: body.to_bytes().to_vec() })
            };
            let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
            tokio::select! {
                biased;
                answer = &mut exchange => answer,
                _ended = &mut connection => exchange.await,
            }
        })
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether there is an empty line behind a line that ends with LF alone. Among trailers, such a line ends them for
/// httparse; what follows it up to CR LF CR LF hyper drops unseen, and `wire` refuses.
pub(in crate::upstream) fn ends_trailers_early(bytes: &[u8]) -> bool {
    let is_end = |four: &[u8]| four.ends_with(b"\n\n") || four[0] != b'\r' && four[1..] == *b"\n\r\n";
    bytes.windows(4).any(is_end)
}

/// Reads `pieces` as they arrive one after the other, and then the end of the connection: as
/// [`exchange`](super::WireConnection::exchange) does.
fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let mut answer = Collected::default();
    let mut pieces = pieces.into_iter();
    let mut keeps = false;
    let result = collect(&mut answer, &mut pieces, &mut keeps).map(|is_complete| {
        keeps &= is_complete && !answer.has_surplus() && pieces.all(<[u8]>::is_empty);
        is_complete.then(|| Whole { status: answer.status, body: answer.body.clone() })
    });
    Outcome { result, keeps, answer }
}

/// Whether the answer is complete before the pieces end.
fn collect<'b>(
    answer: &mut Collected,
    pieces: &mut impl Iterator<Item = &'b [u8]>,
    keeps: &mut bool,
) -> Result<bool, AnswerError> {
    let mut receive = |answer: &mut Collected| {
        let piece = pieces.next();
        piece.inspect(|piece| answer.receive_buffer(piece.len()).extend_from_slice(piece)).is_some()
    };
    let start = loop {
        match answer.parse_head()? {
            Some(start) => break start,
            None if receive(answer) => {}
            None => return Ok(false),
        }
    };
    *keeps = start.keep_alive;
    match start.framing {
        Framing::Length(length) if length > MAX_BODY as u64 => return Err(TOO_LARGE),
        Framing::Length(length) => {
            let mut left = length - answer.take(length)?;
            while left > 0 {
                if !receive(answer) {
                    return Ok(false);
                }
                left -= answer.take(left)?;
            }
        }
        Framing::Chunked => {
            let mut chunks = ChunkParser::default();
            while !chunks.read(answer)? {
                if !receive(answer) {
                    return Ok(false);
                }
            }
        }
        Framing::Close => loop {
            answer.take(u64::MAX)?;
            if !receive(answer) {
                break;
            }
        },
    }
    Ok(true)
}

/// A connection on which these bytes arrive, and then its end, as soon as something was written.
struct Replayed<'b> {
    bytes: &'b [u8],
    is_asked: bool,
    waker: Waker,
}

impl AsyncRead for Replayed<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_asked {
            self.waker.clone_from(context.waker());
            return Poll::Pending;
        }
        let (piece, rest) = self.bytes.split_at(self.bytes.len().min(room.remaining()));
        room.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_asked = true;
        self.waker.wake_by_ref();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
