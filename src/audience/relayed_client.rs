//! One relayed connection: what passes over it tells which channels its client is subscribed to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{self, Wish};
use super::relayed::SubscriptionCounts;
use crate::clock::Moment;
use crate::metrics::OpenGuard;
use crate::pusher::is_valid_name;

/// Channels of one connection that are followed; Pusher's own clients have a few, and the embedded broker takes 200.
const CHANNELS: usize = 256;

/// Who sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The server behind.
    Upstream,
}

/// A relayed connection. When it is dropped, its client is out of all channels.
#[derive(Debug)]
pub struct RelayedClient {
    counts: Arc<SubscriptionCounts>,
    /// A std lock that nobody contends for: both directions of a relay run in one task.
    channels: Mutex<HashMap<Box<str>, Stage>>,
}

/// How far a subscription is.
#[derive(Debug)]
enum Stage {
    /// The client has asked. A confirmation without that is one that the client has taken back in the meantime.
    Asked,
    /// Upstream has confirmed; counted.
    Joined { _counted: OpenGuard },
}

impl RelayedClient {
    /// A connection that has just been switched.
    #[must_use]
    pub(super) fn new(counts: Arc<SubscriptionCounts>) -> Self {
        counts.visit();
        Self { counts, channels: Mutex::default() }
    }

    /// Whether a text of this side may tell anything, and is to be given to [`RelayedClient::note`]. Cheap, for it is asked
    /// of every message.
    #[must_use]
    pub fn may_tell(from: Side, text: &str) -> bool {
        match from {
            Side::Client => frame::may_wish(text),
            Side::Upstream => frame::may_confirm(text),
        }
    }

    /// Takes in a text that has passed.
    pub fn note(&self, from: Side, text: &str, now: Moment) {
        match from {
            Side::Client => match frame::wish(text) {
                Some(Wish::Subscribe(channel)) => self.ask(&channel),
                Some(Wish::Unsubscribe(channel)) => self.leave(&channel),
                None => {}
            },
            Side::Upstream => {
                if let Some(channel) = frame::confirmed(text) {
                    self.join(&channel, now);
                }
            }
        }
    }

    fn ask(&self, channel: &str) {
        let mut channels = self.lock();
        if channels.contains_key(channel) || !is_valid_name(channel) {
            return;
        }
        if channels.len() < CHANNELS {
            channels.insert(channel.into(), Stage::Asked);
        } else {
            self.counts.leave_out();
        }
    }

    fn join(&self, channel: &str, now: Moment) {
        let mut channels = self.lock();
        let Some(stage @ Stage::Asked) = channels.get_mut(channel) else { return };
        match self.counts.join(channel, now) {
            Some(counted) => *stage = Stage::Joined { _counted: counted },
            None => drop(channels.remove(channel)),
        }
    }

    fn leave(&self, channel: &str) {
        if let Some(Stage::Joined { .. }) = self.lock().remove(channel) {
            self.counts.leave(channel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Stage>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RelayedClient {
    fn drop(&mut self) {
        for (channel, stage) in std::mem::take(&mut *self.lock()) {
            if let Stage::Joined { .. } = stage {
                self.counts.leave(&channel);
            }
        }
    }
}
