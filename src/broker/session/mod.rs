//! One client's conversation with the server, without a socket: messages and moments go in, one effect each comes out
//! (`pusher-protocol.md` 4).

mod identity;
mod liveness;
mod sign_in;
mod subscribe;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use self::liveness::Liveness;
use super::allowance::Allowance;
use super::channel::{Full, Identity, MAX_MEMBERS};
use super::frame::{self, Frame};
use super::kind::{Access, Kind};
use super::message::{ClientEvent, Message};
use super::socket_id::SocketId;
use crate::clock::Moment;
use crate::pusher::{App, ErrorCode, Query, Warning};

/// The longest event name in characters (`pusher-protocol.md` 1.4).
pub(super) const MAX_EVENT_NAME: usize = 200;
/// Most data of one event in bytes (`pusher-protocol.md` 1.4).
pub(super) const MAX_DATA: usize = 10 * 1024;
/// The protocol versions that clients speak; they differ in nothing that is served here.
const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;
/// A client may subscribe as often as it may have channels, at once, and once more whenever so many milliseconds have
/// passed: 20 times a second. Pages subscribe to all of their channels when they connect again, and rarely after that;
/// each time costs the server more than the client.
const SUBSCRIBING_COST: u32 = 50;

/// How a client is told why its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// By the code of the close.
    Close,
    /// By a `pusher:error` before it as well: clients of protocol versions below 6 (docs/broker.md).
    EventAndClose,
}

/// What sessions are like.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionOptions {
    /// How long a connection may be silent before it is asked for a sign of life.
    pub(super) activity_timeout: Duration,
    /// Whether clients may send events to each other.
    pub(super) client_events: bool,
    /// Channels that one connection may be subscribed to.
    pub(super) max_channels: usize,
    /// How soon a client must sign in, or join a channel that it needs a token for; `None`: it need not.
    pub(super) sign_in_timeout: Option<Duration>,
}

/// What a message or a moment leads to.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// This is sent to the client.
    Reply(Frame),
    /// The client is subscribed, if there is a place: [`Session::joined`] or [`Session::no_place`] is to follow.
    Join {
        /// The channel's name.
        channel: Arc<str>,
        /// Its kind.
        kind: Kind,
        /// Who joins, on presence channels.
        identity: Option<Identity>,
    },
    /// The client joins the channel of its user, and this is sent to it.
    SignIn {
        /// The user's channel.
        channel: Arc<str>,
        /// Its kind.
        kind: Kind,
        /// The user's id.
        user: Arc<str>,
        /// The ids of the users whom this one watches.
        watchlist: Vec<Arc<str>>,
        /// The confirmation.
        reply: Frame,
        /// What is told after it of a watchlist that was too long.
        warning: Option<Frame>,
    },
    /// The client, which is signed in already, watches these users instead, and this is sent to it.
    Watch {
        /// Their ids.
        watchlist: Vec<Arc<str>>,
        /// The confirmation.
        reply: Frame,
        /// What is told after it of a watchlist that was too long.
        warning: Option<Frame>,
    },
    /// The subscription ends.
    Leave(Arc<str>),
    /// This goes to the channel's other subscribers.
    Relay {
        /// The channel's name.
        channel: Arc<str>,
        /// The event.
        frame: Frame,
    },
    /// The connection is closed.
    Close(ErrorCode),
}

/// One established connection.
#[derive(Debug)]
pub(super) struct Session {
    id: SocketId,
    session_options: SessionOptions,
    /// What the client is subscribed to, and who it is there.
    channels: HashMap<Arc<str>, Subscription>,
    /// Boxed: most connections have none.
    user: Option<Box<SignedInAs>>,
    /// When the connection is closed if the client has shown no token until then.
    sign_in_by: Option<Moment>,
    client_events: Allowance,
    /// Subscriptions that were asked for, whatever came of it. Those that end cost nothing: only what was begun can be.
    subscribing: Allowance,
    liveness: Liveness,
}

/// The user that the client is signed in as.
#[derive(Debug)]
struct SignedInAs {
    /// The user's channel.
    channel: Arc<str>,
    /// Who that is on presence channels, or why the user cannot join any.
    identity: Result<Identity, &'static str>,
}

/// A subscription of the client.
#[derive(Debug)]
struct Subscription {
    kind: Kind,
    user_id: Option<Arc<str>>,
}

/// Checks the protocol version that a client asks for in the query of its URL.
///
/// # Errors
/// The code that the connection is closed with.
pub(super) fn check_version(query: &str) -> Result<(), ErrorCode> {
    let query = Query::parse(query);
    let version = query.only("protocol").filter(|version| !version.is_empty()).ok_or(ErrorCode::NoVersion)?;
    let version = version.parse().map_err(|_| ErrorCode::BadVersion)?;
    if VERSIONS.contains(&version) { Ok(()) } else { Err(ErrorCode::UnsupportedVersion) }
}

impl Farewell {
    /// How a client is told that connects with this query.
    pub(super) fn of(query: &str) -> Self {
        let version = Query::parse(query).only("protocol").and_then(|version| version.parse::<u32>().ok());
        if version.is_some_and(|version| version < 6) { Self::EventAndClose } else { Self::Close }
    }
}

