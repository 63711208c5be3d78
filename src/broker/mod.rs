//! The embedded broker: a complete Pusher server for one machine, with the HTTP API and the WebSocket protocol 7. It
//! depends on its apps and their secrets only, not on the gateway.
//!
//! From the inside out: a `session` turns a client's messages into effects, a `connection` applies them to its
//! `broker_app` (one app) with its `channels` and `watchlists`, and a `socket_loop` moves frames between a `mailbox`
//! and a socket. `api` is the HTTP API for backends. All threads share one broker.

mod api;
mod backpressure;
mod broker_app;
mod cache;
mod channel;
mod channel_stats;
mod channel_type;
mod channels;
mod connection;
mod frame;
mod greeting;
mod json;
mod mailbox;
mod message;
mod newcomers;
mod occurrence;
mod origin;
mod session;
mod socket_id;
mod socket_loop;
#[cfg(test)]
mod tests;
mod token_bucket;
mod wake_queue;
mod watchlists;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;

use self::backpressure::Backpressure;
use self::broker_app::{AppOptions, BrokerApp};
use self::channels::ChannelOptions;
use self::connection::Connection;
use self::greeting::GreeterSlot;
use self::mailbox::{QueueLimits, wake_after};
use self::newcomers::Told;
use self::session::{CloseNotice, SessionOptions};
use self::socket_loop::SocketLoop;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pusher::{App, ErrorCode};
use crate::rate::Pace;
use crate::shutdown::{Drain, Phase};

pub use channel_stats::ChannelStats;
pub use channels::Subscriptions;
pub use greeting::{Greeter, Newcomer};
pub use newcomers::Newcomers;
pub use occurrence::{Occurrence, OccurrenceSink};
pub use origin::AllowedOrigin;
pub use socket_loop::socket_config;
pub use wake_queue::WakeQueue;

/// The bound of the queue of one connection in bytes: a few of the largest frames.
const QUEUE_BYTES: usize = 1024 * 1024;

/// The interval in which deferred numbers of subscribers are sent.
const TICK: Duration = Duration::from_secs(1);
/// The number of ticks between two sweeps of the expired last events.
const TICKS_PER_SWEEP: u32 = 60;

/// The number of connections closed together before the process ends; more if there are more than 5120 connections.
const WAVE_SIZE: usize = 256;
/// The largest number of waves.
const MAX_WAVES: usize = 20;

/// The options of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether clients may send events to each other.
    pub client_events: bool,
    /// Whether the subscribers of a channel receive their number.
    pub subscription_counts: bool,
    /// The largest number of WebSocket connections of one app.
    pub max_connections: usize,
    /// The largest number of channels of one connection.
    pub max_channels: usize,
    /// The time in which a client must sign in or join a channel that requires a token; zero: no limit.
    pub sign_in_timeout: Duration,
    /// The time without activity after which the server pings a connection.
    pub activity_timeout: Duration,
    /// The largest number of queued messages of one connection. A connection beyond it is closed.
    pub queue: usize,
    /// How long the last event of a cache channel is kept.
    pub cache_ttl: Duration,
    /// The largest number of cache channels of one app whose last event is kept.
    pub max_cached: usize,
    /// The origins whose pages may connect; empty: all.
    pub allowed_origins: Vec<AllowedOrigin>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_events: true,
            subscription_counts: true,
            max_connections: 10_000,
            max_channels: 200,
            sign_in_timeout: Duration::ZERO,
            activity_timeout: Duration::from_secs(120),
            queue: 1024,
            cache_ttl: Duration::from_mins(30),
            max_cached: 10_000,
            allowed_origins: Vec::new(),
        }
    }
}

/// The embedded server.
#[derive(Debug)]
pub struct Broker {
    options: AppOptions,
    clock: Clock,
    metrics: Arc<Metrics>,
    drain: Drain,
    allowed_origins: Vec<AllowedOrigin>,
    backpressure: Arc<Backpressure>,
    told: Arc<Told>,
    greeter: GreeterSlot,
    /// A reload replaces the map, but keeps the apps whose ids are still configured.
    broker_apps: ArcSwap<BrokerApps>,
}

