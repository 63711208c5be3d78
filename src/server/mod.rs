//! Listeners, wiring, signals, drain: the only room that knows all others.

mod accept;
mod capacity;
mod closing;
mod handshake;
mod resumed;
mod rulebook;
mod signals;
mod socket;
mod timer;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use self::rulebook::Rulebook;
use self::worker::{Worker, WorkerSetup};
use crate::admin::{self, Admin};
use crate::assignment::Assignments;
use crate::audience::{Audience, Relayed};
use crate::broker::Broker;
use crate::clock::{Calendar, Clock};
use crate::config::{Config, Sources};
use crate::decisions::Decisions;
use crate::descriptors::{Fit, Shortage};
use crate::gateway::{Observers, Places, Relays, Routing, Shared, SuccessFormat};
use crate::log::Logging;
use crate::metrics::Metrics;
use crate::rate::Limiters;
use crate::report::Report;
use crate::shutdown::{Drain, Tasks};
use crate::tls::Certificate;
use crate::upstream;

pub use capacity::Capacity;
pub use worker::WorkerError;

/// How often the memory is swept and dropped log lines are told of.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Connections that may wait to be accepted: after a network's hiccup all guests come back at once, and the system
/// drops who finds the line full. Its own bound (`net.core.somaxconn`) may be lower.
const BACKLOG: u32 = 4096;

/// How long connections upstream may take to close once nobody uses them.
const POOL_PERIOD: Duration = Duration::from_secs(1);

/// Why usher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Bind {
        /// The configuration's key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too few files may be open.
    #[error(transparent)]
    Descriptors(#[from] Shortage),
    /// A worker did not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// A gateway that is set up and not yet serving.
#[derive(Debug)]
struct Server {
    config: Config,
    /// What of it the file descriptors carry.
    fit: Fit,
    sources: Sources,
    /// `None`: the process logs nothing.
    logging: Option<Logging>,
    shared: Arc<Shared>,
    assignments: Arc<Assignments>,
    /// What may change while serving: by a reload, or by the operator.
    rulebook: Arc<Rulebook>,
    /// If it is upstream.
    broker: Option<Arc<Broker>>,
    certificate: Option<Arc<Certificate>>,
    /// The admin listener's tasks: they outlive the others, so that readiness can be asked for to the end.
    operator: Tasks,
    /// Begins when the admin listener may end, too.
    closed: Drain,
    pools: Tasks,
}

/// A server that has started and listens. What it does beside serving is up to whoever holds it.
#[derive(Debug)]
pub struct Running {
    server: Server,
    workers: Vec<Worker>,
    accepting: JoinHandle<()>,
    listening: Listening,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The gateway's address, its port found where 0 was configured.
    pub gateway: SocketAddr,
    /// The operator's address, likewise.
    pub admin: SocketAddr,
}

/// Serves until a signal says otherwise, then drains. `started` is called once, as soon as it listens; it must not
/// block.
///
/// # Errors
/// If it cannot start. Once it serves, it ends well.
pub async fn serve(
    config: Config,
    sources: Sources,
    logging: Logging,
    started: impl FnOnce(Listening),
) -> Result<(), StartError> {
    let mut signals = signals::Signals::new().map_err(StartError::Signals)?;
    let running = start(config, sources, Some(logging))?;
    started(running.listening());
    tokio::select! {
        () = signals.until_drain(|| running.server.reload()) => {}
        () = running.server.run_maintenance() => {}
    }
    tokio::select! {
        () = running.drain() => {}
        () = signals.end_at_once() => {}
    }
    Ok(())
}

/// Starts a server that ends by [`Running::drain`] alone. Its memory is not swept, which is for servers that run for
/// long: [`serve`] does it.
///
/// # Errors
/// If it cannot start.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(config: Config, sources: Sources, logging: Option<Logging>) -> Result<Running, StartError> {
    let fit = Capacity::raise(&config).fit()?;
    let (gateway, gateway_address) = bind("server.listen", config.server.listen)?;
    let (admin, admin_address) = bind("admin.listen", config.admin.listen)?;
    let listening = Listening { gateway: gateway_address, admin: admin_address };
    let server = Server::new((config, fit), sources, logging);
    let workers = server.start_workers()?;
    server.tell_where(listening);
    let _admin =
        server.operator.spawn(admin::serve(admin, server.admin(), server.operator.clone(), server.closed.clone()));
    let grace = server.config.upstream.timeout;
    let most = (fit.connections, server.config.limits.max_connections_per_peer);
    let places = Places::new(most, grace, server.shared.clock, Arc::clone(&server.shared.metrics));
    let doors = workers.iter().map(|worker| worker.sockets.clone()).collect();
    if let Some(broker) = server.broker.clone() {
        let _watching = server.shared.tasks.spawn(async move { broker.run().await });
    }
    let accepting = server.shared.tasks.spawn(accept::run(gateway, places, doors, server.shared.drain.clone()));
    Ok(Running { server, workers, accepting, listening })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn listening(&self) -> Listening {
        self.listening
    }

    /// Takes no more connections, finishes what is under way, and ends.
    pub async fn drain(self) {
        let Self { server, workers, accepting, listening: _ } = self;
        server.shared.drain.begin();
        server.shared.metrics.set_draining(true);
        tracing::info!(
            period_seconds = server.config.server.drain_period.as_secs(),
            "draining: nothing is suppressed any more, no connections are taken"
        );
        let _stopped = accepting.await;
        server.drain(workers).await;
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A new usher may take the address while connections of the old one are still ending.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|source| StartError::Bind { key, address, source })
}

