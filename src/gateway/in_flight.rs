//! Requests in flight: `limits.max_requests` bounds their number.

use std::sync::Arc;

use super::Shared;

/// Counts one request as in flight until it is dropped. It belongs to the work and not to the caller, whom the work may
/// outlive; so it owns what it counts in.
#[must_use = "dropped, the request is no longer counted"]
#[derive(Debug)]
pub(super) struct InFlightPermit(Arc<Shared>);

/// The same for the length of a decision. Most triggers end there, and a clone of the [`Arc`] for each would have all
/// workers write to the same place.
#[must_use = "dropped, the request is no longer counted"]
#[derive(Debug)]
pub(super) struct BorrowedPermit<'s> {
    shared: &'s Arc<Shared>,
    /// `false`: an [`InFlightPermit`] has taken the count over.
    holds_count: bool,
}

impl InFlightPermit {
    /// Counts a request, if fewer than `limit` are in flight.
    pub(super) fn take(shared: &Arc<Shared>, limit: usize) -> Option<Self> {
        BorrowedPermit::take(shared, limit).map(BorrowedPermit::into_owned)
    }
}

impl<'s> BorrowedPermit<'s> {
    /// Counts a request, if fewer than `limit` are in flight.
    pub(super) fn take(shared: &'s Arc<Shared>, limit: usize) -> Option<Self> {
        shared.metrics.in_flight().begin(limit).then(|| Self { shared, holds_count: true })
    }

    /// The same count, for work that may outlive the decision.
    pub(super) fn into_owned(mut self) -> InFlightPermit {
        self.holds_count = false;
        InFlightPermit(Arc::clone(self.shared))
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.metrics.in_flight().end();
    }
}

impl Drop for BorrowedPermit<'_> {
    fn drop(&mut self) {
        if self.holds_count {
            self.shared.metrics.in_flight().end();
        }
    }
}
