//! Our own Pusher, embedded: a genuine server for one machine, with the HTTP API and the WebSocket protocol 7. It knows
//! its apps and their secrets, and nothing of what the gateway does.
//!
//! From the inside out: a `session` turns a client's messages into effects, a `connection` does them in its `broker_app`
//! (one app) with its `channels` and `watchlists`, a `conversation` moves frames between a `mailbox` and a socket.
//! `api` is what backends call. All of it is shared by all threads.

mod allowance;
mod api;
mod backlog;
mod broker_app;
mod cache;
mod channel;
mod channel_stats;
mod channels;
mod connection;
mod conversation;
mod frame;
mod json;
mod kind;
mod mailbox;
mod message;
mod origin;
mod session;
mod socket_id;
#[cfg(test)]
mod tests;
mod wake_queue;
mod watchlists;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;

use self::backlog::Backlog;
use self::broker_app::{BrokerApp, Rules};
use self::channels::ChannelOptions;
use self::connection::Connection;
use self::conversation::Conversation;
use self::mailbox::{QueueLimits, wake_after};
use self::session::{Farewell, SessionOptions};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pusher::{App, ErrorCode};
use crate::rate::Pace;
use crate::shutdown::Drain;

pub use channel_stats::ChannelStats;
pub use conversation::socket_config;
pub use origin::AllowedOrigin;
pub use wake_queue::WakeQueue;

/// Bytes that may wait for one connection: a few of the largest frames.
const QUEUE_BYTES: usize = 1024 * 1024;

/// How often numbers of subscribers that were put off are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Last events are swept once in so many ticks.
const TICKS_PER_SWEEP: u32 = 60;

/// Connections in one wave when draining; more if there are very many.
const WAVE: usize = 256;
/// Waves at most.
const WAVES: usize = 20;
/// The pause between two waves.
const WAVE_PAUSE: Duration = Duration::from_millis(250);

/// What the broker is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether clients may send events to each other.
    pub client_events: bool,
    /// Whether the subscribers of a channel are told their number.
    pub subscription_counts: bool,
    /// WebSocket connections of one app.
    pub max_connections: usize,
    /// Channels that one connection may be subscribed to.
    pub max_channels: usize,
    /// How soon a client must sign in, or join a channel that it needs a token for; zero: it need not.
    pub sign_in_timeout: Duration,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub activity_timeout: Duration,
    /// Messages that may wait for one connection; one that falls further behind is closed.
    pub queue: usize,
    /// How long the last event of a cache channel is kept.
    pub cache_ttl: Duration,
    /// Cache channels of one app whose last event is kept, about.
    pub max_cached: usize,
    /// Origins whose pages may connect; empty: all.
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
    rules: Rules,
    clock: Clock,
    metrics: Arc<Metrics>,
    drain: Drain,
    allowed_origins: Vec<AllowedOrigin>,
    backlog: Arc<Backlog>,
    /// Replaced as a whole by a reload; the apps in it are not.
    broker_apps: ArcSwap<BrokerApps>,
}

#[derive(Debug, Default)]
struct BrokerApps {
    by_id: HashMap<Box<str>, Arc<BrokerApp>>,
    by_key: HashMap<Box<str>, Arc<BrokerApp>>,
}

impl Broker {
    /// A broker without apps; [`Broker::configure`] and [`Broker::run`] are to follow.
    #[must_use]
    pub fn new(options: &Options, clock: Clock, metrics: Arc<Metrics>, drain: Drain) -> Arc<Self> {
        let rules = Rules {
            session_options: SessionOptions {
                activity_timeout: options.activity_timeout,
                client_events: options.client_events,
                max_channels: options.max_channels,
                sign_in_timeout: Some(options.sign_in_timeout).filter(|timeout| !timeout.is_zero()),
            },
            channel_options: ChannelOptions {
                tells_count: options.subscription_counts,
                cache_ttl: options.cache_ttl,
                max_cached: options.max_cached,
            },
            queue_limits: QueueLimits { frames: options.queue, bytes: QUEUE_BYTES },
            max_connections: options.max_connections,
        };
        let allowed_origins = options.allowed_origins.clone();
        Arc::new(Self {
            rules,
            clock,
            metrics,
            drain,
            allowed_origins,
            backlog: Arc::default(),
            broker_apps: ArcSwap::default(),
        })
    }

