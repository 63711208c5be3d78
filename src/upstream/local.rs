//! The embedded broker as upstream: the same interface as a remote server, without a network.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answer, DialOutcome, Failure, Payload};
use crate::broker::{Broker, WakeQueue, socket_config};
use crate::pusher::subprotocol;
use crate::rate::Pace;

/// The largest request body that the broker accepts, in bytes. 10 events of 10 KiB for 100 channels each are far
/// smaller.
const MAX_REQUEST: usize = 1024 * 1024;

/// One worker's handle to the embedded broker, which all workers share.
#[derive(Debug, Clone)]
pub struct Local {
    broker: Arc<Broker>,
    timeout: Duration,
    /// The queue of this worker.
    wake_queue: Arc<WakeQueue>,
}

/// A WebSocket client of the embedded broker, before its connection is switched.
#[derive(Debug)]
#[must_use = "`serve` serves the client"]
pub struct LocalClient {
    broker: Arc<Broker>,
    target: Uri,
    subprotocol: Option<&'static str>,
    wake_queue: Arc<WakeQueue>,
}

impl Local {
    /// A handle that passes requests to `broker`. `timeout` is the value of [`Local::timeout`]; the broker itself has
    /// no timeout.
    #[must_use]
    pub fn new(broker: Arc<Broker>, timeout: Duration) -> Self {
        Self { broker, timeout, wake_queue: Arc::default() }
    }

    /// Wakes the connections of one worker. Never returns. Each worker has its own `Local` and runs this.
    pub async fn run(&self) {
        self.wake_queue.run().await;
    }

    /// See [`super::Upstream::send`].
    ///
    /// # Errors
    /// The caller's body broke off.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        let (head, payload) = request.into_parts();
        let answer = match collect(payload).await? {
            Some(body) => self.broker.answer(&Request::from_parts(head, body)).await,
            None => {
                let mut answer = Response::new(Bytes::from_static(b"The request is too large\n"));
                *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                answer
            }
        };
        Ok(answer.map(Answer::whole))
    }

    /// The timeout given to [`Local::new`].
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The client of the WebSocket handshake `request`, or a 403 if its `Origin` is not allowed.
    #[must_use]
    pub fn dial(&self, request: &Request<()>) -> DialOutcome {
        let origin = request.headers().get(ORIGIN);
        if !self.broker.admits(origin.map(HeaderValue::as_bytes)) {
            let mut answer = Response::new(Answer::whole(Bytes::from_static(
                b"Pages of this origin may not connect (broker.allowed_origins)\n",
            )));
            *answer.status_mut() = StatusCode::FORBIDDEN;
            return DialOutcome::Refused(answer);
        }
        let target = request.uri();
        // Copied: the received target shares the buffer of its request, and would keep the whole buffer allocated as
        // long as the client is connected.
        let copied = target.to_string().parse().unwrap_or_else(|_unlikely| target.clone());
        let subprotocol =
            subprotocol(request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes));
        DialOutcome::Local(LocalClient {
            broker: Arc::clone(&self.broker),
            target: copied,
            subprotocol,
            wake_queue: Arc::clone(&self.wake_queue),
        })
    }
}

impl LocalClient {
    /// The end-to-end headers of the 101 to the client.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.subprotocol.iter().map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))).collect()
    }

    /// Serves the client over `stream`, which was switched to WebSocket, until one side closes it. The client's
    /// messages have `max_message` bytes at most and are read at the rate of `pace`. An error in the target is reported
    /// with the close code (`pusher-protocol.md` 4.7).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection without a close frame and ends all subscriptions of the client.
    pub async fn serve<S>(self, stream: S, max_message: usize, pace: Option<Pace>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(socket_config(max_message))).await;
        self.broker.serve(socket, &self.target, pace, &self.wake_queue).await;
    }
}

/// The complete payload; `None` if it is too large.
async fn collect(payload: Payload) -> Result<Option<Bytes>, Failure> {
    if payload.length() > MAX_REQUEST as u64 {
        return Ok(None);
    }
    let mut stream = match payload {
        Payload::Whole(bytes) => return Ok(Some(bytes)),
        stream @ Payload::Stream(_) => stream,
    };
    // hyper ends the stream after the declared length.
    let mut body = BytesMut::new();
    while let Some(frame) = stream.frame().await {
        let frame = frame.map_err(|source| Failure::CallerBody { source })?;
        if let Ok(data) = frame.into_data() {
            body.extend_from_slice(&data);
        }
    }
    Ok(Some(body.freeze()))
}
