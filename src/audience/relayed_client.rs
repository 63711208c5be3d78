//! One relayed connection, and the subscriptions of its client, which are read from its frames.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::frame::{self, SubscriptionRequest};
use super::relayed::SubscriptionCounts;
use crate::clock::Moment;
use crate::metrics::OpenGuard;
use crate::pusher::is_valid_name;

/// The largest number of tracked channels of one connection. Pusher's clients have a few; the embedded broker allows
/// 200.
const MAX_CHANNELS: usize = 256;

/// The sender of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The upstream server.
    Upstream,
}

/// A relayed connection. Dropping it ends its counted subscriptions.
#[derive(Debug)]
pub struct RelayedClient {
    counts: Arc<SubscriptionCounts>,
    /// A lock without contention: both directions of a relay run in one task.
    channels: Mutex<HashMap<Box<str>, Subscription>>,
}

/// The state of a subscription.
#[derive(Debug)]
enum Subscription {
    /// The client has requested it. A confirmation without a request is ignored: the client has unsubscribed in
    /// between.
    Requested,
    /// Upstream has confirmed it, and it is counted.
    Confirmed { _counted: OpenGuard },
}

impl RelayedClient {
    /// A connection that was just switched to WebSocket.
    #[must_use]
    pub(super) fn new(counts: Arc<SubscriptionCounts>) -> Self {
        counts.note_client();
        Self { counts, channels: Mutex::default() }
    }

    /// Whether `text` may be about a subscription and has to be passed to [`RelayedClient::note`]. Cheap, because it is
    /// called for every message.
    #[must_use]
    pub fn is_relevant(from: Side, text: &str) -> bool {
        match from {
            Side::Client => frame::may_be_request(text),
            Side::Upstream => frame::may_be_confirmation(text),
        }
    }

    /// Reads a relayed text. Returns the channel whose subscription it confirms, also if that is not counted because a
    /// bound is reached.
    pub fn note(&self, from: Side, text: &str, now: Moment) -> Option<String> {
        match from {
            Side::Client => {
                match frame::subscription_request(text) {
                    Some(SubscriptionRequest::Subscribe { channel, .. }) => self.request(&channel),
                    Some(SubscriptionRequest::Unsubscribe(channel)) => self.leave(&channel),
                    None => {}
                }
                None
            }
            Side::Upstream => {
                let channel = frame::confirmed_channel(text)?;
                self.join(&channel, now);
                Some(channel)
            }
        }
    }

    fn request(&self, channel: &str) {
        let mut channels = self.lock();
        if channels.contains_key(channel) || !is_valid_name(channel) {
            return;
        }
        if channels.len() < MAX_CHANNELS {
            channels.insert(channel.into(), Subscription::Requested);
        } else {
            self.counts.note_uncounted();
        }
    }

    fn join(&self, channel: &str, now: Moment) {
        let mut channels = self.lock();
        let Some(subscription @ Subscription::Requested) = channels.get_mut(channel) else { return };
        match self.counts.join(channel, now) {
            Some(counted) => *subscription = Subscription::Confirmed { _counted: counted },
            None => drop(channels.remove(channel)),
        }
    }

    fn leave(&self, channel: &str) {
        if let Some(Subscription::Confirmed { .. }) = self.lock().remove(channel) {
            self.counts.leave(channel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Subscription>> {
        self.channels.lock()
    }
}

impl Drop for RelayedClient {
    fn drop(&mut self) {
        for (channel, subscription) in std::mem::take(&mut *self.lock()) {
            if let Subscription::Confirmed { .. } = subscription {
                self.counts.leave(&channel);
            }
        }
    }
}
