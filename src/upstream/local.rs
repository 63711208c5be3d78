//! The embedded broker as the exit: same calls, no network.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;

use super::{Answer, Failure, Payload};
use crate::broker::Broker;

/// The largest request that the broker takes, in bytes: far more than 10 events of 10 KiB for 100 channels each.
const MAX_REQUEST: usize = 1024 * 1024;

/// The embedded broker, shared by all workers. Cloning gives another handle to it.
#[derive(Debug, Clone)]
pub struct Local {
    broker: Arc<Broker>,
    timeout: Duration,
}

/// A client that comes to the embedded broker: who was asked for, until its socket is there.
#[derive(Debug)]
#[must_use = "the client is not served before `converse`"]
pub struct Visit {
    broker: Arc<Broker>,
    key: String,
    query: String,
}

impl Local {
    /// Hands requests to `broker`. `timeout` bounds what surrounds it, as with any upstream; the broker itself waits for nothing.
    #[must_use]
    pub const fn new(broker: Arc<Broker>, timeout: Duration) -> Self {
        Self { broker, timeout }
    }

    /// See [`super::Upstream::send`].
    ///
    /// # Errors
    /// If the caller's body breaks off.
    pub async fn send(&self, request: Request<Payload>) -> Result<Response<Answer>, Failure> {
        let (head, payload) = request.into_parts();
        let answer = match collect(payload).await? {
            Some(body) => self.broker.answer(&Request::from_parts(head, body)),
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

    /// The visit of a client that asks, with `GET /app/{key}`, for a WebSocket; `None` if the path is another.
    #[must_use]
    pub fn visit(&self, head: &Parts) -> Option<Visit> {
        let key = head.uri.path().strip_prefix("/app/").filter(|key| !key.is_empty() && !key.contains('/'))?;
        let query = head.uri.query().unwrap_or_default();
        Some(Visit { broker: Arc::clone(&self.broker), key: key.to_owned(), query: query.to_owned() })
    }
}

impl Visit {
    /// Speaks with the client over `socket`, made with [`crate::broker::socket_config`], until one of them closes it.
    ///
    /// # Cancel safety
    /// Dropped, the socket is closed without a word, and the client is out of all its channels.
    pub async fn converse<S>(self, socket: WebSocketStream<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.broker.converse(socket, &self.key, &self.query).await;
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
