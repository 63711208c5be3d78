//! The destination of forwarded requests: a remote server or the embedded broker, behind the type [`Upstream`].
//! [`Failure`] says whether anything was sent.

mod addresses;
mod answer;
mod connect_race;
mod dial;
mod failure;
mod framing;
mod hop;
mod http1;
mod local;
mod payload;
mod pool;
mod remote;
mod resolver;
mod server_address;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod websocket;
mod wire;

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

pub use answer::Answer;
pub use failure::{Cause, Failure};
pub(crate) use framing::Framing;
pub use hop::is_hop_by_hop;
pub use local::{Local, LocalClient};
pub use payload::{Declared, Payload};
pub use remote::Remote;
pub use server_address::{ServerAddress, ServerAddressError};
pub(crate) use stream::{Stream, read_on_stack};
pub use websocket::UpgradedConnection;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use wire::agreement;
pub use wire::{Collected, StreamedBody};

use crate::tls;

/// The largest size of an answer's head, and of its trailers, in bytes. Also the bound of the buffer of a connection of
/// hyper's.
const MAX_ANSWER_HEAD: usize = 64 * 1024;
/// The largest number of header lines of an answer, and of its trailers.
const MAX_HEADERS: usize = 100;

/// The address of upstream, and how to connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Scheme, host and port, e.g. `https://api-eu.pusher.com`. No path, no query. [`Options::LOCAL`]: the embedded
    /// broker.
    pub url: http::Uri,
    /// The server for WebSocket connections, e.g. `wss://ws-eu.pusher.com`. `None`: the server of `url`.
    pub websocket_url: Option<http::Uri>,
    /// The time from the start of sending to the end of the answer to a trigger, and to the head of any other answer.
    pub timeout: Duration,
    /// The time for name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// A connection that was idle for this long is not reused.
    pub idle_timeout: Duration,
    /// A connection that was opened this long ago is not reused. The next connection uses the current addresses of
    /// upstream's name.
    pub max_connection_age: Duration,
    /// The bound of idle connections in each of a worker's two pools: one for triggers on the fast path, one for all
    /// other requests.
    pub max_idle: usize,
    /// The trusted authorities, and the client certificate.
    pub tls: tls::Client,
}

impl Options {
    /// The value of `url` that selects the embedded broker.
    pub const LOCAL: &'static str = "local";

    /// Whether `url` selects the embedded broker.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.url == Self::LOCAL
    }
}

/// The upstream of one worker.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A Pusher-compatible server over HTTP/1.1.
    Remote(Remote),
    /// The embedded broker.
    Local(Local),
}

/// The result of [`Upstream::dial`].
#[derive(Debug)]
pub enum DialOutcome {
    /// The remote server has switched to WebSocket.
    Remote(UpgradedConnection),
    /// The embedded broker will serve the client's connection after the switch.
    Local(LocalClient),
    /// The server did not switch: an ordinary answer.
    Refused(Response<Answer>),
}

/// A time limit.
#[derive(Debug, Clone, Copy)]
struct TimeLimit {
    /// When the time begins.
    start: Instant,
    /// When the time is up.
    deadline: Instant,
    /// The configured time, for the error.
    period: Duration,
}

impl TimeLimit {
    /// A limit of `period` that begins at `start`.
    fn from(start: Instant, period: Duration) -> Self {
        Self { start, deadline: start + period, period }
    }
}

impl Upstream {
    /// Sends `request` and returns the head of the answer; the caller reads the body. The target of `request` must be
    /// in origin-form, its headers end-to-end only. `Host` and `Content-Length` are set here. A `GET` or `HEAD` without
    /// a body is sent a second time if a reused connection is closed before an answer (RFC 9110 9.2.2).
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. Whether upstream received the request is then unknown.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        match self {
            Self::Remote(remote) => remote.send(request).await,
            Self::Local(local) => local.send(request).await,
        }
    }

    /// [`Upstream::send`] with the timeout `period`, for a request that upstream may hold, such as a long poll.
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

    /// Opens a connection to upstream and performs a WebSocket handshake on it. `request` is the client's handshake:
    /// `GET`, an origin-form target, and end-to-end headers with a valid `Sec-WebSocket-Key`. `Host`, `Connection` and
    /// `Upgrade` are set here; `Sec-WebSocket-Extensions` is removed. Nothing else is sent before upstream has
    /// switched.
    ///
    /// # Errors
    /// [`Failure`]. An answer that does not switch is not an error, see [`DialOutcome::Refused`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn dial(&self, request: Request<()>) -> Result<DialOutcome, Failure> {
        match self {
            Self::Remote(remote) => remote.dial(request).await,
            Self::Local(local) => Ok(local.dial(&request)),
        }
    }

    /// [`Options::timeout`]. `send` covers the time to the answer's head; the reader of the body has to enforce the
    /// rest.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match self {
            Self::Remote(remote) => remote.timeout(),
            Self::Local(local) => local.timeout(),
        }
    }

    /// Runs the background work of this worker's upstream. Never returns.
    ///
    /// # Cancel safety
    /// Dropping the future stops the background work.
    pub async fn run(&self) {
        match self {
            Self::Remote(remote) => remote.run().await,
            Self::Local(local) => local.run().await,
        }
    }

    /// Closes the idle connections and keeps none from now on. Current and later requests are still served.
    pub fn retire(&self) {
        match self {
            Self::Remote(remote) => remote.retire(),
            Self::Local(_) => {}
        }
    }
}
