//! Listeners, wiring, signals, drain: the only module that uses all others.

mod accept;
mod active_config;
mod capacity;
mod end;
mod handshake;
mod incoming;
mod lazy_timer;
mod lingering_close;
mod listeners;
mod membership;
mod memory;
mod prefixed_stream;
mod signals;
mod socket;
mod worker;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::active_config::ActiveConfig;
use self::listeners::Listeners;
use self::memory::{Inheritance, Succession};
use self::signals::{Ending, Signals};
use self::worker::{Worker, WorkerSetup};
use crate::admin::{self, Access, Admin};
use crate::assignment::Assignments;
use crate::audience::{Audience, Newcomers, Relayed};
use crate::broker::Broker;
use crate::clock::Calendar;
use crate::config::{Config, Sources, Token};
use crate::descriptors::{Fit, Shortage};
use crate::gateway::{
    Bypasses, ConnectionLimiter, ConnectionLimits, Greetings, Observers, Routing, RoutingOptions, Shared,
};
use crate::log::{self, Logging};
use crate::metrics::Metrics;
use crate::rate::Limiters;
use crate::replay::Replays;
use crate::report::Report;
use crate::service_manager::{self, PassedSockets};
use crate::shutdown::{Drain, Phase, Tasks};
use crate::tls::Certificate;
use crate::triggers::Triggers;
use crate::upstream;
use crate::webhooks::Webhooks;

pub use capacity::Capacity;
pub use signals::HangUps;
pub use worker::WorkerError;

/// How often the memory is swept and dropped log lines are reported.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

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
        /// The system's error.
        source: std::io::Error,
    },
    /// The limit on open files is too low.
    #[error(transparent)]
    Descriptors(#[from] Shortage),
    /// A worker did not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// All parts of a server.
#[derive(Debug)]
struct Server {
    config: Config,
    /// What of it fits into the limit on file descriptors.
    fit: Fit,
    limiter: Arc<ConnectionLimiter>,
    sources: Sources,
    /// `None`: the process logs nothing.
    logging: Option<Logging>,
    shared: Arc<Shared>,
    assignments: Arc<Assignments>,
    /// What became of the memory of the process before, and what writes this one's.
    succession: Succession,
    /// What a reload or the operator may change while usher serves.
    active_config: Arc<ActiveConfig>,
    /// The embedded broker, if it is upstream.
    broker: Option<Arc<Broker>>,
    /// What is told of the broker's channels.
    webhooks: Option<Webhooks>,
    certificate: Option<Arc<Certificate>>,
    /// Who is let in by the operator's listener.
    access: Arc<ArcSwap<Access>>,
    /// The admin listener's tasks: they outlive the others, so that readiness can be queried to the end.
    admin_tasks: Tasks,
    /// Begins when the admin listener has to end, too.
    stop_admin: Drain,
    pools: Tasks,
}

/// A server that has started and listens. Its owner handles signals and maintenance.
#[derive(Debug)]
pub struct Running {
    server: Server,
    workers: Vec<Worker>,
    /// When the end was announced, if it was.
    announced: Option<Instant>,
    accepting: JoinHandle<()>,
    listening: Listening,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The gateway's address, with the actual port if 0 was configured.
    pub gateway: SocketAddr,
    /// The operator's address, likewise.
    pub admin: SocketAddr,
}

/// Serves until a signal ends it, then drains; on `sockets`, or where there are none as configured. Each of `hang_ups`
/// reloads the configuration. `started` is called once, as soon as the server listens; it must not block. The service
/// manager is notified of start, reloads and drain.
///
/// # Errors
/// If it cannot start. Once it serves, it returns `Ok`.
pub async fn serve(
    config: Config,
    sources: Sources,
    logging: Logging,
    sockets: PassedSockets,
    hang_ups: HangUps,
    started: impl FnOnce(Listening),
) -> Result<(), StartError> {
    let mut signals = Signals::new(hang_ups).map_err(StartError::Signals)?;
    let mut running = start(config, sources, Some(logging), sockets)?;
    let Listening { gateway, admin } = running.listening();
    service_manager::ready(&format!("serves {gateway}, and the operator on {admin}"));
    started(running.listening());
    let ending = tokio::select! {
        ending = signals.until_end(|| running.server.reload()) => ending,
        never = running.server.run_maintenance() => match never {},
    };
    service_manager::stopping("drains");
    let delay = running.server.config.server.drain_delay;
    if ending == Ending::Terminated && !delay.is_zero() {
        running.announce(delay);
        tokio::select! {
            () = sleep(delay) => {}
            never = signals.while_leaving(|| running.server.reload()) => match never {},
            never = running.server.run_maintenance() => match never {},
        }
    }
    tokio::select! {
        () = running.drain() => {}
        never = signals.while_draining() => match never {},
    }
    Ok(())
}

/// Starts a server that only [`Running::drain`] ends; on `sockets`, or where there are none as configured. Its memory is
/// not swept, as a server that runs for long needs it: [`serve`] does that.
///
/// # Errors
/// If it cannot start.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(
    config: Config,
    sources: Sources,
    logging: Option<Logging>,
    sockets: PassedSockets,
) -> Result<Running, StartError> {
    let fit = Capacity::raise(&config).fit()?;
    let listeners = Listeners::open(&config, sockets)?;
    let listening = listeners.listening();
    // Behind what may keep usher from starting: what is taken cannot be taken again.
    let server = Server::new(config, fit, sources, logging);
    let workers = server.start_workers()?;
    server.log_start(&listeners);
    let (gateway, admin) = listeners.into_sockets();
    let _admin = server.admin_tasks.spawn(admin::serve(
        admin,
        server.admin(),
        server.admin_tasks.clone(),
        server.stop_admin.clone(),
    ));
    let (active_config, stopping) = (Arc::clone(&server.active_config), server.stop_admin.clone());
    let _following = server.admin_tasks.spawn(async move {
        tokio::select! {
            () = active_config.follow() => {}
            () = stopping.reached(Phase::Draining) => {}
        }
    });
    let limiter = Arc::clone(&server.limiter);
    let senders = workers.iter().map(|worker| worker.sockets.clone()).collect();
    if let Some(broker) = server.broker.clone() {
        let _watching = server.shared.tasks.spawn(async move { broker.run().await });
    }
    server.succession.tend(
        &server.assignments,
        &server.shared.metrics,
        &server.shared.tasks,
        server.shared.drain.clone(),
    );
    let accepting = server.shared.tasks.spawn(accept::run(gateway, limiter, senders, server.shared.drain.clone()));
    Ok(Running { server, workers, announced: None, accepting, listening })
}

