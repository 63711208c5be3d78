//! The two halves of a WebSocket connection, each with a tungstenite stream of its own: one only reads, the other only
//! writes.
//!
//! A single tungstenite stream answers pings and closes by itself, and a relay would then send a second pong when the
//! far end's arrives. Here the reading half's own answers are discarded, so that the other side receives exactly what
//! this side sent: pings, pongs and close codes included.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Empty, Join, ReadBuf, ReadHalf, Sink, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

/// Bytes read at once. tungstenite allocates the buffer at the start (its own default: 128 KiB), so every idle
/// connection has one.
const READ_BUFFER: usize = 4 * 1024;
/// Bytes written at once, except for larger messages.
const WRITE_BUFFER: usize = 4 * 1024;
/// A message of this size or more makes buffers grow, which are freed afterwards.
const LARGE: usize = 2 * READ_BUFFER;
/// Bytes that the frame headers of one message, and the control frames between them, may have. With the message's own
/// limit this bounds the number of its fragments, even of empty ones (threats.md WS-08).
const OVERHEAD: u64 = 16 * 1024;

/// The half that reads.
#[derive(Debug)]
pub(super) struct Reader<S> {
    frames: WebSocketStream<Join<BoundedReader<ReadHalf<S>>, Sink>>,
    large: Option<RetainedMessage>,
    faulty: bool,
}

/// The half that writes.
#[derive(Debug)]
pub(super) struct Writer<S> {
    /// `None` only while it is replaced.
    frames: Option<WebSocketStream<Join<Empty, WriteHalf<S>>>>,
    role: Role,
    config: WebSocketConfig,
    /// A large message was written since the buffer was allocated.
    grown: bool,
}

/// Why no message came.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection ended or broke without a close.
    Lost(Error),
    /// The other end violated the protocol or the limits, and has to be sent this close code.
    Faulty(CloseCode, Error),
}

/// Keeps a reference to a large message that was returned. Without it, tungstenite would reuse the message's memory for
/// ever; with it, tungstenite allocates a small buffer as soon as the rest of the large one is used up.
#[derive(Debug)]
struct RetainedMessage {
    _message: Message,
    /// The reference is dropped once this many bytes were read in total.
    until: u64,
}

/// Splits a connection. `role`: usher's. Messages read may have up to `reads` bytes, messages written up to `writes`.
pub(super) async fn split<S>(socket: S, role: Role, reads: usize, writes: usize) -> (Reader<S>, Writer<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, write) = tokio::io::split(socket);
    let bounded = BoundedReader { io: read, read: 0, bound: 0, allowance: reads as u64 + OVERHEAD };
    let reading = WebSocketConfig::default()
        .max_message_size(Some(reads))
        .max_frame_size(Some(reads))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(1024);
    let writing = WebSocketConfig::default()
        .max_message_size(Some(0))
        .max_frame_size(Some(0))
        .read_buffer_size(0)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(writes + WRITE_BUFFER + 1024);
    let frames =
        WebSocketStream::from_raw_socket(tokio::io::join(bounded, tokio::io::sink()), role, Some(reading)).await;
    let mut reader = Reader { frames, large: None, faulty: false };
    reader.allow_next();
    let frames =
        WebSocketStream::from_raw_socket(tokio::io::join(tokio::io::empty(), write), role, Some(writing)).await;
    (reader, Writer { frames: Some(frames), role, config: writing, grown: false })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// The next message.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Message, ReadError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next message, if there is one without waiting.
    pub(super) async fn next_at_once(&mut self) -> Option<Result<Message, ReadError>> {
        poll_fn(|context| match self.poll_next(context) {
            Poll::Ready(message) => Poll::Ready(Some(message)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Whether the rest of the stream cannot be read as messages.
    pub(super) const fn is_faulty(&self) -> bool {
        self.faulty
    }

    /// Reads and discards everything until the other end has closed, with or without a close frame.
    pub(super) async fn discard_rest(&mut self) {
        while !self.faulty {
            match self.next().await {
                Ok(message) if !message.is_close() => {}
                Err(ReadError::Faulty(..)) => {}
                Ok(_) | Err(ReadError::Lost(_)) => return,
            }
        }
        let mut discarded = [0; 512];
        let raw = &mut self.frames.get_mut().reader_mut().io;
        while matches!(raw.read(&mut discarded).await, Ok(1..)) {}
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, ReadError>> {
        let polled = self.frames.poll_next_unpin(context);
        let read = self.frames.get_ref().reader().read;
        if self.large.as_ref().is_some_and(|large| read >= large.until) {
            self.large = None;
        }
        polled.map(|message| {
            let message = message
                .unwrap_or(Err(Error::ConnectionClosed))
                .map_err(ReadError::from)
                .inspect_err(|broken| self.faulty |= matches!(broken, ReadError::Faulty(..)))?;
            self.allow_next();
            if message.len() >= LARGE {
                self.large = Some(RetainedMessage { _message: message.clone(), until: read + 2 * READ_BUFFER as u64 });
            }
            Ok(message)
        })
    }

    fn allow_next(&mut self) {
        let bounded = self.frames.get_mut().reader_mut();
        bounded.bound = bounded.read + bounded.allowance;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Queues a message, once all earlier ones but one buffer are written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn feed(&mut self, message: Message) -> Result<(), Error> {
        self.grown |= message.len() >= LARGE;
        self.frames.as_mut().ok_or(Error::AlreadyClosed)?.feed(message).await
    }

    /// Writes all queued messages.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        self.frames.as_mut().ok_or(Error::AlreadyClosed)?.flush().await?;
        if std::mem::take(&mut self.grown)
            && let Some(frames) = self.frames.take()
        {
            // Everything is written, so only the large buffer is lost. This does not wait.
            self.frames =
                Some(WebSocketStream::from_raw_socket(frames.into_inner(), self.role, Some(self.config)).await);
        }
        Ok(())
    }

    /// Closes the writing side of the connection.
    pub(super) async fn end(&mut self) {
        if let Some(frames) = &mut self.frames
            && let Err(error) = frames.get_mut().shutdown().await
        {
            tracing::debug!(%error, "a WebSocket connection was gone before it was ended");
        }
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        match &error {
            Error::Capacity(_) => Self::Faulty(CloseCode::Size, error),
            Error::Io(cause) if cause.kind() == io::ErrorKind::QuotaExceeded => Self::Faulty(CloseCode::Size, error),
            Error::Utf8(_) => Self::Faulty(CloseCode::Invalid, error),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Lost(error),
            Error::Protocol(_) => Self::Faulty(CloseCode::Protocol, error),
            _ => Self::Lost(error),
        }
    }
}

/// Counts the bytes read, and fails beyond a bound that is set for each message.
#[derive(Debug)]
struct BoundedReader<R> {
    io: R,
    read: u64,
    bound: u64,
    allowance: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for BoundedReader<R> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read > this.bound {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "a message in too many fragments")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        this.read += (buffer.filled().len() - before) as u64;
        polled
    }
}
