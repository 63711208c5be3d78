//! A Pusher-compatible server over HTTP/1.1, with a pool of idle connections per worker.
//!
//! The pool uses `hyper::client::conn::http1` directly: it costs less per request than a general client, and reports
//! exactly what was sent. hyper returns a request only if it is still in the connection's queue, i.e. before its head
//! is serialised; it is then sent again, once, on a new connection. After that no request is sent again, except a `GET`
//! or `HEAD` on a reused connection that was closed before an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::dial::Dialer;
use super::http1::{check_answer, set_content_length};
use super::pool::{Connection, Lease, Pool};
use super::resolver::Resolver;
use super::websocket;
use super::wire::WireClient;
use super::{Answer, Collected, DialOutcome, Failure, Options, Payload, StreamedBody, TimeLimit};
use crate::clock::DeadlineTimer;
use crate::shutdown::Tasks;
use crate::tls::TlsError;

/// The interval between two sweeps of the idle connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One worker's connections to the upstream server. Clones share the same pools.
///
/// It opens no more connections than there are requests in flight; the caller of [`Remote::send`] bounds those.
#[derive(Debug, Clone)]
pub struct Remote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    /// For WebSocket connections; `None`: the same server.
    websocket: Option<Dialer>,
    /// In an `Arc`: an answer that is being read has a reference to it, to return its connection.
    pool: Arc<Pool>,
    /// For the fast path.
    wire: WireClient,
    timeout: Duration,
}

/// The result of sending on one connection.
enum Attempt {
    Answered(Response<Answer>),
    /// The connection was closed before the first byte; the request is returned.
    Unsent(Request<Payload>, hyper::Error),
}

impl Remote {
    /// A client with its own pools, for one worker.
    ///
    /// # Errors
    /// A URL names no server.
    pub fn new(options: &Options, tasks: Tasks) -> Result<Self, TlsError> {
        Self::resolving(options, Resolver::System, tasks)
    }

    /// The same with another resolver.
    ///
    /// # Errors
    /// As for [`Remote::new`].
    pub(super) fn resolving(options: &Options, resolver: Resolver, tasks: Tasks) -> Result<Self, TlsError> {
        let dialer = |url| Dialer::new(url, options, resolver.clone(), tasks.clone());
        let websocket = options.websocket_url.as_ref().map(dialer).transpose()?;
        let dialer = dialer(&options.url)?;
        let pool = Arc::new(Pool::new(options));
        let wire = WireClient::new(Pool::new(options));
        Ok(Self(Arc::new(Shared { dialer, websocket, pool, wire, timeout: options.timeout })))
    }

    /// See [`super::Upstream::send`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        self.send_within(request, self.0.timeout).await
    }

    /// See [`super::Upstream::send_within`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send_within(
        &self,
        mut request: Request<Payload>,
        period: Duration,
    ) -> Result<Response<Answer>, Failure> {
        self.0.set_hop_headers(&mut request);
        let limit = TimeLimit::from(Instant::now(), period);
        let mut repeated = None;
        if let Some(reused) = self.0.pool.take(limit.start) {
            let copy = copy_of_repeatable(&request);
            match (self.0.exchange(reused, request, limit).await, copy) {
                (Ok(Attempt::Answered(answer)), _) => return Ok(answer),
                (Ok(Attempt::Unsent(unsent, error)), _) => {
                    tracing::debug!(%error, "an idle connection was closed; the request is sent on a new one");
                    request = unsent;
                }
                (Err(error @ Failure::ConnectionLost { .. }), Some(copy)) => {
                    tracing::debug!(%error, "a reused connection was closed; the request, which may be repeated, is sent on a new one");
                    request = copy;
                    repeated = Some(limit);
                }
                (Err(failure), _) => return Err(failure),
            }
        }
        // Boxed: a TLS handshake is large and rare, and the future of every request would reserve space for it.
        let new = Box::pin(self.0.dialer.connect_http()).await?;
        let limit = repeated.unwrap_or_else(|| TimeLimit::from(Instant::now(), period));
        let failure = match self.0.exchange(new, request, limit).await {
            Ok(Attempt::Answered(answer)) => return Ok(answer),
            Ok(Attempt::Unsent(_, source)) => Failure::unsent(self.0.upstream(), source.into()),
            Err(caller @ Failure::CallerBody { .. }) => return Err(caller),
            Err(failure) => failure,
        };
        self.0.dialer.expire_addresses();
        Err(failure)
    }

    /// Sends the bytes of a complete request with the `Host` [`Remote::host`], and collects the complete answer, within
    /// [`Remote::timeout`] from `now`. `alarm` is the timer; it can be reused after the call. Returns when the answer
    /// was complete.
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. Whether upstream received the request is then unknown.
    pub async fn exchange(
        &self,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        now: Instant,
    ) -> Result<Instant, Failure> {
        self.0.wire.exchange(&self.0.dialer, request, answer, alarm, TimeLimit::from(now, self.0.timeout)).await
    }

    /// Sends the bytes of a complete GET request with the `Host` [`Remote::host`], and receives the head of the answer,
    /// and what has come of the body with it, as [`Remote::exchange`] does. `is_repeatable`: it has no body, and may be sent again.
    ///
    /// # Errors
    /// [`Failure`], which says whether anything was sent.
    pub async fn open(
        &self,
        request: (&[u8], bool),
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        now: Instant,
    ) -> Result<StreamedBody, Failure> {
        self.0.wire.open(&self.0.dialer, request, answer, alarm, TimeLimit::from(now, self.0.timeout)).await
    }

    /// See [`super::Upstream::dial`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn dial(&self, request: Request<()>) -> Result<DialOutcome, Failure> {
        websocket::dial(self.0.websocket.as_ref().unwrap_or(&self.0.dialer), request, self.0.timeout).await
    }

    /// [`Options::timeout`]. `send` covers the time to the answer's head.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Closes connections that were idle for too long or are too old. Never returns. The pools themselves check their
    /// connections only when a request arrives.
    ///
    /// # Cancel safety
    /// Dropping the future stops the sweeps.
    pub async fn run(&self) {
        let mut every = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            every.tick().await;
            self.0.pool.sweep();
            self.0.wire.sweep();
        }
    }

    /// Closes the idle connections and keeps none from now on.
    pub fn retire(&self) {
        self.0.pool.retire();
        self.0.wire.retire();
    }

    /// The value of `Host`: upstream's authority without the scheme's default port.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        self.0.dialer.host()
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// The number of idle connections in both pools.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.0.pool.idle_count() + self.0.wire.idle_count()
    }
}