impl Running {
    /// The addresses that it listens on.
    #[must_use]
    pub const fn listening(&self) -> Listening {
        self.listening
    }
}

impl Server {
    fn new(config: Config, fit: Fit, sources: Sources, logging: Option<Logging>) -> Self {
        let inheritance = Inheritance::take(&config);
        let clock = inheritance.clock;
        let metrics = Metrics::new();
        metrics.set_max_connections(fit.connections);
        let tasks = Tasks::default();
        let cluster = config.cluster.as_ref().map(|cluster| membership::new(cluster, &config, &tasks));
        let assignments = Assignments::with(clock, config.assignments.clone(), cluster);
        let certificate = config.server.tls.clone().map(Certificate::new);
        if let Some(expires) = certificate.as_ref().and_then(|certificate| certificate.expires_at()) {
            metrics.tls_expires_at(expires);
        }
        let upstream = config.upstream.tls.clone();
        metrics.watch_upstream_certificates(move || upstream.expires_at());
        metrics.reload(true, clock.running());
        let drain = Drain::new(end::policy(&config));
        let broker =
            config.upstream.is_local().then(|| Broker::new(&config.broker, clock, Arc::clone(&metrics), drain.clone()));
        let webhooks = broker.is_some().then(|| Webhooks::new(config.webhooks.clone(), clock, Arc::clone(&metrics)));
        configure_broker(broker.as_deref(), webhooks.as_ref(), &config);
        let audience =
            broker.clone().map_or_else(|| Audience::Relayed(Relayed::new(Arc::clone(&metrics))), Audience::Broker);
        let report = Arc::new(Report::default());
        switch_discovery(&report, &config);
        let bypasses = Arc::new(Bypasses::default());
        let observers = Observers { events: &config.events, report: &report, audience: &audience, bypasses: &bypasses };
        let limiters = Limiters::new(&config.limits.rates, clock, &metrics);
        let replays = Replays::new(clock, assignments.doubt_period());
        let routing = routing(&config, (limiters, replays), &assignments, &metrics, observers);
        let succession = inheritance.settle(&config, &assignments, &metrics);
        let triggers = Arc::new(Triggers::new(config.admin.triggers_bytes, config.payloads()));
        let shared =
            Arc::new(Shared { drain, tasks, bypasses, ..Shared::new(routing, clock, metrics, triggers, report) });
        if let Some(broker) = &broker {
            let newcomers: Arc<dyn Newcomers> = Arc::clone(&shared) as _;
            broker.tell(Arc::downgrade(&newcomers));
        }
        broker.iter().for_each(|broker| broker.set_greeter(Greetings::new(&shared)));
        incoming::configure(&shared, &config, &config.webhooks.tls);
        let limits = ConnectionLimits {
            total: fit.connections,
            per_peer: config.limits.max_connections_per_peer,
            trusted_grace: config.upstream.timeout,
        };
        Self {
            access: Arc::new(ArcSwap::from_pointee(access(&config))),
            limiter: ConnectionLimiter::new(limits, clock, Arc::clone(&shared.metrics)),
            active_config: ActiveConfig::new(config.clone(), Arc::clone(&shared), Arc::clone(&assignments), audience),
            config,
            fit,
            sources,
            logging,
            shared,
            assignments,
            succession,
            broker,
            webhooks,
            certificate,
            admin_tasks: Tasks::default(),
            stop_admin: Drain::default(),
            pools: Tasks::default(),
        }
    }

