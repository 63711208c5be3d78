//! The caller: the connection that a request came on.

use std::net::IpAddr;
use std::sync::Arc;

use super::ConnectionPermit;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The address at its other end.
    pub ip: IpAddr,
    /// Kept until the connection ends, whatever protocol it is switched to.
    pub connection: Arc<ConnectionPermit>,
}
