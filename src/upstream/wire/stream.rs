//! A byte stream to upstream: plain, or within TLS.

use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection to upstream on which nothing was said yet.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// Something came on a connection, or its end, while no request was in flight on it: what comes next is no answer to
/// the next request (RFC 9112 9.2).
#[derive(Debug, thiserror::Error)]
#[error("the upstream server closed the connection, or sent something on it, before the request")]
pub(crate) struct Unasked;

impl From<Unasked> for io::Error {
    fn from(unasked: Unasked) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, unasked)
    }
}

/// Room for the TLS records that may come between two exchanges: session tickets have a few hundred bytes each.
const BETWEEN: usize = 4 * 1024;

/// How often a connection that cannot be written to is read, [`BETWEEN`] at a time, in search of an alert.
const MOST_READS: usize = 8;

impl Stream {
    /// Whether nothing has come that was not read, and no end. Asks the system: the runtime knows only what it saw when
    /// it last did so itself.
    ///
    /// Within TLS, tickets and new keys may come at any time (RFC 8446 4.6) and are no answer.
    pub(crate) fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(tcp) => is_silent(tcp),
            Self::Secured(stream) => {
                let (tcp, session) = stream.get_mut();
                says_nothing(session) && (is_silent(tcp) || (is_silent_within(tcp, session) && is_silent(tcp)))
            }
        }
    }

    /// Whether a write that fails has provably written nothing: TLS may have sent a part of what it was given.
    pub(super) const fn fails_cleanly(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// How writing went; where it failed, by the alert that says why, if there is one.
    fn written<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        written.map_err(|error| match self {
            Self::Plain(_) => error,
            Self::Secured(stream) => alert(stream).unwrap_or(error),
        })
    }
}

/// Does the same with whichever stream it is.
macro_rules! each {
    ($this:ident, $stream:ident => $call:expr) => {
        match &mut *$this {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Secured($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        each!(this, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = each!(this, stream => stream.poll_write(context, bytes));
        this.written(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = each!(this, stream => stream.poll_flush(context));
        this.written(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        each!(this, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = each!(this, stream => stream.poll_write_vectored(context, bytes));
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(stream) => stream.is_write_vectored(),
        }
    }
}

/// Whether nothing can be read from a socket now, neither bytes nor its end.
fn is_silent(tcp: &TcpStream) -> bool {
    let peeked = SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Takes in what has come; says whether it is of TLS alone. A record of which only a part has come may be anything.
#[cold]
fn is_silent_within(tcp: &TcpStream, session: &mut ClientConnection) -> bool {
    let mut buffer = [0; BETWEEN];
    let Ok(count) = (&*SockRef::from(tcp)).read(&mut buffer) else { return false };
    let mut records = &buffer[..count];
    if records.is_empty() || !are_whole(records) {
        return false;
    }
    while !records.is_empty() {
        if !matches!(session.read_tls(&mut records), Ok(1..)) || !says_nothing(session) {
            return false;
        }
    }
    true
}

/// The alert by which the peer has ended TLS, if that is what has come. A server that does not take the client's
/// certificate may say so while the request is still being written (TLS 1.3), and closes: the write then fails before
/// anything is read, with an error that says nothing.
#[cold]
fn alert(stream: &mut TlsStream<TcpStream>) -> Option<io::Error> {
    let (tcp, session) = stream.get_mut();
    let mut buffer = [0; BETWEEN];
    for _ in 0..MOST_READS {
        let count = (&*SockRef::from(&*tcp)).read(&mut buffer).ok()?;
        let mut records = &buffer[..count];
        if records.is_empty() {
            return None;
        }
        while !records.is_empty() {
            session.read_tls(&mut records).ok().filter(|taken| *taken > 0)?;
            if let Err(error @ rustls::Error::AlertReceived(_)) = session.process_new_packets() {
                return Some(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
    None
}

/// Whether nothing that was received within TLS is left to be read, and no end.
fn says_nothing(session: &mut ClientConnection) -> bool {
    session.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
}

/// Whether `records` ends where a TLS record does: each has its type, version and length before it (RFC 8446 5.1).
fn are_whole(mut records: &[u8]) -> bool {
    while let [_, _, _, high, low, rest @ ..] = records {
        let Some(next) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        records = next;
    }
    records.is_empty()
}
