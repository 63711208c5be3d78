//! Routes requests: determines the endpoint, checks access, and makes the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::record::{LongAnswer, RecordQuery};
use super::refusal::Refusal;
use super::reply::{self, Reply};
use super::stream::{self, MAX_STREAMS};
use super::{
    Admin, assignments, cluster, discovery, effective, events, guard, modes, overview, page, report, sample, triggers,
};
use crate::shutdown::{Drain, Phase, Tasks};

/// The largest number of concurrent listings. Each may iterate over all assignments; further ones wait.
const MAX_LISTINGS: usize = 2;

/// The largest body of a request in bytes.
const MAX_BODY: usize = 4096;

/// What the path of one trigger begins with.
const TRIGGER: &str = "/triggers/";

/// What the path of one member of a shared memory begins with.
const MEMBER: &str = "/cluster/members/";

/// The time to receive a body.
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
    /// Whether other hosts can reach the listener.
    exposed: bool,
}

/// The endpoints of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Index,
    Page,
    Metrics,
    Livez,
    Readyz,
    Assignments,
    Triggers,
    Trigger,
    Stream,
    Record,
    Events,
    Discovery,
    Report,
    Overview,
    Cluster,
    ClusterClose,
    ClusterMember,
    Config,
    RuleMode,
    Token,
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
            "/triggers" => Some(Self::Triggers),
            "/triggers/stream" => Some(Self::Stream),
            "/record" => Some(Self::Record),
            "/events" => Some(Self::Events),
            "/discovery" => Some(Self::Discovery),
            "/report" => Some(Self::Report),
            "/overview" => Some(Self::Overview),
            "/cluster" => Some(Self::Cluster),
            "/cluster/close" => Some(Self::ClusterClose),
            "/config" => Some(Self::Config),
            "/rules/mode" => Some(Self::RuleMode),
            "/token" => Some(Self::Token),
            path if path.starts_with(TRIGGER) => Some(Self::Trigger),
            path if path.starts_with(MEMBER) => Some(Self::ClusterMember),
            _ => None,
        }
    }

    /// The supported methods, in the notation of `Allow`.
    const fn methods(self) -> &'static str {
        match self {
            Self::Index
            | Self::Page
            | Self::Metrics
            | Self::Livez
            | Self::Readyz
            | Self::Triggers
            | Self::Trigger
            | Self::Stream
            | Self::Events
            | Self::Discovery
            | Self::Overview
            | Self::Cluster
            | Self::Config
            | Self::Report
            | Self::Token => "GET, HEAD",
            Self::Assignments => "GET, HEAD, DELETE",
            // The head alone would be a recording of nothing.
            Self::Record => "GET",
            Self::RuleMode | Self::ClusterClose => "POST",
            Self::ClusterMember => "DELETE",
        }
    }

    /// Whether it requires no token on any address. Its answer contains no data of conversations: programs without a
    /// token request it, and the page itself asks the operator for the token.
    const fn is_open(self) -> bool {
        match self {
            Self::Page | Self::Metrics | Self::Livez | Self::Readyz => true,
            Self::Index
            | Self::Assignments
            | Self::Triggers
            | Self::Trigger
            | Self::Stream
            | Self::Record
            | Self::Events
            | Self::Discovery
            | Self::Overview
            | Self::Cluster
            | Self::ClusterClose
            | Self::ClusterMember
            | Self::Config
            | Self::Report
            | Self::RuleMode
            | Self::Token => false,
        }
    }

    /// Whether programs request it that address the listener by name.
    const fn is_for_machines(self) -> bool {
        self.is_open() && !matches!(self, Self::Page)
    }

    /// Whether it shows, on every address, more than may be read without the token that allows everything.
    const fn is_confidential(self) -> bool {
        matches!(self, Self::Record)
    }

    /// Whether a request with `method` changes something.
    fn changes(self, method: &Method) -> bool {
        match self {
            Self::RuleMode | Self::ClusterClose => method == Method::POST,
            Self::Assignments | Self::ClusterMember => method == Method::DELETE,
            _ => false,
        }
    }
}

