//! The socket loop: it moves frames from the mailbox to the socket and messages from the socket to the connection. The
//! two directions do not wait for each other: messages of a client that does not read are still read, until its mailbox
//! is full.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connection::Connection;
use super::frame;
use super::mailbox::{EndReason, Outgoing};
use super::session::CloseNotice;
use crate::metrics::SocketEnd;
use crate::pusher::ErrorCode;
use crate::rate::Pace;

/// The size of the read buffer in bytes. It is allocated for every connection; most messages of clients fit. Larger
/// ones have a buffer of their size.
const READ_BUFFER: usize = 1024;
/// The number of bytes of one write: queued frames are written together.
const WRITE_BUFFER: usize = 8 * 1024;
/// The bound of the write buffer: more than one write and the largest frame, which lists the members of a full presence
/// channel.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;
/// The largest number of pings that a client may send while it does not read. The WebSocket layer buffers the answers.
const MAX_UNREAD_PONGS: usize = 256;
/// The timeout of a closing handshake.
const CLOSING: Duration = Duration::from_secs(3);

/// The configuration of a socket for the broker; a client's message has `max_message` bytes at most. All limits are
/// set: the library's defaults allocate 128 KiB for every connection and bound nothing (`threats.md` 2.6).
#[must_use]
pub fn socket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Closes a socket whose client was not admitted.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, code: ErrorCode, notice: CloseNotice) -> SocketEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let reason = CloseReason::Code(code);
    let end = reason.socket_end();
    Box::pin(reason.perform(&mut socket, notice)).await;
    end
}

/// An established connection and its socket.
#[derive(Debug)]
pub(super) struct SocketLoop<S> {
    socket: WebSocketStream<S>,
    connection: Connection,
    notice: CloseNotice,
    timer: Pin<Box<Sleep>>,
    /// Whether the socket has buffered data that may not be written yet.
    is_flushing: bool,
    /// Pings answered since the last complete flush.
    unread_pongs: usize,
    /// Boxed: most connections have none.
    pace: Option<Box<Pace>>,
    /// Nothing is read before it ends: the client exceeds the limit of subscribing.
    read_delay: Option<Pin<Box<Sleep>>>,
    /// Whether reading is delayed, so that the client may have sent messages that were not read.
    is_read_delayed: bool,
}

/// An event of the loop.
enum SocketEvent {
    Received(Option<Result<Message, Error>>),
    Flushed(Result<(), Error>),
    Ended(EndReason),
    Timer,
}

/// Why the connection is closed.
#[derive(Debug)]
pub(super) enum CloseReason {
    /// An error code of Pusher's protocol.
    Code(ErrorCode),
    /// The client did not read fast enough.
    SlowReader,
    /// The client broke a rule of the WebSocket protocol.
    ProtocolViolation(CloseCode, SocketEnd),
    /// The client closed the connection; tungstenite answers the close frame.
    ByClient,
    /// The connection was lost.
    Lost,
}