    fn start_workers(&self) -> Result<Vec<Worker>, WorkerError> {
        let setup = WorkerSetup {
            shared: Arc::clone(&self.shared),
            upstream: upstream::Options { max_idle: self.fit.max_idle, ..self.config.upstream.clone() },
            broker: self.broker.clone(),
            certificate: self.certificate.clone(),
            fast_path: self.config.server.fast_path,
            pools: self.pools.clone(),
        };
        (0..capacity::workers(&self.config)).map(|index| Worker::start(index, setup.clone())).collect()
    }

    fn admin(&self) -> Arc<Admin> {
        Arc::new(Admin {
            metrics: Arc::clone(&self.shared.metrics),
            triggers: Arc::clone(&self.shared.triggers),
            recorders: Arc::clone(&self.shared.recorders),
            report: Arc::clone(&self.shared.report),
            assignments: Arc::clone(&self.assignments),
            replays: Arc::clone(&self.shared.routing.load().replays),
            state: Arc::clone(&self.succession.sentence),
            mode_switch: Arc::clone(&self.active_config) as _,
            config: Arc::clone(&self.active_config) as _,
            drain: self.shared.drain.clone(),
            tasks: self.shared.tasks.clone(),
            calendar: Calendar::new(self.shared.clock),
            access: Arc::clone(&self.access),
        })
    }