#[derive(Debug, Default)]
struct BrokerApps {
    by_id: HashMap<Box<str>, Arc<BrokerApp>>,
    by_key: HashMap<Box<str>, Arc<BrokerApp>>,
}

impl Broker {
    /// A broker without apps; [`Broker::configure`] and [`Broker::run`] have to follow.
    #[must_use]
    pub fn new(options: &Options, clock: Clock, metrics: Arc<Metrics>, drain: Drain) -> Arc<Self> {
        let app_options = AppOptions {
            session_options: SessionOptions {
                activity_timeout: options.activity_timeout,
                client_events: options.client_events,
                max_channels: options.max_channels,
                sign_in_timeout: Some(options.sign_in_timeout).filter(|timeout| !timeout.is_zero()),
            },
            channel_options: ChannelOptions {
                sends_count: options.subscription_counts,
                cache_ttl: options.cache_ttl,
                max_cached: options.max_cached,
            },
            queue_limits: QueueLimits { frames: options.queue, bytes: QUEUE_BYTES },
            max_connections: options.max_connections,
        };
        let allowed_origins = options.allowed_origins.clone();
        Arc::new(Self {
            options: app_options,
            clock,
            metrics,
            drain,
            allowed_origins,
            backpressure: Arc::default(),
            told: Arc::default(),
            greeter: GreeterSlot::default(),
            broker_apps: ArcSwap::default(),
        })
    }

    /// From now on `newcomers`, for as long as it exists, is told who subscribes. Called once, before anybody is served.
    pub fn tell(&self, newcomers: Weak<dyn Newcomers>) {
        self.told.set(newcomers);
    }

    /// Whether a page of this `Origin` may connect. A client without an `Origin` is not a browser and may connect
    /// (`threats.md` WS-10).
    #[must_use]
    pub fn admits(&self, origin: Option<&[u8]>) -> bool {
        self.allowed_origins.is_empty()
            || origin.is_none_or(|origin| self.allowed_origins.iter().any(|allowed| allowed.matches(origin)))
    }

    /// Serves these apps from now on. Apps that are served already keep their channels and connections, even if keys
    /// or secrets change; the connections of removed apps are closed.
    pub fn configure(&self, apps: &[App]) {
        self.configure_told(apps, |_| None);
    }

    /// The same. From now on the sink of each app's id, if there is one, is told what happens on the app's channels.
    pub fn configure_told(&self, apps: &[App], sink: impl Fn(&str) -> Option<Arc<dyn OccurrenceSink>>) {
        let before = self.broker_apps.load_full();
        let mut broker_apps = BrokerApps::default();
        for app in apps {
            let broker_app = match before.by_id.get(app.id()) {
                Some(broker_app) => {
                    broker_app.app.store(Arc::new(app.clone()));
                    Arc::clone(broker_app)
                }
                None => Arc::new(BrokerApp::new(
                    app.clone(),
                    self.options,
                    Arc::clone(&self.backpressure),
                    Arc::clone(&self.told),
                    Arc::clone(&self.greeter),
                    self.metrics.realtime(app.id()),
                )),
            };
            broker_app.channels.sink.set(sink(app.id()));
            broker_apps.by_id.insert(app.id().into(), Arc::clone(&broker_app));
            broker_apps.by_key.extend(app.pairs().map(|pair| (pair.key().into(), Arc::clone(&broker_app))));
        }
        let removed: Vec<_> = before
            .by_id
            .iter()
            .filter(|(id, _)| !broker_apps.by_id.contains_key(*id))
            .map(|(_, broker_app)| Arc::clone(broker_app))
            .collect();
        self.broker_apps.store(Arc::new(broker_apps));
        removed.iter().for_each(|broker_app| broker_app.disable());
    }

    /// Asks `greeter` from now on what new subscribers have missed. It can be set once.
    pub fn set_greeter(&self, greeter: Arc<dyn Greeter>) {
        if self.greeter.set(greeter).is_err() {
            tracing::error!("the broker has a greeter already");
        }
    }