impl Server {
    fn new((config, fit): (Config, Fit), sources: Sources, logging: Option<Logging>) -> Self {
        let clock = Clock::start();
        let metrics = Metrics::new();
        metrics.set_max_connections(fit.connections);
        let assignments = Assignments::new(clock, config.assignments.clone());
        let certificate = config.server.tls.clone().map(Certificate::new);
        if let Some(expires) = certificate.as_ref().and_then(|certificate| certificate.expires_at()) {
            metrics.tls_expires_at(expires);
        }
        let upstream = config.upstream.tls.clone();
        metrics.watch_upstream_certificates(move || upstream.expires_at());
        metrics.reload(true, clock.running());
        let drain = Drain::default();
        let broker =
            config.upstream.is_local().then(|| Broker::new(&config.broker, clock, Arc::clone(&metrics), drain.clone()));
        broker.iter().for_each(|broker| broker.configure(&config.apps));
        let audience =
            broker.clone().map_or_else(|| Audience::Relayed(Relayed::new(Arc::clone(&metrics))), Audience::Broker);
        let report = Arc::new(Report::default());
        let observers = Observers { events: &config.events, report: &report, audience: &audience };
        let limiters = Limiters::new(&config.limits.rates, clock, &metrics);
        let routing = routing(&config, limiters, &assignments, &metrics, observers);
        let shared = Arc::new(Shared {
            routing: ArcSwap::from_pointee(routing),
            clock,
            metrics,
            decisions: Arc::new(Decisions::new(config.admin.decisions)),
            report,
            drain,
            tasks: Tasks::default(),
            relays: Relays::new(config.server.drain_period),
            success_format: SuccessFormat::default(),
        });
        Self {
            rulebook: Rulebook::new(config.clone(), Arc::clone(&shared), Arc::clone(&assignments), audience),
            config,
            fit,
            sources,
            logging,
            shared,
            assignments,
            broker,
            certificate,
            operator: Tasks::default(),
            closed: Drain::default(),
            pools: Tasks::default(),
        }
    }

    fn start_workers(&self) -> Result<Vec<Worker>, WorkerError> {
        let parts = WorkerSetup {
            shared: Arc::clone(&self.shared),
            upstream: upstream::Options { max_idle: self.fit.max_idle, ..self.config.upstream.clone() },
            broker: self.broker.clone(),
            certificate: self.certificate.clone(),
            limits: self.config.limits.clone(),
            fast_path: self.config.server.fast_path,
            pools: self.pools.clone(),
        };
        (0..capacity::workers(&self.config)).map(|index| Worker::start(index, parts.clone())).collect()
    }