    fn log_start(&self, listeners: &Listeners) {
        let Listening { gateway, admin } = listeners.listening();
        let (gateway_socket, admin_socket) = listeners.origins();
        for warning in &self.config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(recommendation) = self.config.recommendation() {
            tracing::info!("{recommendation}");
        }
        log_modes(&self.config);
        tracing::info!(
            %gateway,
            %admin,
            %gateway_socket,
            %admin_socket,
            upstream = %self.config.upstream.url,
            apps = self.config.apps.len(),
            rules = self.config.rules.len(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
    }

    /// Sweeps the memory and the rate limits at intervals, for ever.
    async fn run_maintenance(&self) -> Infallible {
        let mut every = tokio::time::interval(MAINTENANCE_INTERVAL);
        loop {
            every.tick().await;
            let (assignments, now) = (Arc::clone(&self.assignments), self.shared.clock.now());
            // It looks at every channel, which may take some tenths of a second.
            if let Err(error) = tokio::task::spawn_blocking(move || assignments.sweep(now)).await {
                tracing::error!(%error, "the sweep of the assignments failed");
            }
            self.shared.routing.load().limiters.sweep();
            self.shared.trigger_log.report_left_out();
            let dropped = self.logging.as_ref().map_or(0, Logging::take_dropped);
            if dropped > 0 {
                tracing::warn!(dropped, "repeated log lines were left out");
            }
        }
    }

    /// Reads the configuration again and applies what may change while usher serves. If it cannot be used, nothing
    /// changes.
    fn reload(&self) {
        let config = match Config::reload(&self.sources) {
            Ok(config) => config,
            Err(problems) => {
                self.shared.metrics.reload(false, self.shared.clock.running());
                log::faults(&problems);
                let faults = problems.iter().count();
                tracing::error!(faults, "the new configuration cannot be used; the old one stays");
                service_manager::status("the last reload was refused, the old configuration stays: see the log");
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
        log_modes(&config);
        self.config.webhooks.tls.replace(&config.webhooks.tls);
        incoming::configure(&self.shared, &config, &self.config.webhooks.tls);
        configure_broker(self.broker.as_deref(), self.webhooks.as_ref(), &config);
        self.reload_bounds(&config);
        let (apps, rules) = (config.apps.len(), config.rules.len());
        let switches_ended = self.active_config.replace(config);
        self.shared.metrics.reload(true, self.shared.clock.running());
        tracing::info!(apps, rules, switches_ended, "the configuration was reloaded");
        service_manager::status(&format!("reloaded: {apps} apps, {rules} rules"));
    }

    /// Applies what a reload changes beside apps, rules and certificates. Before the routing: it configures the memory.
    fn reload_bounds(&self, config: &Config) {
        self.assignments.set_max_channels(config.assignments.max_channels);
        switch_discovery(&self.shared.report, config);
        self.access.store(Arc::new(access(config)));
        let limits = &config.limits;
        let total = capacity::connections_after_reload(&self.config, self.fit, limits.max_connections);
        self.limiter.set_limits(total, limits.max_connections_per_peer);
        self.shared.metrics.set_max_connections(total);
        if let Some(Err(error)) = self.logging.as_ref().map(|logging| logging.set_level(&config.log.level)) {
            tracing::warn!(%error, "the log level was not changed");
        }
    }
}

/// The broker serves the apps of `config`, and what happens on their channels is told to their webhooks.
fn configure_broker(broker: Option<&Broker>, webhooks: Option<&Webhooks>, config: &Config) {
    let (Some(broker), Some(webhooks)) = (broker, webhooks) else { return };
    webhooks.configure(&config.apps, &config.webhook_targets);
    broker.configure_told(&config.apps, |app| webhooks.sink(app));
}

/// Switches the discovery on or off.
fn switch_discovery(report: &Report, config: &Config) {
    if config.discover {
        report.discovery().switch_on(capacity::workers(config));
    } else {
        report.discovery().switch_off();
    }
}

/// Logs each rule's mode and its source.
fn log_modes(config: &Config) {
    if config.observe {
        tracing::info!("usher observes: it suppresses nothing, and counts what it would suppress (observe)");
    }
    if !config.rules.is_empty() {
        let modes = config.described_modes().collect::<Vec<_>>().join(", ");
        tracing::info!(modes, "the modes of the rules");
    }
}

/// Who is let in by the operator's listener.
fn access(config: &Config) -> Access {
    let text = |token: &Option<Token>| token.as_ref().map(|token| token.0.clone());
    Access {
        token: text(&config.admin.token),
        read_token: text(&config.admin.read_token),
        allowed_hosts: config.admin.allowed_hosts.clone(),
        name: config.admin.name.clone(),
        recording: config.admin.recording,
    }
}

fn routing(
    config: &Config,
    (limiters, replays): (Arc<Limiters>, Arc<Replays>),
    assignments: &Assignments,
    metrics: &Metrics,
    observers: Observers<'_>,
) -> Routing {
    let options = RoutingOptions {
        limits: config.limits.clone(),
        limiters,
        unknown_apps: config.server.unknown_apps,
        trusted_proxies: config.server.trusted_proxies.clone(),
        replays,
        replay_bytes: config.replay_bytes,
    };
    Routing::new(&config.apps, &config.rules, options, assignments, metrics, observers)
}
