//! The protocol state of one client, without the socket: each message and each deadline leads to one effect
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
use super::channel::{ChannelFull, Identity, MAX_MEMBERS};
use super::channel_type::{Access, ChannelType};
use super::frame::{self, Frame};
use super::message::{ClientEvent, Message};
use super::socket_id::SocketId;
use super::token_bucket::TokenBucket;
use crate::clock::Moment;
use crate::pusher::{App, ErrorCode, Query, Warning};

/// The longest event name in characters (`pusher-protocol.md` 1.4).
pub(super) const MAX_EVENT_NAME: usize = 200;
/// The largest data of one event in bytes (`pusher-protocol.md` 1.4).
pub(super) const MAX_DATA: usize = 10 * 1024;
/// The supported protocol versions. They do not differ in anything that the broker implements, except [`CloseNotice`].
const VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;
/// The rate limit of subscribing: a burst of as many subscriptions as a client may have channels, and then one more
/// every this many milliseconds, i.e. 20 per second. Pages subscribe to all of their channels after a reconnect, and
/// rarely otherwise. A subscription costs the server more than the client.
const SUBSCRIBE_INTERVAL_MS: u32 = 50;

/// How the reason of a close is sent to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseNotice {
    /// In the close frame.
    FrameOnly,
    /// Also in a `pusher:error` before the close frame: for clients of protocol versions below 6 (docs/broker.md).
    EventAndFrame,
}

/// The options of sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionOptions {
    /// The time without activity after which the server sends a ping.
    pub(super) activity_timeout: Duration,
    /// Whether clients may send events to each other.
    pub(super) client_events: bool,
    /// The largest number of channels of one connection.
    pub(super) max_channels: usize,
    /// The time in which a client must sign in or join a channel that requires a token; `None`: no limit.
    pub(super) sign_in_timeout: Option<Duration>,
}

/// The effect of a message or a deadline.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Send this frame to the client.
    Reply(Frame),
    /// Subscribe the client, unless the channel is full. [`Session::joined`] or [`Session::channel_full`] has to
    /// follow.
    Join {
        /// The channel's name.
        channel: Arc<str>,
        /// The channel's type.
        channel_type: ChannelType,
        /// The member, on presence channels.
        identity: Option<Identity>,
        /// Whether it asked for some of the channel's events alone.
        is_filtered: bool,
    },
    /// Subscribe the client to the channel of its user, and send it the confirmation.
    SignIn {
        /// The user's channel.
        channel: Arc<str>,
        /// The channel's type.
        channel_type: ChannelType,
        /// The user's id.
        user: Arc<str>,
        /// The ids of the users on the watchlist.
        watchlist: Vec<Arc<str>>,
        /// The confirmation.
        reply: Frame,
        /// A warning after the confirmation, if the watchlist was too long.
        warning: Option<Frame>,
    },
    /// Replace the watchlist of a client that is signed in already, and send it the confirmation.
    Watch {
        /// The ids of the users on the watchlist.
        watchlist: Vec<Arc<str>>,
        /// The confirmation.
        reply: Frame,
        /// A warning after the confirmation, if the watchlist was too long.
        warning: Option<Frame>,
    },
    /// End the subscription to this channel.
    Leave(Arc<str>),
    /// Send an event to the other subscribers of a channel.
    Relay {
        /// The channel's name.
        channel: Arc<str>,
        /// The event.
        frame: Frame,
    },
    /// Close the connection.
    Close(ErrorCode),
}

/// The session of one established connection.
#[derive(Debug)]
pub(super) struct Session {
    id: SocketId,
    session_options: SessionOptions,
    /// The client's subscriptions.
    channels: HashMap<Arc<str>, Subscription>,
    /// Boxed: most connections have none.
    user: Option<Box<SignedInAs>>,
    /// When the connection is closed unless the client has presented a valid token.
    sign_in_by: Option<Moment>,
    client_events: TokenBucket,
    /// Limits requests to subscribe, successful or not. Unsubscribing is not limited: each needs a subscription before
    /// it.
    subscribing: TokenBucket,
    liveness: Liveness,
}

/// The user that the client is signed in as.
#[derive(Debug)]
struct SignedInAs {
    /// The user's channel.
    channel: Arc<str>,
    /// The identity on presence channels, or why the user cannot join any.
    identity: Result<Identity, &'static str>,
}

/// A subscription of the client.
#[derive(Debug)]
struct Subscription {
    channel_type: ChannelType,
    user_id: Option<Arc<str>>,
}

