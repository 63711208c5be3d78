//! A Pusher-compatible server over HTTP/1.1, with a pool of kept connections per worker.
//!
//! The pool stands directly on `hyper::client::conn::http1`: cheaper per request than a general client, and exact about
//! what was sent. hyper gives a request back only if it is still in the connection's queue, i.e. before its head is
//! even serialised; then it is sent again, once, on a fresh connection. Anything later is not, but for a `GET` or
//! `HEAD` on a kept connection that was closed meanwhile.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::dial::Dialer;
use super::framing::{Framing, Problem, check_status};
use super::pool::{Connection, Lease, Pool};
use super::resolver::Resolver;
use super::websocket::{self, Dialled};
use super::wire::TriggerClient;
use super::{Answer, Collected, Failure, Interrupted, Options, Payload, PoolStats};
use crate::clock::DeadlineTimer;
use crate::shutdown::Tasks;
use crate::tls::TlsError;

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// One worker's connections to the upstream server. Cloning gives another handle to the same pool.
///
/// It opens no more connections than there are requests in flight; who calls [`Remote::send`] bounds those.
#[derive(Debug, Clone)]
pub struct Remote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    /// Where WebSocket connections go; `None`: to the same server.
    websocket: Option<Dialer>,
    /// `Arc` of its own: an answer that is still being read holds the way back to it.
    pool: Arc<Pool>,
    /// For triggers, whose answers are collected whole.
    wire: TriggerClient,
    timeout: Duration,
}

/// How the sending over one connection went.
enum Attempt {
    Answered(Response<Answer>),
    /// The connection was dead before the first byte; here is the request again.
    Unsent(Request<Payload>, hyper::Error),
}

impl Remote {
    /// A pool of its own, for one worker.
    ///
    /// # Errors
    /// If the URL names no server.
    pub fn new(options: &Options, tasks: Tasks) -> Result<Self, TlsError> {
        Self::resolving(options, Resolver::System, tasks)
    }

    /// The same, with names looked up by `resolver`.
    ///
    /// # Errors
    /// As for [`Remote::new`].
    pub(super) fn resolving(options: &Options, resolver: Resolver, tasks: Tasks) -> Result<Self, TlsError> {
        let dialer = |url| Dialer::new(url, options, resolver.clone(), tasks.clone());
        let websocket = options.websocket_url.as_ref().map(dialer).transpose()?;
        let dialer = dialer(&options.url)?;
        let pool = Arc::new(Pool::new(options));
        let wire = TriggerClient::new(Pool::new(options));
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
        self.0.address(&mut request);
        let began = Instant::now();
        let mut deadline = None;
        if let Some(kept) = self.0.pool.take(began) {
            let copy = copy_of_repeatable(&request);
            match (self.0.exchange(kept, request, (began + period, period)).await, copy) {
                (Ok(Attempt::Answered(answer)), _) => return Ok(answer),
                (Ok(Attempt::Unsent(unsent, error)), _) => {
                    tracing::debug!(%error, "a kept connection was dead; the request goes over a fresh one");
                    request = unsent;
                }
                (Err(error @ Failure::ConnectionLost { .. }), Some(copy)) => {
                    tracing::debug!(%error, "a kept connection was closed; the request, which may be repeated, goes over a fresh one");
                    request = copy;
                    deadline = Some(began + period);
                }
                (Err(failure), _) => return Err(failure),
            }
        }
        // Boxed: a TLS handshake is large and rare, and every request's future would have to hold room for it.
        let fresh = Box::pin(self.0.dialer.dial()).await?;
        self.0.pool.count_opened();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + period);
        let failure = match self.0.exchange(fresh, request, (deadline, period)).await {
            Ok(Attempt::Answered(answer)) => return Ok(answer),
            Ok(Attempt::Unsent(_, source)) => Failure::unsent(self.0.upstream(), source.into()),
            Err(caller @ Failure::CallerBody { .. }) => return Err(caller),
            Err(failure) => failure,
        };
        self.0.dialer.doubt();
        Err(failure)
    }

    /// Sends the bytes of a whole request, which is addressed to [`Remote::host`], and collects the answer whole, in
    /// [`Remote::timeout`] from `now` on. `alarm` is used for the time, and left to be used again.
    ///
    /// # Errors
    /// [`Interrupted`], which says whether anything was sent.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; whether upstream got the request is then unknown.
    pub async fn exchange(
        &self,
        request: &[u8],
        answer: &mut Collected,
        alarm: &mut DeadlineTimer,
        now: Instant,
    ) -> Result<(), Interrupted> {
        self.0.wire.exchange(&self.0.dialer, request, answer, alarm, (now, self.0.timeout)).await
    }

    /// See [`super::Upstream::dial`].
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn dial(&self, request: Request<()>) -> Result<Dialled, Failure> {
        websocket::dial(self.0.websocket.as_ref().unwrap_or(&self.0.dialer), request, self.0.timeout).await
    }

    /// [`Options::timeout`]: `send` covers the time to the answer's head.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// What the pool holds and has done.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let (streamed, collected) = (self.pool().stats(), self.0.wire.stats());
        PoolStats {
            idle: streamed.idle + collected.idle,
            opened: streamed.opened + collected.opened,
            reused: streamed.reused + collected.reused,
        }
    }

    /// Closes connections that have been idle for too long, or are too old, for ever: the pools themselves look only
    /// when a request comes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing undone.
    pub async fn run(&self) {
        let mut every = tokio::time::interval(SWEEP);
        loop {
            every.tick().await;
            self.pool().sweep();
            self.0.wire.sweep();
        }
    }

    /// Closes the idle connections and keeps none from now on.
    pub fn retire(&self) {
        self.pool().retire();
        self.0.wire.retire();
    }

    /// The value of `Host`: upstream's authority without its scheme's default port.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        self.0.dialer.host()
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }
}

