//! A connection to upstream that carries exchanges one after the other.

use std::io;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::answer::{AnswerHead, Collected, MAX_BODY, TOO_LARGE};
use super::chunks::ChunkParser;
use crate::upstream::framing::{AnswerError, Framing};
use crate::upstream::pool::Poolable;
use crate::upstream::stream::{Stream, read_on_stack};
use crate::upstream::{Failure, TimeLimit};

/// The space for one read of an answer that is collected, in bytes.
const READ_SIZE: usize = 4 * 1024;
/// Most bytes of one read of an answer that is passed on.
const LONG_READ: usize = 64 * 1024;

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct WireConnection {
    stream: Stream,
    opened: Instant,
}

/// How much of an answer is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Head,
    Whole,
}

/// Why an exchange on one connection failed. The connection cannot be used any more.
#[derive(Debug)]
pub(crate) enum ConnectionError {
    /// The connection was closed before the first byte of the request was written.
    Unsent(io::Error),
    /// The connection was closed or reset after that.
    Lost(io::Error),
    /// The answer cannot be forwarded.
    Answer(AnswerError),
    /// The answer was not complete in time.
    TimedOut,
}

impl ConnectionError {
    /// The failure of an exchange with `upstream`, whose answer has `status`; 0: no complete head.
    pub(super) fn into_failure(self, status: u16, upstream: &str, limit: TimeLimit) -> Failure {
        let (upstream, period) = (upstream.to_owned(), limit.period);
        match (self, status) {
            (Self::Unsent(source), _) => Failure::unsent(upstream, source.into()),
            (Self::Lost(source), 0) => Failure::lost(upstream, source.into()),
            (Self::Answer(error), 0) => Failure::answer(upstream, error),
            (Self::TimedOut, 0) => Failure::AnswerTimeout { upstream, period },
            (error, status) => error.after_head(status, period),
        }
    }

    /// The failure of an exchange whose answer has this status. `period`: the time for its rest.
    pub(super) fn after_head(&self, status: u16, period: Duration) -> Failure {
        match self {
            Self::Unsent(_) | Self::Lost(_) | Self::Answer(_) => Failure::AnswerCut { status },
            Self::TimedOut => Failure::AnswerTooSlow { status, period },
        }
    }
}

impl From<AnswerError> for ConnectionError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

impl WireConnection {
    /// A connection on a stream that was just opened.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, opened: Instant::now() }
    }

    /// Sends a complete request and receives the answer to this extent. Sets `answer.status` when the head of the answer
    /// is complete.
    ///
    /// # Errors
    /// [`ConnectionError`], except that it does not enforce a timeout.
    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        answer: &mut Collected,
        extent: Extent,
    ) -> Result<AnswerHead, ConnectionError> {
        self.send(request).await?;
        let head = loop {
            if let Some(head) = answer.parse_head()? {
                break head;
            }
            let read = match extent {
                Extent::Whole => self.read(answer).await?,
                Extent::Head => self.read_long(answer).await?,
            };
            more(read)?;
        };
        if extent == Extent::Whole {
            self.collect(head, answer).await?;
        }
        Ok(head)
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), ConnectionError> {
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.write(&request[sent..]).await {
                Ok(0) => return Err(ConnectionError::Lost(io::ErrorKind::WriteZero.into())),
                Ok(written) => sent += written,
                Err(error) if sent == 0 && self.stream.failed_write_sends_nothing() => {
                    return Err(ConnectionError::Unsent(error));
                }
                Err(error) => return Err(ConnectionError::Lost(error)),
            }
        }
        self.stream.flush().await.map_err(ConnectionError::Lost)
    }

    /// Collects the body that follows `head`.
    async fn collect(&mut self, head: AnswerHead, answer: &mut Collected) -> Result<(), ConnectionError> {
        match head.framing {
            Framing::Length(length) if length > MAX_BODY as u64 => return Err(TOO_LARGE.into()),
            Framing::Length(length) => {
                let mut left = length - answer.take(length)?;
                while left > 0 {
                    self.receive(answer).await?;
                    left -= answer.take(left)?;
                }
            }
            Framing::Chunked => {
                let mut chunks = ChunkParser::default();
                while !chunks.read(answer)? {
                    self.receive(answer).await?;
                }
            }
            Framing::Close => loop {
                answer.take(u64::MAX)?;
                if self.read(answer).await? == 0 {
                    break;
                }
            },
        }
        Ok(())
    }

    /// Receives more bytes of an incomplete answer.
    async fn receive(&mut self, answer: &mut Collected) -> Result<(), ConnectionError> {
        more(self.read(answer).await?)
    }

    /// Receives up to [`LONG_READ`] bytes, for which an answer needs no buffer while it waits for them. 0: the connection is
    /// closed.
    pub(super) async fn read_long(&mut self, answer: &mut Collected) -> Result<usize, ConnectionError> {
        read_on_stack::<LONG_READ>(&mut self.stream, answer.receive_buffer(0)).await.map_err(ConnectionError::Lost)
    }

    async fn read(&mut self, answer: &mut Collected) -> Result<usize, ConnectionError> {
        let buffer = answer.receive_buffer(READ_SIZE);
        self.stream.read_buf(buffer).await.map_err(ConnectionError::Lost)
    }
}

/// Checks that bytes were read of an answer that is incomplete, and not the end of the connection.
pub(super) fn more(read: usize) -> Result<(), ConnectionError> {
    if read == 0 { Err(ConnectionError::Lost(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
}

impl Poolable for WireConnection {
    fn opened(&self) -> Instant {
        self.opened
    }

    /// Queries the runtime; makes a system call only if the runtime knows of received bytes.
    fn is_idle(&mut self) -> bool {
        let mut probe = [0];
        let read = pin!(unconstrained(self.stream.read(&mut probe)));
        read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn begin_exchange(&mut self) -> bool {
        self.stream.has_nothing_to_read()
    }
}
