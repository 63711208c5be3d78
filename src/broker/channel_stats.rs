//! Read access to the subscriptions of one app's channels, for the operator's report.

use std::sync::Arc;

use super::broker_app::BrokerApp;
use crate::clock::Moment;

/// The channels of one app. Clones refer to the same channels.
#[derive(Debug, Clone)]
pub struct ChannelStats(Arc<BrokerApp>);

/// The subscriptions of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriptions {
    /// The number of subscribed connections; at least 1.
    pub count: usize,
    /// When the last of them subscribed.
    pub last_joined: Moment,
}

impl ChannelStats {
    pub(super) const fn new(broker_app: Arc<BrokerApp>) -> Self {
        Self(broker_app)
    }

    /// The subscriptions of `channel`; `None`: there are none.
    #[must_use]
    pub fn subscriptions(&self, channel: &str) -> Option<Subscriptions> {
        self.0.channels.subscriptions(channel)
    }
}
