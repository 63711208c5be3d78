//! The state of an app at the time of a claim.

/// A period in which no request has touched all channels of an app at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Epoch(u64);

impl Epoch {
    /// The epoch that follows `count` ended epochs.
    pub(super) const fn of(count: u64) -> Self {
        Self(count)
    }

    /// The number of epochs that ended before it.
    pub(super) const fn count(self) -> u64 {
        self.0
    }
}

/// The state of an app at the time of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppSnapshot {
    /// The current epoch.
    pub(super) epoch: Epoch,
    /// Whether a request that may touch any channel is in flight.
    pub(super) in_flight: bool,
    /// Whether such a request may still be applied.
    pub(super) in_doubt: bool,
}

impl AppSnapshot {
    /// Whether nothing is known of any channel.
    pub(super) const fn is_uncertain(self) -> bool {
        self.in_flight || self.in_doubt
    }

    /// Whether what became known in `epoch` is still known.
    pub(super) fn keeps(self, epoch: Epoch) -> bool {
        self.epoch == epoch && !self.is_uncertain()
    }
}
