//! Relaying a WebSocket connection to upstream's. What passes here is neither altered nor held up; subscriptions are
//! noted in passing, for the operator. Nothing here reaches the memory of assignments.

mod close_stagger;
mod half;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use self::close_stagger::CloseStagger;
use self::half::{Broken, Reader, Writer};
use super::caller::Caller;
use super::handshake::Handshake;
use super::{Gateway, InFlightPermit, Limits, Place, Refusal, Reply, Routing, Shared, passthrough, peer};
use crate::audience::{self, RelayedClient};
use crate::clock::Moment;
use crate::metrics::{OpenGuard, WebSocketDirection, WebSocketEnd};
use crate::pusher::subprotocol;
use crate::rate::Pace;
use crate::upstream::{DialOutcome, UpgradedConnection};

pub use close_stagger::Relays;

/// How long the other side may take to answer a close.
const GOODBYE: Duration = Duration::from_secs(2);
/// Over how long the clients of an upstream that is gone are told so.
const STAGGER: Duration = Duration::from_secs(1);
/// Upstream's messages may have so many bytes, whatever a client's may have: a presence channel lists all its members
/// in one.
const FROM_UPSTREAM: usize = 1024 * 1024;

/// "Reconnect at once" (pusher-protocol.md 4.6).
const RECONNECT: u16 = 4200;
/// "Reconnect after a second or more" (pusher-protocol.md 4.6).
const BACK_OFF: u16 = 4100;

type Socket = TokioIo<Upgraded>;

/// Asks upstream to switch to WebSocket and, once it has, switches the client and relays between them in a task of its
/// own. The connection's place goes with it.
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
        let ip = peer::address(caller.ip, &head.headers, &routing.trusted_proxies);
        if !routing.limiters.admits(ip) {
            return turn_away(shared, routing, handshake, &head.headers, caller);
        }
        pace = routing.limiters.pace(ip);
    }
    let began = shared.clock.now();
    let relayed_client = relayed_client(routing, head.uri.path());
    let dialled = gateway.upstream.dial(handshake.outgoing(head, caller.ip)?).await;
    match dialled {
        Ok(DialOutcome::Remote(UpgradedConnection { headers, socket: upstream })) => {
            let (response, switched) = handshake.accept(headers)?;
            shared.metrics.upstream_answer(response.status().as_u16(), shared.clock.now().since(began));
            let relay = Relay::new(shared, &routing.limits, Arc::clone(&caller.place), relayed_client);
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
            let (place, max_message) = (Arc::clone(&caller.place), routing.limits.max_websocket_message);
            let _detached = shared.tasks.spawn(async move {
                // The broker itself counts and drains its connections.
                let _place = place;
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

/// Switches a client who connects too often and closes the connection with a code that tells it to come back later: a
/// browser does not show its page the status of a handshake that failed, and pusher-js would stay away for long, or try
/// another transport at once.
fn turn_away(
    shared: &Shared,
    routing: &Routing,
    handshake: Handshake,
    asked: &HeaderMap,
    caller: &Caller,
) -> Result<Response<Reply>, Refusal> {
    let chosen = subprotocol(asked.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes));
    let headers = chosen.into_iter().map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))).collect();
    let (response, switched) = handshake.accept(headers)?;
    let (place, reads) = (Arc::clone(&caller.place), routing.limits.max_websocket_message);
    let _detached = shared.tasks.spawn(async move {
        let _place = place;
        match switched.await {
            Ok(client) => {
                let (mut from_client, mut to_client) = half::split(TokioIo::new(client), Role::Server, reads, 0).await;
                let why = close(
                    BACK_OFF.into(),
                    "too many new connections from this address (limits.rates.peer_connections)",
                );
                goodbye(&mut from_client, &mut to_client, Some(Some(why))).await;
            }
            Err(error) => tracing::debug!(%error, "a client was gone before it was turned away"),
        }
    });
    Ok(response)
}

/// Who the client of `/app/{key}` is to the app's audience; nobody, if the app is not known. The server may stand
/// behind a path of its own.
fn relayed_client(routing: &Routing, path: &str) -> Option<RelayedClient> {
    let (_base, key) = path.rsplit_once("/app/")?;
    let app = routing.app_with_key(key)?;
    app.audience.as_ref()?.relayed_client()
}

