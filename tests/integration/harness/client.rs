//! A raw HTTP/1.1 client, and the requests that backends send.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::message::{Framing, Head, read_chunked};
use super::{BOUND, sign};

/// A request to be written.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub host: String,
    /// Names and values in the order in which they are written; `Host` and `Content-Length` are added by
    /// [`Request::bytes`].
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// Any request with the headers of `python-requests`, in its order and case.
    pub fn new(method: &str, target: &str, body: &[u8]) -> Self {
        let headers = [
            ("User-Agent", "python-requests/2.32.3"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept", "*/*"),
            ("Connection", "keep-alive"),
            ("X-Pusher-Library", "pusher-http-python 3.3.3"),
            ("Content-Type", "application/json"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "usher.test".to_owned(),
            headers,
            body: body.to_vec(),
        }
    }

    /// A signed request.
    pub fn signed(method: &str, path: &str, extra: &str, body: &[u8]) -> Self {
        Self::new(method, &format!("{path}?{}", sign::query(method, path, extra, body)), body)
    }

    /// A signed trigger: `POST /apps/3/events`.
    pub fn events(body: &str) -> Self {
        Self::signed("POST", "/apps/3/events", "", body.as_bytes())
    }

    /// A signed batch: `POST /apps/3/batch_events`.
    pub fn batch(body: &str) -> Self {
        Self::signed("POST", "/apps/3/batch_events", "", body.as_bytes())
    }

    /// A webhook as Pusher signs it (pusher-protocol.md 5.2).
    pub fn webhook(target: &str, body: &str) -> Self {
        Self::webhook_by(target, body, sign::KEY, sign::SECRET)
    }

    /// The same by another pair.
    pub fn webhook_by(target: &str, body: &str, key: &str, secret: &str) -> Self {
        let signature = sign::webhook(body, secret);
        let headers = [("Content-Type", "application/json"), ("X-Pusher-Key", key), ("X-Pusher-Signature", &signature)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { headers, ..Self::new("POST", target, body.as_bytes()) }
    }

    /// Addressed to another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The head alone.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let framed = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        (head + "\r\n").into_bytes()
    }

    /// Head and body.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one answer to anything but HEAD.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let head = Head::read(from, |_| {})?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Self::with_head(head, from)
    }

    fn with_head(head: Head, from: &mut impl Read) -> io::Result<Self> {
        let status = head.lines()[0]
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut body = Vec::new();
        match head.framing() {
            _ if status < 200 || status == 204 || status == 304 => {}
            Framing::Length(length) => {
                body.resize(length, 0);
                from.read_exact(&mut body)?;
            }
            Framing::Chunked => body = read_chunked(from, |_| {})?,
            Framing::None => {
                from.read_to_end(&mut body)?;
            }
        }
        Ok(Self { status, head, body })
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("body is not JSON ({error}): {self:?}"))
    }

    /// `usher-decision`, or nothing.
    pub fn decision(&self) -> String {
        self.header("usher-decision").unwrap_or_default()
    }

    /// `usher-error`, or nothing.
    pub fn error(&self) -> String {
        self.header("usher-error").unwrap_or_default()
    }

    /// Fails unless this is usher's own error with this status and code, in header and body.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.error().as_str()), (status, code), "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], code, "{self:?}");
        assert!(body["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{self:?}");
    }

    /// Fails unless the answer has this status.
    #[track_caller]
    pub fn assert_status(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
    }

    /// Fails unless the trigger was suppressed, with a response that every library accepts as success.
    #[track_caller]
    pub fn assert_suppressed(&self) {
        assert_eq!(
            (self.status, self.text().as_str(), self.decision().as_str()),
            (200, "{}", "suppressed"),
            "{self:?}"
        );
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"), "{self:?}");
    }

    /// Fails unless the trigger was forwarded and accepted.
    #[track_caller]
    pub fn assert_forwarded(&self) {
        assert_eq!((self.status, self.decision().as_str()), (200, "forwarded"), "{self:?}");
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client(TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// The same for an address that may refuse.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, BOUND)?;
        stream.set_read_timeout(Some(BOUND))?;
        stream.set_write_timeout(Some(BOUND))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Writes raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.write_all(bytes).unwrap();
        self
    }

    /// Writes raw bytes to a peer that may have closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads one answer to anything but HEAD; interim (1xx) answers are answers too.
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same if the connection may be closed instead.
    pub fn try_response(&mut self) -> io::Result<Response> {
        let head = self.read_head()?;
        Response::with_head(head, &mut self.0)
    }

    /// Reads the head of an answer alone; its body follows by [`Client::read_some`].
    pub fn read_head(&mut self) -> io::Result<Head> {
        Head::peek(&mut self.0, |_| {})?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads exactly this many bytes.
    pub fn read_some(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a request and reads its answer.
    pub fn call(&mut self, request: &Request) -> Response {
        self.send(&request.bytes()).response()
    }

    /// Sends a signed trigger and reads its answer.
    pub fn trigger(&mut self, body: &str) -> Response {
        self.call(&Request::events(body))
    }

    /// Sends a signed batch and reads its answer.
    pub fn batch(&mut self, body: &str) -> Response {
        self.call(&Request::batch(body))
    }

    /// Announces `staff` on `channel`.
    pub fn announce(&mut self, channel: &str, staff: &str) -> Response {
        self.trigger(&super::bodies::announcement(channel, staff))
    }

    /// The connection, for another protocol.
    pub fn into_stream(self) -> TcpStream {
        self.0
    }

    /// Closes the client's half of the connection.
    pub fn finish_writing(&mut self) -> &mut Self {
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Closes the connection immediately.
    pub fn hang_up(self) {
        let _gone = self.0.shutdown(Shutdown::Both);
    }

    /// Waits until something has arrived, and resets the connection without having read it.
    pub fn reset(self) {
        self.0.peek(&mut [0]).unwrap();
    }

    /// Reads until the peer closes (with FIN or RST), and returns what came before.
    pub fn read_to_close(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("the connection was not closed; read so far: {bytes:?}")
            }
            _ => bytes,
        }
    }

    /// Fails unless the peer closes in order, i.e. not by a reset, without sending anything more.
    #[track_caller]
    pub fn read_to_orderly_close(&mut self) {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        assert!(read.is_ok() && bytes.is_empty(), "{read:?} after {bytes:?}");
    }
}
