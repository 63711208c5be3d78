//! The byte stream below one of hyper's connections. It checks two things that hyper does not report: that nothing was
//! received before a request is sent, and how many bytes arrive before its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::MAX_ANSWER_HEAD;
use super::framing::{MAX_INTERIM, TOO_MANY_INTERIM};
use super::stream::{Stream, UnsolicitedData};

/// The largest number of bytes before hyper returns an answer: interim answers, the head of the answer, and the part of
/// the body that hyper reads ahead.
const MAX_BEFORE_ANSWER: usize = MAX_INTERIM + 4 * MAX_ANSWER_HEAD;

/// The stream to upstream that hyper reads and writes.
#[derive(Debug)]
pub(super) struct Transport {
    stream: Stream,
    phase: ExchangePhase,
    /// Bytes received since the first byte of the request was sent.
    before_answer: usize,
}

/// The progress of an exchange. The sender of requests and the task that drives the connection share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ExchangePhase(Arc<AtomicU8>);

/// A request is being sent and has no answer yet. This is the first phase: a connection is opened for a request, and
/// within TLS a part of the handshake may still arrive.
const AWAITING_ANSWER: u8 = 0;
/// The next request on a reused connection is about to be sent: nothing may have been received.
const STARTING: u8 = 1;
/// The request has an answer.
const ANSWERED: u8 = 2;

/// More than [`MAX_BEFORE_ANSWER`] bytes arrived before an answer.
#[derive(Debug, thiserror::Error)]
#[error("{TOO_MANY_INTERIM}")]
pub(super) struct InterimOverflow;

impl ExchangePhase {
    /// Another request is about to be sent.
    pub(super) fn set_starting(&self) {
        self.0.store(STARTING, Ordering::Relaxed);
    }

    /// The request has an answer.
    pub(super) fn set_answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

impl Transport {
    /// The transport of a connection that was opened for a request, and the phase that the sender of requests sets.
    pub(super) fn new(stream: Stream) -> (Self, ExchangePhase) {
        let phase = ExchangePhase::default();
        (Self { stream, phase: phase.clone(), before_answer: 0 }, phase)
    }

    /// The stream, once hyper needs it no longer.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Notes that a request is being written.
    fn on_write(&mut self) {
        if self.phase.is(STARTING) {
            self.before_answer = 0;
            self.phase.0.store(AWAITING_ANSWER, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Transport {
    /// hyper reads from an idle connection before it accepts a request for it, in the same poll in which it then writes
    /// the request. If the read returns bytes or fails, hyper returns the request to its sender.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.phase.is(STARTING) && !self.stream.has_nothing_to_read() {
            return Poll::Ready(Err(UnsolicitedData.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.phase.is(AWAITING_ANSWER) {
            self.before_answer += buffer.filled().len() - before;
            if self.before_answer > MAX_BEFORE_ANSWER {
                return Poll::Ready(Err(io::Error::other(InterimOverflow)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.on_write();
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
        self.on_write();
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
