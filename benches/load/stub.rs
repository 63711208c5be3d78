//! The upstream that all targets share: answers every request with `200 {}`, or with as many bytes as it asks for. It
//! counts the requests, and answers [`COUNT`] with the number, so that the reported decisions of a gateway can be
//! checked. It also takes WebSocket connections, and sends messages on those of one lane when it is asked to
//! [`DELIVER`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{Backlog, listen};
use rustls::ServerConfig;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::launch;
use crate::secure::Identity;
use crate::wire::{Received, Wire};

/// The first argument of the process that is the stub.
pub(crate) const ROLE: &str = "stub";

/// The path that answers how many requests came so far, itself not counted.
pub(crate) const COUNT: &str = "/requests-so-far";

/// The path that is answered with as many bytes as the number behind it.
pub(crate) const ANSWER: &str = "/answers/";

/// The same, in chunks of 8 KiB.
pub(crate) const CHUNKED: &str = "/chunked/";

/// The path, with three numbers behind it, that sends messages on WebSocket connections: those of this lane, the first
/// one's number, and how many. It is answered when all are written, and not counted.
pub(crate) const DELIVER: &str = "/deliver/";

/// The path, with a lane behind it, that answers how many bytes of frames came on its WebSocket connections so far. Not
/// counted.
pub(crate) const RECEIVED: &str = "/received/";

/// The parameter by which a WebSocket connection tells its lane.
pub(crate) const LANE: &str = "client=load-";

/// Bytes of a message, without its frame's head.
pub(crate) const MESSAGE: usize = 200;
/// The digits that a message's number has.
pub(crate) const DIGITS: usize = 10;
/// The prefix of the number.
pub(crate) const BEFORE_NUMBER: &str = r#"{"event":"load","channel":"load","data":""#;

const LISTENER: Token = Token(usize::MAX);
/// The usual answer.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// Serves until the process is ended. Arguments: the port, and a directory with an identity if it is to speak TLS.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    launch::settle(&[])?;
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).context("no port")?;
    let tls = arguments.next().map(|directory| Identity::load(Path::new(&directory))?.server()).transpose()?;
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).with_context(|| format!("port {port} is taken"))?;
    // All connections of a target arrive at once, and the kernel drops a SYN when the backlog is full: the client
    // retries after a second.
    listen(&listener, Backlog::new(1024)?)?;
    Ok(Stub { listener, tls, poll: Poll::new()?, lines: Vec::new(), free: Vec::new(), count: 0, received: Vec::new() }
        .serve()?)
}

struct Stub {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    /// By their tokens.
    lines: Vec<Option<Line>>,
    /// Unused tokens.
    free: Vec<usize>,
    count: u64,
    /// Bytes that came on the WebSocket connections of each lane.
    received: Vec<u64>,
}

/// A connection.
struct Line {
    wire: Wire,
    /// That of a WebSocket connection.
    lane: Option<usize>,
}

/// What a request asks for.
enum Asked {
    Count,
    Received(usize),
    Answer(usize),
    Chunked(usize),
    Deliver {
        lane: usize,
        first: usize,
        count: usize,
    },
    /// A WebSocket connection of this lane, with this key.
    Switch {
        lane: usize,
        key: String,
    },
    Other,
}

impl Stub {
    fn serve(mut self) -> io::Result<()> {
        self.poll.registry().register(&mut self.listener, LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    // A peer that breaks a connection notices it itself.
                    Token(index) => self.attend(index).unwrap_or_else(|_broken| self.close(index)),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let Ok(mut wire) = Wire::called(stream, self.tls.as_ref()) else { continue };
            let index = self.free.pop().unwrap_or(self.lines.len());
            self.poll.registry().register(wire.source(), Token(index), Interest::READABLE | Interest::WRITABLE)?;
            let line = Some(Line { wire, lane: None });
            if index == self.lines.len() {
                self.lines.push(line);
            } else {
                self.lines[index] = line;
            }
        }
    }