impl Service {
    /// A service for `admin`. `stop` ends its streams; `exposed` says whether other hosts can reach the listener.
    pub(super) fn new(admin: Arc<Admin>, tasks: Tasks, stop: Drain, exposed: bool) -> Self {
        let (listings, streams) = (Arc::new(Semaphore::new(MAX_LISTINGS)), Arc::new(Semaphore::new(MAX_STREAMS)));
        Self { admin, tasks, listings, streams, stop, exposed }
    }

    /// Answers `request`. Only the endpoint that has a request body reads it.
    /// `long`: of the request's connection.
    pub(super) async fn answer(&self, request: Request<Incoming>, long: &Arc<LongAnswer>) -> Reply {
        let (head, body) = request.into_parts();
        match self.route(&Request::from_parts(head, ()), body, long).await {
            Ok(reply) => reply,
            Err(refusal) => reply::refused(&refusal),
        }
    }

    /// The endpoint of `request`, which may use it in this way.
    fn admitted(&self, request: &Request<()>) -> Result<Endpoint, Refusal> {
        let access = self.admin.access.load_full();
        let permission = guard::permission(request.headers(), &access);
        let endpoint = Endpoint::of(request.uri().path(), request.headers());
        // A page whose name was rebound to this address does not know the token. On loopback, `localhost` is the only
        // name that is needed. If other hosts can reach the listener, Prometheus addresses it by name and should not
        // have a token that allows changes; the open endpoints contain no data of conversations.
        if !(self.exposed && (permission.is_ok() || endpoint.is_some_and(Endpoint::is_for_machines))) {
            guard::host(request, &access.allowed_hosts)?;
        }
        let changes = endpoint.is_some_and(|endpoint| endpoint.changes(request.method()));
        if changes || endpoint.is_some_and(Endpoint::is_confidential) {
            guard::may_change(permission, &access)?;
        } else if endpoint == Some(Endpoint::Token) || (self.exposed && !endpoint.is_some_and(Endpoint::is_open)) {
            permission?;
        }
        let endpoint = endpoint.ok_or(Refusal::NotFound)?;
        if !endpoint.methods().split(", ").any(|method| method == request.method().as_str()) {
            return Err(Refusal::MethodNotAllowed { allow: endpoint.methods() });
        }
        Ok(endpoint)
    }

    async fn route(&self, request: &Request<()>, body: Incoming, long: &Arc<LongAnswer>) -> Result<Reply, Refusal> {
        let endpoint = self.admitted(request)?;
        let query = request.uri().query().unwrap_or_default();
        match endpoint {
            Endpoint::Index => Ok(reply::text(INDEX)),
            Endpoint::Page => Ok(reply::page(page::html(), page::policy())),
            Endpoint::Metrics => Ok(reply::metrics(self.admin.metrics.encode(&sample::sample(&self.admin)))),
            Endpoint::Livez => Ok(reply::text("ok\n")),
            Endpoint::Readyz if self.admin.drain.has_reached(Phase::Leaving) => Err(Refusal::Draining),
            Endpoint::Readyz => cluster::readiness(&self.admin).map(|()| reply::text("ready\n")),
            Endpoint::Assignments if endpoint.changes(request.method()) => {
                assignments::forget(&self.admin, query).await
            }
            Endpoint::Assignments => {
                let query = assignments::AssignmentQuery::parse(query)?;
                if self.admin.assignments.is_shared() {
                    let _permit = self.listings.acquire().await.map_err(|_closed| Refusal::Failed)?;
                    query.list_shared(&self.admin).await
                } else {
                    self.listing(move |admin| query.list(admin)).await
                }
            }
            Endpoint::Report => self.listing(|admin| Ok(report::show(admin))).await,
            Endpoint::Triggers => {
                let query = triggers::TriggerQuery::parse(query)?;
                self.listing(move |admin| Ok(query.list(admin))).await
            }
            Endpoint::Trigger => {
                let id = request.uri().path().strip_prefix(TRIGGER).unwrap_or_default().to_owned();
                self.listing(move |admin| triggers::show(admin, &id)).await
            }
            Endpoint::Events => {
                let query = events::EventQuery::parse(query)?;
                self.listing(move |admin| Ok(query.list(admin))).await
            }
            Endpoint::Discovery => {
                let query = discovery::DiscoveryQuery::parse(query)?;
                self.listing(move |admin| Ok(query.list(admin))).await
            }
            Endpoint::Stream => {
                let query = stream::StreamQuery::parse(&self.admin, query, request.headers())?;
                let permit = Arc::clone(&self.streams).try_acquire_owned().map_err(|_full| Refusal::TooManyStreams)?;
                Ok(reply::events(query.follow(Arc::clone(&self.admin), permit, self.stop.clone())))
            }
            Endpoint::Record => {
                let lines =
                    RecordQuery::parse(query)?.follow(Arc::clone(&self.admin), Arc::clone(long), self.stop.clone())?;
                Ok(reply::json_lines(lines))
            }
            Endpoint::Overview => Ok(overview::overview(&self.admin)),
            Endpoint::Cluster => cluster::show(&self.admin).await,
            Endpoint::ClusterClose => cluster::close(&self.admin, query).await,
            Endpoint::ClusterMember => {
                let name = request.uri().path().strip_prefix(MEMBER).unwrap_or_default();
                cluster::give_up(&self.admin, name, query).await
            }
            Endpoint::Config => Ok(effective::show(&self.admin)),
            // The token was checked above.
            Endpoint::Token => Ok(reply::text("ok\n")),
            Endpoint::RuleMode => modes::switch(&self.admin, &json_body(request.headers(), body).await?).await,
        }
    }

