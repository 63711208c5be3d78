//! Relaying a client's WebSocket connection to upstream. Messages are neither altered nor delayed; subscriptions are
//! recorded for the operator, and told to the rules that ask who comes; a late subscriber may be handed an announcement
//! (`replaying`), and deliveries may put a channel in doubt. Nothing else here reaches the memory of assignments.

mod close_stagger;
mod half;
mod replaying;

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
use self::half::{ReadError, Reader, Writer};
use self::replaying::{Replaying, hand_out, key_of, settled};
use super::bypass::{Deliveries, Freshness};
use super::caller::Caller;
use super::handshake::Handshake;
use super::{ConnectionPermit, Gateway, InFlightPermit, Limits, Refusal, Reply, Routing, Shared, passthrough, peer};
use crate::audience::{self, Newcomers as _, RelayedClient};
use crate::clock::Moment;
use crate::metrics::{OpenGuard, WebSocketDirection, WebSocketEnd};
use crate::pusher::subprotocol;
use crate::rate::Pace;
use crate::shutdown::Phase;
use crate::upstream::{DialOutcome, UpgradedConnection};

pub use close_stagger::Relays;

/// Time for a side to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The clients of an upstream that is gone are closed over this period.
const STAGGER: Duration = Duration::from_secs(1);
/// Upstream's messages may have at least this many bytes, whatever a client's may have: a presence channel lists all
/// its members in one message.
const FROM_UPSTREAM: usize = 1024 * 1024;

/// "Reconnect at once" (pusher-protocol.md 4.6).
const RECONNECT: u16 = 4200;
/// "Reconnect after a second or more" (pusher-protocol.md 4.6).
const BACK_OFF: u16 = 4100;

type Socket = TokioIo<Upgraded>;

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
    let guest = Guest::of(shared, routing, head.uri.path());
    let key = key_of(head.uri.path());
    let app = key.and_then(|key| routing.app_with_key(key));
    let replaying = key.map(|key| Replaying::new(key, app.map(|app| &**app)));
    let dialled = gateway.upstream.dial(handshake.outgoing(head, caller.ip)?).await;
    match dialled {
        Ok(DialOutcome::Remote(UpgradedConnection { headers, socket: upstream })) => {
            let (response, switched) = handshake.accept(headers)?;
            shared.metrics.upstream_answer(response.status().as_u16(), shared.clock.now().since(began));
            let relay =
                Relay { replaying, ..Relay::new(shared, &routing.limits, Arc::clone(&caller.connection), guest) };
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
                let (mut from_client, mut to_client) = half::split(TokioIo::new(client), Role::Server, reads, 0).await;
                let why = close(
                    BACK_OFF.into(),
                    "too many new connections from this address (limits.rates.peer_connections)",
                );
                close_side(&mut from_client, &mut to_client, CloseAction::Send(Some(why))).await;
            }
            Err(error) => tracing::debug!(%error, "a client was gone before it was turned away"),
        }
    });
    Ok(response)
}

/// A client of a configured app.
#[derive(Debug)]
struct Guest {
    app: Arc<str>,
    /// Records the client's subscriptions.
    relayed_client: RelayedClient,
    /// What comes to the app's clients.
    deliveries: Option<Arc<Deliveries>>,
}

impl Guest {
    /// The client of `/app/{key}`; `None` if the app is not configured. The server may have a path prefix.
    fn of(shared: &Shared, routing: &Routing, path: &str) -> Option<Self> {
        let app = routing.app_with_key(key_of(path)?)?;
        let relayed_client = app.audience.as_ref()?.relayed_client()?;
        Some(Self { app: Arc::clone(&app.id), relayed_client, deliveries: shared.bypasses.deliveries(&app.id) })
    }
}

/// Two connections that are relayed to each other.
#[derive(Debug)]
struct Relay {
    shared: Arc<Shared>,
    close_stagger: CloseStagger,
    /// usher's phase when the client connected.
    connected: Phase,
    from_client: usize,
    from_upstream: usize,
    idle_timeout: Duration,
    /// When the last message was relayed, in the clock's milliseconds.
    last: AtomicU64,
    /// The client, if its app is configured.
    guest: Option<Guest>,
    /// Hands the client what it has missed; `None`: it is no client of an app.
    replaying: Option<Replaying>,
    _connection: Arc<ConnectionPermit>,
    _gauge: OpenGuard,
}

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Upstream,
}

/// Why a relay, or one direction of it, ended.
#[derive(Debug)]
enum RelayEnd {
    /// A side closed, and the close was passed on.
    Closed { by: Side, with: Option<CloseFrame>, answered: bool },
    /// A side's connection was lost without a close.
    Lost(Side),
    /// A side violated the protocol or the limits.
    Faulty(Side, CloseCode),
    /// No message was relayed for too long.
    Idle,
    /// usher is about to end.
    Drained,
}

