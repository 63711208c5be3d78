//! Relaying a client's WebSocket connection to upstream. Messages are neither altered nor delayed; subscriptions are
//! recorded for the operator, and told to the rules that ask who comes; a late subscriber may be handed an announcement
//! (`replaying`), and deliveries may put a channel in doubt. Nothing else here reaches the memory of assignments.

mod close_stagger;
mod deadlines;
mod direction;
mod end;
mod endpoint;
mod frames;
mod observer;
mod replaying;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::Role;

use self::close_stagger::CloseStagger;
use self::deadlines::Deadlines;
use self::direction::{Direction, Passage};
use self::end::{BACK_OFF, RelayEnd, close};
use self::endpoint::{CLOSE_TIMEOUT, CloseAction, Endpoint};
use self::observer::Observer;
use super::caller::Caller;
use super::handshake::Handshake;
use super::{ConnectionPermit, Gateway, InFlightPermit, Limits, Refusal, Reply, Routing, Shared, passthrough, peer};
use crate::audience;
use crate::metrics::OpenGuard;
use crate::pusher::subprotocol;
use crate::rate::Pace;
use crate::shutdown::Phase;
use crate::upstream::{DialOutcome, Stream, UpgradedConnection};

pub use close_stagger::Relays;

/// The clients of an upstream that is gone are closed over this period.
const STAGGER: Duration = Duration::from_secs(1);
/// Upstream's messages may have at least this many bytes, whatever a client's may have: a presence channel lists all
/// its members in one message.
const FROM_UPSTREAM: usize = 1024 * 1024;

type Client = TokioIo<Upgraded>;

/// Opens a WebSocket connection to upstream, then switches the client and relays between them in a task of its own,
/// which keeps the connection's permit.
pub(super) async fn open(
    gateway: &Gateway,
    routing: &Routing,
    handshake: Handshake,
    head: Parts,
    caller: &Caller,
    _permit: InFlightPermit,
) -> Result<Response<Reply>, Refusal> {
    let shared = &gateway.shared;
    let mut pace = None;
    if routing.limiters.limits_peers() {
        let ip = peer::address(caller.ip, peer::forwarded_for(&head.headers), &routing.trusted_proxies);
        if !routing.limiters.admits(ip) {
            return close_rate_limited(shared, routing, handshake, &head.headers, caller);
        }
        pace = routing.limiters.pace(ip);
    }
    let began = shared.clock.now();
    let observer = Observer::of(shared, routing, head.uri.path());
    let dialled = gateway.upstream.dial(handshake.outgoing(head, caller.ip)?).await;
    match dialled {
        Ok(DialOutcome::Remote(UpgradedConnection { headers, stream, read })) => {
            let (response, switched) = handshake.accept(headers)?;
            shared.metrics.upstream_answer(response.status().as_u16(), shared.clock.now().since(began));
            let relay = Box::new(Relay::new(shared, &routing.limits, Arc::clone(&caller.connection), observer));
            let upstream = Endpoint::new(stream, Role::Client, relay.from_upstream).having_read(&read);
            let _detached = shared.tasks.spawn(async move {
                match switched.await {
                    Ok(client) => relay.run(TokioIo::new(client), upstream, pace).await,
                    Err(error) => tracing::debug!(%error, "a client was gone before it was switched to WebSocket"),
                }
            });
            Ok(response)
        }
        Ok(DialOutcome::Local(local_client)) => {
            let (response, switched) = handshake.accept(local_client.headers())?;
            let (connection, max_message) = (Arc::clone(&caller.connection), routing.limits.max_websocket_message);
            let _detached = shared.tasks.spawn(async move {
                // The broker counts and drains its connections itself.
                let _connection = connection;
                match switched.await {
                    Ok(client) => local_client.serve(TokioIo::new(client), max_message, pace).await,
                    Err(error) => tracing::debug!(%error, "a client was gone before it was switched to WebSocket"),
                }
            });
            Ok(response)
        }
        Ok(DialOutcome::Refused(answer)) => Ok(passthrough::answered(gateway, answer, began)),
        Err(failure) => Err(passthrough::failed(gateway, failure, began)),
    }
}

/// Switches a client that connects too often to WebSocket, and closes the connection with a code that makes it
/// reconnect later: a browser does not show its page the status of a failed handshake, and pusher-js would stay away
/// for long, or try another transport at once.
fn close_rate_limited(
    shared: &Shared,
    routing: &Routing,
    handshake: Handshake,
    requested: &HeaderMap,
    caller: &Caller,
) -> Result<Response<Reply>, Refusal> {
    let chosen = subprotocol(requested.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes));
    let headers = chosen.into_iter().map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))).collect();
    let (response, switched) = handshake.accept(headers)?;
    let (connection, reads) = (Arc::clone(&caller.connection), routing.limits.max_websocket_message);
    let _detached = shared.tasks.spawn(async move {
        let _connection = connection;
        match switched.await {
            Ok(client) => {
                let why = "too many new connections from this address (limits.rates.peer_connections)";
                let action = CloseAction::Send(Some(close(BACK_OFF.into(), why)));
                Endpoint::new(TokioIo::new(client), Role::Server, reads).close(action).await;
            }
            Err(error) => tracing::debug!(%error, "a client was gone before it was turned away"),
        }
    });
    Ok(response)
}

