//! Who calls: the connection that a request came on.

use std::net::IpAddr;
use std::sync::Arc;

use super::Place;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The address at its other end.
    pub ip: IpAddr,
    /// Kept for as long as the connection is, whatever protocol it is switched to.
    pub place: Arc<Place>,
}