impl Shared {
    /// Sets the headers of this hop. Values are replaced in place, so that the caller's order of headers is kept.
    fn set_hop_headers(&self, request: &mut Request<Payload>) {
        // Otherwise the version of a caller with HTTP/1.0 would be sent.
        *request.version_mut() = Version::HTTP_11;
        let length = request.body().length();
        let expects_length = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let headers = request.headers_mut();
        headers.insert(HOST, self.dialer.host().clone());
        // Framing belongs to this hop: hyper would follow the caller's header.
        headers.remove(TRANSFER_ENCODING);
        if length > 0 || expects_length || headers.contains_key(CONTENT_LENGTH) {
            set_content_length(headers, length);
        }
    }

    /// Sends `request` on `connection` and waits for the head of the answer. Every error closes the connection.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Payload>,
        limit: TimeLimit,
    ) -> Result<Attempt, Failure> {
        let Ok(sent) = timeout_at(limit.deadline, connection.send(request)).await else {
            return Err(Failure::AnswerTimeout { upstream: self.upstream(), period: limit.period });
        };
        match sent {
            Ok(answer) => self.accept(connection, answer).map(Attempt::Answered),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Ok(Attempt::Unsent(unsent, error.into_error())),
                None => Err(Failure::after_sending(self.upstream(), error.into_error())),
            },
        }
    }

    fn accept(&self, connection: Connection, mut answer: Response<Incoming>) -> Result<Response<Answer>, Failure> {
        check_answer(&mut answer).map_err(|error| Failure::answer(self.upstream(), error))?;
        // After an HTTP/1.0 answer hyper uses HTTP/1.0 on the connection, even if it is kept alive: it would change the
        // next request.
        let pool = (answer.version() == Version::HTTP_11).then(|| Arc::clone(&self.pool));
        Ok(answer.map(|body| Answer::new(body, Lease::new(connection, pool))))
    }

    fn upstream(&self) -> String {
        self.dialer.authority().to_owned()
    }
}

/// A copy of `request` if it may be sent again after its connection was lost at an unknown point (RFC 9110 9.2.2): its
/// method is safe, and it has no body.
fn copy_of_repeatable(request: &Request<Payload>) -> Option<Request<Payload>> {
    let is_repeatable = [Method::GET, Method::HEAD].contains(request.method()) && request.body().length() == 0;
    is_repeatable.then(|| {
        let mut copy = Request::new(Payload::Whole(Bytes::new()));
        request.method().clone_into(copy.method_mut());
        request.uri().clone_into(copy.uri_mut());
        request.headers().clone_into(copy.headers_mut());
        request.extensions().clone_into(copy.extensions_mut());
        copy
    })
}