    /// Whether a page of this `Origin` may connect. A client without one is no browser, and may (`threats.md` WS-10).
    #[must_use]
    pub fn admits(&self, origin: Option<&[u8]>) -> bool {
        self.allowed_origins.is_empty()
            || origin.is_none_or(|origin| self.allowed_origins.iter().any(|allowed| allowed.is(origin)))
    }

    /// Serves these apps from now on. Those that are served already keep their channels and connections, even with
    /// another key or secret; the connections of those that are gone are closed.
    pub fn configure(&self, apps: &[App]) {
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
                    self.rules,
                    Arc::clone(&self.backlog),
                    self.metrics.realtime(app.id()),
                )),
            };
            broker_apps.by_id.insert(app.id().into(), Arc::clone(&broker_app));
            broker_apps.by_key.insert(app.key().into(), broker_app);
        }
        let gone: Vec<_> = before
            .by_id
            .iter()
            .filter(|(id, _)| !broker_apps.by_id.contains_key(*id))
            .map(|(_, broker_app)| Arc::clone(broker_app))
            .collect();
        self.broker_apps.store(Arc::new(broker_apps));
        gone.iter().for_each(|broker_app| broker_app.disable());
    }

    /// The channels of the app with this id, if it is served.
    #[must_use]
    pub fn channel_stats(&self, app: &str) -> Option<ChannelStats> {
        self.broker_apps.load().by_id.get(app).cloned().map(ChannelStats::new)
    }

    /// Answers a request to the HTTP API. Where connections have much to send only because their worker has not come to
    /// it, whoever would publish more waits for that, a second at most.
    ///
    /// # Cancel safety
    /// Dropped, nothing was published.
    pub async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.method() == Method::POST {
            self.backlog.cleared().await;
        }
        api::answer(self, request)
    }

    /// Speaks with a client over `socket`, to its end. It has the limits of [`socket_config`] and came with
    /// `GET {target}`, which is to be `/app/{key}?protocol=7…`; whatever is wrong with that, the client is told by the
    /// code of the close. Messages are read at the client's `pace`; `wake_queue` is that of the worker on which this runs.
    pub async fn serve<S>(
        &self,
        socket: WebSocketStream<S>,
        target: &Uri,
        pace: Option<Pace>,
        wake_queue: &Arc<WakeQueue>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let farewell = Farewell::of(target.query().unwrap_or_default());
        let end = match self.establish(target, wake_queue) {
            Ok(connection) => {
                let mut conversation = Conversation::new(socket, connection, farewell, pace);
                let close = conversation.run().await;
                // Boxed, as all connections would keep room for their last moments otherwise.
                Box::pin(conversation.close(close)).await
            }
            Err(code) => Box::pin(conversation::refuse(socket, code, farewell)).await,
        };
        self.metrics.socket_closed(end);
    }

    /// Does what is due now and then. Once draining begins it closes all connections in waves, so that they do not all
    /// come back at once, and ends.
    pub async fn run(&self) {
        let mut every = tokio::time::interval(TICK);
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = self.drain.begun() => return self.close_in_waves().await,
                _tick = every.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.tick(ticks.is_multiple_of(TICKS_PER_SWEEP));
                }
            }
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
            broker_app.channels.tell_counts(now);
            if sweep {
                broker_app.channels.sweep(now);
            }
        }
    }

    async fn close_in_waves(&self) {
        let open: Vec<_> = self.broker_apps.load().by_id.values().flat_map(|broker_app| broker_app.open()).collect();
        for wave in open.chunks(WAVE.max(open.len().div_ceil(WAVES))) {
            wake_after(|wakes| wave.iter().for_each(|mailbox| mailbox.end(ErrorCode::Reconnect, wakes)));
            tokio::time::sleep(WAVE_PAUSE).await;
        }
    }
}
