//! One app's channels as seen from outside: who is in them, for the operator.

use std::sync::Arc;

use super::broker_app::BrokerApp;
use crate::clock::Moment;

/// The channels of one app. Cloning it gives another handle to the same.
#[derive(Debug, Clone)]
pub struct ChannelStats(Arc<BrokerApp>);

impl ChannelStats {
    pub(super) const fn new(broker_app: Arc<BrokerApp>) -> Self {
        Self(broker_app)
    }

    /// How many connections are subscribed to `channel`, and when the last of them joined; `None`: nobody is.
    #[must_use]
    pub fn heard(&self, channel: &str) -> Option<(usize, Moment)> {
        self.0.channels.heard(channel)
    }
}
