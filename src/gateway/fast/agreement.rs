//! Reads a request with the fast reader and with the general one, hyper's with what the gateway asks of it, and
//! compares what they find. For tests and for fuzzing (fuzz/README.md); not part of the program.

pub mod corpus;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::get::Get;
use super::render;
use super::shape::{self, HeadCache, Parsed, Trigger};
use crate::assignment::{Assignments, Bounds};
use crate::audience::{Audience, Relayed};
use crate::clock::Clock;
use crate::gateway::handshake::Handshake;
use crate::gateway::routing::{Observers, Routing, RoutingOptions};
use crate::gateway::target::{self, Route, Target};
use crate::gateway::verified::{Content, PatternClaim, Reading, Signed, Verified};
use crate::gateway::{Bypasses, Limits, Refusal, UnknownApps, screen};
use crate::metrics::Metrics;
use crate::pusher::{App, Body, Endpoint, SignatureError};
use crate::rate::{Limiters, Rates};
use crate::replay::Replays;
use crate::report::Report;

/// The id, key and secret of the app whose requests are read: those of Pusher's documented example.
pub const APP: [&str; 3] = ["3", "278d425bdf160c739803", "7ad3773142a6692b25b8"];
/// When they come, in seconds since the Unix epoch: the time of the documented example.
pub const NOW: u64 = 1_353_088_179;

/// The name of upstream, which no request has.
const UPSTREAM: &str = "upstream.example:8080";
/// Something to reduce a body to.
const REDUCED: &[u8] = b"{\"reduced\":true}";

/// Both readers, and the heads that a connection has sent.
#[derive(Debug)]
pub struct Requests {
    routing: Arc<Routing>,
    known: HeadCache,
    runtime: Runtime,
}

/// What is read by the fast reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastKind {
    /// A trigger of a configured app.
    Trigger,
    /// A GET request.
    Get,
}

/// What a reader finds in a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    app: String,
    endpoint: Endpoint,
    path: String,
    query: String,
    /// Names in lower case, and their values; in order, those of one name together.
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    signature: Result<(), SignatureError>,
}

/// A request as the general reader hands it on.
#[derive(Debug)]
struct General {
    head: Parts,
    body: Bytes,
}

/// What `shape::parse` makes of bytes, without the bytes.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    Trigger { length: usize, query: String, spans: String },
    PartialBody(usize),
    PartialHead,
    Other,
}

impl Class {
    fn of(seen: &Parsed<'_>) -> Self {
        match seen {
            Parsed::Trigger(trigger) => Self::Trigger {
                length: trigger.length,
                query: trigger.claim.query().to_owned(),
                spans: format!("{:?}", trigger.spans()),
            },
            Parsed::PartialBody(length) => Self::PartialBody(*length),
            Parsed::PartialHead => Self::PartialHead,
            Parsed::OtherShape => Self::Other,
        }
    }
}

