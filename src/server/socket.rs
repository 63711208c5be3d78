//! A caller's socket with its time-outs: for a head, for the next request, and for a caller that does not read.
//!
//! hyper's own header time-out also runs between two requests of a kept connection, and costs one timer per request.
//! Here a timer is started only when hyper has to wait for the socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lazy_timer::LazyTimer;
use super::lingering_close::LingeringClose;
use crate::gateway::{ConnectionPermit, Reply};

/// The time-outs of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// For a head, from its first byte; and for the first byte of a connection.
    pub(super) head: Duration,
    /// Between requests, and to read an answer's bytes.
    pub(super) idle: Duration,
}

/// The state of a connection, shared by its socket and its service.
#[derive(Debug)]
pub(super) struct ConnectionState {
    phase: AtomicU8,
    requests: AtomicU32,
    connection: Arc<ConnectionPermit>,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const SWITCHED: u8 = 3;
const ENDING: u8 = 4;

impl ConnectionState {
    /// The state of a new connection. `connection`: its permit.
    pub(super) const fn new(connection: Arc<ConnectionPermit>) -> Self {
        Self { phase: AtomicU8::new(IDLE), requests: AtomicU32::new(0), connection }
    }

    /// Notes that a head is complete. Until the guard is dropped, the connection serves the request, and no time-out
    /// for reading runs.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.connection.set_busy();
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Notes that no further request is read. If none is under way, no answer is on its way to the caller, and the
    /// connection need not linger.
    pub(super) fn end_if_idle(&self) {
        let _was_not_idle = self.phase.compare_exchange(IDLE, ENDING, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Exists from a complete head to the end of its answer.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<ConnectionState>);

impl RequestGuard {
    /// Notes that the connection was switched to another protocol: no time-out for requests runs any more.
    pub(super) fn set_switched(&self) {
        self.0.phase.store(SWITCHED, Ordering::Relaxed);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.0.phase.compare_exchange(BUSY, IDLE, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.0.connection.set_idle(self.0.connection.now());
        }
    }
}

/// The body of an answer. When it is sent or dropped, its connection is idle again.
#[derive(Debug)]
pub(super) struct GuardedReply {
    reply: Reply,
    _guard: RequestGuard,
}

impl GuardedReply {
    pub(super) const fn new(reply: Reply, guard: RequestGuard) -> Self {
        Self { reply, _guard: guard }
    }
}

impl Body for GuardedReply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.get_mut().reply).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}

/// A stream that fails with `TimedOut` when the caller takes too long.
#[derive(Debug)]
pub(super) struct TimeoutStream<T> {
    io: T,
    state: Arc<ConnectionState>,
    deadlines: Timeouts,
    head: LazyTimer,
    idle: LazyTimer,
    write: LazyTimer,
    lingering_close: LingeringClose,
    requests_when_armed: u32,
}

impl<T> TimeoutStream<T> {
    pub(super) fn new(io: T, state: Arc<ConnectionState>, deadlines: Timeouts) -> Self {
        let (head, idle, write) = (LazyTimer::default(), LazyTimer::default(), LazyTimer::default());
        Self {
            io,
            state,
            deadlines,
            head,
            idle,
            write,
            lingering_close: LingeringClose::default(),
            requests_when_armed: 0,
        }
    }

    fn poll_read_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.state.phase.load(Ordering::Relaxed) {
            HEAD if self.head.poll(self.deadlines.head, context).is_ready() => {
                Poll::Ready(Err(late("a request's head did not arrive in time")))
            }
            IDLE if self.idle.poll(self.idle_deadline(), context).is_ready() => {
                // The idle timer keeps running during requests; it counts only if no request came since it was started.
                let requests = self.state.requests.load(Ordering::Relaxed);
                if requests == self.requests_when_armed {
                    return Poll::Ready(Err(late("no request came in time")));
                }
                self.requests_when_armed = requests;
                self.idle.stop();
                let _just_armed = self.idle.poll(self.deadlines.idle, context);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }

    /// Between requests, or before the first one.
    fn idle_deadline(&self) -> Duration {
        if self.state.requests.load(Ordering::Relaxed) == 0 { self.deadlines.head } else { self.deadlines.idle }
    }

    fn poll_written<R>(&mut self, written: Poll<io::Result<R>>, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            if self.write.is_running() {
                self.write.stop();
            }
            return written;
        }
        self.write.poll(self.deadlines.idle, context).map(|()| Err(late("the caller did not take its answer in time")))
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T: AsyncRead + Unpin> AsyncRead for TimeoutStream<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        if read.is_pending() {
            return this.poll_read_deadline(context);
        }
        if this.head.is_running() && this.state.phase.load(Ordering::Relaxed) != HEAD {
            this.head.stop();
        }
        if buffer.filled().len() > before {
            let _was_not_idle = this.state.phase.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimeoutStream<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.poll_written(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(context);
        this.poll_written(flushed, context)
    }

    /// Ready when the caller has its last answer, as far as the socket shows.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.state.phase.load(Ordering::Relaxed), SWITCHED | ENDING) {
            let shut = Pin::new(&mut this.io).poll_shutdown(context);
            return this.poll_written(shut, context);
        }
        this.lingering_close.poll(&mut this.io, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, bytes);
        this.poll_written(written, context)
    }
}