/// Two connections that are relayed to each other.
#[derive(Debug)]
struct Relay {
    shared: Arc<Shared>,
    close_stagger: CloseStagger,
    from_client: usize,
    from_upstream: usize,
    idle_timeout: Duration,
    /// When something last went through.
    last: AtomicU64,
    /// Follows the client's subscriptions.
    relayed_client: Option<RelayedClient>,
    _place: Arc<Place>,
    _gauge: OpenGuard,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

/// Why a relay, or one direction of it, came to its end.
#[derive(Debug)]
enum Ended {
    /// A side closed, and the other was told.
    Closed { by: Side, with: Option<CloseFrame>, answered: bool },
    /// A side was gone without a close.
    Lost(Side),
    /// A side broke the rules or the limits.
    Faulty(Side, CloseCode),
    /// Nothing went through for too long.
    Idle,
    /// usher ends.
    Drained,
}

impl Relay {
    fn new(shared: &Arc<Shared>, limits: &Limits, place: Arc<Place>, relayed_client: Option<RelayedClient>) -> Self {
        Self {
            close_stagger: shared.relays.close_stagger(),
            from_client: limits.max_websocket_message,
            from_upstream: limits.max_websocket_message.max(FROM_UPSTREAM),
            idle_timeout: limits.websocket_idle_timeout,
            last: AtomicU64::new(shared.clock.now().as_millis()),
            relayed_client,
            _place: place,
            _gauge: shared.metrics.websocket(),
            shared: Arc::clone(shared),
        }
    }

    /// Relays until one side, or usher, ends it; then says goodbye to whoever is left.
    async fn run(self, client: Socket, upstream: Socket, pace: Option<Pace>) {
        let (mut from_client, mut to_client) =
            half::split(client, Role::Server, self.from_client, self.from_upstream).await;
        let (mut from_upstream, mut to_upstream) =
            half::split(upstream, Role::Client, self.from_upstream, self.from_client).await;
        let ended = {
            let up = pin!(self.pump(Side::Client, &mut from_client, &mut to_upstream, pace));
            let down = pin!(self.pump(Side::Upstream, &mut from_upstream, &mut to_client, None));
            self.until_end(up, down).await
        };
        self.shared.metrics.websocket_end(ended.kind());
        if matches!(ended, Ended::Lost(Side::Upstream) | Ended::Faulty(Side::Upstream, _)) {
            let until_gone = async {
                // What upstream has said goes on at once: only the close waits for its turn.
                if let Err(error) = to_client.flush().await {
                    return tracing::debug!(%error, "a client was gone before it had upstream's last messages");
                }
                from_client.exhaust().await;
            };
            // Whoever leaves in the meantime need not be told.
            let _left = timeout(self.close_stagger.within(STAGGER), until_gone).await;
        }
        let client =
            goodbye(&mut from_client, &mut to_client, ended.told_to(Side::Client, self.shared.drain.has_begun()));
        let upstream = goodbye(&mut from_upstream, &mut to_upstream, ended.told_to(Side::Upstream, false));
        tokio::join!(client, upstream);
    }

    /// Runs both directions until one of them ends, or both have to. When a side has closed, the other's answer is
    /// waited for and passed on. When a side was found to be gone in writing to it, what it had sent before is.
    async fn until_end<F: Future<Output = Ended>>(&self, mut up: Pin<&mut F>, mut down: Pin<&mut F>) -> Ended {
        let (ended, reader, other) = tokio::select! {
            biased;
            ended = &mut up => (ended, Side::Client, down),
            ended = &mut down => (ended, Side::Upstream, up),
            () = self.silence() => return Ended::Idle,
            () = self.drained() => return Ended::Drained,
        };
        match ended {
            Ended::Closed { by, with, .. } => {
                let answered = matches!(timeout(GOODBYE, other).await, Ok(Ended::Closed { .. }));
                Ended::Closed { by, with, answered }
            }
            Ended::Lost(lost) if lost != reader => match timeout(GOODBYE, other).await {
                Ok(closed @ Ended::Closed { .. }) => closed,
                Ok(_) | Err(_) => ended,
            },
            _ => ended,
        }
    }

    /// Carries messages from one side to the other. The next one is read when the one before is taken, so that a side
    /// that does not read stops the other from sending; neither is it before `pace` allows it.
    async fn pump(
        &self,
        from: Side,
        reader: &mut Reader<Socket>,
        writer: &mut Writer<Socket>,
        mut pace: Option<Pace>,
    ) -> Ended {
        let (to, direction) = match from {
            Side::Client => (Side::Upstream, WebSocketDirection::Up),
            Side::Upstream => (Side::Client, WebSocketDirection::Down),
        };
        loop {
            if let Some(pace) = &mut pace
                && !pace.is_open()
            {
                if writer.flush().await.is_err() {
                    return Ended::Lost(to);
                }
                pace.opened().await;
            }
            let next = match reader.next_at_once().await {
                Some(next) => next,
                None if writer.flush().await.is_err() => return Ended::Lost(to),
                None => reader.next().await,
            };
            let message = match next {
                Ok(message) => message,
                Err(broken) => return Ended::broken(from, &broken),
            };
            self.last.store(self.shared.clock.now().as_millis(), Ordering::Relaxed);
            self.shared.metrics.websocket_message(direction);
            pace.iter_mut().for_each(Pace::spend);
            let close = if let Message::Close(frame) = &message { Some(frame.clone()) } else { None };
            let telling = self.telling(from, &message);
            if writer.feed(message).await.is_err() {
                return Ended::Lost(to);
            }
            if let Some((relayed_client, text)) = telling {
                relayed_client.note(from.into(), &text, self.shared.clock.now());
            }
            if let Some(with) = close {
                return if writer.flush().await.is_ok() {
                    Ended::Closed { by: from, with, answered: false }
                } else {
                    Ended::Lost(to)
                };
            }
        }
    }