impl Shared {
    /// Sets what belongs to this hop. Values are replaced where they stand, so that the order of the headers is the
    /// caller's.
    fn address(&self, request: &mut Request<Payload>) {
        // An older caller's version would be sent on otherwise.
        *request.version_mut() = Version::HTTP_11;
        let length = request.body().length();
        let expects_length = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        let headers = request.headers_mut();
        headers.insert(HOST, self.dialer.host().clone());
        // Framing is this hop's own: hyper would obey the caller's header.
        headers.remove(TRANSFER_ENCODING);
        if length > 0 || expects_length || headers.contains_key(CONTENT_LENGTH) {
            set_content_length(headers, length);
        }
    }

    /// Sends `request` over `connection` and waits for the head of the answer, until the deadline of the period.
    /// Whatever goes wrong closes the connection.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<Payload>,
        (deadline, period): (Instant, Duration),
    ) -> Result<Attempt, Failure> {
        let Ok(sent) = timeout_at(deadline, connection.send(request)).await else {
            return Err(Failure::AnswerTimeout { upstream: self.upstream(), period });
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
        fit(&mut answer).map_err(|problem| problem.failure(self.upstream()))?;
        // hyper would speak HTTP/1.0 on a connection that answered so, even one that is kept alive: the next request
        // would not go out exactly as it was sent.
        let pool = (answer.version() == Version::HTTP_11).then(|| Arc::clone(&self.pool));
        Ok(answer.map(|body| Answer::new(body, Lease::new(connection, pool))))
    }

    fn upstream(&self) -> String {
        self.dialer.authority().to_owned()
    }
}

/// Holds an answer that hyper has read against the rules that `wire` has, too: hyper would believe more. A length that
/// is said more than once goes on as one.
///
/// # Errors
/// It cannot be passed on.
pub(super) fn fit(answer: &mut Response<Incoming>) -> Result<(), Problem> {
    check_status(answer.status().as_u16())?;
    let headers = answer.headers();
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let framing = Framing::of(answer.version() == Version::HTTP_10, values(CONTENT_LENGTH), values(TRANSFER_ENCODING))?;
    if let Framing::Length(length) = framing {
        set_content_length(answer.headers_mut(), length);
    }
    Ok(())
}

/// A copy of a request that may be sent again when the connection was lost and it is not known how far the first one
/// came (RFC 9110 9.2.2): it only asks, and has no body.
fn copy_of_repeatable(request: &Request<Payload>) -> Option<Request<Payload>> {
    let only_asks = [Method::GET, Method::HEAD].contains(request.method()) && request.body().length() == 0;
    only_asks.then(|| {
        let mut copy = Request::new(Payload::Whole(Bytes::new()));
        request.method().clone_into(copy.method_mut());
        request.uri().clone_into(copy.uri_mut());
        request.headers().clone_into(copy.headers_mut());
        request.extensions().clone_into(copy.extensions_mut());
        copy
    })
}

/// Makes `Content-Length` say `length`, once, in plain decimal. A caller's header that does so already stays, which is
/// the usual case and allocates nothing.
fn set_content_length(headers: &mut HeaderMap, length: u64) {
    // 20 digits hold any u64.
    let mut digits = [0; 20];
    let mut rest = digits.as_mut_slice();
    let written = write!(rest, "{length}").map(|()| 20 - rest.len()).unwrap_or_default();
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let right = values.next().is_some_and(|value| value.as_bytes() == &digits[..written]) && values.next().is_none();
    if !right {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
