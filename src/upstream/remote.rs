//! A Pusher-compatible server over HTTP/1.1, with a pool of kept connections per worker. (Stub: the room is being built.)

use http::{Request, Response};

use super::{Answer, Failure, Options, Payload};
use crate::shutdown::Tasks;

/// One worker's connections to the upstream server. Cloning gives another handle to the same pool.
#[derive(Debug, Clone)]
pub struct Remote {}

impl Remote {
    /// A pool of its own, for one worker.
    ///
    /// # Errors
    /// If the CA file cannot be read.
    pub fn new(options: &Options, tasks: Tasks) -> Result<Self, crate::tls::TlsError> {
        let _ = (options, tasks);
        todo!()
    }

    /// See [`super::Upstream::send`].
    ///
    /// # Errors
    /// [`Failure`].
    #[expect(clippy::unused_async, reason = "stub")]
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        let _ = request;
        todo!()
    }
}
