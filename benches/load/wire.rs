//! One connection without blocking, plain or TLS, as the generator and the stub both use it.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::event::Source;
use mio::net::TcpStream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// What is read at once: more than any message of the mixes.
const CHUNK: usize = 16 * 1024;

/// A connection and what waits to go out on it or to be taken from it.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<Connection>>,
    /// Bytes not yet written to the socket, without TLS.
    outbox: Vec<u8>,
    /// Received bytes that are not consumed yet.
    pub(crate) inbox: Vec<u8>,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Open,
    Closed,
}

impl Wire {
    /// The calling side.
    pub(crate) fn calling(
        stream: TcpStream,
        tls: Option<&Arc<ClientConfig>>,
        name: &ServerName<'static>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let tls = tls
            .map(|config| ClientConnection::new(Arc::clone(config), name.clone()))
            .transpose()
            .map_err(io::Error::other)?;
        let mut wire = Self::new(stream, tls.map(|tls| Box::new(tls.into())));
        wire.flush()?;
        Ok(wire)
    }

    /// The called side.
    pub(crate) fn called(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let tls = tls.map(|config| ServerConnection::new(Arc::clone(config))).transpose().map_err(io::Error::other)?;
        Ok(Self::new(stream, tls.map(|tls| Box::new(tls.into()))))
    }

    const fn new(stream: TcpStream, tls: Option<Box<Connection>>) -> Self {
        Self { stream, tls, outbox: Vec::new(), inbox: Vec::new() }
    }

    /// For the poll's registry.
    pub(crate) fn source(&mut self) -> &mut impl Source {
        &mut self.stream
    }

    /// Sends `bytes`, and buffers what the socket does not accept now.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return self.flush();
        }
        let sent = if self.outbox.is_empty() { attempt(|| self.stream.write(bytes))?.unwrap_or(0) } else { 0 };
        self.outbox.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Sends as much of the buffer as the socket accepts.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => while tls.wants_write() && attempt(|| tls.write_tls(&mut self.stream))?.is_some() {},
            None if self.outbox.is_empty() => {}
            None => {
                let sent = attempt(|| self.stream.write(&self.outbox))?.unwrap_or(0);
                self.outbox.drain(..sent);
            }
        }
        Ok(())
    }

    /// Reads the received bytes into the inbox.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        let mut chunk = [0; CHUNK];
        loop {
            let read = match &mut self.tls {
                None => attempt(|| self.stream.read(&mut chunk))?,
                Some(tls) => attempt(|| tls.read_tls(&mut self.stream))?,
            };
            match (read, &mut self.tls) {
                (None, _) => return Ok(Received::Open),
                (Some(0), _) => return Ok(Received::Closed),
                (Some(count), None) => {
                    self.inbox.extend_from_slice(&chunk[..count]);
                    // The socket is empty: the poll reports the next arrival.
                    if count < CHUNK {
                        return Ok(Received::Open);
                    }
                }
                (Some(_), Some(tls)) => {
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    let (held, more) = (self.inbox.len(), state.plaintext_bytes_to_read());
                    self.inbox.resize(held + more, 0);
                    tls.reader().read_exact(&mut self.inbox[held..])?;
                    self.flush()?;
                }
            }
        }
    }
}

/// `None` if it would block.
fn attempt(mut act: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match act() {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
