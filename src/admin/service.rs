//! From a request to its answer: who asks, what for, and is it allowed.

use std::sync::Arc;

use http::{Method, Request};
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::{Admin, assignments, decisions, guard, report};
use crate::metrics::{Keys, Sample};
use crate::shutdown::Tasks;

/// Listings made at once. Each walks a whole memory, so the next one waits.
const MAX_LISTINGS: usize = 2;

/// Answers requests.
#[derive(Debug)]
pub(super) struct Service {
    admin: Arc<Admin>,
    tasks: Tasks,
    listings: Arc<Semaphore>,
    /// Whether others than this machine can reach the listener.
    exposed: bool,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Index,
    Metrics,
    Livez,
    Readyz,
    Assignments,
    Decisions,
    Report,
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Index),
            "/metrics" => Some(Self::Metrics),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/assignments" => Some(Self::Assignments),
            "/decisions" => Some(Self::Decisions),
            "/report" => Some(Self::Report),
            _ => None,
        }
    }

    /// The methods it answers, as they stand in `Allow`.
    const fn methods(self) -> &'static str {
        match self {
            Self::Index | Self::Metrics | Self::Livez | Self::Readyz | Self::Decisions | Self::Report => "GET, HEAD",
            Self::Assignments => "GET, HEAD, DELETE",
        }
    }

    /// Whether machines ask for it that hold no token: it tells nothing of any conversation.
    const fn is_open(self) -> bool {
        match self {
            Self::Metrics | Self::Livez | Self::Readyz => true,
            Self::Index | Self::Assignments | Self::Decisions | Self::Report => false,
        }
    }
}

impl Service {
    /// Answers for `admin`; `exposed` tells whether others than this machine can ask.
    pub(super) fn new(admin: Arc<Admin>, tasks: Tasks, exposed: bool) -> Self {
        Self { admin, tasks, listings: Arc::new(Semaphore::new(MAX_LISTINGS)), exposed }
    }

    /// Answers `request`. Its body, if any, is not read: nothing here takes one.
    pub(super) async fn answer<B: Sync>(&self, request: &Request<B>) -> Reply {
        match self.decide(request).await {
            Ok(reply) => reply,
            Err(refusal) => reply::refused(&refusal),
        }
    }

    async fn decide<B: Sync>(&self, request: &Request<B>) -> Result<Reply, Refusal> {
        let token = guard::token(request.headers(), self.admin.token.as_deref());
        let endpoint = Endpoint::of(request.uri().path());
        // A page that was rebound to this address cannot know the token. On loopback nobody needs a name other than localhost. Where others can reach it,
        // Prometheus knows it by a name and should hold no token that could change something, and what is open tells of no conversation.
        if !(self.exposed && (token.is_ok() || endpoint.is_some_and(Endpoint::is_open))) {
            guard::host(request)?;
        }
        let changes = endpoint == Some(Endpoint::Assignments) && request.method() == Method::DELETE;
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
        }
    }

    /// Makes a listing on a thread of its own: a walk over a million channels must not hold up triggers. If the caller hangs up, it still keeps its place
    /// until it ends, so that hanging up and asking again piles nothing up.
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

    /// What the other rooms tell at a scrape.
    fn sample(&self) -> Sample {
        let assignments = &self.admin.assignments;
        let evictions = assignments.evictions();
        Sample {
            keys: assignments.watches().into_iter().map(|watch| Keys { count: watch.memory.len(), app: watch.app, rule: watch.rule }).collect(),
            max_keys: assignments.bounds().max_channels,
            evictions: vec![("capacity", evictions.capacity), ("idle", evictions.idle)],
            waiters: assignments.waiting(),
            tasks: self.admin.tasks.running(),
        }
    }
}

/// What `/` says.
const INDEX: &str = "\
usher admin

GET    /metrics                                           every series, for Prometheus
GET    /livez                                             200 while the process runs
GET    /readyz                                            200, or 503 once draining has begun
GET    /assignments?app=&rule=&channel=<prefix>&limit=    what is remembered (limit: 100 unless told, 10000 at most)
DELETE /assignments?app=&channel=[&rule=]                 forget one channel (Authorization: Bearer <admin.token>)
GET    /decisions?app=&channel=<prefix>&limit=            the last decisions, newest first
GET    /report                                            what each rule saved or would have, and misplaced events
";
