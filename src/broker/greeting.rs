//! What a client gets behind the confirmation of its subscription, from whoever knows what it has missed. The broker does
//! not: it keeps the last events of cache channels alone.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::broker_app::BrokerApp;
use super::frame::Frame;
use super::mailbox::{Mailbox, wake_after};

/// Knows what new subscribers have missed.
pub trait Greeter: fmt::Debug + Send + Sync {
    /// The frames that a client gets which has just subscribed. Called with its channel locked: whatever is published
    /// later, the client gets behind them. It may keep `newcomer`, and call [`Newcomer::greet`] later.
    fn greet(&self, newcomer: &Newcomer) -> Vec<Frame>;
}

/// Set once, after the broker is made.
pub(super) type GreeterSlot = Arc<OnceLock<Arc<dyn Greeter>>>;

/// A client that has subscribed to a channel.
#[derive(Clone)]
pub struct Newcomer {
    broker_app: Arc<BrokerApp>,
    channel: Arc<str>,
    mailbox: Arc<Mailbox>,
    is_filtered: bool,
}

impl Newcomer {
    pub(super) const fn new(
        broker_app: Arc<BrokerApp>,
        channel: Arc<str>,
        mailbox: Arc<Mailbox>,
        is_filtered: bool,
    ) -> Self {
        Self { broker_app, channel, mailbox, is_filtered }
    }

    /// The app's id.
    #[must_use]
    pub fn app(&self) -> String {
        self.broker_app.app.load().id().to_owned()
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The client's socket id.
    #[must_use]
    pub fn socket_id(&self) -> String {
        self.mailbox.id().to_string()
    }

    /// Whether the client asked for some of the channel's events alone.
    #[must_use]
    pub const fn is_filtered(&self) -> bool {
        self.is_filtered
    }

    /// Asks `greeter` again, if the client is still subscribed.
    pub fn greet(&self, greeter: &dyn Greeter) {
        wake_after(|wakes| {
            self.broker_app.channels.with_subscriber(&self.channel, self.mailbox.id(), || {
                for frame in greeter.greet(self) {
                    self.mailbox.push(frame, wakes);
                }
            });
        });
    }
}

impl fmt::Debug for Newcomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newcomer").field("channel", &self.channel).finish_non_exhaustive()
    }
}
