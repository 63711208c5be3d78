//! One connection from its opening to its end: it sends the session's frames, passes received frames to the session,
//! and pings a silent server.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::address::{Address, Socket, is_disconnect};
use super::session::{Effect, Session, Subscriptions};
use crate::command::terminal::{Printable, print_error};

/// The longest time for opening a connection, and for sending a frame.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for the answer to a ping (pusher-protocol.md 4.2).
const PONG_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(in crate::command) struct Connection<'a> {
    socket: Socket,
    session: Session<'a>,
    /// The end of the time for which the server may be silent.
    deadline: Instant,
    /// Whether a ping is unanswered, or the opening frame is awaited.
    awaits_pong: bool,
}

/// The next event of a connection.
#[derive(Debug)]
pub(in crate::command) enum ConnectionEvent {
    /// The effects of a frame, except frames to send, which are sent already.
    Effects(Vec<Effect>),
    /// The connection has ended.
    Ended(ConnectionEnd),
}

/// How a connection ended.
#[derive(Debug)]
pub(in crate::command) struct ConnectionEnd {
    /// The close code, if the server gave one.
    pub(in crate::command) code: Option<u16>,
    /// The reason, in words.
    pub(in crate::command) reason: String,
}

impl ConnectionEnd {
    fn lost(reason: impl Into<String>) -> Self {
        Self { code: None, reason: reason.into() }
    }
}

impl<'a> Connection<'a> {
    /// Connects and upgrades; nothing is subscribed yet.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub(in crate::command) async fn open(address: &Address, subscriptions: &'a Subscriptions) -> anyhow::Result<Self> {
        let socket = address.open(TIMEOUT).await?;
        Ok(Self { socket, session: Session::new(subscriptions), deadline: Instant::now() + TIMEOUT, awaits_pong: true })
    }

    /// Waits for the next frame of the protocol.
    ///
    /// # Cancel safety
    /// Not safe: a frame that was read may be lost. A caller that drops the future has to drop the connection.
    pub(in crate::command) async fn next(&mut self) -> ConnectionEvent {
        loop {
            let Ok(message) = timeout_at(self.deadline, read(&mut self.socket)).await else {
                if self.awaits_pong {
                    return ConnectionEvent::Ended(ConnectionEnd {
                        code: Some(4201),
                        reason: "the server was silent for too long".to_owned(),
                    });
                }
                self.awaits_pong = true;
                self.deadline = Instant::now() + PONG_TIMEOUT;
                match self.send(Session::ping()).await {
                    Ok(()) => continue,
                    Err(end) => return ConnectionEvent::Ended(end),
                }
            };
            match message {
                Ok(Message::Text(text)) => match self.take(&text).await {
                    Ok(effects) if effects.is_empty() => {}
                    Ok(effects) => return ConnectionEvent::Effects(effects),
                    Err(end) => return ConnectionEvent::Ended(end),
                },
                Ok(Message::Close(frame)) => return ConnectionEvent::Ended(closed(frame)),
                Ok(_) => {}
                Err(end) => return ConnectionEvent::Ended(end),
            }
            self.record_activity();
        }
    }

    /// Sends a close frame, if the other side accepts it, and ends the connection.
    pub(in crate::command) async fn close(mut self) {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let _gone = timeout(Duration::from_secs(1), self.socket.close(Some(goodbye))).await;
    }

    /// Passes a frame to the session, sends the resulting frames and returns the other effects.
    async fn take(&mut self, text: &str) -> Result<Vec<Effect>, ConnectionEnd> {
        let effects = match self.session.receive(text) {
            Ok(effects) => effects,
            Err(error) => {
                print_error(format_args!("usher: {}", Printable(&error.to_string())));
                return Ok(Vec::new());
            }
        };
        let mut rest = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                Effect::Send(frame) => self.send(frame).await?,
                effect => rest.push(effect),
            }
        }
        self.record_activity();
        Ok(rest)
    }

    fn record_activity(&mut self) {
        self.awaits_pong = false;
        self.deadline = Instant::now() + self.session.silence();
    }

    async fn send(&mut self, frame: String) -> Result<(), ConnectionEnd> {
        match timeout(TIMEOUT, self.socket.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ConnectionEnd::lost(error.to_string())),
            Err(_elapsed) => Err(ConnectionEnd::lost("the server took no more frames")),
        }
    }
}

async fn read(socket: &mut Socket) -> Result<Message, ConnectionEnd> {
    match socket.next().await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) if is_disconnect(&error) => Err(ConnectionEnd::lost("the connection was lost")),
        Some(Err(error)) => Err(ConnectionEnd::lost(error.to_string())),
        None => Err(ConnectionEnd::lost("the connection was closed")),
    }
}

fn closed(frame: Option<CloseFrame>) -> ConnectionEnd {
    match frame {
        Some(frame) => {
            let code = u16::from(frame.code);
            let reason = Printable(&frame.reason).to_string();
            ConnectionEnd {
                code: Some(code),
                reason: format!("the server closed the connection: {code} {reason}").trim_end().to_owned(),
            }
        }
        None => ConnectionEnd::lost("the server closed the connection"),
    }
}