    /// Makes a listing on a blocking thread: an iteration over a million channels must not delay triggers. The listing
    /// holds its permit until it ends, even if the caller disconnects, so that repeated requests cannot accumulate
    /// listings.
    async fn listing<F>(&self, list: F) -> Result<Reply, Refusal>
    where
        F: FnOnce(&Admin) -> Result<Reply, Refusal> + Send + 'static,
    {
        let permit = Arc::clone(&self.listings).acquire_owned().await.map_err(|_closed| Refusal::Failed)?;
        let admin = Arc::clone(&self.admin);
        let listing = self.tasks.spawn_blocking(move || {
            let _permit = permit;
            list(&admin)
        });
        listing.await.map_err(|error| {
            tracing::error!(%error, "a listing failed");
            Refusal::Failed
        })?
    }
}

/// Whether the client is a browser: only browsers accept HTML.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

/// Receives a body that is declared as JSON.
///
/// # Errors
/// The body is not declared as JSON, is too large or too slow, or breaks off.
async fn json_body(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
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

/// The answer to `/` for clients other than browsers.
const INDEX: &str = "\
usher admin; browsers are shown the operator's page here

GET    /metrics                                           every series, for Prometheus
GET    /livez                                             200 while the process runs
GET    /readyz                                            200, or 503 once the end is announced
GET    /assignments?app=&rule=&channel=<prefix>&limit=    what is remembered (limit: 100 unless told, 10000 at most)
DELETE /assignments?app=&channel=[&rule=]                 forget one channel (Authorization: Bearer <admin.token>)
GET    /triggers?app=&channel=<prefix>&event=&decision=&reason=&status=4xx&caller=&refused=&failed=&before=<id>&limit=
                                                          the last triggers, newest first
GET    /triggers/<id>                                     one trigger, and why other rules did not match
GET    /triggers/stream?...&backlog=                      triggers as they are answered (server-sent events; curl -N)
GET    /record?redact=true                                 triggers whole, as JSON lines, as they are settled (token; admin.recording)
GET    /events?app=&limit=                                what came, by event and channel
GET    /discovery?app=&limit=                             what comes, by event and family of channels, and what it suggests
GET    /report                                            what each rule saved or would have, and misplaced events
GET    /overview                                          rules with their modes, and counters
GET    /cluster                                           the members of each app's shared memory, and what this usher may do there
POST   /cluster/close?app=                                nobody else lives: a new history is not open any more (token)
DELETE /cluster/members/<node>?app=                       the process of a missing member has ended: it is given up (token)
GET    /config                                            every key with its effective value and its source; secrets are masked
GET    /token                                             200 if the token is the configured one (to check it before it is kept)
POST   /rules/mode                                        switch a rule (token; JSON: {\"app\", \"rule\", \"mode\": \"enforce\" | \"observe\" | \"off\"})
";