/// Two connections that are relayed to each other.
#[derive(Debug)]
struct Relay {
    passage: Passage,
    close_stagger: CloseStagger,
    /// usher's phase when the client connected.
    connected: Phase,
    from_client: usize,
    from_upstream: usize,
    idle_timeout: Duration,
    _connection: Arc<ConnectionPermit>,
    _gauge: OpenGuard,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

/// Both ends of a relay, and what goes from each to the other.
#[derive(Debug)]
struct Ends {
    client: Endpoint<Client>,
    upstream: Endpoint<Stream>,
    up: Direction,
    down: Direction,
}

impl Relay {
    fn new(shared: &Arc<Shared>, limits: &Limits, connection: Arc<ConnectionPermit>, observer: Observer) -> Self {
        Self {
            close_stagger: shared.relays.close_stagger(),
            connected: shared.drain.phase(),
            from_client: limits.max_websocket_message,
            from_upstream: limits.max_websocket_message.max(FROM_UPSTREAM),
            idle_timeout: limits.websocket_idle_timeout,
            _connection: connection,
            _gauge: shared.metrics.websocket(),
            passage: Passage::new(Arc::clone(shared), observer),
        }
    }

    /// Relays until one side, or usher, ends it; then closes what is still open.
    async fn run(self: Box<Self>, client: Client, upstream: Endpoint<Stream>, pace: Option<Pace>) {
        let mut ends = Ends {
            client: Endpoint::new(client, Role::Server, self.from_client),
            upstream,
            up: Direction::new(Side::Client, pace),
            down: Direction::new(Side::Upstream, None),
        };
        let (ended, reader) = self.until_end(&mut ends).await;
        // Boxed: an open relay needs no memory for it.
        Box::pin(self.close(ended, reader, ends)).await;
    }

    /// Relays in both directions until one of them ends, or both have to. Returns which one has.
    async fn until_end(&self, ends: &mut Ends) -> (RelayEnd, Option<Side>) {
        let (silence, turn) = (pin!(sleep(Duration::ZERO)), pin!(self.turn()));
        let mut deadlines = Deadlines::new(self.idle_timeout, silence, turn);
        poll_fn(|context| {
            for from in [Side::Client, Side::Upstream] {
                if let Poll::Ready(ended) = ends.poll(from, &self.passage, context) {
                    return Poll::Ready((ended, Some(from)));
                }
            }
            let has_passed = ends.up.has_passed() | ends.down.has_passed();
            deadlines.poll(&self.passage, has_passed, context).map(|ended| (ended, None))
        })
        .await
    }

    /// Closes what is still open, after the direction from `reader` has ended, or both had to.
    async fn close(&self, ended: RelayEnd, reader: Option<Side>, mut ends: Ends) {
        let ended = match reader {
            Some(reader) => self.finish(ended, reader, &mut ends).await,
            None => ended,
        };
        let shared = &self.passage.shared;
        shared.metrics.websocket_end(ended.kind());
        let Ends { mut client, mut upstream, .. } = ends;
        if matches!(ended, RelayEnd::Lost(Side::Upstream) | RelayEnd::Faulty(Side::Upstream, _)) {
            let until_gone = async {
                // Upstream's last messages are passed on at once: only the close waits for the stagger.
                if let Err(error) = client.flush().await {
                    return tracing::debug!(%error, "a client was gone before it had upstream's last messages");
                }
                client.discard_rest().await;
            };
            // A client that leaves in the meantime needs no close.
            let _left = timeout(self.close_stagger.within(STAGGER), until_gone).await;
        }
        let to_client = ended.close_action(Side::Client, shared.drain.has_reached(Phase::Leaving));
        let to_upstream = ended.close_action(Side::Upstream, false);
        tokio::join!(client.close(to_client), upstream.close(to_upstream));
    }

    /// Lets the other direction go on for a while. After a side has closed, the other side's answer is awaited and passed
    /// on. If a write to a side fails, the messages that it had sent before are awaited and passed on.
    async fn finish(&self, ended: RelayEnd, reader: Side, ends: &mut Ends) -> RelayEnd {
        let other = poll_fn(|context| ends.poll(reader.other(), &self.passage, context));
        match ended {
            RelayEnd::Closed { by, with, .. } => {
                let answered = matches!(timeout(CLOSE_TIMEOUT, other).await, Ok(RelayEnd::Closed { .. }));
                RelayEnd::Closed { by, with, answered }
            }
            RelayEnd::Lost(lost) if lost != reader => match timeout(CLOSE_TIMEOUT, other).await {
                Ok(closed @ RelayEnd::Closed { .. }) => closed,
                Ok(_) | Err(_) => ended,
            },
            _ => ended,
        }
    }

    /// Waits for this relay's turn to be closed because usher is about to end.
    async fn turn(&self) {
        let period = self.passage.shared.drain.turns(self.connected).await;
        sleep(self.close_stagger.within(period)).await;
    }
}

impl Ends {
    /// Passes on what `from` has sent. Ready once that has ended.
    fn poll(&mut self, from: Side, passage: &Passage, context: &mut Context<'_>) -> Poll<RelayEnd> {
        let Self { client, upstream, up, down } = self;
        match from {
            Side::Client => up.poll(passage, client, upstream, context),
            Side::Upstream => down.poll(passage, upstream, client, context),
        }
    }
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

impl From<Side> for audience::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Upstream => Self::Upstream,
        }
    }
}