impl Requests {
    /// Readers on a connection that has sent nothing yet.
    ///
    /// # Panics
    /// If the system has no file descriptor left.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().build().expect("a runtime without I/O can be made");
        Self { routing: routing(), known: HeadCache::default(), runtime }
    }

    /// The first request that hyper reads in `bytes`, behind the screen.
    ///
    /// # Errors
    /// The sentence by which hyper or the screen refuses it.
    #[cfg(test)]
    pub(in crate::gateway) fn received(&self, bytes: &[u8]) -> Result<(Parts, Bytes), String> {
        let Self { routing, runtime, .. } = self;
        Readers { routing, runtime }.receive(bytes).map(|General { head, body }| (head, body))
    }

    /// The apps that are configured.
    #[cfg(test)]
    pub(in crate::gateway) fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Has the connection forget the heads that it has sent.
    pub fn forget(&mut self) {
        self.known = HeadCache::default();
    }

    /// Checks what has come on the connection. The heads that the fast reader has read before make nothing a trigger;
    /// and what it takes for a trigger of a configured app, the general reader takes for the same
    /// one, as does whoever gets it as it is rendered for upstream. The same holds for a GET request. Returns what it is
    /// to the fast reader; `None`: of another form, or not whole.
    ///
    /// # Panics
    /// They differ.
    pub fn check(&mut self, bytes: &[u8]) -> Option<FastKind> {
        let Self { routing, known, runtime } = self;
        let shown = bytes.escape_ascii();
        let fresh = Class::of(&shape::parse(bytes, &routing.limits, &mut HeadCache::default()));
        let seen = shape::parse(bytes, &routing.limits, known);
        let class = Class::of(&seen);
        // A head that was read before may hide a trigger, e.g. one that wrote a digit more for the length where this
        // one writes a space. That costs speed alone.
        let hides = class == Class::Other && matches!(fresh, Class::Trigger { .. } | Class::PartialBody(_));
        assert!(class == fresh || hides, "with other heads read before {class:?}, else {fresh:?}: {shown}");
        if class == Class::Other {
            // Such a connection is read by the general reader from then on.
            self.forget();
            let Self { routing, runtime, .. } = self;
            let get = Get::read(bytes, &routing.limits)?;
            check_get(&Readers { routing, runtime }, bytes, &get);
            return Some(FastKind::Get);
        }
        let Parsed::Trigger(trigger) = seen else { return None };
        check_prefixes(bytes, trigger.length, &routing.limits);
        let fast = fast(routing, &trigger)?;
        let readers = Readers { routing, runtime };
        let general = readers.general(&bytes[..trigger.length]);
        assert_eq!(Ok(&fast), general.as_ref(), "the general reader finds something else: {shown}");
        check_rendered(&readers, &trigger, fast);
        Some(FastKind::Trigger)
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

/// What the general reader finds in `get` is what the fast reader does, and no trigger; and what goes upstream is what was
/// received but for the host.
fn check_get(readers: &Readers<'_>, bytes: &[u8], get: &Get<'_>) {
    let shown = bytes.escape_ascii();
    let General { head, body } = readers.receive(&bytes[..get.length]).expect("a GET request is one to both readers");
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    assert_eq!((head.method.as_str(), target, &*body), ("GET", get.target, get.body), "{shown}");
    assert!(matches!(target::route(&head, readers.routing), Ok(Route::Other)), "{shown}");
    let mut rendered = Vec::new();
    render::get(&mut rendered, get, UPSTREAM.as_bytes());
    let General { head: sent, body } = readers.receive(&rendered).expect("what is rendered is a request");
    let mut expected = head.headers;
    expected.insert(http::header::HOST, http::HeaderValue::from_static(UPSTREAM));
    assert_eq!((sent.method, sent.uri, sent.headers), (head.method, head.uri, expected), "{shown}");
    assert_eq!(&*body, get.body, "{shown}");
}

/// What of a trigger of `length` bytes arrives first is never of another shape.
fn check_prefixes(bytes: &[u8], length: usize, limits: &Limits) {
    for end in [0, 1, length / 3, length / 2, length - 1] {
        let class = Class::of(&shape::parse(&bytes[..end], limits, &mut HeadCache::default()));
        let is_beginning = class == Class::PartialHead || class == Class::PartialBody(length);
        assert!(is_beginning, "the first {end} bytes are {class:?}: {}", bytes.escape_ascii());
    }
}

/// What goes upstream, as it is and reduced, is what was received but for the host, the length and the signature.
fn check_rendered(readers: &Readers<'_>, trigger: &Trigger<'_>, fast: Found) {
    let app = &readers.routing.app(&fast.app).expect("it was found before").app;
    let mut expected = fast;
    let set = |headers: &mut Vec<(String, Vec<u8>)>, name: &str, value: &[u8]| {
        headers.iter_mut().filter(|(other, _)| other == name).for_each(|(_, old)| *old = value.to_vec());
    };
    set(&mut expected.headers, "host", UPSTREAM.as_bytes());
    let mut rendered = Vec::new();
    render::request(&mut rendered, trigger, UPSTREAM.as_bytes(), app.first(), None);
    assert_eq!(readers.general(&rendered), Ok(expected.clone()), "rendered: {}", rendered.escape_ascii());

    rendered.clear();
    render::request(&mut rendered, trigger, UPSTREAM.as_bytes(), app.first(), Some(REDUCED));
    let found = readers.general(&rendered).expect("a reduced trigger is a trigger");
    set(&mut expected.headers, "content-length", REDUCED.len().to_string().as_bytes());
    expected.body = REDUCED.to_vec();
    expected.query.clone_from(&found.query);
    // The key and the time are the caller's: where they were wrong, they still are. The rest is signed anew.
    let is_callers =
        |error: &SignatureError| !matches!(error, SignatureError::BodyMd5Mismatch | SignatureError::Mismatch);
    expected.signature = expected.signature.or_else(|error| if is_callers(&error) { Err(error) } else { Ok(()) });
    assert_eq!(found, expected, "reduced: {}", rendered.escape_ascii());
}

/// What the fast reader finds in `trigger`; `None` if its app is not configured.
fn fast(routing: &Routing, trigger: &Trigger<'_>) -> Option<Found> {
    let app = routing.app(trigger.app())?;
    let signed = PatternClaim { pattern: trigger.pattern(), claim: &trigger.claim };
    let mut heads = [httparse::EMPTY_HEADER; 64];
    let (_, lines) = httparse::parse_headers(trigger.lines, &mut heads).ok()?.unwrap();
    let connection = trigger.spans().connection.is_some();
    let headers = lines.iter().map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec()));
    let mut kept: Vec<_> = headers.filter(|(name, _)| !(connection && name == "connection")).collect();
    // The general reader hands those of one name out together.
    let names: Vec<String> = kept.iter().map(|(name, _)| name.clone()).collect();
    kept.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
    let verified = Verified::by_pattern(app, trigger.endpoint(), signed, Body::from(trigger.body), NOW);
    Some(Found {
        app: app.id.to_string(),
        endpoint: trigger.endpoint(),
        path: trigger.path().to_owned(),
        query: trigger.claim.query().to_owned(),
        headers: kept,
        body: trigger.body.to_vec(),
        signature: signature(verified.map(|_| ()))?,
    })
}

