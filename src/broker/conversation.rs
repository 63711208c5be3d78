//! The socket loop: frames from the mailbox to the socket, messages from the socket to the connection. Whatever is
//! ready is done, nothing waits for anything else: a client that does not read still has its messages read, until its
//! mailbox is full.

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
use super::mailbox::{End, Mail};
use super::session::Farewell;
use crate::metrics::SocketEnd;
use crate::pusher::ErrorCode;
use crate::rate::Pace;

/// What is read at once. It is allocated for every connection, and most of what clients say fits; larger messages get a
/// buffer of their size.
const READ_BUFFER: usize = 1024;
/// What is written at once: messages that wait together go out together.
const WRITE_BUFFER: usize = 8 * 1024;
/// More than one batch and the largest frame, the members of a full presence channel.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;
/// Pings that a client may send while it does not read; the WebSocket layer keeps the answers.
const MAX_UNREAD_PONGS: usize = 256;
/// How long a closing handshake may take.
const CLOSING: Duration = Duration::from_secs(3);

/// The limits that a socket must be made with before it is given to the broker: a client's messages may have
/// `max_message` bytes. All four are set: the library's defaults allocate 128 KiB for every connection and bound
/// nothing (`threats.md` 2.6).
#[must_use]
pub fn socket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Closes a socket that never became a connection.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, code: ErrorCode, farewell: Farewell) -> SocketEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = Close::Code(code);
    let end = close.end();
    Box::pin(close.perform(&mut socket, farewell)).await;
    end
}

/// An established connection on its socket.
#[derive(Debug)]
pub(super) struct Conversation<S> {
    socket: WebSocketStream<S>,
    connection: Connection,
    farewell: Farewell,
    alarm: Pin<Box<Sleep>>,
    /// Whether something was given to the socket that may not be written yet.
    flushing: bool,
    /// Pings answered since something could be written.
    unread_pongs: usize,
    /// Boxed: there mostly is none.
    pace: Option<Box<Pace>>,
    /// Nothing is read before it is over: the client subscribes more often than it may.
    rest: Option<Pin<Box<Sleep>>>,
    /// Whether reading waits, so that what is not heard may have been said.
    waiting: bool,
}

/// What happened.
enum Step {
    Received(Option<Result<Message, Error>>),
    Written(Result<(), Error>),
    Ended(End),
    Time,
}

/// How the connection is closed.
#[derive(Debug)]
pub(super) enum Close {
    /// With this code.
    Code(ErrorCode),
    /// The client did not read fast enough.
    SlowReader,
    /// The client broke a rule of the WebSocket protocol.
    Fault(CloseCode, SocketEnd),
    /// The client closed it; the answer is on its way.
    ByClient,
    /// There is nobody left to tell.
    Lost,
}

