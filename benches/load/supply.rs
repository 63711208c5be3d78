//! Signed requests, made ahead of time: signing costs the generator more than sending, and belongs to no target's time.
//!
//! Each is signed with the time at which it was made, at most a round or two before it is sent.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use usher::pusher::{App, sign_query};

use crate::mixes::{Call, Endpoint, Expected, Mix, Story};
use crate::stub;

/// The app of all targets: id, key, secret.
pub(crate) const APP: [&str; 3] = ["1001", "usher-key", "usher-secret"];

/// Signed at once when the stock has run out within a round.
const HANDFUL: usize = 64;

/// The requests of one lane.
#[derive(Debug)]
pub(crate) struct Supply {
    story: Story,
    app: App,
    host: SocketAddr,
    bytes: Vec<u8>,
    requests: Vec<Request>,
    /// The index of the first unused one.
    next: usize,
    /// The number of requests signed on demand because none were left.
    hurried: u64,
}

/// The position of a request in the bytes: it begins at the end of the previous one.
#[derive(Debug, Clone, Copy)]
struct Request {
    end: usize,
    expected: Expected,
}

impl Supply {
    /// A stock of the calls of `mix` to `host` about this many rooms.
    pub(crate) fn new(mix: Mix, rooms: usize, host: SocketAddr) -> Self {
        let [id, key, secret] = APP;
        let story = Story::new(mix, rooms);
        Self {
            story,
            app: App::new(id, key, secret),
            host,
            bytes: Vec::new(),
            requests: Vec::new(),
            next: 0,
            hurried: 0,
        }
    }

    /// The requests that make the rooms known, one after the other.
    pub(crate) fn openings(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.story.rooms()).step_by(crate::mixes::AT_ONCE).map(|first| {
            let mut request = Vec::new();
            self.write(Endpoint::Events, &self.story.opening(first), now(), &mut request);
            request
        })
    }

    /// Signs until `count` requests are ready.
    pub(crate) fn stock(&mut self, count: usize) {
        let taken = self.start_of(self.next);
        self.bytes.drain(..taken);
        self.requests.drain(..self.next);
        for request in &mut self.requests {
            request.end -= taken;
        }
        self.next = 0;
        self.hurried = 0;
        self.sign(count.saturating_sub(self.requests.len()));
    }

    /// The next request and the expected decision.
    pub(crate) fn take(&mut self) -> (&[u8], Expected) {
        if self.next == self.requests.len() {
            self.hurried += HANDFUL as u64;
            self.sign(HANDFUL);
        }
        let request = self.requests[self.next];
        let start = self.start_of(self.next);
        self.next += 1;
        (&self.bytes[start..request.end], request.expected)
    }

    /// The number of requests signed within the round because the stock was too small.
    pub(crate) const fn hurried(&self) -> u64 {
        self.hurried
    }

    fn start_of(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.requests[before].end)
    }

    fn sign(&mut self, count: usize) {
        let now = now();
        let mut body = Vec::with_capacity(1024);
        for _ in 0..count {
            body.clear();
            let Call { endpoint, expected } = self.story.next(&mut body);
            let mut bytes = std::mem::take(&mut self.bytes);
            self.write(endpoint, &body, now, &mut bytes);
            self.bytes = bytes;
            self.requests.push(Request { end: self.bytes.len(), expected });
        }
    }

    /// As the Python library sends it.
    fn write(&self, endpoint: Endpoint, body: &[u8], now: u64, request: &mut Vec<u8>) {
        let of_app = |name: &str| format!("/apps/{}/{name}", self.app.id());
        let (method, path) = match endpoint {
            Endpoint::Events => ("POST", of_app("events")),
            Endpoint::Batch => ("POST", of_app("batch_events")),
            Endpoint::Channels => ("GET", of_app("channels")),
            Endpoint::Answer(length) => ("GET", format!("{}{length}", stub::ANSWER)),
            Endpoint::Chunked(length) => ("GET", format!("{}{length}", stub::CHUNKED)),
        };
        let has_body = !body.is_empty();
        let query = sign_query(&self.app, method, &path, &[], has_body.then_some(body), now);
        let host = self.host;
        let written = write!(
            request,
            "{method} {path}?{query} HTTP/1.1\r\nHost: {host}\r\nX-Pusher-Library: pusher-http-python 3.3.3\r\n"
        )
        .and_then(|()| {
            if has_body {
                write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
            } else {
                Ok(())
            }
        })
        .and_then(|()| request.write_all(b"\r\n"))
        .and_then(|()| request.write_all(body));
        written.expect("a vector takes all that is written");
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
