//! From a request to its answer: who asks, what for, and is it allowed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::stream::{self, MAX_STREAMS};
use super::{Admin, assignments, decisions, guard, modes, overview, page, report};
use crate::clock::Moment;
use crate::metrics::{Keys, RuleState, Sample};
use crate::rules::Mode;
use crate::shutdown::{Drain, Tasks};

/// Listings made at once. Each walks a whole memory, so the next one waits.
const MAX_LISTINGS: usize = 2;

/// Longest body of a call in bytes.
const MAX_BODY: usize = 4096;

/// To receive it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers requests.
#[derive(Debug)]
pub(super) struct Service {
    admin: Arc<Admin>,
    tasks: Tasks,
    listings: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Ends the streams.
    stop: Drain,
    /// Whether others than this machine can reach the listener.
    exposed: bool,
}

/// A request's body.
pub(super) trait RequestBody:
    Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send
{
}

impl<B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send> RequestBody for B {}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Index,
    Page,
    Metrics,
    Livez,
    Readyz,
    Assignments,
    Decisions,
    Report,
    Stream,
    Overview,
    RuleMode,
}

impl Endpoint {
    fn of(path: &str, headers: &HeaderMap) -> Option<Self> {
        match path {
            "/" if wants_html(headers) => Some(Self::Page),
            "/" => Some(Self::Index),
            "/metrics" => Some(Self::Metrics),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/assignments" => Some(Self::Assignments),
            "/decisions" => Some(Self::Decisions),
            "/report" => Some(Self::Report),
            "/decisions/stream" => Some(Self::Stream),
            "/overview" => Some(Self::Overview),
            "/rules/mode" => Some(Self::RuleMode),
            _ => None,
        }
    }

    /// The methods it answers, as they stand in `Allow`.
    const fn methods(self) -> &'static str {
        match self {
            Self::Index
            | Self::Page
            | Self::Metrics
            | Self::Livez
            | Self::Readyz
            | Self::Decisions
            | Self::Stream
            | Self::Overview
            | Self::Report => "GET, HEAD",
            Self::Assignments => "GET, HEAD, DELETE",
            Self::RuleMode => "POST",
        }
    }

    /// Whether it is answered without a token, since it tells nothing of any conversation: machines ask for it that
    /// hold none, and the page is what asks for the token.
    const fn is_open(self) -> bool {
        match self {
            Self::Page | Self::Metrics | Self::Livez | Self::Readyz => true,
            Self::Index
            | Self::Assignments
            | Self::Decisions
            | Self::Stream
            | Self::Overview
            | Self::Report
            | Self::RuleMode => false,
        }
    }

    /// Whether it is asked for by programs that know the listener by a name.
    const fn is_for_machines(self) -> bool {
        self.is_open() && !matches!(self, Self::Page)
    }

    /// Whether such a call changes something.
    fn changes(self, method: &Method) -> bool {
        self == Self::RuleMode && method == Method::POST || self == Self::Assignments && method == Method::DELETE
    }
}

impl Service {
    /// Answers for `admin` until `stop` begins; `exposed` tells whether others than this machine can ask.
    pub(super) fn new(admin: Arc<Admin>, tasks: Tasks, stop: Drain, exposed: bool) -> Self {
        let (listings, streams) = (Arc::new(Semaphore::new(MAX_LISTINGS)), Arc::new(Semaphore::new(MAX_STREAMS)));
        Self { admin, tasks, listings, streams, stop, exposed }
    }

    /// Answers `request`. Its body is read by the one call that takes one, and by no other.
    pub(super) async fn answer<B: RequestBody>(&self, request: Request<B>) -> Reply {
        let (head, body) = request.into_parts();
        match self.decide(&Request::from_parts(head, ()), body).await {
            Ok(reply) => reply,
            Err(refusal) => reply::refused(&refusal),
        }
    }