    /// The text of a message that may tell of a subscription: read once it has gone on its way.
    fn telling(&self, from: Side, message: &Message) -> Option<(&RelayedClient, Utf8Bytes)> {
        match (&self.relayed_client, message) {
            (Some(relayed_client), Message::Text(text)) if RelayedClient::is_relevant(from.into(), text) => {
                Some((relayed_client, text.clone()))
            }
            _ => None,
        }
    }

    /// Waits until nothing has gone through for too long.
    async fn silence(&self) {
        loop {
            let last = Moment::from_millis(self.last.load(Ordering::Relaxed));
            let left = self.idle_timeout.saturating_sub(self.shared.clock.now().since(last));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    /// Waits until usher drains and it is this relay's turn.
    async fn drained(&self) {
        self.shared.drain.begun().await;
        sleep(self.close_stagger.within(self.shared.relays.waves)).await;
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

impl Ended {
    fn broken(side: Side, broken: &Broken) -> Self {
        match broken {
            Broken::Lost(error) => {
                tracing::debug!(?side, %error, "a WebSocket connection was lost");
                Self::Lost(side)
            }
            Broken::Faulty(code, error) => {
                match side {
                    Side::Client => {
                        tracing::debug!(%error, "a client's WebSocket connection broke the rules or limits.max_websocket_message")
                    }
                    Side::Upstream => {
                        tracing::warn!(%error, "upstream's WebSocket connection broke the rules or limits.max_websocket_message")
                    }
                }
                Self::Faulty(side, *code)
            }
        }
    }

    const fn kind(&self) -> WebSocketEnd {
        match self {
            Self::Closed { by: Side::Client, .. } => WebSocketEnd::ClientClosed,
            Self::Closed { by: Side::Upstream, .. } => WebSocketEnd::UpstreamClosed,
            Self::Lost(Side::Client) => WebSocketEnd::ClientLost,
            Self::Lost(Side::Upstream) => WebSocketEnd::UpstreamLost,
            Self::Faulty(Side::Client, _) => WebSocketEnd::ClientFaulty,
            Self::Faulty(Side::Upstream, _) => WebSocketEnd::UpstreamFaulty,
            Self::Idle => WebSocketEnd::Idle,
            Self::Drained => WebSocketEnd::Drained,
        }
    }

    /// The close that `side` still has to be sent, if any. A client is never told one of Pusher's final codes (40xx):
    /// only upstream may.
    fn told_to(&self, side: Side, draining: bool) -> Option<Option<CloseFrame>> {
        match (self, side) {
            (Self::Closed { by, with, answered: false }, _) if *by == side => Some(with.clone()),
            (Self::Closed { .. }, _) => None,
            (Self::Lost(lost), _) if *lost == side => None,
            (Self::Faulty(faulty, code), Side::Upstream) if *faulty == side => Some(Some(close(*code, ""))),
            (_, Side::Upstream) => Some(Some(close(CloseCode::Away, ""))),
            (Self::Faulty(Side::Client, code), Side::Client) => Some(Some(close(*code, ""))),
            // A drain is mostly a restart: pusher-js that came back at once, to a port where nobody listens yet, would
            // stay away for 15 seconds.
            (Self::Lost(_) | Self::Faulty(..), Side::Client) if draining => {
                Some(Some(close(BACK_OFF.into(), "upstream is gone")))
            }
            (Self::Lost(_) | Self::Faulty(..), Side::Client) => Some(Some(close(RECONNECT.into(), "upstream is gone"))),
            (Self::Idle, Side::Client) => Some(Some(close(RECONNECT.into(), "nothing was sent for too long"))),
            (Self::Drained, Side::Client) => Some(Some(close(BACK_OFF.into(), "the server restarts"))),
        }
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

/// Sends a side its close, if it is still to be told, and waits for its answer; then ends the connection. Reading what
/// it sends in the meantime keeps the system from resetting the connection under the close.
async fn goodbye(reader: &mut Reader<Socket>, writer: &mut Writer<Socket>, disposition: Option<Option<CloseFrame>>) {
    let disposition = async {
        if let Some(frame) = disposition
            && writer.feed(Message::Close(frame)).await.is_ok()
            && writer.flush().await.is_ok()
        {
            if reader.is_faulty() {
                // Its answer could not be told from the rest.
                writer.end().await;
            }
            reader.exhaust().await;
        }
        writer.end().await;
    };
    if timeout(GOODBYE, disposition).await.is_err() {
        tracing::debug!("a WebSocket connection was not closed in time and is dropped");
    }
}