impl<S> SocketLoop<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        socket: WebSocketStream<S>,
        connection: Connection,
        notice: CloseNotice,
        pace: Option<Pace>,
    ) -> Self {
        let timer = Box::pin(sleep(connection.until(connection.deadline())));
        Self {
            socket,
            connection,
            notice,
            timer,
            is_flushing: false,
            unread_pongs: 0,
            pace: pace.map(Box::new),
            read_delay: None,
            is_read_delayed: false,
        }
    }

    /// Runs until the connection has to be closed; [`SocketLoop::close`] has to follow. `self` is borrowed, because a
    /// future reserves space twice for an argument that it owns.
    pub(super) async fn run(&mut self) -> CloseReason {
        loop {
            let event = poll_fn(|context| self.poll_event(context)).await;
            if let Some(reason) = self.handle(event) {
                return reason;
            }
        }
    }

    /// Closes the connection. Returns the reason for the metrics.
    pub(super) async fn close(self, reason: CloseReason) -> SocketEnd {
        if let CloseReason::SlowReader = reason {
            self.connection.count_slow_reader();
        }
        let Self { mut socket, connection, notice, timer, .. } = self;
        // The subscriptions end before the closing handshake, which may take until its timeout.
        drop(connection);
        drop(timer);
        let end = reason.socket_end();
        reason.perform(&mut socket, notice).await;
        end
    }

    /// Handles an event. Returns a reason if the connection has to be closed.
    fn handle(&mut self, event: SocketEvent) -> Option<CloseReason> {
        match event {
            SocketEvent::Flushed(Ok(())) => {
                self.is_flushing = false;
                self.unread_pongs = 0;
            }
            SocketEvent::Received(Some(Ok(message))) => return self.on_message(message),
            SocketEvent::Timer => {
                if self.is_read_delayed {
                    self.connection.on_activity();
                }
                self.connection.on_time();
                let remaining = self.connection.until(self.connection.deadline());
                self.timer.as_mut().reset(Instant::now() + remaining);
            }
            SocketEvent::Ended(EndReason::Code(code)) => return Some(CloseReason::Code(code)),
            SocketEvent::Ended(EndReason::SlowReader) => return Some(CloseReason::SlowReader),
            SocketEvent::Received(None) => return Some(CloseReason::Lost),
            SocketEvent::Received(Some(Err(error))) | SocketEvent::Flushed(Err(error)) => {
                return Some(CloseReason::after(&error));
            }
        }
        None
    }

    fn on_message(&mut self, message: Message) -> Option<CloseReason> {
        self.pace.iter_mut().for_each(|pace| pace.count_message());
        match message {
            Message::Text(text) => {
                let delay = self.connection.on_message(&text);
                self.read_delay = Some(delay).filter(|delay| !delay.is_zero()).map(|delay| Box::pin(sleep(delay)));
            }
            Message::Ping(_) => {
                self.connection.on_activity();
                // The socket has buffered the answer already; the flush checks whether it can be written.
                self.is_flushing = true;
                self.unread_pongs += 1;
                if self.unread_pongs > MAX_UNREAD_PONGS {
                    return Some(CloseReason::SlowReader);
                }
            }
            Message::Pong(_) => self.connection.on_activity(),
            Message::Binary(_) => {
                return Some(CloseReason::ProtocolViolation(CloseCode::Unsupported, SocketEnd::Protocol));
            }
            Message::Close(_) => return Some(CloseReason::ByClient),
            // A socket never returns a raw frame.
            Message::Frame(_) => {}
        }
        None
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<SocketEvent> {
        if !self.is_flushing
            && let Poll::Ready(event) = self.poll_send(context)
        {
            return Poll::Ready(event);
        }
        if self.is_flushing {
            if let Poll::Ready(flushed) = self.socket.poll_flush_unpin(context) {
                return Poll::Ready(SocketEvent::Flushed(flushed));
            }
            if let Poll::Ready(end) = self.connection.mailbox().poll_end(context) {
                return Poll::Ready(SocketEvent::Ended(end));
            }
        }
        if self.may_read(context)
            && let Poll::Ready(received) = self.socket.poll_next_unpin(context)
        {
            return Poll::Ready(SocketEvent::Received(received));
        }
        self.timer.as_mut().poll(context).map(|()| SocketEvent::Timer)
    }

    /// Whether the next message may be read. Until then messages stay in the system's receive buffer, which bounds
    /// them. A client whose messages are delayed does not count as inactive, because it may have sent some.
    fn may_read(&mut self, context: &mut Context<'_>) -> bool {
        let is_delayed = self.poll_read_delay(context).is_pending();
        let was_delayed = std::mem::replace(&mut self.is_read_delayed, is_delayed);
        if was_delayed && !is_delayed {
            self.connection.on_activity();
        }
        !is_delayed
    }

    /// Ready when no limit delays the next message.
    fn poll_read_delay(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(delay) = &mut self.read_delay {
            ready!(delay.as_mut().poll(context));
            self.read_delay = None;
        }
        self.pace.as_mut().map_or(Poll::Ready(()), |pace| pace.poll_ready(context))
    }

    /// Moves queued frames to the socket, up to one write.
    fn poll_send(&mut self, context: &Context<'_>) -> Poll<SocketEvent> {
        let (mut bytes, mut frames) = (0, 0);
        while bytes < WRITE_BUFFER {
            match self.connection.mailbox().poll_take(context) {
                Poll::Ready(Outgoing::Frame(frame)) => {
                    bytes += frame.len();
                    frames += 1;
                    self.is_flushing = true;
                    if let Err(error) = self.socket.start_send_unpin(Message::Text(frame)) {
                        return Poll::Ready(SocketEvent::Flushed(Err(error)));
                    }
                }
                Poll::Ready(Outgoing::End(end)) if frames == 0 => return Poll::Ready(SocketEvent::Ended(end)),
                Poll::Ready(Outgoing::End(_)) | Poll::Pending => break,
            }
        }
        if frames > 0 {
            self.connection.sent(frames);
        }
        Poll::Pending
    }
}