impl Relay {
    fn new(shared: &Arc<Shared>, limits: &Limits, connection: Arc<ConnectionPermit>, guest: Option<Guest>) -> Self {
        Self {
            close_stagger: shared.relays.close_stagger(),
            connected: shared.drain.phase(),
            from_client: limits.max_websocket_message,
            from_upstream: limits.max_websocket_message.max(FROM_UPSTREAM),
            idle_timeout: limits.websocket_idle_timeout,
            last: AtomicU64::new(shared.clock.now().as_millis()),
            guest,
            replaying: None,
            _connection: connection,
            _gauge: shared.metrics.websocket(),
            shared: Arc::clone(shared),
        }
    }

    /// Relays until one side, or usher, ends it; then closes what is still open.
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
        if matches!(ended, RelayEnd::Lost(Side::Upstream) | RelayEnd::Faulty(Side::Upstream, _)) {
            let until_gone = async {
                // Upstream's last messages are passed on at once: only the close waits for the stagger.
                if let Err(error) = to_client.flush().await {
                    return tracing::debug!(%error, "a client was gone before it had upstream's last messages");
                }
                from_client.discard_rest().await;
            };
            // A client that leaves in the meantime needs no close.
            let _left = timeout(self.close_stagger.within(STAGGER), until_gone).await;
        }
        let client = close_side(
            &mut from_client,
            &mut to_client,
            ended.close_action(Side::Client, self.shared.drain.has_reached(Phase::Leaving)),
        );
        let upstream = close_side(&mut from_upstream, &mut to_upstream, ended.close_action(Side::Upstream, false));
        tokio::join!(client, upstream);
    }

    /// Runs both directions until one of them ends, or both have to. After a side has closed, the other side's answer
    /// is awaited and passed on. If a write to a side fails, the messages that it had sent before are awaited and
    /// passed on.
    async fn until_end<F: Future<Output = RelayEnd>>(&self, mut up: Pin<&mut F>, mut down: Pin<&mut F>) -> RelayEnd {
        let (ended, reader, other) = tokio::select! {
            biased;
            ended = &mut up => (ended, Side::Client, down),
            ended = &mut down => (ended, Side::Upstream, up),
            () = self.silence() => return RelayEnd::Idle,
            () = self.turn() => return RelayEnd::Drained,
        };
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

    /// Passes messages from one side to the other. The next message is read once the one before is written, so that a
    /// side that does not read stops the other from sending, and not before `pace` allows it.
    async fn pump(
        &self,
        from: Side,
        reader: &mut Reader<Socket>,
        writer: &mut Writer<Socket>,
        mut pace: Option<Pace>,
    ) -> RelayEnd {
        let (to, direction) = match from {
            Side::Client => (Side::Upstream, WebSocketDirection::Up),
            Side::Upstream => (Side::Client, WebSocketDirection::Down),
        };
        let mut freshness = Freshness::default();
        loop {
            if let Some(pace) = &mut pace
                && !pace.is_ready()
            {
                if writer.flush().await.is_err() {
                    return RelayEnd::Lost(to);
                }
                pace.ready().await;
            }
            let replaying = self.replaying.as_ref().filter(|_| from == Side::Upstream);
            if let Some(replaying) = replaying
                && hand_out(writer, replaying.settled_at_once(&self.shared).await).await.is_err()
            {
                return RelayEnd::Lost(to);
            }
            let (next, waited) = match reader.next_at_once().await {
                Some(next) => (next, false),
                None if writer.flush().await.is_err() => return RelayEnd::Lost(to),
                None => tokio::select! {
                    biased;
                    frames = settled(replaying, &self.shared) => {
                        if hand_out(writer, frames).await.is_err() {
                            return RelayEnd::Lost(to);
                        }
                        continue;
                    }
                    next = reader.next() => (next, true),
                },
            };
            let message = match next {
                Ok(message) => message,
                Err(broken) => return RelayEnd::broken(from, &broken),
            };
            if let (Some(replaying), Message::Text(text)) = (replaying, &message)
                && !replaying.passes(&self.shared, text)
            {
                continue;
            }
            self.last.store(self.shared.clock.now().as_millis(), Ordering::Relaxed);
            self.shared.metrics.websocket_message(direction);
            pace.iter_mut().for_each(Pace::count_message);
            let close = if let Message::Close(frame) = &message { Some(frame.clone()) } else { None };
            // Before it is passed on: what the client may lack from now on is marked by then.
            let subscription_text = self.note(from, &message);
            if from == Side::Upstream {
                self.look_beside(&message, &mut freshness, waited);
            }
            if writer.feed(message).await.is_err() {
                return RelayEnd::Lost(to);
            }
            if let (Some(replaying), Some(text)) = (&self.replaying, subscription_text)
                && replaying.note(from, &self.shared, &text, writer).await.is_err()
            {
                return RelayEnd::Lost(to);
            }
            if let Some(with) = close {
                return if writer.flush().await.is_ok() {
                    RelayEnd::Closed { by: from, with, answered: false }
                } else {
                    RelayEnd::Lost(to)
                };
            }
        }
    }

    /// Reads a message that may be about a subscription. Whoever has subscribed is announced to the app's present rules.
    /// Returns its text, if it may be.
    fn note(&self, from: Side, message: &Message) -> Option<Utf8Bytes> {
        let Message::Text(text) = message else { return None };
        if !RelayedClient::is_relevant(from.into(), text) {
            return None;
        }
        if let Some(Guest { app, relayed_client, .. }) = &self.guest
            && let Some(channel) = relayed_client.note(from.into(), text, self.shared.clock.now())
        {
            self.shared.came(app, &channel);
        }
        Some(text.clone())
    }

    /// Looks whether somebody announces beside usher, if a rule asks for it.
    fn look_beside(&self, message: &Message, freshness: &mut Freshness, waited: bool) {
        if let (Some(Guest { deliveries: Some(deliveries), .. }), Message::Text(text)) = (&self.guest, message)
            && deliveries.are_watched()
        {
            deliveries.see(&self.shared, text, freshness, waited);
        }
    }

    /// Waits until no message was relayed for too long.
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

    /// Waits for this relay's turn to be closed because usher is about to end.
    async fn turn(&self) {
        let period = self.shared.drain.turns(self.connected).await;
        sleep(self.close_stagger.within(period)).await;
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

impl RelayEnd {
    fn broken(side: Side, broken: &ReadError) -> Self {
        match broken {
            ReadError::Lost(error) => {
                tracing::debug!(?side, %error, "a WebSocket connection was lost");
                Self::Lost(side)
            }
            ReadError::Faulty(code, error) => {
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

    /// What `side` still has to be sent. usher itself never sends a client one of Pusher's final codes (40xx).
    fn close_action(&self, side: Side, leaving: bool) -> CloseAction {
        match (self, side) {
            (Self::Closed { by, with, answered: false }, _) if *by == side => CloseAction::Send(with.clone()),
            (Self::Closed { .. }, _) => CloseAction::Nothing,
            (Self::Lost(lost), _) if *lost == side => CloseAction::Nothing,
            (Self::Faulty(faulty, code), Side::Upstream) if *faulty == side => {
                CloseAction::Send(Some(close(*code, "")))
            }
            (_, Side::Upstream) => CloseAction::Send(Some(close(CloseCode::Away, ""))),
            (Self::Faulty(Side::Client, code), Side::Client) => CloseAction::Send(Some(close(*code, ""))),
            // The end is usually a restart: if pusher-js reconnected at once, to a port where nothing listens yet, it
            // would then wait for 15 seconds.
            (Self::Lost(_) | Self::Faulty(..), Side::Client) if leaving => {
                CloseAction::Send(Some(close(BACK_OFF.into(), "upstream is gone")))
            }
            (Self::Lost(_) | Self::Faulty(..), Side::Client) => {
                CloseAction::Send(Some(close(RECONNECT.into(), "upstream is gone")))
            }
            (Self::Idle, Side::Client) => {
                CloseAction::Send(Some(close(RECONNECT.into(), "nothing was sent for too long")))
            }
            (Self::Drained, Side::Client) => CloseAction::Send(Some(close(BACK_OFF.into(), "the server restarts"))),
        }
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

/// What a side of a relay has to be sent before its connection ends.
enum CloseAction {
    Nothing,
    /// A close frame, perhaps without a code.
    Send(Option<CloseFrame>),
}

/// Sends a side its close, if there is one, and waits for its answer; then ends the connection. What the side sends in
/// the meantime is read, so that the system does not reset the connection before the close arrives.
async fn close_side(reader: &mut Reader<Socket>, writer: &mut Writer<Socket>, action: CloseAction) {
    let closing = async {
        if let CloseAction::Send(frame) = action
            && writer.feed(Message::Close(frame)).await.is_ok()
            && writer.flush().await.is_ok()
        {
            if reader.is_faulty() {
                // Its answer could not be distinguished from the rest.
                writer.end().await;
            }
            reader.discard_rest().await;
        }
        writer.end().await;
    };
    if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("a WebSocket connection was not closed in time and is dropped");
    }
}