    fn attend(&mut self, index: usize) -> io::Result<()> {
        let Some(line) = self.lines.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        line.wire.flush()?;
        let received = line.wire.receive()?;
        let inbox = std::mem::take(&mut line.wire.inbox);
        let mut taken = 0;
        // Of frames the bytes are counted alone.
        if let Some(lane) = self.lane(index) {
            *self.received_on(lane) += inbox.len() as u64;
        }
        while self.lane(index).is_none()
            && let Some((length, asked)) = request(&inbox[taken..])?
        {
            taken += length;
            let answer = self.answer(index, asked);
            self.send(index, &answer)?;
        }
        if received == Received::Closed {
            self.close(index);
        } else if let Some(line) = self.lines[index].as_mut().filter(|line| line.lane.is_none()) {
            line.wire.inbox = inbox;
            line.wire.inbox.drain(..taken);
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, asked: Asked) -> Vec<u8> {
        match asked {
            Asked::Count => ok(self.count.to_string().as_bytes()),
            Asked::Received(lane) => ok(self.received_on(lane).to_string().as_bytes()),
            Asked::Deliver { lane, first, count } => {
                (first..first + count).for_each(|number| self.deliver(lane, number));
                ok(b"{}")
            }
            Asked::Switch { lane, key } => {
                if let Some(line) = self.lines.get_mut(index).and_then(Option::as_mut) {
                    line.lane = Some(lane);
                }
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                )
                .into_bytes()
            }
            Asked::Answer(length) => {
                self.count += 1;
                ok(&vec![b'x'; length])
            }
            Asked::Chunked(length) => {
                self.count += 1;
                chunked(length)
            }
            Asked::Other => {
                self.count += 1;
                OK.to_vec()
            }
        }
    }

    /// Sends a message on every WebSocket connection of a lane.
    fn deliver(&mut self, lane: usize, number: usize) {
        let frame = frame(number);
        for index in 0..self.lines.len() {
            if self.lane(index) == Some(lane) && self.send(index, &frame).is_err() {
                self.close(index);
            }
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        self.lines.get_mut(index).and_then(Option::as_mut).map_or(Ok(()), |line| line.wire.send(bytes))
    }

    fn received_on(&mut self, lane: usize) -> &mut u64 {
        if self.received.len() <= lane {
            self.received.resize(lane + 1, 0);
        }
        &mut self.received[lane]
    }

    fn lane(&self, index: usize) -> Option<usize> {
        self.lines.get(index).and_then(Option::as_ref).and_then(|line| line.lane)
    }

    fn close(&mut self, index: usize) {
        if self.lines.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

fn chunked(length: usize) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in vec![b'x'; length].chunks(8 * 1024) {
        answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    answer
}

/// A text frame of a server (RFC 6455 5.2).
fn frame(number: usize) -> Vec<u8> {
    let begun = format!("{BEFORE_NUMBER}{number:0DIGITS$} ");
    let end = "\"}";
    let text = format!("{begun}{}{end}", "x".repeat(MESSAGE - begun.len() - end.len()));
    [&[0x81, 126, 0, MESSAGE as u8], text.as_bytes()].concat()
}

/// The complete request that `bytes` begin with: its length, and what it asks for.
fn request(bytes: &[u8]) -> io::Result<Option<(usize, Asked)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| std::str::from_utf8(header.value).map_err(io::Error::other)).transpose()
    };
    let body: usize = header("content-length")?.map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    let length = head_length + body;
    if length > bytes.len() {
        return Ok(None);
    }
    let key = header("sec-websocket-key")?;
    Ok(Some((length, asked(head.path.unwrap_or_default(), key).unwrap_or(Asked::Other))))
}

fn asked(path: &str, key: Option<&str>) -> Option<Asked> {
    if let Some(key) = key {
        let digits = path.split_once(LANE)?.1.split('&').next()?;
        return Some(Asked::Switch { lane: digits.parse().ok()?, key: key.to_owned() });
    }
    let path = path.split('?').next()?;
    if path == COUNT {
        return Some(Asked::Count);
    }
    if let Some(length) = path.strip_prefix(ANSWER) {
        return length.parse().ok().map(Asked::Answer);
    }
    if let Some(length) = path.strip_prefix(CHUNKED) {
        return length.parse().ok().map(Asked::Chunked);
    }
    if let Some(lane) = path.strip_prefix(RECEIVED) {
        return lane.parse().ok().map(Asked::Received);
    }
    let mut numbers = path.strip_prefix(DELIVER)?.split('/').map(|number| number.parse().ok());
    Some(Asked::Deliver { lane: numbers.next()??, first: numbers.next()??, count: numbers.next()?? })
}
