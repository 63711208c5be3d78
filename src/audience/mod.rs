//! The number of subscribers of a channel, and when the last one joined. It is exact if the embedded broker is
//! upstream; otherwise it counts the clients whose connections usher relays, from their frames, and takes what webhooks of
//! the server behind usher tell. The numbers are used for the operator's report only. Decisions depend on two facts: that somebody has subscribed to a channel, and whether
//! usher can see an app's clients at all.

mod frame;
mod relayed;
mod relayed_client;
mod reported;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::broker::{Broker, ChannelStats};
use crate::clock::Moment;

pub use crate::broker::Newcomers;
pub use frame::{SubscriptionRequest, confirmed_channel, event_and_data, subscription_request};
pub use relayed::{Relayed, SubscriptionCounts};
pub use relayed_client::{RelayedClient, Side};
pub use reported::ReportedChange;

/// The source of the subscriptions.
#[derive(Debug)]
pub enum Audience {
    /// The embedded broker, which knows all of its clients.
    Broker(Arc<Broker>),
    /// The relay, which sees the clients that connect through usher.
    Relayed(Relayed),
    /// Nothing is connected: whoever makes the decisions says who comes.
    Told,
}

/// The subscriptions of one app. Clones refer to the same app.
#[derive(Debug, Clone)]
pub enum AppAudience {
    /// The embedded broker's subscriptions.
    Broker(ChannelStats),
    /// The relay's subscriptions.
    Relayed(Arc<SubscriptionCounts>),
    /// The number of subscriptions is not known, but whoever comes is told.
    Told,
}

/// The subscribers of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribers {
    /// The number of subscribed connections.
    pub subscribers: usize,
    /// When the last of them joined; `None`: there are none.
    pub last_joined: Option<Moment>,
}

impl Subscribers {
    /// No subscribers.
    pub const NONE: Self = Self { subscribers: 0, last_joined: None };
}

impl Audience {
    /// The subscriptions of the app with this id. `None`: the embedded broker does not serve the app.
    #[must_use]
    pub fn app(&self, id: &str) -> Option<AppAudience> {
        match self {
            Self::Broker(broker) => broker.channel_stats(id).map(AppAudience::Broker),
            Self::Relayed(relayed) => Some(AppAudience::Relayed(relayed.app(id))),
            Self::Told => Some(AppAudience::Told),
        }
    }
}

impl AppAudience {
    /// The subscribers of `channel`; `None`: unknown. The call makes one look-up under a lock that is held briefly, and
    /// none if the relay has counted no subscription.
    #[must_use]
    pub fn of(&self, channel: &str) -> Option<Subscribers> {
        match self {
            Self::Broker(channel_stats) => {
                Some(channel_stats.subscriptions(channel).map_or(Subscribers::NONE, |subscriptions| Subscribers {
                    subscribers: subscriptions.count,
                    last_joined: Some(subscriptions.last_joined),
                }))
            }
            Self::Relayed(counts) => counts.of(channel),
            Self::Told => None,
        }
    }

    /// Whether usher can see the app's clients: always if the embedded broker serves them, otherwise once one has
    /// connected through usher, or a webhook has told the number of a channel's subscribers. Until then, somebody may
    /// have subscribed to any channel at any time. Other events of webhooks do not suffice: they tell of a channel's first
    /// subscriber, or of users.
    #[must_use]
    pub fn sees(&self) -> bool {
        match self {
            Self::Broker(_) | Self::Told => true,
            Self::Relayed(counts) => counts.had_client() || counts.reported().tells_of_all(),
        }
    }

    /// Notes what a webhook of the server behind usher says of channels at `now`. Returns the channels to which somebody
    /// came: once for each event that says so. The embedded broker knows its clients itself, so nothing is noted there.
    #[must_use]
    pub fn webhook<'e>(
        &self,
        changes: impl IntoIterator<Item = (&'e str, ReportedChange)>,
        now: Moment,
    ) -> Vec<&'e str> {
        if let Self::Relayed(counts) = self { counts.reported().note(changes, now) } else { Vec::new() }
    }

    /// A new relayed connection. `None`: nothing is relayed, and the embedded broker counts its clients itself.
    #[must_use]
    pub fn relayed_client(&self) -> Option<RelayedClient> {
        match self {
            Self::Broker(_) | Self::Told => None,
            Self::Relayed(counts) => Some(RelayedClient::new(Arc::clone(counts))),
        }
    }
}
