//! The exits: where a forwarded request goes. `Upstream::send` is the whole seam.

mod payload;
mod remote;

use std::path::PathBuf;
use std::time::Duration;

use http::{Request, Response};

pub use payload::{Answer, Payload};
pub use remote::Remote;

/// Where and how to reach upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Scheme, host and port, e.g. `https://api-eu.pusher.com`. No path, no query.
    pub url: http::Uri,
    /// From the end of the request to the end of a trigger's answer; to the head of any other answer.
    pub timeout: Duration,
    /// For name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
    /// An idle pooled connection is closed after this.
    pub idle_timeout: Duration,
    /// Idle connections kept per worker.
    pub max_idle: usize,
    /// More certificate authorities (PEM), beside the built-in web roots.
    pub ca_file: Option<PathBuf>,
}

/// The seam: a request goes in, upstream's answer comes out.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// A Pusher-compatible server over HTTP/1.1.
    Remote(Remote),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Placeholder until the room is built.
    #[error("placeholder")]
    Placeholder,
}

impl Failure {
    /// Whether provably nothing of the request reached upstream.
    #[must_use]
    pub const fn nothing_sent(&self) -> bool {
        false
    }

    /// Whether time ran out, rather than the connection failing: 504 instead of 502.
    #[must_use]
    pub const fn is_timeout(&self) -> bool {
        false
    }

    /// In snake_case, for metrics and the answer's `code`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        "placeholder"
    }
}

impl Upstream {
    /// Sends `request` and returns the head of the answer with its body still to be read. `request`'s target is origin-form;
    /// its headers are end-to-end only. `Host` and `Content-Length` are set here.
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        match self {
            Self::Remote(remote) => remote.send(request).await,
        }
    }
}
