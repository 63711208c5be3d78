//! The byte stream below one of hyper's connections. It watches what hyper cannot be asked for: that nothing came
//! before a request was sent, and how much comes before its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MAX_ANSWER_HEAD;
use super::framing::{MAX_INTERIM, TOO_MANY_INTERIM};
use super::wire::{Stream, Unasked};

/// Most bytes before hyper has told of an answer: interim ones, and the answer's own head and what hyper reads ahead of
/// its body.
const MAX_EARLY: usize = MAX_INTERIM + 4 * MAX_ANSWER_HEAD;

/// A stream to upstream as hyper has it.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    phase: Phase,
    /// Bytes received since the request began to be sent.
    early: usize,
}

/// How far an exchange is: shared by whoever sends requests and the task that drives the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

/// A request is being sent, and has no answer yet. So it is at first: a connection is opened for a request, and within
/// TLS there may still be something to come of the handshake.
const WAITS: u8 = 0;
/// The next request on a kept connection is about to be sent: nothing may have come.
const BEGINS: u8 = 1;
/// It has an answer.
const ANSWERED: u8 = 2;

/// More than [`MAX_EARLY`] bytes came before an answer.
#[derive(Debug, thiserror::Error)]
#[error("{TOO_MANY_INTERIM}")]
pub(super) struct Flood;

impl Phase {
    /// Another request is about to be sent.
    pub(super) fn begin(&self) {
        self.0.store(BEGINS, Ordering::Relaxed);
    }

    /// The request has an answer.
    pub(super) fn end(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

impl Transport {
    /// For a connection that was opened for a request, and how whoever sends it tells how far that is.
    pub(super) fn new(stream: Stream) -> (Self, Phase) {
        let phase = Phase::default();
        (Self { stream, phase: phase.clone(), early: 0 }, phase)
    }

    /// The first bytes of a request are written.
    fn written(&mut self) {
        if self.phase.is(BEGINS) {
            self.early = 0;
            self.phase.0.store(WAITS, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Transport {
    /// hyper reads from an idle connection before it takes a request for it, in the same poll in which the request is
    /// then written. If that finds anything, or fails, hyper gives the request back.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.phase.is(BEGINS) && !self.stream.is_silent() {
            return Poll::Ready(Err(Unasked.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.phase.is(WAITS) {
            self.early += buffer.filled().len() - before;
            if self.early > MAX_EARLY {
                return Poll::Ready(Err(io::Error::other(Flood)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written();
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
