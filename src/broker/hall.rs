//! One app's channels as seen from outside: who is in them, for the operator.

use std::sync::Arc;

use super::realm::Realm;
use crate::clock::Moment;

/// The channels of one app. Cloning it gives another handle to the same.
#[derive(Debug, Clone)]
pub struct Hall(Arc<Realm>);

impl Hall {
    pub(super) const fn new(realm: Arc<Realm>) -> Self {
        Self(realm)
    }

    /// How many connections are subscribed to `channel`, and when the last of them joined; `None`: nobody is.
    #[must_use]
    pub fn heard(&self, channel: &str) -> Option<(usize, Moment)> {
        self.0.channels.heard(channel)
    }
}