    async fn decide<B: RequestBody>(&self, request: &Request<()>, body: B) -> Result<Reply, Refusal> {
        let token = guard::token(request.headers(), self.admin.token.as_deref());
        let endpoint = Endpoint::of(request.uri().path(), request.headers());
        // A page that was rebound to this address cannot know the token. On loopback nobody needs a name other than
        // localhost. Where others can reach it, Prometheus knows it by a name and should hold no token that could
        // change something, and what is open tells of no conversation.
        if !(self.exposed && (token.is_ok() || endpoint.is_some_and(Endpoint::is_for_machines))) {
            guard::host(request)?;
        }
        let changes = endpoint.is_some_and(|endpoint| endpoint.changes(request.method()));
        if changes || (self.exposed && !endpoint.is_some_and(Endpoint::is_open)) {
            token?;
        }
        let endpoint = endpoint.ok_or(Refusal::NotFound)?;
        if !endpoint.methods().split(", ").any(|method| method == request.method().as_str()) {
            return Err(Refusal::MethodNotAllowed { allow: endpoint.methods() });
        }
        let query = request.uri().query().unwrap_or_default();
        match endpoint {
            Endpoint::Index => Ok(reply::text(INDEX)),
            Endpoint::Page => Ok(reply::page(page::html(), page::policy())),
            Endpoint::Metrics => Ok(reply::metrics(self.admin.metrics.encode(&self.sample()))),
            Endpoint::Livez => Ok(reply::text("ok\n")),
            Endpoint::Readyz if self.admin.drain.has_begun() => Err(Refusal::Draining),
            Endpoint::Readyz => Ok(reply::text("ready\n")),
            Endpoint::Assignments if changes => assignments::forget(&self.admin, query),
            Endpoint::Assignments => {
                let asked = assignments::Asked::parse(query)?;
                self.listing(move |admin| asked.list(admin)).await
            }
            Endpoint::Report => Ok(report::show(&self.admin)),
            Endpoint::Decisions => {
                let asked = decisions::Asked::parse(query)?;
                self.listing(move |admin| Ok(asked.list(admin))).await
            }
            Endpoint::Stream => {
                let asked = stream::Asked::parse(&self.admin, query, request.headers())?;
                let place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_full| Refusal::TooManyStreams)?;
                Ok(reply::events(asked.follow(Arc::clone(&self.admin), place, self.stop.clone())))
            }
            Endpoint::Overview => Ok(overview::overview(&self.admin)),
            Endpoint::RuleMode => modes::switch(&self.admin, &json_body(request.headers(), body).await?),
        }
    }

    /// Makes a listing on a thread of its own: a walk over a million channels must not hold up triggers. If the caller
    /// hangs up, it still keeps its place until it ends, so that hanging up and asking again piles nothing up.
    async fn listing<F>(&self, list: F) -> Result<Reply, Refusal>
    where
        F: FnOnce(&Admin) -> Result<Reply, Refusal> + Send + 'static,
    {
        let place = Arc::clone(&self.listings).acquire_owned().await.map_err(|_closed| Refusal::Failed)?;
        let admin = Arc::clone(&self.admin);
        let listing = self.tasks.spawn_blocking(move || {
            let _place = place;
            list(&admin)
        });
        listing.await.map_err(|error| {
            tracing::error!(%error, "a listing failed");
            Refusal::Failed
        })?
    }

    fn modes(&self) -> Vec<RuleState> {
        const MODES: &[&str] = &[Mode::Enforce.label(), Mode::Observe.label(), Mode::Off.label()];
        let state =
            |rule: modes::RuleMode| RuleState { app: rule.app, rule: rule.rule, mode: rule.mode.label(), modes: MODES };
        self.admin.switchboard.rules().into_iter().map(state).collect()
    }

    /// What the other rooms tell at a scrape.
    fn sample(&self) -> Sample {
        let assignments = &self.admin.assignments;
        let evictions = assignments.evictions();
        Sample {
            keys: assignments
                .watches()
                .into_iter()
                .map(|watch| Keys { count: watch.memory.len(), app: watch.app, rule: watch.rule })
                .collect(),
            max_keys: assignments.bounds().max_channels,
            modes: self.modes(),
            evictions: vec![("capacity", evictions.capacity), ("idle", evictions.idle)],
            waiters: assignments.waiting(),
            tasks: self.admin.tasks.running(),
            began_at: self.admin.calendar.unix_time(Moment::default()),
        }
    }
}

/// Whether a browser asks: only those name HTML.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

/// Receives a body that is declared as JSON.
///
/// # Errors
/// It is not declared so, too long, too slow, or breaks off.
async fn json_body<B: RequestBody>(headers: &HeaderMap, body: B) -> Result<Bytes, Refusal> {
    let media =
        headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    if !media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        return Err(Refusal::NotJson);
    }
    let body = std::pin::pin!(Limited::new(body, MAX_BODY));
    let received = timeout(BODY_TIMEOUT, body.collect()).await.ok().and_then(Result::ok);
    let received = received.ok_or(Refusal::BadBody("The body did not come whole: it may have 4 KiB and take 10 s."))?;
    let mut received = received.aggregate();
    Ok(received.copy_to_bytes(received.remaining()))
}

/// What `/` says to others than browsers.
const INDEX: &str = "\
usher admin; browsers are shown the operator's page here

GET    /metrics                                           every series, for Prometheus
GET    /livez                                             200 while the process runs
GET    /readyz                                            200, or 503 once draining has begun
GET    /assignments?app=&rule=&channel=<prefix>&limit=    what is remembered (limit: 100 unless told, 10000 at most)
DELETE /assignments?app=&channel=[&rule=]                 forget one channel (Authorization: Bearer <admin.token>)
GET    /decisions?app=&channel=<prefix>&limit=            the last decisions, newest first
GET    /report                                            what each rule saved or would have, and misplaced events
GET    /decisions/stream?app=&channel=<prefix>&backlog=   decisions as they are made (server-sent events; curl -N)
GET    /overview                                          rules with their modes, and counters
POST   /rules/mode                                        switch a rule (token; JSON: {\"app\", \"rule\", \"mode\": \"enforce\" | \"observe\" | \"off\"})
";