impl CloseReason {
    /// The reason for `error`.
    fn after(error: &Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                Self::ProtocolViolation(CloseCode::Size, SocketEnd::TooLarge)
            }
            Error::Utf8(_) => Self::ProtocolViolation(CloseCode::Invalid, SocketEnd::Protocol),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Lost,
            Error::Protocol(_) => Self::ProtocolViolation(CloseCode::Protocol, SocketEnd::Protocol),
            Error::WriteBufferFull(_) => Self::SlowReader,
            _ => Self::Lost,
        }
    }

    /// The reason for the metrics.
    const fn socket_end(&self) -> SocketEnd {
        match self {
            Self::Code(ErrorCode::PongTimeout) => SocketEnd::Silent,
            Self::Code(ErrorCode::Reconnect) => SocketEnd::Reconnect,
            Self::Code(code) => match code.number() {
                4100..=4199 => SocketEnd::Busy,
                _ => SocketEnd::Refused,
            },
            Self::SlowReader => SocketEnd::SlowReader,
            Self::ProtocolViolation(_, end) => *end,
            Self::ByClient => SocketEnd::Client,
            Self::Lost => SocketEnd::Lost,
        }
    }

    /// The error code of Pusher's protocol, if there is one.
    const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Code(code) => Some(*code),
            Self::SlowReader => Some(ErrorCode::OverCapacity),
            Self::ProtocolViolation(..) | Self::ByClient | Self::Lost => None,
        }
    }

    fn frame(&self) -> Option<CloseFrame> {
        match self {
            Self::ProtocolViolation(code, _) => Some(CloseFrame { code: *code, reason: "".into() }),
            _ => self.code().map(|code| CloseFrame { code: code.number().into(), reason: code.reason().into() }),
        }
    }

    /// Closes the socket with a closing handshake, as far as the client takes part.
    async fn perform<S>(self, socket: &mut WebSocketStream<S>, notice: CloseNotice)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            if let (CloseNotice::EventAndFrame, Some(code)) = (notice, self.code()) {
                socket.feed(Message::Text(frame::closing(code))).await?;
            }
            if let Some(frame) = self.frame() {
                socket.close(Some(frame)).await?;
            }
            // Later messages are discarded; the client's close frame ends the stream.
            while let Some(message) = socket.next().await {
                message?;
            }
            socket.get_mut().shutdown().await?;
            read_to_end(socket.get_mut()).await
        };
        match timeout(CLOSING, handshake).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "a closing handshake was not completed"),
            Err(_elapsed) => tracing::trace!("a closing handshake was not completed in time"),
        }
    }
}

/// Reads and discards until the client closes. Closing a socket with unread data would reset it, and a client that has
/// not read the close frame yet would lose it.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Error> {
    let mut discarded = [0; 1024];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}
