//! The state of an app as a claim on one of its channels finds it.

/// A span of an app's life within which nothing has touched all its channels at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Epoch(u64);

impl Epoch {
    /// The one before which `count` have ended.
    pub(super) const fn of(count: u64) -> Self {
        Self(count)
    }

    /// How many have ended before it.
    pub(super) const fn count(self) -> u64 {
        self.0
    }
}

/// The app as a claim on one of its channels finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppSnapshot {
    /// The present epoch.
    pub(super) epoch: Epoch,
    /// Whether a request that may touch any channel is in flight, or one may still be applied.
    pub(super) uncertain: bool,
}

impl AppSnapshot {
    /// Whether what became known in `epoch` still is.
    pub(super) fn keeps(self, epoch: Epoch) -> bool {
        self.epoch == epoch && !self.uncertain
    }
}