    fn admin(&self) -> Arc<Admin> {
        Arc::new(Admin {
            metrics: Arc::clone(&self.shared.metrics),
            decisions: Arc::clone(&self.shared.decisions),
            report: Arc::clone(&self.shared.report),
            assignments: Arc::clone(&self.assignments),
            switchboard: Arc::clone(&self.rulebook) as _,
            drain: self.shared.drain.clone(),
            tasks: self.shared.tasks.clone(),
            calendar: Calendar::new(self.shared.clock),
            token: self.config.admin.token.as_ref().map(|token| token.0.clone()),
        })
    }

    fn tell_where(&self, listening: Listening) {
        let Listening { gateway, admin } = listening;
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(recommendation) = self.config.recommendation() {
            tracing::info!("{recommendation}");
        }
        let start_doubt = self.config.assignments.start_doubt;
        if !start_doubt.is_zero() {
            tracing::info!(
                seconds = start_doubt.as_secs_f64(),
                "nothing is suppressed at first: what was sent before this start may still be applied (assignments.start_doubt)"
            );
        }
        tracing::info!(
            %gateway,
            %admin,
            upstream = %self.config.upstream.url,
            apps = self.config.apps.len(),
            rules = self.config.rules.len(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }

    /// Sweeps the memory and the limits now and then, for ever.
    async fn run_maintenance(&self) {
        let mut every = tokio::time::interval(HOUSEKEEPING);
        loop {
            every.tick().await;
            let (assignments, now) = (Arc::clone(&self.assignments), self.shared.clock.now());
            // It looks at every channel, which may take some tenths of a second.
            if let Err(error) = tokio::task::spawn_blocking(move || assignments.sweep(now)).await {
                tracing::error!(%error, "the sweep of the assignments failed");
            }
            self.shared.routing.load().limiters.sweep();
            let dropped = self.logging.as_ref().map_or(0, Logging::take_dropped);
            if dropped > 0 {
                tracing::warn!(dropped, "repeated log lines were left out");
            }
        }
    }

    /// Reads the configuration again and applies what may change while serving. If it cannot be used, everything stays
    /// as it is.
    fn reload(&self) {
        let config = match Config::reload(&self.sources) {
            Ok(config) => config,
            Err(problems) => {
                self.shared.metrics.reload(false, self.shared.clock.running());
                tracing::error!(problems = %problems, "the new configuration cannot be used; the old one stays");
                return;
            }
        };
        for key in self.config.reloadable_difference(&config) {
            tracing::warn!(key, "this change needs a restart and was not applied");
        }
        self.config.upstream.tls.replace(&config.upstream.tls);
        if let (Some(certificate), Some(identity)) = (&self.certificate, config.server.tls.clone()) {
            certificate.replace(identity);
            certificate.expires_at().inspect(|expires| self.shared.metrics.tls_expires_at(*expires));
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        self.broker.iter().for_each(|broker| broker.configure(&config.apps));
        let (apps, rules) = (config.apps.len(), config.rules.len());
        let switches_ended = self.rulebook.replace(config);
        self.shared.metrics.reload(true, self.shared.clock.running());
        tracing::info!(apps, rules, switches_ended, "the configuration was reloaded");
    }

    /// Waits for what is under way, then ends the workers with whatever still runs.
    async fn drain(self, workers: Vec<Worker>) {
        let left = self.shared.tasks.finish(self.config.server.drain_period).await;
        if left > 0 {
            tracing::warn!(left, "the drain period is over; what still runs is ended");
        }
        for worker in workers {
            worker.end();
        }
        let open = self.pools.finish(POOL_PERIOD).await;
        self.closed.begin();
        let asking = self.operator.finish(POOL_PERIOD).await;
        tracing::info!(left, upstream_connections = open, admin_connections = asking, "drained");
    }
}

fn routing(
    config: &Config,
    limiters: Arc<Limiters>,
    assignments: &Assignments,
    metrics: &Metrics,
    observers: Observers<'_>,
) -> Routing {
    let limits = (config.limits.clone(), limiters);
    let mut routing =
        Routing::new(&config.apps, &config.rules, limits, config.server.unknown_apps, assignments, metrics, observers);
    routing.trusted_proxies.clone_from(&config.server.trusted_proxies);
    routing
}
