//! The least that a proxy can cost on this kernel: one loop of `epoll_wait` that copies bytes, with one read and one
//! write for what has arrived, and looks at nothing. It is a target of its own (`limit`); `limit-return` answers what it
//! reads itself. Neither is of any use but to see how far a real proxy is from it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{Backlog, listen};

use crate::launch;
use crate::stub::OK;

/// The first argument of the process.
pub(crate) const ROLE: &str = "limit";

/// The argument instead of an upstream: answers itself.
pub(crate) const ANSWERS: &str = "answers";

const LISTENER: Token = Token(usize::MAX);
/// Read at once.
const CHUNK: usize = 64 * 1024;

/// Serves until the process is ended. Arguments: the port, and upstream's address or [`ANSWERS`].
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let port: u16 = arguments.next().and_then(|port| port.parse().ok()).context("no port")?;
    let upstream = arguments.next().context("no upstream")?;
    let upstream = if upstream == ANSWERS { None } else { Some(upstream.parse().context("upstream is no address")?) };
    launch::settle(&[])?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    listen(&listener, Backlog::new(1024)?)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    Ok(Limit { listener, upstream, poll, sides: Vec::new(), buffer: vec![0; CHUNK] }.serve()?)
}

struct Limit {
    listener: TcpListener,
    /// `None`: it answers itself.
    upstream: Option<SocketAddr>,
    poll: Poll,
    /// By their tokens; a connection of a caller is followed by the one to upstream.
    sides: Vec<Option<Side>>,
    buffer: Vec<u8>,
}

struct Side {
    stream: TcpStream,
    /// What the socket did not take.
    unsent: Vec<u8>,
}

impl Limit {
    fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    // Both sides end with either of them.
                    Token(index) => self.copy(index, event.is_writable()).unwrap_or_else(|_broken| self.close(index)),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            match self.upstream {
                Some(upstream) => self.add(TcpStream::connect(upstream)?)?,
                None => self.sides.push(None),
            }
        }
    }

    fn add(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let token = Token(self.sides.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        stream.set_nodelay(true)?;
        self.sides.push(Some(Side { stream, unsent: Vec::new() }));
        Ok(())
    }

    /// Writes what is unsent, and passes on what has arrived.
    fn copy(&mut self, index: usize, is_writable: bool) -> io::Result<()> {
        let Some(side) = self.sides[index].as_mut() else { return Ok(()) };
        if is_writable && !side.unsent.is_empty() {
            let unsent = std::mem::take(&mut side.unsent);
            side.send(&unsent)?;
            // What had to wait for that is read now.
            self.copy(index ^ 1, false)?;
        }
        loop {
            let other = if self.upstream.is_some() { index ^ 1 } else { index };
            if self.sides[other].as_ref().is_some_and(|other| !other.unsent.is_empty()) {
                return Ok(());
            }
            let Some(side) = self.sides[index].as_mut() else { return Ok(()) };
            let count = match side.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let bytes = if self.upstream.is_some() { &self.buffer[..count] } else { OK };
            if let Some(to) = self.sides[other].as_mut() {
                to.send(bytes)?;
            }
            if count < CHUNK {
                return Ok(());
            }
        }
    }

    fn close(&mut self, index: usize) {
        self.sides[index & !1] = None;
        self.sides[index | 1] = None;
    }
}

impl Side {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match self.stream.write(bytes) {
            Ok(sent) => sent,
            // Also while it is being connected.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }
}
