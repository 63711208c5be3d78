//! The exits: where a forwarded request goes. `Upstream::send` is the whole seam; [`Failure`] tells whether anything
//! was sent.

mod addresses;
mod dial;
mod failure;
mod framing;
mod hop;
mod local;
mod payload;
mod pool;
mod race;
mod remote;
mod resolver;
#[cfg(test)]
mod tests;
mod transport;
mod websocket;
mod wire;

use std::time::Duration;

use http::{Request, Response};

pub use failure::{Cause, Failure};
pub use hop::is_hop_by_hop;
pub use local::{Local, Visit};
pub use payload::{Answer, Declared, Payload};
pub use pool::PoolStats;
pub use remote::Remote;
pub use websocket::{Dialled, Switched};
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use wire::agreement;
pub use wire::{Collected, Interrupted};

use crate::tls;

/// Largest head of an answer, and of its trailers, in bytes. Also the most that a connection of hyper's buffers.
const MAX_ANSWER_HEAD: usize = 64 * 1024;
/// Most header lines of an answer, and most of its trailers.
const MAX_HEADERS: usize = 100;

/// Where and how to reach upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Scheme, host and port, e.g. `https://api-eu.pusher.com`. No path, no query. [`Options::LOCAL`]: the embedded
    /// broker.
    pub url: http::Uri,
    /// Where WebSocket connections go, e.g. `wss://ws-eu.pusher.com`. `None`: to the server of `url`.
    pub websocket_url: Option<http::Uri>,
    /// From the handing over of a request to the end of a trigger's answer; to the head of any other answer.
    pub timeout: Duration,
    /// For name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// A connection that has been idle for this long is not used again.
    pub idle_timeout: Duration,
    /// A connection that was opened so long ago is not used again: the next one goes where upstream's name leads by
    /// then.
    pub max_connection_age: Duration,
    /// Idle connections kept per worker: so many for triggers on the fast path, and so many for everything else.
    pub max_idle: usize,
    /// Whom to trust, and what certificate to show.
    pub tls: tls::Client,
}

impl Options {
    /// Stands in the place of an address for the embedded broker.
    pub const LOCAL: &'static str = "local";

    /// Whether the embedded broker is meant.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.url == Self::LOCAL
    }
}

/// The seam: a request goes in, upstream's answer comes out.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A Pusher-compatible server over HTTP/1.1.
    Remote(Remote),
    /// The embedded broker.
    Local(Local),
}

impl Upstream {
    /// Sends `request` and returns the head of the answer with its body still to be read. `request`'s target is
    /// origin-form; its headers are end-to-end only. `Host` and `Content-Length` are set here. A `GET` or `HEAD`
    /// without a body may be sent a second time, if a kept connection is closed instead of an answer (RFC 9110 9.2.2).
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; whether upstream got the request is then unknown.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        match self {
            Self::Remote(remote) => remote.send(request).await,
            Self::Local(local) => local.send(request).await,
        }
    }

    /// [`Upstream::send`] for a request that upstream may hold for as long as `period`, such as a poll for messages.
    ///
    /// # Errors
    /// As for [`Upstream::send`].
    ///
    /// # Cancel safety
    /// As for [`Upstream::send`].
    pub async fn send_within(&self, request: Request<Payload>, period: Duration) -> Result<Response<Answer>, Failure> {
        match self {
            Self::Remote(remote) => remote.send_within(request, period).await,
            Self::Local(local) => local.send(request).await,
        }
    }

    /// Asks upstream to switch a connection of its own to WebSocket. `request` is the client's handshake: `GET`, an
    /// origin-form target, end-to-end headers with a valid `Sec-WebSocket-Key`. `Host`, `Connection` and `Upgrade` are
    /// set here, and `Sec-WebSocket-Extensions` is left out. Nothing but this handshake is sent before upstream has
    /// agreed.
    ///
    /// # Errors
    /// [`Failure`]; an answer that does not switch is none, see [`Dialled::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn dial(&self, request: Request<()>) -> Result<Dialled, Failure> {
        match self {
            Self::Remote(remote) => remote.dial(request).await,
            Self::Local(local) => Ok(local.dial(&request)),
        }
    }

    /// [`Options::timeout`], for whoever collects an answer's body: `send` itself covers the time to its head only.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match self {
            Self::Remote(remote) => remote.timeout(),
            Self::Local(local) => local.timeout(),
        }
    }

    /// Does what this worker's exit has to do beside its requests, for ever.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing undone.
    pub async fn run(&self) {
        match self {
            Self::Remote(remote) => remote.run().await,
            Self::Local(local) => local.run().await,
        }
    }

    /// What this worker's pool holds and has done; nothing, where there is none.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        match self {
            Self::Remote(remote) => remote.stats(),
            Self::Local(_) => PoolStats::default(),
        }
    }

    /// Closes the idle connections and keeps none from now on. Requests in flight, and later ones, are still served.
    pub fn retire(&self) {
        match self {
            Self::Remote(remote) => remote.retire(),
            Self::Local(_) => {}
        }
    }
}
