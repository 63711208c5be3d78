//! The client of one URL that takes webhooks: a pool of connections, with time-outs, and TLS where the URL asks for it.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri};

use crate::shutdown::Tasks;
use crate::tls::{self, TlsError};
use crate::upstream::{Answer, Failure, Options, Payload, Remote};

/// The time for name look-up, TCP and TLS together, at most; the whole time of a request applies as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// A connection that was idle for this long is not reused.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// A connection that was opened this long ago is not reused, so that a change of the name's addresses has its effect.
const MAX_AGE: Duration = Duration::from_mins(5);
/// Idle connections that are kept.
const MAX_IDLE: usize = 8;

/// The receiver at one URL.
#[derive(Debug)]
pub struct Receiver {
    remote: Remote,
    target: Uri,
    shown: String,
}

impl Receiver {
    /// A client of `url`, whose certificate must be from an authority of `tls`. `tasks` drive its connections.
    ///
    /// # Errors
    /// The URL names no server: what is wrong with it, without the URL, which may hold a secret.
    pub fn new(url: &Uri, tls: &tls::Client, tasks: Tasks) -> Result<Self, String> {
        let options = Options {
            url: url.clone(),
            websocket_url: None,
            timeout: CONNECT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            max_connection_age: MAX_AGE,
            max_idle: MAX_IDLE,
            tls: tls.clone(),
        };
        let remote = Remote::new(&options, tasks).map_err(|error| match error {
            TlsError::Url { url: _, problem } => problem,
            error => error.to_string(),
        })?;
        let target = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { remote, target: target.into(), shown: shown(url) })
    }

    /// Sends a webhook by `POST`, within `period` until the head of the answer. Of `headers`, `Host` and
    /// `Content-Length` are set here.
    ///
    /// # Errors
    /// [`Failure`]: there is no answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. Whether the receiver has the webhook is then unknown.
    pub async fn send(&self, headers: HeaderMap, body: Bytes, period: Duration) -> Result<Response<Answer>, Failure> {
        let mut request = Request::new(Payload::Whole(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        self.remote.send_within(request, period).await
    }

    /// Closes connections that are idle for too long. Never returns.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn run(&self) {
        self.remote.run().await;
    }

    /// The URL for logs: without its query, which may hold a secret.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// Why there is no answer, in a word for logs.
#[must_use]
pub fn cause(failure: &Failure) -> &'static str {
    let label = failure.label();
    label.strip_prefix("upstream_").unwrap_or(label)
}

fn shown(url: &Uri) -> String {
    let (scheme, authority) = (url.scheme_str().unwrap_or_default(), url.authority().map_or("", |it| it.as_str()));
    format!("{scheme}://{authority}{}", url.path())
}