impl<S> Conversation<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(
        socket: WebSocketStream<S>,
        connection: Connection,
        farewell: Farewell,
        pace: Option<Pace>,
    ) -> Self {
        let alarm = Box::pin(sleep(connection.until(connection.deadline())));
        Self {
            socket,
            connection,
            farewell,
            alarm,
            flushing: false,
            unread_pongs: 0,
            pace: pace.map(Box::new),
            rest: None,
            waiting: false,
        }
    }

    /// Runs the conversation until it is to be closed: [`Conversation::close`] is to follow. It is borrowed, as a
    /// future that owns what it was called with has room for it twice.
    pub(super) async fn run(&mut self) -> Close {
        loop {
            let step = poll_fn(|context| self.poll_step(context)).await;
            if let Some(close) = self.take(step) {
                return close;
            }
        }
    }

    /// Closes it, and says how it ended.
    pub(super) async fn close(self, close: Close) -> SocketEnd {
        if let Close::SlowReader = close {
            self.connection.was_slow();
        }
        let Self { mut socket, connection, farewell, alarm, .. } = self;
        // Out of all channels before the closing handshake, which may take its time.
        drop(connection);
        drop(alarm);
        let end = close.end();
        close.perform(&mut socket, farewell).await;
        end
    }

    /// Does what happened; says whether the connection is to be closed.
    fn take(&mut self, step: Step) -> Option<Close> {
        match step {
            Step::Written(Ok(())) => {
                self.flushing = false;
                self.unread_pongs = 0;
            }
            Step::Received(Some(Ok(message))) => return self.hear(message),
            Step::Time => {
                if self.waiting {
                    self.connection.heard();
                }
                self.connection.on_time();
                let rest = self.connection.until(self.connection.deadline());
                self.alarm.as_mut().reset(Instant::now() + rest);
            }
            Step::Ended(End::Code(code)) => return Some(Close::Code(code)),
            Step::Ended(End::SlowReader) => return Some(Close::SlowReader),
            Step::Received(None) => return Some(Close::Lost),
            Step::Received(Some(Err(error))) | Step::Written(Err(error)) => return Some(Close::after(&error)),
        }
        None
    }

    fn hear(&mut self, message: Message) -> Option<Close> {
        self.pace.iter_mut().for_each(|pace| pace.spend());
        match message {
            Message::Text(text) => {
                let rest = self.connection.on_message(&text);
                self.rest = Some(rest).filter(|rest| !rest.is_zero()).map(|rest| Box::pin(sleep(rest)));
            }
            Message::Ping(_) => {
                self.connection.heard();
                // The answer is with the socket already; it is looked at whether it can be written.
                self.flushing = true;
                self.unread_pongs += 1;
                if self.unread_pongs > MAX_UNREAD_PONGS {
                    return Some(Close::SlowReader);
                }
            }
            Message::Pong(_) => self.connection.heard(),
            Message::Binary(_) => return Some(Close::Fault(CloseCode::Unsupported, SocketEnd::Protocol)),
            Message::Close(_) => return Some(Close::ByClient),
            // Never comes out of a socket.
            Message::Frame(_) => {}
        }
        None
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if !self.flushing
            && let Poll::Ready(step) = self.poll_fill(context)
        {
            return Poll::Ready(step);
        }
        if self.flushing {
            if let Poll::Ready(written) = self.socket.poll_flush_unpin(context) {
                return Poll::Ready(Step::Written(written));
            }
            if let Poll::Ready(end) = self.connection.mailbox().poll_end(context) {
                return Poll::Ready(Step::Ended(end));
            }
        }
        if self.may_read(context)
            && let Poll::Ready(heard) = self.socket.poll_next_unpin(context)
        {
            return Poll::Ready(Step::Received(heard));
        }
        self.alarm.as_mut().poll(context).map(|()| Step::Time)
    }

    /// Whether the next message may be read. Until then it stays with the system, whose buffer for the socket is what
    /// bounds it; and the client, who may have given any sign of life, does not count as silent.
    fn may_read(&mut self, context: &mut Context<'_>) -> bool {
        let waits = self.poll_turn(context).is_pending();
        let waited = std::mem::replace(&mut self.waiting, waits);
        if waited && !waits {
            self.connection.heard();
        }
        !waits
    }

    /// Ready once it is over what makes the next message wait.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        self.pace.as_mut().map_or(Poll::Ready(()), |pace| pace.poll_open(context))
    }

    /// Gives the socket what waits, up to one batch.
    fn poll_fill(&mut self, context: &Context<'_>) -> Poll<Step> {
        let (mut bytes, mut frames) = (0, 0);
        while bytes < WRITE_BUFFER {
            match self.connection.mailbox().poll_take(context) {
                Poll::Ready(Mail::Frame(frame)) => {
                    bytes += frame.len();
                    frames += 1;
                    self.flushing = true;
                    if let Err(error) = self.socket.start_send_unpin(Message::Text(frame)) {
                        return Poll::Ready(Step::Written(Err(error)));
                    }
                }
                Poll::Ready(Mail::End(end)) if frames == 0 => return Poll::Ready(Step::Ended(end)),
                Poll::Ready(Mail::End(_)) | Poll::Pending => break,
            }
        }
        if frames > 0 {
            self.connection.sent(frames);
        }
        Poll::Pending
    }
}

impl Close {
    /// How to close after `error`.
    fn after(error: &Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::Fault(CloseCode::Size, SocketEnd::TooLarge),
            Error::Utf8(_) => Self::Fault(CloseCode::Invalid, SocketEnd::Protocol),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Lost,
            Error::Protocol(_) => Self::Fault(CloseCode::Protocol, SocketEnd::Protocol),
            Error::WriteBufferFull(_) => Self::SlowReader,
            _ => Self::Lost,
        }
    }

    /// How it is counted.
    const fn end(&self) -> SocketEnd {
        match self {
            Self::Code(ErrorCode::PongTimeout) => SocketEnd::Silent,
            Self::Code(ErrorCode::Reconnect) => SocketEnd::Reconnect,
            Self::Code(code) => match code.number() {
                4100..=4199 => SocketEnd::Busy,
                _ => SocketEnd::Refused,
            },
            Self::SlowReader => SocketEnd::SlowReader,
            Self::Fault(_, end) => *end,
            Self::ByClient => SocketEnd::Client,
            Self::Lost => SocketEnd::Lost,
        }
    }

    /// Why, in Pusher's terms.
    const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Code(code) => Some(*code),
            Self::SlowReader => Some(ErrorCode::OverCapacity),
            Self::Fault(..) | Self::ByClient | Self::Lost => None,
        }
    }

    fn frame(&self) -> Option<CloseFrame> {
        match self {
            Self::Fault(code, _) => Some(CloseFrame { code: *code, reason: "".into() }),
            _ => self.code().map(|code| CloseFrame { code: code.number().into(), reason: code.reason().into() }),
        }
    }

    /// Closes the socket: as much of the closing handshake as the other side takes part in.
    async fn perform<S>(self, socket: &mut WebSocketStream<S>, farewell: Farewell)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = async {
            if let (Farewell::EventAndClose, Some(code)) = (farewell, self.code()) {
                socket.feed(Message::Text(frame::closing(code))).await?;
            }
            if let Some(frame) = self.frame() {
                socket.close(Some(frame)).await?;
            }
            // What still comes is thrown away; the client's answer ends it.
            while let Some(message) = socket.next().await {
                message?;
            }
            socket.get_mut().shutdown().await?;
            linger(socket.get_mut()).await
        };
        match timeout(CLOSING, handshake).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "a closing handshake was not completed"),
            Err(_elapsed) => tracing::trace!("a closing handshake was not completed in time"),
        }
    }
}

/// Reads to the end what the other side still sends. Closing a socket with unread data would take the close frame away
/// from a client that has not read it yet.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Error> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
