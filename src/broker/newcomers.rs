//! Who is told that somebody has subscribed.

use std::fmt;
use std::sync::{OnceLock, Weak};

/// Who is told that somebody has subscribed to a channel.
pub trait Newcomers: fmt::Debug + Send + Sync {
    /// A client of the app with this id has subscribed to `channel`. Called before the client knows: whatever is published
    /// from now on reaches it. It may miss what was published before.
    fn came(&self, app: &str, channel: &str);
}

/// The one who is told of the subscriptions to all channels, once it is known who.
#[derive(Debug, Default)]
pub(super) struct Told(OnceLock<Weak<dyn Newcomers>>);

impl Told {
    /// From now on `newcomers` is told, for as long as it exists.
    pub(super) fn set(&self, newcomers: Weak<dyn Newcomers>) {
        let first = self.0.set(newcomers).is_ok();
        debug_assert!(first, "one is told");
    }

    pub(super) fn came(&self, app: &str, channel: &str) {
        if let Some(newcomers) = self.0.get().and_then(Weak::upgrade) {
            newcomers.came(app, channel);
        }
    }
}
