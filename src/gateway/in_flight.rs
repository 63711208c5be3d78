//! Requests in flight: `limits.max_requests` bounds their number.

use std::sync::Arc;

use super::Shared;

/// Counts one request as in flight until it is dropped. The work may outlive the caller's connection, so the permit
/// owns the counter.
#[must_use = "dropped, the request is no longer counted"]
#[derive(Debug)]
pub(super) struct InFlightPermit(Arc<Shared>);

/// The same for the duration of a decision. Most triggers end there, and cloning the [`Arc`] for each of them would
/// make all workers contend for its reference count.
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
