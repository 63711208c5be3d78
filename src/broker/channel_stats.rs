//! Read access to the subscriptions of one app's channels, for the operator's report.

use std::sync::Arc;

use super::broker_app::BrokerApp;
use super::channels::Subscriptions;

/// The channels of one app. Clones refer to the same channels.
#[derive(Debug, Clone)]
pub struct ChannelStats(Arc<BrokerApp>);

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
