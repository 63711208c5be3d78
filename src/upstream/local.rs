//! The embedded broker as the exit: same calls, no network.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Answer, Dialled, Failure, Payload};
use crate::broker::{Broker, WakeQueue, socket_config};
use crate::pusher::subprotocol;
use crate::rate::Pace;

/// The largest request that the broker takes, in bytes: far more than 10 events of 10 KiB for 100 channels each.
const MAX_REQUEST: usize = 1024 * 1024;

/// The embedded broker, which is shared by all workers, as one of them has it. Cloning gives another handle to the
/// same.
#[derive(Debug, Clone)]
pub struct Local {
    broker: Arc<Broker>,
    timeout: Duration,
    /// This worker's.
    wake_queue: Arc<WakeQueue>,
}

/// A client that comes to the embedded broker: who was asked for, until its socket is there.
#[derive(Debug)]
#[must_use = "the client is not served before `converse`"]
pub struct Visit {
    broker: Arc<Broker>,
    target: Uri,
    subprotocol: Option<&'static str>,
    wake_queue: Arc<WakeQueue>,
}

impl Local {
    /// Hands requests to `broker`. `timeout` bounds what surrounds it, as with any upstream; the broker itself waits
    /// for nothing.
    #[must_use]
    pub fn new(broker: Arc<Broker>, timeout: Duration) -> Self {
        Self { broker, timeout, wake_queue: Arc::default() }
    }

    /// Attends to the connections of one worker, for ever: each worker has a `Local` of its own, and runs this.
    pub async fn run(&self) {
        self.wake_queue.run().await;
    }

    /// See [`super::Upstream::send`].
    ///
    /// # Errors
    /// If the caller's body breaks off.
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

    /// The timeout that it was made with.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The visit of a client that asked for a WebSocket with `request`; 403 if its page may not.
    #[must_use]
    pub fn dial(&self, request: &Request<()>) -> Dialled {
        let origin = request.headers().get(ORIGIN);
        if !self.broker.admits(origin.map(HeaderValue::as_bytes)) {
            let mut answer = Response::new(Answer::whole(Bytes::from_static(
                b"Pages of this origin may not connect (broker.allowed_origins)\n",
            )));
            *answer.status_mut() = StatusCode::FORBIDDEN;
            return Dialled::Refused(answer);
        }
        let target = request.uri();
        // A copy: the target as received is a part of the buffer of its request, and would keep all of that for as long
        // as the client stays.
        let copied = target.to_string().parse().unwrap_or_else(|_unlikely| target.clone());
        let subprotocol =
            subprotocol(request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(HeaderValue::as_bytes));
        Dialled::Local(Visit {
            broker: Arc::clone(&self.broker),
            target: copied,
            subprotocol,
            wake_queue: Arc::clone(&self.wake_queue),
        })
    }
}

impl Visit {
    /// The end-to-end headers of the answer that switches the client.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.subprotocol.iter().map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))).collect()
    }

    /// Speaks with the client over `stream`, which was switched to WebSocket, at its `pace`, until one of them closes
    /// it. Its messages may have `max_message` bytes. Whatever is wrong with the target, the client is told by the code
    /// of the close (`pusher-protocol.md` 4.7).
    ///
    /// # Cancel safety
    /// Dropped, the connection is closed without a word, and the client is out of all its channels.
    pub async fn converse<S>(self, stream: S, max_message: usize, pace: Option<Pace>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(socket_config(max_message))).await;
        self.broker.converse(socket, &self.target, pace, &self.wake_queue).await;
    }
}

/// The whole payload; `None` if it is too large.
async fn collect(payload: Payload) -> Result<Option<Bytes>, Failure> {
    if payload.length() > MAX_REQUEST as u64 {
        return Ok(None);
    }
    let mut stream = match payload {
        Payload::Whole(bytes) => return Ok(Some(bytes)),
        stream @ Payload::Stream(_) => stream,
    };
    // Its length was declared, and no more than that comes.
    let mut body = BytesMut::new();
    while let Some(frame) = stream.frame().await {
        let frame = frame.map_err(|source| Failure::CallerBody { source })?;
        if let Ok(data) = frame.into_data() {
            body.extend_from_slice(&data);
        }
    }
    Ok(Some(body.freeze()))
}
