//! The WebSocket handshake with upstream. The client's handshake is sent on a new connection, and only a correct 101
//! switches it.
//!
//! hyper performs the handshake, not tungstenite: the body of an answer that does not switch can then be streamed like
//! any other, and header names keep their case. The client's own `Sec-WebSocket-Key` is sent, so that upstream's
//! `Sec-WebSocket-Accept` is valid for the client as well.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::dial::Dialer;
use super::http1::check_answer;
use super::pool::{Connection, Lease};
use super::stream::Stream;
use super::transport::Transport;
use super::{Answer, DialOutcome, Failure, Payload};

/// A connection that upstream has switched to WebSocket.
#[derive(Debug)]
pub struct UpgradedConnection {
    /// The headers of the 101, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// The connection. usher is the WebSocket client on it: frames sent on it are masked.
    pub(crate) stream: Stream,
    /// What upstream has sent right after its 101.
    pub(crate) read: Bytes,
}

/// Never in practice.
const NOT_OPENED_HERE: &str = "it is on a connection that was not opened here";

/// See [`super::Upstream::dial`].
pub(super) async fn dial(dialer: &Dialer, mut request: Request<()>, period: Duration) -> Result<DialOutcome, Failure> {
    set_hop_headers(&mut request, dialer.host());
    let handshake = ClientHandshake::of(request.headers());
    let mut connection = dialer.connect_http().await?;
    let exchange = async {
        let mut answer = send(dialer, &mut connection, request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(answer));
        }
        if let Some(problem) = handshake.problem(answer.headers()) {
            return Err(Failure::UnacceptableAnswer { upstream: dialer.authority().to_owned(), problem });
        }
        let headers = std::mem::take(answer.headers_mut());
        let socket = hyper::upgrade::on(answer)
            .await
            .map_err(|source| Failure::after_sending(dialer.authority().to_owned(), source))?;
        // The stream itself: what hyper puts around it would cost each message something.
        let Ok(parts) = socket.downcast::<TokioIo<Transport>>() else {
            return Err(Failure::UnacceptableAnswer {
                upstream: dialer.authority().to_owned(),
                problem: NOT_OPENED_HERE,
            });
        };
        let stream = parts.io.into_inner().into_stream();
        Ok(Ok(UpgradedConnection { headers, stream, read: parts.read_buf }))
    };
    let exchanged = timeout(period, exchange).await;
    let exchanged = exchanged
        .unwrap_or_else(|_elapsed| Err(Failure::AnswerTimeout { upstream: dialer.authority().to_owned(), period }));
    match exchanged.inspect_err(|_failure| dialer.expire_addresses())? {
        Ok(upgraded) => Ok(DialOutcome::Remote(upgraded)),
        Err(answer) => refused(dialer, connection, answer),
    }
}

/// Sets the headers of this hop. Compression is not offered: the library that relays frames does not support it
/// (threats.md WS-05).
fn set_hop_headers(request: &mut Request<()>, host: &HeaderValue) {
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.insert(HOST, host.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(CONTENT_LENGTH);
}

async fn send(
    dialer: &Dialer,
    connection: &mut Connection,
    request: Request<()>,
) -> Result<Response<Incoming>, Failure> {
    let request = request.map(|()| Payload::Whole(Bytes::new()));
    connection.send(request).await.map_err(|mut error| {
        let upstream = dialer.authority().to_owned();
        match error.take_message() {
            Some(_unsent) => Failure::unsent(upstream, error.into_error().into()),
            None => Failure::after_sending(upstream, error.into_error()),
        }
    })
}

fn refused(dialer: &Dialer, connection: Connection, mut answer: Response<Incoming>) -> Result<DialOutcome, Failure> {
    check_answer(&mut answer).map_err(|error| Failure::answer(dialer.authority().to_owned(), error))?;
    Ok(DialOutcome::Refused(answer.map(|body| Answer::new(body, Lease::new(connection, None)))))
}

/// The parts of the client's handshake that the answer has to match (RFC 6455 4.1).
struct ClientHandshake {
    accept: String,
    protocols: Vec<HeaderValue>,
}

impl ClientHandshake {
    fn of(headers: &HeaderMap) -> Self {
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
        Self { accept: derive_accept_key(key), protocols }
    }

    /// Why a 101 with these headers is not a correct answer; `None` if it is correct.
    fn problem(&self, headers: &HeaderMap) -> Option<&'static str> {
        if !tokens(headers, UPGRADE).eq([b"websocket"]) {
            return Some("it switches to another protocol than WebSocket");
        }
        if !tokens(headers, CONNECTION).any(|option| option == b"upgrade") {
            return Some("it switches to WebSocket without `Connection: Upgrade`");
        }
        let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
        if accepts.next().is_none_or(|accept| accept.as_bytes() != self.accept.as_bytes()) || accepts.next().is_some() {
            return Some("its Sec-WebSocket-Accept does not belong to the handshake");
        }
        if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Some("it uses a WebSocket extension that was not offered");
        }
        let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        match (chosen.next(), chosen.next()) {
            (None, _) => None,
            (Some(one), None) if self.offers(one) => None,
            (Some(_), _) => Some("it uses a WebSocket subprotocol that was not offered"),
        }
    }

    fn offers(&self, protocol: &HeaderValue) -> bool {
        self.protocols
            .iter()
            .flat_map(|list| list.as_bytes().split(|byte| *byte == b','))
            .any(|offered| offered.trim_ascii() == protocol.as_bytes())
    }
}

/// The elements of a list header, in lower case.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Vec<u8>> {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|token| token.trim_ascii().to_ascii_lowercase())
}
