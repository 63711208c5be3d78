//! A byte stream to upstream: TCP, or TLS over TCP.

use std::future::poll_fn;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// An open connection to upstream.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Bytes, or the end of the connection, were received while no request was in flight: they cannot be the answer to the
/// next request (RFC 9112 9.2).
#[derive(Debug, thiserror::Error)]
#[error("the upstream server closed the connection, or sent something on it, before the request")]
pub(crate) struct UnsolicitedData;

impl From<UnsolicitedData> for io::Error {
    fn from(error: UnsolicitedData) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, error)
    }
}

/// Reads the bytes that have come on a connection, up to `N`, and appends them to `to`. While it waits, they need no room:
/// they are read into memory of the function that is polled.
///
/// # Errors
/// The connection is broken.
pub(crate) async fn read_on_stack<const N: usize>(
    stream: &mut (impl AsyncRead + Unpin),
    to: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|context| {
        let mut buffer = [MaybeUninit::uninit(); N];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        to.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// The size in bytes of the buffer for TLS records that arrive between two exchanges. A session ticket has a few
/// hundred bytes.
const RECORDS_BUFFER: usize = 4 * 1024;

/// The largest number of reads, of [`RECORDS_BUFFER`] bytes each, that look for an alert after a failed write.
const MAX_ALERT_READS: usize = 8;

impl Stream {
    /// Whether neither unread bytes nor the end of the connection were received. Queries the system: the runtime knows
    /// only what it saw at its last poll.
    ///
    /// Within TLS, session tickets and key updates may arrive at any time (RFC 8446 4.6); they do not count.
    pub(crate) fn has_nothing_to_read(&mut self) -> bool {
        match self {
            Self::Plain(tcp) => is_drained(tcp),
            Self::Tls(stream) => {
                let (tcp, session) = stream.get_mut();
                has_no_plaintext(session)
                    && (is_drained(tcp) || (received_only_tls_records(tcp, session) && is_drained(tcp)))
            }
        }
    }

    /// Whether it is certain that a failed write wrote nothing. TLS may have sent a part of its input.
    pub(super) const fn failed_write_sends_nothing(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Replaces the error of a failed write by the TLS alert that explains it, if one was received.
    fn with_alert<T>(&mut self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        result.map_err(|error| match self {
            Self::Plain(_) => error,
            Self::Tls(stream) => read_alert(stream).unwrap_or(error),
        })
    }
}

/// Evaluates an expression with the pinned inner stream.
macro_rules! with_inner {
    ($this:ident, $stream:ident => $call:expr) => {
        match &mut *$this {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        with_inner!(this, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = with_inner!(this, stream => stream.poll_write(context, bytes));
        this.with_alert(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = with_inner!(this, stream => stream.poll_flush(context));
        this.with_alert(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        with_inner!(this, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = with_inner!(this, stream => stream.poll_write_vectored(context, bytes));
        this.with_alert(written)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// Whether a socket has neither unread bytes nor an unread end.
fn is_drained(tcp: &TcpStream) -> bool {
    let peeked = SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Processes the received records. Returns whether all of them belong to TLS itself. An incomplete record counts as
/// data, because its content is not known yet.
#[cold]
fn received_only_tls_records(tcp: &TcpStream, session: &mut ClientConnection) -> bool {
    let mut buffer = [0; RECORDS_BUFFER];
    let Ok(count) = (&*SockRef::from(tcp)).read(&mut buffer) else { return false };
    let mut records = &buffer[..count];
    if records.is_empty() || !are_complete(records) {
        return false;
    }
    while !records.is_empty() {
        if !matches!(session.read_tls(&mut records), Ok(1..)) || !has_no_plaintext(session) {
            return false;
        }
    }
    true
}

/// The received alert that ended the TLS session, if there is one. A server that does not accept the client's
/// certificate may send the alert while the request is still being written (TLS 1.3), and then close: the write fails
/// before anything is read, with an error that does not name the cause.
#[cold]
fn read_alert(stream: &mut TlsStream<TcpStream>) -> Option<io::Error> {
    let (tcp, session) = stream.get_mut();
    let mut buffer = [0; RECORDS_BUFFER];
    for _ in 0..MAX_ALERT_READS {
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

/// Whether the TLS session has neither unread plaintext nor an end.
fn has_no_plaintext(session: &mut ClientConnection) -> bool {
    session.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
}

/// Whether the last TLS record in `records` is complete. A record begins with its type, version and length (RFC 8446
/// 5.1).
fn are_complete(mut records: &[u8]) -> bool {
    while let [_, _, _, high, low, rest @ ..] = records {
        let Some(next) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        records = next;
    }
    records.is_empty()
}