    /// The channels of the app with this id; `None` if the app is not served.
    #[must_use]
    pub fn channel_stats(&self, app: &str) -> Option<ChannelStats> {
        self.broker_apps.load().by_id.get(app).cloned().map(ChannelStats::new)
    }

    /// Answers a request to the HTTP API. A `POST` first waits until no connection is congested, for a second at most.
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready has published nothing.
    pub async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.method() == Method::POST {
            self.backpressure.wait().await;
        }
        api::answer(self, request)
    }

    /// Serves a client over `socket` until the connection ends. The socket must have the limits of [`socket_config`].
    /// The request was `GET {target}`, normally `/app/{key}?protocol=7…`; an error in it is reported with the close
    /// code. Messages are read at the rate of `pace`. `wake_queue` is the queue of the worker that runs this.
    pub async fn serve<S>(
        &self,
        socket: WebSocketStream<S>,
        target: &Uri,
        pace: Option<Pace>,
        wake_queue: &Arc<WakeQueue>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let notice = CloseNotice::of(target.query().unwrap_or_default());
        let end = match self.establish(target, wake_queue) {
            Ok(connection) => {
                let mut socket_loop = SocketLoop::new(socket, connection, notice, pace);
                let reason = socket_loop.run().await;
                // Boxed: otherwise every connection would reserve space for the closing handshake.
                Box::pin(socket_loop.close(reason)).await
            }
            Err(code) => Box::pin(socket_loop::refuse(socket, code, notice)).await,
        };
        self.metrics.socket_closed(end);
    }

    /// Runs the periodic work. Before the process ends it closes all connections in waves, so that the clients do not
    /// all reconnect at once, and returns.
    pub async fn run(&self) {
        tokio::select! {
            biased;
            () = self.close_all() => {}
            () = self.tick_for_ever() => {}
        }
    }

    async fn tick_for_ever(&self) {
        let mut every = tokio::time::interval(TICK);
        let mut ticks = 0_u32;
        loop {
            let _tick = every.tick().await;
            ticks = ticks.wrapping_add(1);
            self.tick(ticks.is_multiple_of(TICKS_PER_SWEEP));
        }
    }

    fn establish(&self, target: &Uri, wake_queue: &Arc<WakeQueue>) -> Result<Connection, ErrorCode> {
        let key =
            target.path().strip_prefix("/app/").filter(|key| !key.contains('/')).ok_or(ErrorCode::PathNotFound)?;
        let broker_app = self.broker_apps.load().by_key.get(key).cloned().ok_or(ErrorCode::UnknownApp)?;
        session::check_version(target.query().unwrap_or_default())?;
        Connection::establish(broker_app, self.clock, &self.drain, wake_queue)
    }

    fn tick(&self, sweep: bool) {
        let now = self.clock.now();
        for broker_app in self.broker_apps.load().by_id.values() {
            broker_app.channels.send_deferred_counts(now);
            if sweep {
                broker_app.channels.sweep(now);
            }
        }
    }

    /// Closes all connections once the end is announced, and those that come afterwards once the listeners are closed.
    async fn close_all(&self) {
        let mut connected = Phase::Serving;
        loop {
            let period = self.drain.turns(connected).await;
            // Read before the connections are listed: from then on none is admitted.
            let is_last = self.drain.has_reached(Phase::Closed);
            self.close_in_waves(period).await;
            if is_last {
                return;
            }
            connected = Phase::Leaving;
        }
    }

    async fn close_in_waves(&self, period: Duration) {
        let open: Vec<_> = self.broker_apps.load().by_id.values().flat_map(|broker_app| broker_app.open()).collect();
        let waves = open.chunks(WAVE_SIZE.max(open.len().div_ceil(MAX_WAVES)));
        let pause = period / u32::try_from(waves.len().max(1)).unwrap_or(u32::MAX);
        for (index, wave) in waves.enumerate() {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            wake_after(|wakes| wave.iter().for_each(|mailbox| mailbox.end(ErrorCode::Reconnect, wakes)));
        }
    }
}
