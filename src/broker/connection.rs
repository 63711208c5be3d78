//! A client's connection within its app, without the socket. It applies the effects of the session; frames go into the
//! mailbox. Dropping it ends the client's subscriptions.

use std::sync::Arc;
use std::time::Duration;

use super::broker_app::BrokerApp;
use super::channel::ChannelFull;
use super::frame::Frame;
use super::greeting::Newcomer;
use super::mailbox::{Mailbox, PendingWakes, wake_after};
use super::session::{Effect, Session};
use super::wake_queue::WakeQueue;
use super::watchlists::SignedIn;
use crate::clock::{Clock, Moment};
use crate::metrics::{Direction, OpenGuard};
use crate::pusher::ErrorCode;
use crate::shutdown::Drain;

/// An established connection.
#[derive(Debug)]
pub(super) struct Connection {
    broker_app: Arc<BrokerApp>,
    mailbox: Arc<Mailbox>,
    clock: Clock,
    /// `None` after the end of the connection.
    session: Option<Session>,
    /// Boxed: it is rare, and would otherwise enlarge every idle connection.
    signed_in: Option<Box<SignedIn>>,
    _gauge: OpenGuard,
}

impl Connection {
    /// Admits a client and puts the first frame into its mailbox.
    ///
    /// # Errors
    /// The code with which the socket has to be closed.
    pub(super) fn establish(
        broker_app: Arc<BrokerApp>,
        clock: Clock,
        drain: &Drain,
        wake_queue: &Arc<WakeQueue>,
    ) -> Result<Self, ErrorCode> {
        let mailbox = broker_app.admit(drain, wake_queue)?;
        let (session, greeting) = Session::establish(mailbox.id(), broker_app.options.session_options, clock.now());
        wake_after(|wakes| mailbox.push(greeting, wakes));
        let gauge = broker_app.metrics.connection();
        Ok(Self { broker_app, mailbox, clock, session: Some(session), signed_in: None, _gauge: gauge })
    }

    /// The queue of frames to send.
    pub(super) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// When [`Connection::on_time`] has to be called next.
    pub(super) fn deadline(&self) -> Moment {
        self.session.as_ref().map(Session::deadline).unwrap_or_default()
    }

    /// Notes activity of the client, e.g. a control frame of WebSocket.
    pub(super) fn on_activity(&mut self) {
        let now = self.clock.now();
        if let Some(session) = &mut self.session {
            session.on_activity(now);
        }
    }

    /// Handles a text message. Returns how long the next message must not be read.
    pub(super) fn on_message(&mut self, text: &str) -> Duration {
        let now = self.clock.now();
        let Some(session) = &mut self.session else { return Duration::ZERO };
        self.broker_app.metrics.messages(Direction::In, 1);
        session.on_activity(now);
        let effect = session.on_message(text, &self.broker_app.app.load(), now);
        let read_delay = session.read_delay(now);
        if !read_delay.is_zero() {
            self.broker_app.metrics.subscribing_delayed();
        }
        self.apply(effect, now);
        read_delay
    }

    /// Handles the deadline, if it has passed.
    pub(super) fn on_time(&mut self) {
        let now = self.clock.now();
        let Some(session) = &mut self.session else { return };
        let effect = session.on_time(now);
        self.apply(effect, now);
    }

    /// Counts sent messages.
    pub(super) fn sent(&self, count: u64) {
        self.broker_app.metrics.messages(Direction::Out, count);
    }

    /// Counts a connection that did not read fast enough.
    pub(super) fn count_slow_reader(&self) {
        self.broker_app.metrics.slow_reader();
    }

    /// The time until `moment`.
    pub(super) fn until(&self, moment: Moment) -> Duration {
        moment.since(self.clock.now())
    }

    fn apply(&mut self, effect: Effect, now: Moment) {
        wake_after(|wakes| self.apply_with(effect, now, wakes));
    }

    fn apply_with(&mut self, effect: Effect, now: Moment, wakes: &mut PendingWakes) {
        let Self { broker_app, mailbox, session, signed_in, .. } = self;
        let Some(session) = session else { return };
        match effect {
            Effect::None => {}
            Effect::Reply(frame) => mailbox.push(frame, wakes),
            Effect::Join { channel, channel_type, identity, is_filtered } => {
                let user_id = identity.as_ref().map(|identity| Arc::clone(&identity.user_id));
                let missed = || greetings(broker_app, &channel, mailbox, is_filtered);
                match broker_app.channels.join(&channel, channel_type, mailbox, identity, now, missed) {
                    Ok(()) => {
                        // Its own task sends the confirmation, after this.
                        broker_app.came(&channel);
                        session.joined(channel, channel_type, user_id);
                    }
                    Err(full @ ChannelFull) => mailbox.push(Session::channel_full(&channel, full), wakes),
                }
            }
            Effect::SignIn { channel, channel_type, user, watchlist, reply, warning } => {
                match broker_app.channels.join(&channel, channel_type, mailbox, None, now, Vec::new) {
                    Ok(()) => {
                        std::iter::once(reply).chain(warning).for_each(|frame| mailbox.push(frame, wakes));
                        signed_in.insert(Box::new(broker_app.watchlists.sign_in(user, mailbox))).watch(watchlist);
                    }
                    // Unreachable: only presence channels can be full.
                    Err(ChannelFull) => mailbox.end(ErrorCode::OverCapacity, wakes),
                }
            }
            Effect::Watch { watchlist, reply, warning } => {
                std::iter::once(reply).chain(warning).for_each(|frame| mailbox.push(frame, wakes));
                if let Some(signed_in) = signed_in {
                    signed_in.watch(watchlist);
                }
            }
            Effect::Leave(channel) => broker_app.channels.leave(&channel, mailbox.id(), now),
            Effect::Relay { channel, frame } => broker_app.channels.relay(&channel, &frame, mailbox.id()),
            Effect::Close(code) => mailbox.end(code, wakes),
        }
    }
}

/// What a client has missed that has just subscribed to `channel`.
fn greetings(broker_app: &Arc<BrokerApp>, channel: &Arc<str>, mailbox: &Arc<Mailbox>, is_filtered: bool) -> Vec<Frame> {
    broker_app.greeter.get().map_or_else(Vec::new, |greeter| {
        let newcomer = Newcomer::new(Arc::clone(broker_app), Arc::clone(channel), Arc::clone(mailbox), is_filtered);
        greeter.greet(&newcomer)
    })
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let now = self.clock.now();
        for channel in session.into_channels() {
            self.broker_app.channels.leave(&channel, self.mailbox.id(), now);
        }
        drop(self.signed_in.take());
        self.broker_app.remove(self.mailbox.id());
    }
}