/// `None`: it was refused for something else.
fn signature(verified: Result<(), Refusal>) -> Option<Result<(), SignatureError>> {
    match verified {
        Ok(()) => Some(Ok(())),
        Err(Refusal::Signature(error)) => Some(Err(error)),
        Err(_) => None,
    }
}

/// The general reader.
struct Readers<'r> {
    routing: &'r Routing,
    runtime: &'r Runtime,
}

impl Readers<'_> {
    /// What it finds in the trigger that `bytes` are.
    ///
    /// # Errors
    /// They are no trigger that is read exactly: this is why.
    fn general(&self, bytes: &[u8]) -> Result<Found, String> {
        let General { head, body } = self.receive(bytes)?;
        let route = target::route(&head, self.routing).map_err(|refusal| refusal.to_string())?;
        let Route::Trigger(target) = route else { return Err(format!("no trigger, but {route:?}")) };
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let app = target.app.id.to_string();
        let target::TargetForm::Exact(endpoint) = target.form else { return Err(format!("not exact, but {target:?}")) };
        let signed = Signed {
            method: head.method.as_str(),
            path: target.signed_path(path),
            query,
            content: Content::of(&head.headers),
        };
        let Target { app: route, form } = target;
        let verified = Verified::new(&route, form, signed, Body::from(&body), NOW);
        if let Ok(Verified { reading, .. }) = &verified
            && !matches!(reading, Reading::Exact(_))
        {
            return Err(format!("not read exactly, but {reading:?}"));
        }
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
        Ok(Found {
            app,
            endpoint,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.collect(),
            signature: signature(verified.map(|_| ())).ok_or("refused for something else than its signature")?,
            body: body.to_vec(),
        })
    }

    /// The first request that hyper reads in `bytes`, behind the screen.
    ///
    /// # Errors
    /// hyper or the screen refuses it.
    fn receive(&self, bytes: &[u8]) -> Result<General, String> {
        let limits = &self.routing.limits;
        let received = RefCell::new(None);
        let service = service_fn(|request: Request<Incoming>| async {
            let outcome = screened(request, limits).await;
            received.borrow_mut().get_or_insert(outcome);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let connection = http1::Builder::new()
            .half_close(true)
            .preserve_header_case(true)
            .max_headers(limits.max_headers)
            .max_header_size(limits.max_head)
            .max_buf_size(limits.max_head)
            .serve_connection(TokioIo::new(Arriving(bytes)), service);
        let ended = self.runtime.block_on(connection);
        received
            .into_inner()
            .unwrap_or_else(|| Err(format!("no request: {:?}", ended.err().map(|error| error.to_string()))))
    }
}

async fn screened(request: Request<Incoming>, limits: &Limits) -> Result<General, String> {
    let (mut head, body) = request.into_parts();
    let handshake = Handshake::read(&mut head, &body).map_err(|refusal| refusal.to_string())?;
    screen::head(&mut head, &body, limits).map_err(|refusal| refusal.to_string())?;
    if handshake.is_some() {
        return Err("a handshake".to_owned());
    }
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(General { head, body })
}

/// Limits as they are where nothing is configured.
pub(super) fn limits() -> Limits {
    let period = Duration::from_secs(10);
    Limits {
        max_head: 16 * 1024,
        max_headers: 100,
        max_target: 8 * 1024,
        max_body: 1024 * 1024,
        head_timeout: period,
        body_timeout: period,
        idle_timeout: period,
        max_connections: 1,
        max_connections_per_peer: 0,
        max_requests: 1,
        max_wait: period,
        max_websocket_message: 128 * 1024,
        websocket_idle_timeout: period,
        rates: Rates::default(),
    }
}

/// A routing with the apps 3 and 4 and no rules.
fn routing() -> Arc<Routing> {
    let (clock, metrics) = (Clock::start(), Metrics::new());
    let bounds = Bounds {
        max_channels: 1,
        max_waiters_per_channel: 1,
        max_waiters: 1,
        doubt_period: Duration::ZERO,
        start_doubt: Duration::ZERO,
    };
    let [id, key, secret] = APP;
    let apps = [App::new(id, key, secret), App::new("4", "another-key", "another-secret")];
    let observers = Observers {
        events: &[],
        report: &Report::default(),
        audience: &Audience::Relayed(Relayed::new(Arc::clone(&metrics))),
        bypasses: &Bypasses::default(),
    };
    let options = RoutingOptions {
        limits: limits(),
        limiters: Limiters::new(&Rates::default(), clock, &metrics),
        unknown_apps: UnknownApps::Reject,
        trusted_proxies: Vec::new(),
        replays: Replays::new(clock, Duration::ZERO),
        replay_bytes: 0,
    };
    let assignments = Assignments::new(clock, bounds);
    Arc::new(Routing::new(&apps, &[], options, &assignments, &metrics, observers))
}

/// A connection on which these bytes arrive, and then its end. What is written is not looked at.
struct Arriving<'b>(&'b [u8]);

impl AsyncRead for Arriving<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(self.0.len().min(room.remaining()));
        room.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Arriving<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
