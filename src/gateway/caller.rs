//! Who calls: the connection that a request came on.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::metrics::OpenGuard;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The address at its other end.
    pub ip: IpAddr,
    /// Kept for as long as the connection is, whatever protocol it is switched to.
    pub place: Arc<Place>,
}

/// A connection's place among `limits.max_connections` and in the gauge of open connections; given back when its last holder drops it.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _gauge: OpenGuard,
}

impl Place {
    /// The place that `permit` grants.
    #[must_use]
    pub fn new(permit: OwnedSemaphorePermit, gauge: OpenGuard) -> Arc<Self> {
        Arc::new(Self { _permit: permit, _gauge: gauge })
    }
}