/// Checks the protocol version in the query of a client's URL.
///
/// # Errors
/// The code with which the connection has to be closed.
pub(super) fn check_version(query: &str) -> Result<(), ErrorCode> {
    let query = Query::parse(query);
    let version = query.only("protocol").filter(|version| !version.is_empty()).ok_or(ErrorCode::NoVersion)?;
    let version = version.parse().map_err(|_| ErrorCode::BadVersion)?;
    if VERSIONS.contains(&version) { Ok(()) } else { Err(ErrorCode::UnsupportedVersion) }
}

impl CloseNotice {
    /// The notice for a client with this query.
    pub(super) fn of(query: &str) -> Self {
        let version = Query::parse(query).only("protocol").and_then(|version| version.parse::<u32>().ok());
        if version.is_some_and(|version| version < 6) { Self::EventAndFrame } else { Self::FrameOnly }
    }
}

impl Session {
    /// A session that begins at `now`, and the first frame for the client.
    pub(super) fn establish(id: SocketId, session_options: SessionOptions, now: Moment) -> (Self, Frame) {
        let session = Self {
            id,
            session_options,
            channels: HashMap::new(),
            user: None,
            sign_in_by: session_options.sign_in_timeout.map(|timeout| now.after(timeout)),
            client_events: TokenBucket::ten_per_second(),
            subscribing: TokenBucket::new(
                u32::try_from(session_options.max_channels).unwrap_or(u32::MAX),
                SUBSCRIBE_INTERVAL_MS,
            ),
            liveness: Liveness::new(session_options.activity_timeout, now),
        };
        (session, frame::connection_established(id, session_options.activity_timeout))
    }

    /// Notes activity of the client: a message, or a control frame of WebSocket.
    pub(super) const fn on_activity(&mut self, now: Moment) {
        self.liveness.on_activity(now);
    }

    /// When [`Session::on_time`] has to be called next.
    pub(super) fn deadline(&self) -> Moment {
        let liveness = self.liveness.deadline();
        self.sign_in_by.map_or(liveness, |sign_in_by| sign_in_by.min(liveness))
    }

    /// Handles the deadlines of the sign-in and of the liveness check.
    pub(super) fn on_time(&mut self, now: Moment) -> Effect {
        if self.sign_in_by.is_some_and(|by| by <= now) {
            return Effect::Close(ErrorCode::Unauthorized);
        }
        self.liveness.on_time(now)
    }

    /// Handles a message of the client. `app` is the current configuration of its app.
    pub(super) fn on_message(&mut self, text: &str, app: &App, now: Moment) -> Effect {
        Message::read(text, |message| match message {
            Message::Ping => Effect::Reply(frame::pong()),
            Message::Pong => Effect::None,
            Message::Subscribe(request) => {
                self.subscribing.take_with_debt(now);
                self.subscribe(&request, app)
            }
            Message::Unsubscribe(channel) => self.unsubscribe(&channel),
            Message::SignIn(request) => self.sign_in(&request, app),
            Message::Event(event) => self.client_event(&event, now),
            Message::Unknown => refuse(None, "Clients may send client events only: their names begin with client-"),
        })
        .unwrap_or_else(|problem| refuse(None, problem))
    }

    /// How long the next message must not be read. It is positive after a request to subscribe beyond the rate limit;
    /// that request itself is answered.
    pub(super) fn read_delay(&self, now: Moment) -> Duration {
        self.subscribing.debt(now)
    }

    /// Notes that [`Effect::Join`] was successful.
    pub(super) fn joined(&mut self, channel: Arc<str>, channel_type: ChannelType, user_id: Option<Arc<str>>) {
        if channel_type.access.needs_token() {
            self.sign_in_by = None;
        }
        self.channels.insert(channel, Subscription { channel_type, user_id });
    }

    /// The error for the client after [`Effect::Join`] has failed because the channel is full.
    pub(super) fn channel_full(channel: &str, _why: ChannelFull) -> Frame {
        frame::error(
            None,
            &format!("The presence channel {channel} has {MAX_MEMBERS} members already, which is the most"),
        )
    }

    /// All channels of the client, including the channel of its user.
    pub(super) fn into_channels(self) -> impl Iterator<Item = Arc<str>> {
        self.channels.into_keys().chain(self.user.map(|user| user.channel))
    }

    fn unsubscribe(&mut self, channel: &str) -> Effect {
        match self.channels.remove_entry(channel) {
            Some((channel, _)) => Effect::Leave(channel),
            // The client may have outdated state; the protocol has no answer to this message.
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
                    let Subscription { channel_type, user_id } = subscription.get();
                    match channel_type.access {
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

/// An error about the client's message. The connection stays open.
fn refuse(code: Option<Warning>, message: &str) -> Effect {
    Effect::Reply(frame::error(code, message))
}