impl Session {
    /// A session that begins `now`, and the frame that tells the client so.
    pub(super) fn establish(id: SocketId, session_options: SessionOptions, now: Moment) -> (Self, Frame) {
        let session = Self {
            id,
            session_options,
            channels: HashMap::new(),
            user: None,
            sign_in_by: session_options.sign_in_timeout.map(|timeout| now.after(timeout)),
            client_events: Allowance::ten_a_second(),
            subscribing: Allowance::new(
                u32::try_from(session_options.max_channels).unwrap_or(u32::MAX),
                SUBSCRIBING_COST,
            ),
            liveness: Liveness::new(session_options.activity_timeout, now),
        };
        (session, frame::connection_established(id, session_options.activity_timeout))
    }

    /// Anything came from the client: a message, or a frame of the WebSocket layer.
    pub(super) const fn heard(&mut self, now: Moment) {
        self.liveness.heard(now);
    }

    /// When [`Session::on_time`] is to be called next.
    pub(super) fn deadline(&self) -> Moment {
        let silence = self.liveness.deadline();
        self.sign_in_by.map_or(silence, |by| by.min(silence))
    }

    /// Looks whether the client has been silent for too long, or has not signed in in time.
    pub(super) fn on_time(&mut self, now: Moment) -> Effect {
        if self.sign_in_by.is_some_and(|by| by <= now) {
            return Effect::Close(ErrorCode::Unauthorized);
        }
        self.liveness.on_time(now)
    }

    /// A message of the client. `app` is its app as configured at present.
    pub(super) fn on_message(&mut self, text: &str, app: &App, now: Moment) -> Effect {
        Message::read(text, |message| match message {
            Message::Ping => Effect::Reply(frame::pong()),
            Message::Pong => Effect::None,
            Message::Subscribe(wish) => {
                self.subscribing.charge(now);
                self.subscribe(&wish, app)
            }
            Message::Unsubscribe(channel) => self.unsubscribe(&channel),
            Message::SignIn(wish) => self.sign_in(&wish, app),
            Message::Event(event) => self.client_event(&event, now),
            Message::Unknown => refuse(None, "Clients may send client events only: their names begin with client-"),
        })
        .unwrap_or_else(|problem| refuse(None, problem))
    }

    /// How long nothing more is to be read from the client. It is not zero once a subscription was asked for that was
    /// one too many; that one is answered, and whatever comes behind it waits.
    pub(super) fn rest(&self, now: Moment) -> Duration {
        self.subscribing.debt(now)
    }

    /// The client is subscribed as [`Effect::Join`] asked for.
    pub(super) fn joined(&mut self, channel: Arc<str>, kind: Kind, user_id: Option<Arc<str>>) {
        if kind.access.needs_token() {
            self.sign_in_by = None;
        }
        self.channels.insert(channel, Subscription { kind, user_id });
    }

    /// The client is not subscribed as [`Effect::Join`] asked for: the channel is full. What to tell the client.
    pub(super) fn no_place(channel: &str, _why: Full) -> Frame {
        frame::error(
            None,
            &format!("The presence channel {channel} has {MAX_MEMBERS} members already, which is the most"),
        )
    }

    /// Everything that the client is in, for its end.
    pub(super) fn into_channels(self) -> impl Iterator<Item = Arc<str>> {
        self.channels.into_keys().chain(self.user.map(|user| user.channel))
    }

    fn unsubscribe(&mut self, channel: &str) -> Effect {
        match self.channels.remove_entry(channel) {
            Some((channel, _)) => Effect::Leave(channel),
            // A client may be behind; there is no answer to this message.
            None => Effect::None,
        }
    }

    fn client_event(&mut self, event: &ClientEvent<'_>, now: Moment) -> Effect {
        let ClientEvent { name, channel, data } = event;
        let problem = if !self.session_options.client_events {
            "Client event rejected - client events are switched off on this server"
        } else if name.chars().count() > MAX_EVENT_NAME {
            "Client event rejected - its name is too long: 200 characters are allowed"
        } else if data.is_some_and(|data| data.get().len() > MAX_DATA) {
            "Client event rejected - its data is too large: 10240 bytes are allowed"
        } else {
            match self.channels.entry(Arc::from(&**channel)) {
                Entry::Occupied(subscription) => {
                    let Subscription { kind, user_id } = subscription.get();
                    match kind.access {
                        Access::Private | Access::Presence if self.client_events.take(now) => {
                            let frame = frame::client_event(name, channel, *data, user_id.as_deref());
                            return Effect::Relay { channel: Arc::clone(subscription.key()), frame };
                        }
                        Access::Private | Access::Presence => {
                            return refuse(
                                Some(Warning::ClientEventRate),
                                "Client event rejected - more than 10 in a second",
                            );
                        }
                        Access::Public | Access::Encrypted | Access::User => {
                            "Client event rejected - only supported on private and presence channels that are not encrypted"
                        }
                    }
                }
                Entry::Vacant(_) => "Client event rejected - the connection is not subscribed to the channel",
            }
        };
        refuse(None, problem)
    }
}

/// Tells the client what was wrong with its message; the connection stays open.
fn refuse(code: Option<Warning>, message: &str) -> Effect {
    Effect::Reply(frame::error(code, message))
}
