//! The caller's half of a WebSocket handshake (RFC 6455 4.2). It is read before the hop-by-hop headers that carry it
//! are stripped. A request for any other protocol, or for several, is served as an ordinary one.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Refusal, Reply, headers};

/// The only version there is.
const VERSION: &str = "13";
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client's valid request to switch its connection to WebSocket.
#[derive(Debug)]
pub(super) struct Handshake {
    /// 16 bytes in base64, as sent.
    key: HeaderValue,
    upgraded: OnUpgrade,
}

impl Handshake {
    /// Reads the handshake from a head as received. `None`: an ordinary request, perhaps one for another protocol, to
    /// which usher does not switch.
    ///
    /// # Errors
    /// It requests WebSocket and violates RFC 6455.
    pub(super) fn read(head: &mut Parts, body: &Incoming) -> Result<Option<Self>, Refusal> {
        if head.method != Method::GET || head.version != Version::HTTP_11 || !requests_websocket(&head.headers) {
            return Ok(None);
        }
        if !body.is_end_stream() || head.headers.contains_key(TRANSFER_ENCODING) {
            return Err(Refusal::BadRequest("a WebSocket handshake has no body"));
        }
        if only(&head.headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            return Err(Refusal::WebSocketVersion);
        }
        let key = only(&head.headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes())).cloned();
        let key =
            key.ok_or(Refusal::BadRequest("a WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64"))?;
        Ok(head.extensions.remove::<OnUpgrade>().map(|upgraded| Self { key, upgraded }))
    }

    /// The handshake for upstream: `head` has end-to-end headers only; the client is at `ip`.
    ///
    /// # Errors
    /// The client's own `X-Forwarded-For` cannot be continued.
    pub(super) fn outgoing(&self, head: Parts, ip: IpAddr) -> Result<Request<()>, Refusal> {
        let mut head = head;
        let forwarded = forwarded_for(&head.headers, ip)?;
        head.headers.insert(X_FORWARDED_FOR, forwarded);
        // `Connection` may have nominated these, but a handshake needs them.
        head.headers.insert(SEC_WEBSOCKET_KEY, self.key.clone());
        head.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        Ok(Request::from_parts(head, ()))
    }

    /// Accepts the handshake. Returns the 101, with the end-to-end ones of upstream's `headers`, and a future of the
    /// connection, which is ready once the 101 is sent.
    ///
    /// # Errors
    /// Never in practice: the `Sec-WebSocket-Accept` is always a valid header.
    pub(super) fn accept(self, mut headers: HeaderMap) -> Result<(Response<Reply>, OnUpgrade), Refusal> {
        headers::strip_answer(&mut headers);
        headers.remove(CONTENT_LENGTH);
        let proof =
            HeaderValue::try_from(derive_accept_key(self.key.as_bytes())).map_err(|_invalid| Refusal::Internal)?;
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
        let mut response = Response::new(Reply::Whole(None));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        Ok((response, self.upgraded))
    }
}

/// Whether the one `Upgrade` is `websocket`, and `Connection` names it.
fn requests_websocket(headers: &HeaderMap) -> bool {
    let options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    only(headers, &UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// The value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether `key` is the base64 of 16 bytes: 22 characters and the padding.
fn is_key(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The client's own `X-Forwarded-For` with its address appended: a server that trusts usher uses the last one.
fn forwarded_for(headers: &HeaderMap, ip: IpAddr) -> Result<HeaderValue, Refusal> {
    let mut hops: Vec<&[u8]> = headers.get_all(&X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let own = ip.to_canonical().to_string();
    hops.push(own.as_bytes());
    HeaderValue::from_bytes(&hops.join(&b", "[..]))
        .map_err(|_| Refusal::BadRequest("the X-Forwarded-For header cannot be continued"))
}
