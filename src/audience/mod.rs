//! Who is subscribed to a channel, and when the last one joined: exactly, where the embedded broker is upstream; else
//! as far as clients come through the relay, whose frames tell it in passing. For the operator's report alone: no
//! decision hangs on it.

mod frame;
mod relayed;
mod relayed_client;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::broker::{Broker, ChannelStats};
use crate::clock::Moment;

pub use relayed::{Relayed, SubscriptionCounts};
pub use relayed_client::{RelayedClient, Side};

/// Where it is known from who is subscribed.
#[derive(Debug)]
pub enum Audience {
    /// The embedded broker knows all of its clients.
    Broker(Arc<Broker>),
    /// The relay sees those who come through usher.
    Relayed(Relayed),
}

/// The audience of one app. Cloning it gives another handle to the same.
#[derive(Debug, Clone)]
pub enum AppAudience {
    /// That of the embedded broker.
    Broker(ChannelStats),
    /// That of the relay.
    Relayed(Arc<SubscriptionCounts>),
}

/// Who hears what is sent on a channel now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribers {
    /// Connections that are subscribed.
    pub subscribers: usize,
    /// When the last of them joined; `None`: there is nobody.
    pub last_joined: Option<Moment>,
}

impl Subscribers {
    /// Nobody.
    pub const NONE: Self = Self { subscribers: 0, last_joined: None };
}

impl Audience {
    /// The audience of the app with this id; the same one whenever it is asked. `None`: the embedded broker does not
    /// serve that app.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<AppAudience> {
        match self {
            Self::Broker(broker) => broker.channel_stats(id).map(AppAudience::Broker),
            Self::Relayed(relayed) => Some(AppAudience::Relayed(relayed.app(id))),
        }
    }
}

impl AppAudience {
    /// Who hears `channel` now. `None`: it is not known. One look-up under a lock that is never held for long; not even
    /// that, where the relay has seen nobody join any channel.
    #[must_use]
    pub fn of(&self, channel: &str) -> Option<Subscribers> {
        match self {
            Self::Broker(channel_stats) => {
                Some(channel_stats.heard(channel).map_or(Subscribers::NONE, |(subscribers, joined)| Subscribers {
                    subscribers,
                    last_joined: Some(joined),
                }))
            }
            Self::Relayed(counts) => counts.of(channel),
        }
    }

    /// A relayed connection that comes. `None`: the embedded broker needs none to know its clients.
    #[must_use]
    pub fn relayed_client(&self) -> Option<RelayedClient> {
        match self {
            Self::Broker(_) => None,
            Self::Relayed(counts) => Some(RelayedClient::new(Arc::clone(counts))),
        }
    }
}
