//! The upstream that all targets share: answers every request with `200 {}` and does nothing else. It counts the
//! requests, and tells whoever asks for [`COUNT`], so that what a gateway says it forwarded can be checked.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{Backlog, listen};
use rustls::ServerConfig;

use crate::launch;
use crate::secure::Identity;
use crate::wire::{Received, Wire};

/// The first argument of the process that is the stub.
pub(crate) const ROLE: &str = "stub";

/// The path that answers how many requests came so far, itself not counted.
pub(crate) const COUNT: &str = "/requests-so-far";

const LISTENER: Token = Token(usize::MAX);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// Serves until the process is ended. Arguments: the port, and a directory with an identity if it is to speak TLS.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    launch::settle(&[])?;
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).context("no port")?;
    let tls = arguments.next().map(|directory| Identity::load(Path::new(&directory))?.server()).transpose()?;
    let listener =
        TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).with_context(|| format!("port {port} is taken"))?;
    // All of a target's connections come at once, and the system drops who finds the line full: he comes again after a
    // second.
    listen(&listener, Backlog::new(1024)?)?;
    Ok(Stub { listener, tls, poll: Poll::new()?, wires: Vec::new(), free: Vec::new(), count: 0 }.serve()?)
}

struct Stub {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    /// By their tokens.
    wires: Vec<Option<Wire>>,
    /// Tokens that nobody uses.
    free: Vec<usize>,
    count: u64,
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
                    // Whoever breaks a connection sees it for himself.
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
            let index = self.free.pop().unwrap_or(self.wires.len());
            self.poll.registry().register(wire.source(), Token(index), Interest::READABLE | Interest::WRITABLE)?;
            if index == self.wires.len() {
                self.wires.push(Some(wire));
            } else {
                self.wires[index] = Some(wire);
            }
        }
    }

    fn attend(&mut self, index: usize) -> io::Result<()> {
        let Some(wire) = self.wires.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        wire.flush()?;
        let received = wire.receive()?;
        let mut taken = 0;
        while let Some(length) = request(&wire.inbox[taken..])? {
            if asks_for_count(&wire.inbox[taken..]) {
                let count = self.count.to_string();
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}", count.len()).as_bytes())?;
            } else {
                self.count += 1;
                wire.send(OK)?;
            }
            taken += length;
        }
        wire.inbox.drain(..taken);
        if received == Received::Closed {
            self.close(index);
        }
        Ok(())
    }

    fn close(&mut self, index: usize) {
        if self.wires.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

/// The length of the complete request that `bytes` begin with.
fn request(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes).map_err(io::Error::other)? else { return Ok(None) };
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body: usize = match length {
        Some(length) => {
            std::str::from_utf8(length.value).map_err(io::Error::other)?.parse().map_err(io::Error::other)?
        }
        None => 0,
    };
    Ok((head_length + body <= bytes.len()).then_some(head_length + body))
}

fn asks_for_count(request: &[u8]) -> bool {
    request.strip_prefix(b"GET ").is_some_and(|rest| rest.starts_with(COUNT.as_bytes()))
}
